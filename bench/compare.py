"""`python -m bench.compare BASE [QUESTION…] [--quick] [--gate]`: what this checkout changed since BASE.

BASE is checked out beside, and this checkout's bench/ and tests/ are laid over it: one yardstick for both.
Nothing is installed: both run on this environment's packages, so BASE must have locked the same ones. Each
question is asked of BASE and of this checkout in turns, so that a noisy moment is everybody's.

With `--gate` it exits with 1 where a request costs more than before: processor time, in multiples of its
floor's in the same run, which hardly differs between a slow machine, a fast one and a busy one.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console

from bench.__main__ import QUESTIONS
from bench.machine import head
from bench.table import Quantity, Table, duration

ROOT = Path(__file__).parents[1]
YARDSTICK = ("bench", "tests")
LOCK = Path("locks/development.txt")
GATED = ": of its floor's"  # the numbers of `bench.requests` that a gate looks at
REGRESSION = 1.10
PATIENCE_SECONDS = 30  # for a question that is interrupted to end what it started

Numbers = Mapping[tuple[str, str], Quantity]  # by the table's question, and the number's name in it


class ComparisonError(Exception):
    """The two cannot be compared; says why."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One number of both sides, by round."""

    table: str
    name: str
    base: tuple[float, ...]
    now: tuple[float, ...]
    unit: str

    @property
    def ratio(self) -> float | None:
        """Now against base, by their medians; None if base is nought."""
        base = statistics.median(self.base)
        return statistics.median(self.now) / base if base else None

    @property
    def beyond_spread(self) -> bool:
        """Whether the medians are further apart than the rounds of both sides are among themselves."""
        apart = abs(statistics.median(self.now) - statistics.median(self.base))
        return apart > _range(self.base) + _range(self.now)


def regressions(found: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """The numbers that a gate looks at, and those of them that rose by more than a tenth.

    The least of the rounds counts: other programs only ever add.
    """
    gated = [pair for pair in found if pair.name.endswith(GATED)]
    return gated, [pair for pair in gated if min(pair.now) > REGRESSION * min(pair.base)]


def _range(values: Sequence[float]) -> float:
    return max(values) - min(values)


def pairs(base: Sequence[Numbers], now: Sequence[Numbers]) -> list[Pair]:
    """Every number that each round of both sides has, in the same unit; in the order of `now`."""
    found = []
    for (title, name), number in now[0].items():
        rounds = [side.get((title, name)) for side in (*base, *now)]
        values = tuple(each.value for each in rounds if each is not None and each.unit == number.unit)
        if len(values) == len(rounds):
            found.append(Pair(title, name, values[: len(base)], values[len(base) :], number.unit))
    return found


def shown(found: Sequence[Pair]) -> Iterator[Table]:
    """Both sides by number, in a table for each table of the questions."""
    columns = ("", "base", "now", "now / base", "beyond the spread")
    for title, group in groupby(found, lambda pair: pair.table):
        yield Table(title, columns, [_row(pair) for pair in group])


def _row(pair: Pair) -> tuple[str, ...]:
    return (
        pair.name,
        _shown(statistics.median(pair.base), pair.unit),
        _shown(statistics.median(pair.now), pair.unit),
        "" if pair.ratio is None else f"{pair.ratio:.3f}",
        "yes" if pair.beyond_spread else "",
    )


def _shown(value: float, unit: str) -> str:
    return duration(value) if unit == "s" else f"{value:,.4g} {unit}".rstrip()


# ---- running both


def measure(base: Path, question: str, *, quick: bool, rounds: int) -> list[Pair]:
    """Ask a question of both in turns. Raises `ComparisonError` when one of them gives no answer."""
    seen: dict[Path, list[Numbers]] = {base: [], ROOT: []}
    for _ in range(rounds):
        for side, answers in seen.items():
            answers.append(ask(side, question, quick=quick))
    return pairs(seen[base], seen[ROOT])


def ask(side: Path, question: str, *, quick: bool) -> Numbers:
    """Run one question in a checkout, on this environment's packages and the checkout's own sources."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "bench", question, "--json", str(report)]
        done = _run([*command, *(["--quick"] if quick else [])], side)
        if not report.exists():  # a missed target is an answer too
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            where = "this checkout" if side == ROOT else "BASE"
            raise ComparisonError(f"{where} does not answer {question!r}: {said[-1] if said else 'silent'}")
        return {
            (each["question"], name): Quantity("", number["value"], number["unit"])
            for each in json.loads(report.read_text())["tables"]
            for name, number in each["numbers"].items()
        }


def _run(command: Sequence[str], side: Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end; when interrupted, let it end what it has started first."""
    sources = os.pathsep.join([str(side / "src"), str(side)])
    with subprocess.Popen(
        command,
        cwd=side,
        env=os.environ | {"PYTHONPATH": sources},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches it once, from here: a second one would cut its cleaning up
    ) as process:
        try:
            said, complained = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_SECONDS)
            finally:
                process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


@contextmanager
def checked_out(reference: str) -> Iterator[Path]:
    """The commit in a folder of its own, under this checkout's yardstick; gone again whatever happens."""
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
    if commit is None:
        raise ComparisonError(f"{reference!r} is no commit of this repository")
    folder = Path(tempfile.mkdtemp(prefix="base-", dir="/tmp"))  # short: sockets may live below
    try:
        if _git("worktree", "add", "--detach", "--quiet", str(folder / "base"), commit) is None:
            raise ComparisonError(f"git could not check {reference!r} out beside")
        base = folder / "base"
        require_same_packages(base)
        for name in YARDSTICK:
            shutil.rmtree(base / name, ignore_errors=True)
            if (ROOT / name).exists():
                shutil.copytree(ROOT / name, base / name, ignore=shutil.ignore_patterns("__pycache__"))
        yield base
    finally:
        removed = _git("worktree", "remove", "--force", "--force", str(folder / "base"))
        shutil.rmtree(folder, ignore_errors=True)
        if removed is None:
            _git("worktree", "prune")


def require_same_packages(base: Path) -> None:
    """Raise `ComparisonError` if BASE has locked other packages than this checkout."""
    theirs, ours = locked(base / LOCK), locked(ROOT / LOCK)
    if differ := sorted(theirs ^ ours):
        shown = ", ".join(differ[:6]) + (" …" if len(differ) > 6 else "")
        raise ComparisonError(
            f"{LOCK} differs ({shown}), so that a difference could be the packages'. "
            "Compare with a commit that locks the same ones."
        )


def locked(lock: Path) -> set[str]:
    """The packages of a lock as name==version."""
    lines = lock.read_text().splitlines() if lock.exists() else []
    return {line.split(" ")[0] for line in lines if line and not line.startswith((" ", "#", "-"))}


def _git(*words: str) -> str | None:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench-compare BASE=ref ARGS=…", description=__doc__)
    parser.add_argument("base", metavar="BASE", help="a commit, a branch, a tag")
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="as `python -m bench` takes")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer repeats")
    parser.add_argument("--rounds", type=int, default=2, help="how often each side is asked (at least 2)")
    parser.add_argument("--gate", action="store_true", help="fail where a request costs a tenth more")
    chosen = parser.parse_args(words)
    if chosen.rounds < 2:
        parser.error("fewer than 2 rounds have no spread")
    if unknown := set(chosen.questions) - set(QUESTIONS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: the folder is removed
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(f"{head()}\nagainst {chosen.base}, {chosen.rounds} rounds in turns\n", highlight=False)
    try:
        with checked_out(chosen.base) as base:
            found: list[Pair] = []
            for question in chosen.questions or QUESTIONS:
                asked = measure(base, question, quick=chosen.quick, rounds=chosen.rounds)
                for table in shown(asked):
                    table.show(console)
                found += asked
    except ComparisonError as error:
        print(f"bench.compare: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return judged(found) if chosen.gate else 0


def judged(found: Sequence[Pair]) -> int:
    """Say what became more expensive; the exit code of a gate."""
    gated, worse = regressions(found)
    if not gated:
        print("bench.compare: nothing here is gated; ask for the question `requests`.", file=sys.stderr)
        return 2
    for pair in worse:
        cost = f"{min(pair.base):.2f} × → {min(pair.now):.2f} × of its floor"
        print(f"bench.compare: {pair.name.removesuffix(GATED)}: {cost}", file=sys.stderr)
    print(f"{len(gated)} paths, {len(worse)} cost over {REGRESSION - 1:.0%} more than in the base")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
