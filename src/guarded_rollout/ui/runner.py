"""`python -m guarded_rollout.ui.runner FOLDER`: runs a command to its end, whatever becomes of the dashboard.

FOLDER/job.json names the command; what it prints goes to output.txt, and end.json says how it ended.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from guarded_rollout.files import write_atomic
from guarded_rollout.lock import process_started


def main(folder: Path) -> None:
    """Run it and write down how it ended."""
    job = json.loads((folder / "job.json").read_text())
    me = {"pid": os.getpid(), "started": process_started(os.getpid())}
    write_atomic(folder / "process.json", json.dumps(me), mode=0o600)
    with (folder / "output.txt").open("ab") as output:
        try:
            code = subprocess.run(
                job["command"], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
            ).returncode
        except OSError as error:
            output.write(f"{job['command'][0]}: {error.strerror}\n".encode())
            code = 127
    end = {"exit_code": code, "ended_at": time.time()}
    write_atomic(folder / "end.json", json.dumps(end), mode=0o600)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
