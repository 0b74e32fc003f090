"""`rollout reference`: every command with every option, as docs/commands.md has it."""

from collections.abc import Iterator
from typing import Any

import typer

from guarded_rollout.cli.app import app
from guarded_rollout.cli.registry import EXIT_CODES


@app.command(hidden=True)
def reference() -> None:
    """Print docs/commands.md."""
    typer.echo("\n".join(document(typer.main.get_command(app))))


def document(root: Any) -> Iterator[str]:
    """The lines of the document, from the command line itself."""
    yield "# Commands"
    yield ""
    yield "Made by `rollout reference` from the command line itself; each command has `--help` too."
    yield from ("", "## Exit codes", "", "| command | code | what it says |", "|---|---|---|")
    for name, codes in EXIT_CODES.items():
        command_name = f"`rollout {name}`" if name else "every other"
        yield from (f"| {command_name} | {code} | {meaning} |" for code, meaning in codes.items())
    for name, command in walk(root):
        yield from (
            "",
            f"## `rollout {name}`",
            "",
            *map(str.strip, (command.help or "").strip().splitlines()),
        )
        if command.epilog:
            yield from ("", f"    {command.epilog.removeprefix('Example: ')}")
        options = [parameter for parameter in command.params if not _is_left_out(parameter)]
        if options:
            yield from ("", "| option | default | what |", "|---|---|---|")
            yield from (_row(parameter) for parameter in options)


def walk(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that is not hidden, with its path, in the order of names."""
    for name, child in sorted(getattr(command, "commands", {}).items()):
        whole = f"{path} {name}".strip()
        if getattr(child, "commands", None):
            yield from walk(child, whole)
        elif not child.hidden:
            yield whole, child


def _is_left_out(parameter: Any) -> bool:
    return "--help" in parameter.opts or getattr(parameter, "hidden", False)


def _row(parameter: Any) -> str:
    flags = parameter.opts if parameter.param_type_name == "option" else [parameter.name.upper()]
    default = parameter.default
    shown = "" if default in (None, False, "") or callable(default) else f"`{default}`"
    shown = parameter.show_default if isinstance(parameter.show_default, str) else shown
    words = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
    return f"| {', '.join(f'`{flag}`' for flag in flags)} | {shown} | {words} |"
