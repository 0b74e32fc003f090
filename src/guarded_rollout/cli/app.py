"""The command line: a Typer application that imports a command when it is called, and the shared options."""

import gc
import json
import sys
from collections import UserDict
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import CommandInfo

from guarded_rollout.cli.registry import COMMANDS, INTERRUPTED, usage_code

WRONG_USAGE: type[BaseException] = typer.BadParameter.__mro__[1]
"""Every wrong usage; Typer has no public name for it."""
YOUNG_OBJECTS = 50_000
"""New objects before a garbage collection: with Python's 700, imports spend a fifth of their time in it."""

Env = Annotated[str, typer.Option("--env", "--environment", "-e", help="Environment of rollout.toml.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Report every step with its evidence.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, progress on stderr.")]
Newest = Annotated[int, typer.Option(min=1, max=1_000_000, help="How many, the newest first.")]
Why = Annotated[str, typer.Option("--why", help="Reason, kept in the history.")]
AllowUnknown = Annotated[
    bool,
    typer.Option(
        "--allow-unknown", help="Run migrations of which nobody knows that they leave the old release alone."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Do not ask.")]
From = Annotated[
    str | None,
    typer.Option("--from", help="Build from this folder, wheel or git:REVISION instead of the checkout."),
]


class Commands(UserDict[str, Any]):
    """The commands by name. Reading one imports the modules that define it, and builds it once."""

    built: ClassVar[dict[str, Any]] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        if name not in self.built:
            for module in COMMANDS[name].modules:
                import_module(f"guarded_rollout.cli.{module}")
            registered = typer.main.get_group(app).commands
            assert isinstance(registered, Commands)
            self.built[name] = registered.data[name]
            # Typer would build all that are registered again, for each invocation in this process.
            commands, groups = app.registered_commands, app.registered_groups
            commands[:] = [each for each in commands if _name_of(each) != name]
            groups[:] = [each for each in groups if each.name != name]
        return self.built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __len__(self) -> int:
        return len(COMMANDS)


def _name_of(command: CommandInfo) -> str:
    return command.name or typer.main.get_command_name(getattr(command.callback, "__name__", ""))


class LazyGroup(TyperGroup):
    """The root command; its help is written from the registry alone."""

    def __init__(self, *, commands: dict[str, Any], **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Commands(commands)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        listed = TyperGroup(
            name=self.name,
            help=self.help,
            params=self.params,
            commands={
                name: TyperCommand(name, help=entry.summary, rich_help_panel=entry.panel)
                for name, entry in COMMANDS.items()
                if entry.panel
            },
        )
        listed.format_help(ctx, formatter)


app = typer.Typer(
    name="rollout",
    cls=LazyGroup,
    help="Roll the service out with a guard: back up, migrate, deploy, watch, and come back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"rollout {version('mobius-dhash')}")
        raise typer.Exit


@app.callback()
def rollout(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Make `rollout` a group of commands, however many are imported."""


def run() -> None:
    """Run the command line. A wrong usage ends it as `EXIT_CODES` says, and says where the help is.

    Typer ends one with 2, which in the contract says that a release was rolled back.
    """
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except WRONG_USAGE as error:
        sys.exit(_explain(error))
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as error:
        sys.exit(_tell_missing(error.name))


def _tell_missing(module: str | None) -> int:
    """Say what has to be installed; returns the exit code."""
    from guarded_rollout.errors import NotInstalledError

    error = NotInstalledError(module=module)
    if "--json" in sys.argv:
        typer.echo(json.dumps(error.as_json()))
    typer.echo(f"{error.sentence}\n  {error.hint}", err=True)
    return error.exit_code


def _explain(error: Any) -> int:
    """Say what is wrong in a usage; returns the exit code."""
    name = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    asked = " ".join(["rollout", *filter(COMMANDS.__contains__, [name])])
    typer.echo(error.format_message(), err=True)
    if len(sys.argv) > 1:
        typer.echo(f"  See `{asked} --help`.", err=True)
    return usage_code(name)
