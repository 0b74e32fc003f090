"""`python -m bench [QUESTION…] [--quick] [--json FILE]`: print tables; exit 1 if a target is missed."""

import argparse
import importlib
import json
import signal
import sys
from pathlib import Path

from rich.console import Console

from bench.machine import commit, head, machine, versions
from bench.table import Table

QUESTIONS = tuple(
    sorted(
        path.stem
        for path in Path(__file__).parent.glob("*.py")
        if not path.stem.startswith("_") and "def tables(" in path.read_text()
    )
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer repeats")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the tables to FILE")
    chosen = parser.parse_args()
    for ending in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: what was started is stopped
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    if unknown := set(chosen.questions) - set(QUESTIONS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}")

    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(head(), end="\n\n", highlight=False)
    results: list[Table] = []
    for question in chosen.questions or QUESTIONS:
        for table in importlib.import_module(f"bench.{question}").tables(quick=chosen.quick):
            table.show(console)
            results.append(table)
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
