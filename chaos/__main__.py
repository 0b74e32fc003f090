"""`python -m chaos [--runs N] [--seed N] [--jobs N]`: run by run, then a summary; exit 1 if a run is broken.

An interruption ends what is under way, and the summary is of what had ended.

Without a seed, a few runs that cover the faults between them, and others for what was meant to strike in
these and whose moment never came. With one, that seed and those that follow it.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from chaos.draw import covering, draw
from chaos.faults import possible
from chaos.report import FILE, Verdict, missing, summary

FEW = 24
JOBS = 3
"""They keep two cores nine tenths busy: a run also waits for windows, supervisors and what a fault lasts."""

ROUNDS = 3
"""The runs that cover, and up to twice others for the faults whose moment did not come."""

LIMIT_SECONDS = 900
ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=0, help=f"how many [{FEW}]")
    parser.add_argument("--seed", type=int, help="of the first run; the others follow")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"runs at a time [{JOBS}]")
    parser.add_argument("--keep", action="store_true", help="keep the folders of runs that held, too")
    parser.add_argument("--plan", action="store_true", help="print what would happen, and do nothing")
    chosen = parser.parse_args()
    runs = chosen.runs or FEW
    seeds = (
        list(range(chosen.seed, chosen.seed + runs))
        if chosen.seed is not None
        else covering(1, runs, possible=possible())
    )
    if chosen.plan:
        for seed in seeds:
            print(f"seed {seed}: {draw(seed, possible=possible())}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    verdicts: list[Verdict] = []
    campaign = Campaign(keep=chosen.keep)
    try:
        for number in range(1, ROUNDS + 1):
            for verdict in campaign.run_all(seeds, chosen.jobs):
                verdicts.append(verdict)
                print("\n".join(verdict.lines()), flush=True)
            missed = missing(verdicts)
            if chosen.runs or chosen.seed is not None or not missed:
                break
            seeds = covering(number * 5000 + 1, FEW, possible=possible(), wanted=missed)
    except KeyboardInterrupt:
        return 130
    finally:
        print("\n".join(summary(verdicts, time.monotonic() - began)), flush=True)
    return 0 if all(verdict.held for verdict in verdicts) else 1


class Campaign:
    """The runs that are under way, each in a process (and, where that is allowed, namespaces) of its own."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._isolation = isolation()
        self._running: set[subprocess.Popen[bytes]] = set()

    def run_all(self, seeds: Sequence[int], jobs: int) -> Iterator[Verdict]:
        """So many at a time, each as it ends. Whoever stops asking ends what is under way."""
        with ThreadPoolExecutor(jobs) as pool:
            try:
                for done in as_completed([pool.submit(self.run, seed) for seed in seeds]):
                    yield done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.stop()
                raise

    def run(self, seed: int) -> Verdict:
        """One run. Its folder stays if something was broken, or if all are kept."""
        folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))  # short: sockets live below
        words = [*self._isolation, sys.executable, "-m", "chaos.run", str(seed), str(folder)]
        with (folder / "run.log").open("w") as log:
            process = subprocess.Popen(
                words + (["--keep"] if self._keep else []),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            self._running.add(process)
            try:
                process.wait(LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            finally:
                self._running.discard(process)
        verdict = verdict_in(folder, seed)
        if verdict.held and not self._keep:
            shutil.rmtree(folder, ignore_errors=True)
        elif not verdict.held:
            verdict.violations.append(f"everything about it is in {folder}")
        return verdict

    def stop(self) -> None:
        """End what is under way, and with it everything in its namespaces."""
        for process in list(self._running):
            process.kill()


def verdict_in(folder: Path, seed: int) -> Verdict:
    """What a run left; one that left nothing is broken too."""
    if (folder / FILE).exists():
        return Verdict.read(folder)
    last = (folder / "run.log").read_text().strip().splitlines()[-3:]
    plan = str(draw(seed, possible=possible()))
    return Verdict(seed, plan, [], outcome="no verdict", violations=[" / ".join(last) or "it hung"])


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
