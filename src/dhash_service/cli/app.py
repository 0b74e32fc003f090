"""The command line's frame: one Typer application, and errors as sentences with their exit code."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn

import typer

from dhash_service.errors import DhashError, UnreadableFileError, UnwritableOutputError

if TYPE_CHECKING:
    from dhash_service.store.store import Store

app = typer.Typer(
    name="dhash",
    help="Fingerprints of images, exact search among them, and a review queue for what is not sure.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


Algorithm = Annotated[
    str | None,
    typer.Option(
        help="dhash-64-visual-fast, dhash-64-visual, dhash-64-fast or dhash-64.",
        show_default="DHASH_ALGORITHM, or the first",
    ),
]

YOUNG_OBJECTS = 50_000
"""New objects that the collector waits for. With Python's 700 it goes through all that was imported
again and again while more is imported: a fifth of the processor time that the service needs to start."""


AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def open_store() -> "Store":
    """Open the store that the settings name. Its modules are imported only now."""
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

    return Store.open_from(Settings.load())


def user() -> str:
    """The name of whoever runs this: in a container, the number of a user without one."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


@contextmanager
def tidy_at_sigterm() -> Iterator[None]:
    """Around what has large files aside while it works: SIGTERM removes them, as Ctrl-C does."""

    def end(*_: object) -> None:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def standard_input() -> BinaryIO:
    """What is piped into the command. Raises `UnreadableFileError` where it was closed."""
    if sys.stdin is None:
        raise UnreadableFileError("Standard input is closed.")
    return sys.stdin.buffer


def report(error: DhashError) -> None:
    """Say on stderr what is wrong and what to do next."""
    typer.secho(f"{error.title}: {error.detail}", err=True, fg=typer.colors.RED)
    if error.hint:
        typer.echo(f"  {error.hint}", err=True)


def run() -> None:
    """Run the command line; a `DhashError` ends it with the error's own exit code, as a full disk does."""
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        app()
    except DhashError as error:
        _end(error)
    except OSError as error:
        from dhash_service.files import NO_ROOM

        if not _stands_somewhere():
            _end(UnreadableFileError("The working directory is gone.", "Change to one that exists."))
        if error.errno not in NO_ROOM:
            raise
        # Python would try to write the rest once more as it ends, and end with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _end(UnwritableOutputError(f"{error.strerror}."))


def _end(error: DhashError) -> NoReturn:
    report(error)
    sys.exit(error.exit_code)


def _stands_somewhere() -> bool:
    """False if the working directory was removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True
