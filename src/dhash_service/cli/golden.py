"""`dhash golden`: did a fingerprint move?"""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dhash_service.cli.app import app

if TYPE_CHECKING:
    from dhash_service.facts import Algorithm
    from dhash_service.golden.record import Read

golden = typer.Typer(
    name="golden",
    help="Fingerprints that must not move: of pictures and a PDF that the project drew itself.",
    no_args_is_help=True,
)
app.add_typer(golden)

Folder = Annotated[Path | None, typer.Option(help="Folder of golden files.", show_default="this release's")]


@golden.command(
    epilog="Example: dhash golden check; or: dhash golden check --url http://localhost:3000 --json"
)
def check(
    folder: Folder = None,
    uds: Annotated[Path | None, typer.Option(help="Ask the service on this unix socket.")] = None,
    url: Annotated[str | None, typer.Option(help="Ask the service at this address.")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="DHASH_TOKEN", help="Token for a locked service.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Compare fingerprints with the recorded ones; exit 1 and name each picture that moved, by how many bits.

    Without --uds or --url this code itself is asked, for every algorithm; a service for the one it uses.
    """
    from dataclasses import asdict

    from dhash_service.golden import FOLDER, Checked, Golden
    from dhash_service.golden import check as compare

    recorded = Golden.load(folder or FOLDER)
    with ExitStack() as stack:
        algorithms, read = _reader(stack, uds, url, token)
        checked = sum((compare(recorded, way, read) for way in algorithms), start=Checked(0, ()))
    names = [way.name for way in algorithms]
    if as_json:
        moved = [asdict(one) for one in checked.moved]
        answer = {"ok": checked.ok, "algorithms": names, "pictures": checked.pictures, "moved": moved}
        typer.echo(json.dumps(answer))
    elif checked.ok:
        typer.echo(f"{checked.pictures} golden fingerprints are as recorded ({', '.join(names)}).")
    checked.require()


@golden.command(epilog="Example: dhash golden record --folder my-pictures")
def record(
    folder: Folder = None,
    accept: Annotated[bool, typer.Option("--accept", help="Replace the values recorded before.")] = False,
) -> None:
    """Record the fingerprints of every file in the folder as they are now, for every algorithm."""
    from dhash_service.golden import FOLDER
    from dhash_service.golden import record as write

    with ExitStack() as stack:
        _, read = _reader(stack, None, None, None)
        recorded = write(folder or FOLDER, read, accept=accept)
    typer.echo(f"Recorded {len(recorded.values)} files in {recorded.folder}.")


@golden.command(epilog="Example: dhash golden draw /tmp/golden")
def draw(folder: Annotated[Path, typer.Argument(help="Made if need be.")]) -> None:
    """Draw the golden files anew, to see where they come from."""
    from dhash_service.golden.draw import draw as draw_into

    for path in draw_into(folder):
        typer.echo(path)


def _reader(
    stack: ExitStack, uds: Path | None, url: str | None, token: str | None
) -> "tuple[list[Algorithm], Read]":
    """The reader to ask and the algorithms to ask for; the stack closes what it opens."""
    from dhash_service.errors import BadRequestError
    from dhash_service.golden.readers import LocalReader, ServiceReader, over_socket, over_url
    from dhash_service.pictures.fingerprint import ALGORITHMS
    from dhash_service.settings import Settings

    if uds and url:
        raise BadRequestError("--uds and --url name two services.", "Give one of them.")
    if uds or url:
        connect = over_socket(uds) if uds else over_url(str(url))
        service = stack.enter_context(ServiceReader(connect, token))
        return [service.algorithm()], service.read
    return list(ALGORITHMS.values()), stack.enter_context(LocalReader(Settings.load())).read
