"""`rollout init`: begin to guard the service in this folder."""

import re
import shlex
import tomllib
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.cli.app import AsJson, app
from guarded_rollout.cli.session import Output, reporting
from guarded_rollout.config.environments import SETTINGS_FILE, parse
from guarded_rollout.errors import ProjectExistsError, UsageError
from guarded_rollout.operations import scaffold
from guarded_rollout.operations.scaffold import GATES
from guarded_rollout.operations.service_sketch import ServiceSketch, sketch

STORES = ("none", "sqlite", "postgresql")


@app.command(epilog="Example: rollout init --yes --serve 'node server.js' --port 8080")
def init(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take what the folder says.")] = False,
    name: Annotated[str, typer.Option(help="The service's name.")] = "",
    serve: Annotated[str, typer.Option(help="The command that serves on the unix socket {uds}.")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where clients come.", show_default="3000")] = 0,
    store: Annotated[str, typer.Option(help="none, sqlite or postgresql.")] = "",
    keys: Annotated[
        bool, typer.Option("--keys", help="Print every key of rollout.toml, do nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at this folder, ask at most four questions, and write rollout.toml and quality-gates-config.json.

    Nothing that is there already is changed, but for lines that .gitignore lacks.
    """
    if keys:
        typer.echo(files("guarded_rollout.config").joinpath("rollout.example.toml").read_text(), nl=False)
        return
    out, folder = Output(as_json), Path.cwd()
    with reporting(out):
        if there := next((one for one in (SETTINGS_FILE, GATES) if (folder / one).exists()), None):
            raise ProjectExistsError(path=folder / there)
        found = sketch(folder)
        told = ", ".join(found.because) or "an empty folder"
        out.say(f"Looked at {told}: releases are built as a {found.build}.")
        answers = (
            name or _ask("Its name", found.name, yes),
            serve or _ask("The command that serves, on the unix socket {uds}", typed(found.serve), yes),
            port or _port(_ask("The port where clients come", str(found.port), yes)),
            store or _ask(f"Its data ({', '.join(STORES)})", found.store, yes),
        )
        try:
            found = found.answered(*answers)
        except ValueError as error:
            raise UsageError(detail=f"The command that serves, {answers[1]!r}: {error}.") from None
        _require_sense(found)
        parse(tomllib.loads(scaffold.rollout_toml(found)), folder / SETTINGS_FILE)
        written = scaffold.write(found, folder)
        for path in written:
            out.say(f"wrote {path.relative_to(folder)}")
        for hint in scaffold.hints(found, folder):
            out.say(hint)
        out.say("Next: rollout up --env production")
        out.result(written=written, next="rollout up --env production", **_told(found))


def typed(words: tuple[str, ...]) -> str:
    """A command as one would type it: braces need no quotes here."""
    return re.sub(r"'([\w{}./:,=-]+)'", r"\1", shlex.join(words))


def _ask(question: str, default: str, yes: bool) -> str:
    if yes:
        return default
    try:
        return input(f"{question} [{default}]: ").strip() or default
    except EOFError:
        return default


def _port(given: str) -> int:
    if given.isdigit() and 0 < int(given) < 65536:
        return int(given)
    raise UsageError(detail=f"{given!r} is no port: 1 to 65535.")


def _require_sense(found: ServiceSketch) -> None:
    if not found.serve:
        raise UsageError(
            detail="Nothing here says how the service is started: say it with --serve, as in"
            " --serve '{python} server.py'."
        )
    if found.store not in STORES:
        raise UsageError(detail=f"There is no store {found.store!r}; there are {', '.join(STORES)}.")


def _told(found: ServiceSketch) -> dict[str, object]:
    return {name: value for name, value in asdict(found).items() if name != "because"}
