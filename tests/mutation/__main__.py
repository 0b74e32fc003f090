"""`python -m tests.mutation [ROOM…]`: change the code of a room in one place at a time, and run its tests.

By cosmic-ray, in an export of the commit that is checked out. Prints each mutant that the tests let pass and
`equivalent.py` does not explain, and how many of how many were killed. What survives wants a better test,
less code, or a reason why nothing can tell.
"""

import argparse
import sys
from collections.abc import Iterator

from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import Mutant, mutate
from tests.mutation.rooms import ROOMS


def report(name: str, mutants: list[Mutant]) -> Iterator[str]:
    """Say which mutants live that should not, which reasons are of no use any more, and the score."""
    explained = {change: why for why, changes in EQUIVALENT.get(name, {}).items() for change in changes}
    survivors = [mutant for mutant in mutants if not mutant.killed]
    left = [mutant for mutant in survivors if mutant.made not in explained]
    for mutant in left:
        yield f"{ROOMS[name].module}:{mutant.line} {mutant.operator}\n{mutant.diff}"
    for change in explained.keys() - {mutant.made for mutant in survivors}:
        yield f"{name}: listed as equivalent, and no survivor: {change}"
    killed, equivalent = len(mutants) - len(survivors), len(survivors) - len(left)
    yield f"{name}: {killed} of {len(mutants)} mutants killed, {equivalent} equivalent, {len(left)} left"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rooms", nargs="*", help=f"of {', '.join(ROOMS)}; all of them unless named")
    for name in parser.parse_args().rooms or ROOMS:
        for line in report(name, mutate(ROOMS[name])):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
