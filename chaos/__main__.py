"""`python -m chaos [--runs N] [--seed N] [--jobs N]`: run by run, then a summary; exit 1 if a run is broken.

Without a seed, a few runs that cover the faults between them. With one, that seed and those that follow it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from chaos.draw import covering, draw
from chaos.faults import POSSIBLE
from chaos.report import FILE, Verdict, summary
from chaos.variants import open_shop

FEW = 8
LIMIT_SECONDS = 420
ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=0, help=f"how many [{FEW}]")
    parser.add_argument("--seed", type=int, help="of the first run; the others follow")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time [1]")
    parser.add_argument("--keep", action="store_true", help="keep the folders of runs that held, too")
    parser.add_argument("--plan", action="store_true", help="print what would happen, and do nothing")
    chosen = parser.parse_args()
    runs = chosen.runs or FEW
    seeds = (
        list(range(chosen.seed, chosen.seed + runs))
        if chosen.seed is not None
        else covering(1, runs, possible=POSSIBLE)
    )
    if chosen.plan:
        for seed in seeds:
            print(f"seed {seed}: {draw(seed, possible=POSSIBLE)}")
        return 0
    open_shop()
    began = time.monotonic()
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(chosen.jobs) as pool:
        under_way = [pool.submit(run, seed, keep=chosen.keep) for seed in seeds]
        for done in as_completed(under_way):
            verdicts.append(done.result())
            print("\n".join(verdicts[-1].lines()), flush=True)
    print("\n".join(summary(verdicts, time.monotonic() - began)), flush=True)
    return 0 if all(verdict.held for verdict in verdicts) else 1


def run(seed: int, *, keep: bool) -> Verdict:
    """One run in a process (and, where that is allowed, in namespaces) of its own."""
    folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))  # short: sockets live below
    words = [*isolation(), sys.executable, "-m", "chaos.run", str(seed), str(folder)]
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen(
            words + (["--keep"] if keep else []), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            process.wait(LIMIT_SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            if sys.exc_info()[0] is not subprocess.TimeoutExpired:
                raise
    if (folder / FILE).exists():
        verdict = Verdict.read(folder)
    else:
        last = (folder / "run.log").read_text().strip().splitlines()[-3:]
        verdict = Verdict(
            seed, str(draw(seed, possible=POSSIBLE)), [], outcome="no verdict", violations=[" / ".join(last)]
        )
    if verdict.held and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        verdict.violations += [] if verdict.held else [f"everything about it is in {folder}"]
    return verdict


def isolation() -> list[str]:
    """Namespaces for mounts and processes, as root: whatever happens in a run ends with it.

    A shell is the first process there, because it reaps what dies.
    """
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    allowed = os.geteuid() == 0 and shutil.which("unshare") is not None
    if allowed and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
        return [*words, "sh", "-c", '"$@"; exit $?', "sh"]
    return []


if __name__ == "__main__":
    sys.exit(main())
