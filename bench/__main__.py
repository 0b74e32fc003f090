"""`python -m bench [QUESTION…] [--quick] [--json FILE]`: print tables; exit 1 if a target is missed."""

import argparse
import importlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console
from tests.leftovers import end_leftovers

from bench.machine import commit, head, machine, versions
from bench.table import Table

QUESTIONS = tuple(
    sorted(
        path.stem
        for path in Path(__file__).parent.glob("*.py")
        if not path.stem.startswith("_") and "def tables(" in path.read_text()
    )
)


ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end(number: int, frame: FrameType | None) -> None:
    """Stop, once: `timeout` sends its signal twice, and the second must not cut the cleaning up short."""
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def answered(
    questions: Sequence[str], console: Console, drawings: Path | None, *, quick: bool
) -> list[Table]:
    """Every table of the questions, each shown, and drawn if there is a folder for it, when it is there."""
    results: list[Table] = []
    for question in questions:
        for table in importlib.import_module(f"bench.{question}").tables(quick=quick):
            table.show(console)
            results.append(table)
            if drawings and table.drawing:
                (drawings / f"{question}.svg").write_text(table.drawing())
    return results


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer repeats")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the tables to FILE")
    parser.add_argument(
        "--drawings", type=Path, metavar="FOLDER", help="also draw what there is to draw, as SVG"
    )
    chosen = parser.parse_args()
    if unknown := set(chosen.questions) - set(QUESTIONS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}")

    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(head(), end="\n\n", highlight=False)
    for ending in ENDINGS:
        signal.signal(ending, end)
    try:
        results = answered(chosen.questions or QUESTIONS, console, chosen.drawings, quick=chosen.quick)
    except KeyboardInterrupt:
        return 130
    finally:
        end_leftovers(os.getpid())  # a supervisor that was just being started, say
    if chosen.json:
        report = {
            "machine": machine(),
            "commit": commit(),
            "versions": versions(),
            "tables": [table.as_json() for table in results],
        }
        chosen.json.write_text(json.dumps(report, indent=2))

    missed = [target for table in results for target in table.targets if not target.met]
    console.print(f"{sum(len(table.targets) for table in results)} targets, {len(missed)} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
