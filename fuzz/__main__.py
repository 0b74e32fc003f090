"""`python -m fuzz TARGET|all [--seconds N] [--seed N]`: what was tried, what was found; exit 1 on a finding.

A target runs in a process of its own: what kills the process is a finding too, and its input is kept.
"""

import argparse
import faulthandler
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.engine import run
from fuzz.targets import NAMES, load


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=[*NAMES, "all"])
    parser.add_argument("--seconds", type=float, default=60, help="for each target [60]")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same inputs [1]")
    parser.add_argument("--newest", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.newest:
        return _here(chosen.target, chosen.seconds, chosen.seed, chosen.newest)
    names = NAMES if chosen.target == "all" else (chosen.target,)
    codes = [_aside(name, chosen.seconds, chosen.seed) for name in names]  # the later ones too
    return int(any(codes))


def _here(name: str, seconds: float, seed: int, newest: Path) -> int:
    faulthandler.enable()
    report = run(load(name), seed=seed, seconds=seconds, newest=newest)
    print("\n".join(report.lines()), flush=True)
    return int(bool(report.findings))


def _aside(name: str, seconds: float, seed: int) -> int:
    newest = Path(tempfile.mkstemp(prefix=f"fuzz-{name}-")[1])
    words = ["--seconds", str(seconds), "--seed", str(seed), "--newest", str(newest)]
    code = subprocess.run([sys.executable, "-m", "fuzz", name, *words]).returncode
    if code < 0:
        print(f"{name}: killed by signal {-code}, seed {seed}, input in {newest}", flush=True)
    else:
        newest.unlink()
    return code


if __name__ == "__main__":
    sys.exit(main())
