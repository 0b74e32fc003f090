"""The command `dhash`: one thin file per command, which parses, calls and prints."""

from dhash_service.cli import (  # noqa: F401  (each registers itself)
    bank,
    check,
    db,
    duplicates,
    erase,
    extract,
    golden,
    hash,
    import_,
    index,
    queue,
    search,
    serve,
    settings,
    token,
    where,
)
from dhash_service.cli.app import run


def main() -> None:
    """Entry point."""
    run()
