import os
import subprocess
import sys

import psutil

from tests.leftovers import end_leftovers, owned_folder


def test_what_works_in_a_folder_of_the_run_is_ended_and_nothing_else():
    folder = owned_folder("gr")
    run = int(folder.name.split("-")[1])
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    in_it, beside = subprocess.Popen(sleep, cwd=folder), subprocess.Popen(sleep)
    try:
        end_leftovers(run + 10**8)
        assert in_it.poll() is None
        mine = folder.rename(folder.with_name(f"gr-{run + 10**8}-x"))
        end_leftovers(run + 10**8)
        assert in_it.wait(10) < 0
        assert not mine.exists()
        assert beside.poll() is None
        assert psutil.pid_exists(os.getpid())
    finally:
        for process in (in_it, beside):
            process.kill()
            process.wait()
