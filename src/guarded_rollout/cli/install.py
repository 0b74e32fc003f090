"""`rollout install`: what the machine runs by itself, after a reboot and every night."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.cli.app import AsJson, DryRun, Env, app
from guarded_rollout.cli.session import configured
from guarded_rollout.host.site import Site
from guarded_rollout.operations.systemd import Installation, owner_of, run

commands = typer.Typer(no_args_is_help=True, help="Have the machine run it by itself.")
app.add_typer(commands, name="install")


@commands.callback()
def install() -> None:
    """Keep `install` a group of one command."""


@commands.command(epilog="Example: rollout install systemd --env production --dry-run")
def systemd(
    env: Env = "production",
    system: Annotated[
        bool | None,
        typer.Option(
            "--system/--user", help="For the machine, or for this user.", show_default="root: system"
        ),
    ] = None,
    run_as: Annotated[
        str, typer.Option("--as", help="User of the system's units.", show_default="the folder's owner")
    ] = "",
    enable: Annotated[bool, typer.Option(help="Enable and start them too.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace another project's units.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write systemd units that start what served after a reboot, deliver messages, back up and tidy.

    They run with few rights: no other user's files are written, no privilege is gained.
    """
    with configured(env, as_json=as_json) as (environment, out):
        whole = system if system is not None else os.geteuid() == 0
        project = environment.project.resolve()
        user = run_as or (owner_of(project) if whole else owner_of(Path.home()))
        program, name = Path(sys.executable).parent / "rollout", environment.service.name
        port = min(filter(None, (environment.port, environment.redirect_port)))
        made = Installation(project, program, user, whole, port, name, environment.settings.name)
        serves = Site(environment).serves
        commands_ = list(made.commands(env, serves=serves)) if enable else []
        if dry_run:
            out.rehearse(*(f"write {made.folder / name}" for name in sorted(made.units())))
            out.rehearse(*(f"run `{' '.join(command)}`" for command in commands_))
            return
        written = made.write(replace=force)
        out.say(f"{len(written)} units written to {made.folder}; the others were as they should be.")
        for command in commands_:
            run(command)
        if enable:
            out.say(f"Enabled: a reboot brings {env} back. `systemctl list-timers` shows what comes next.")
        out.result(folder=made.folder, written=written, enabled=enable)
