"""`dhash bank`: collections of known pictures and hashes."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dhash_service.cli.app import AsJson, app, standard_input
from dhash_service.facts import BankAction
from dhash_service.files import printable

if TYPE_CHECKING:
    from dhash_service.banks import BankMatcher, Imported

bank = typer.Typer(no_args_is_help=True, help="Banks of known pictures: list, set, import, export, add.")
app.add_typer(bank, name="bank")

LONGEST_LIST = 1 << 30  # bytes

Name = Annotated[str, typer.Argument(help="The bank's name.")]
Remove = Annotated[bool, typer.Option("--remove", help="Take them out instead.")]


@bank.command("list", epilog="Example: dhash bank list --json")
def list_(as_json: AsJson = False) -> None:
    """Show every bank with its settings."""
    with opened() as banks:
        for each, entries in banks.all():
            if as_json:
                typer.echo(json.dumps({**asdict(each), "entries": entries}))
            else:
                typer.echo(
                    f"{each.name:20} {each.action.value:8} within {each.radius} bits  {entries:,} entries"
                )


@bank.command("set", epilog="Example: dhash bank set logos --action queued --radius 6")
def set_(
    name: Name,
    action: Annotated[
        BankAction | None,
        typer.Option(help="What happens to a match.", show_default="as it is, or told"),
    ] = None,
    radius: Annotated[
        int | None, typer.Option(min=0, max=16, help="Most differing bits.", show_default="as it is, or 4")
    ] = None,
    note: Annotated[str | None, typer.Option(help="What it is for.", show_default="as it is")] = None,
) -> None:
    """Make a bank, or change its settings: those given."""
    from dhash_service.facts import PictureBank

    with opened() as banks:
        by_name = {bank.name: bank for bank, _ in banks.all()}
        had = by_name.get(name, PictureBank(name, BankAction.TOLD, 4, ""))
        bank = PictureBank(
            name,
            had.action if action is None else action,
            had.radius if radius is None else radius,
            had.note if note is None else note,
        )
        banks.set(bank)
    typer.echo(f"{name}: matches within {bank.radius} bits are {bank.action.value}.")


@bank.command("import", epilog="Example: dhash bank import logos hashes.csv")
def import_(
    name: Name,
    file: Annotated[Path, typer.Argument(help="CSV with a head, or JSON lines; - for standard input.")],
    remove: Remove = False,
    as_json: AsJson = False,
) -> None:
    """Put a list of hashes into a bank. Refused lines are named; then the exit code is 1."""
    from dhash_service.errors import UnreadableFileError
    from dhash_service.files import read_file

    try:
        data = standard_input().read() if str(file) == "-" else read_file(file, LONGEST_LIST)
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"{file}: {error}.", "Give a file in UTF-8.") from None
    with opened() as banks:
        tell(banks.load(name, text, removed=remove), as_json=as_json)


@bank.command("export", epilog="Example: dhash bank export logos > logos.csv")
def export(name: Name, as_json: AsJson = False) -> None:
    """Print the hashes of a bank as a list: CSV, or JSON lines."""
    from dhash_service.banks import exported

    with opened() as banks:
        for line in exported(banks.entries(name), as_json=as_json):
            typer.echo(line, nl=False)


@bank.command("add", epilog='Example: dhash bank add logos acme.png --label "Acme"')
def add(
    name: Name,
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Pictures.")],
    label: Annotated[str, typer.Option(help="A label for them.")] = "",
    severity: Annotated[int, typer.Option(min=0, max=10, help="How severe a match is.")] = 0,
    remove: Remove = False,
    as_json: AsJson = False,
) -> None:
    """Put pictures into a bank by their fingerprint and SHA-256; the pictures are not kept."""
    import hashlib

    from dhash_service.documents import DocumentReader
    from dhash_service.errors import DhashError
    from dhash_service.files import read_file
    from dhash_service.pictures.fingerprint import ALGORITHMS
    from dhash_service.settings import Settings

    settings = Settings.load()
    lines = []
    with opened() as banks, closing(DocumentReader(settings)) as reader:
        algorithm = ALGORITHMS[banks.algorithm]
        for file in files:
            try:
                data = read_file(file, settings.max_body_bytes)
                print_ = reader.fingerprint(data, algorithm)
            except DhashError as error:  # nothing is put into the bank
                raise type(error)(f"{printable(str(file))}: {error.detail}", error.hint) from None
            for kind, value in (("dhash", print_.hex), ("sha256", hashlib.sha256(data).hexdigest())):
                lines.append(json.dumps({"kind": kind, "value": value, "label": label, "severity": severity}))
        tell(banks.load(name, "\n".join(lines), removed=remove), as_json=as_json)


@contextmanager
def opened() -> "Iterator[BankMatcher]":
    """The banks of the store that DHASH_STORE names."""
    from dhash_service.banks import BankMatcher
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

    settings = Settings.load()
    with Store.open_from(settings) as store:
        yield BankMatcher(store.banks, store.algorithm.name)


def tell(done: "Imported", *, as_json: bool) -> None:
    """Print the result of an import; exit code 1 where lines were refused."""
    if as_json:
        faults = [{"line": line, "why": why} for line, why in done.faults]
        typer.echo(json.dumps({**asdict(done), "faults": faults}))
    else:
        for line, why in done.faults:
            typer.echo(f"line {line}: {why}", err=True)
        typer.echo(f"{done.read:,} lines read, {done.changed:,} entries changed, {done.refused:,} refused.")
    if done.refused:
        raise typer.Exit(1)
