"""Tables: as wide as the terminal, and elsewhere as wide as what stands in them, so that nothing is cut."""

import sys

from rich.console import Console
from rich.table import Table

WIDEST = 10_000


def show(table: Table, *, err: bool = False) -> None:
    """Print a table to standard output, or to standard error."""
    console = Console(stderr=err)
    if not (sys.stderr if err else sys.stdout).isatty():
        console = Console(stderr=err, width=WIDEST)
    console.print(table)
