"""`dhash settings`: every setting, its value here, and what it does."""

import json
import sys
from typing import Annotated

import typer

from dhash_service.cli.app import app

PIPED = 400
"""Columns of a table that no terminal shows: enough that nothing in it is cut."""

HEAD = """\
# Settings

From the environment, `DHASH_` and the name. Written by `dhash settings --markdown`.

| variable | default | what it does |
|---|---|---|"""


@app.command(epilog="Example: dhash settings --json")
def settings(
    markdown: Annotated[bool, typer.Option(help="The defaults, as docs/settings.md.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The values in force as one JSON object.")] = False,
) -> None:
    """Show every setting with the value in force; secrets are shown as ***."""
    from rich.console import Console
    from rich.table import Column, Table

    from dhash_service.settings import Settings

    if markdown:
        typer.echo(HEAD)
        defaults = Settings.defaults()
        for name, field in Settings.model_fields.items():
            typer.echo(f"| `DHASH_{name.upper()}` | `{defaults[name]}` | {field.description} |")
        return
    in_force = Settings.load().public()
    if as_json:
        typer.echo(json.dumps(in_force))
        return
    table = Table(Column("variable", no_wrap=True), Column("value", overflow="fold"), "what it does")
    for name, field in Settings.model_fields.items():
        table.add_row(f"DHASH_{name.upper()}", str(in_force[name]), field.description)
    Console(width=None if sys.stdout.isatty() else PIPED).print(table)
