"""`rollout deploy` and `rollout up`: replace what serves by a new release."""

from collections.abc import Callable
from typing import Annotated

import typer

from guarded_rollout.cli.app import AsJson, DryRun, Env, From, Verbose, app
from guarded_rollout.cli.session import Session, built_aside, session, settings_file
from guarded_rollout.clock import duration
from guarded_rollout.monitor.supervised import start_watching
from guarded_rollout.rollout.engine import Engine, Request, operator
from guarded_rollout.rollout.gate_guard import guard_of
from guarded_rollout.rollout.runner import DeployResult
from guarded_rollout.rollout.steps import Options

Why = Annotated[str, typer.Option("--why", help="Reason, kept in the history.")]
Restart = Annotated[
    bool, typer.Option("--restart", help="Roll out even what serves already, through the other slot.")
]
Supersede = Annotated[
    bool, typer.Option("--supersede", help="Take back the release that is being watched first.")
]
SkipHealth = Annotated[
    bool,
    typer.Option(
        "--skip-health-check", help="Skip the pre-deployment check of what serves now, nothing else."
    ),
]


@app.command(epilog="Example: rollout deploy --env staging --from git:v1.2.0 --backup-first --verbose")
def deploy(
    env: Env = "production",
    source: From = None,
    backup_first: Annotated[
        bool, typer.Option("--backup-first", help="Take a verified backup before it.")
    ] = False,
    skip_health_check: SkipHealth = False,
    restart: Restart = False,
    supersede: Supersede = False,
    why: Why = "",
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Build a release, verify it beside the one that serves, and shift the traffic to it.

    Ends with the monitoring window open: the old release stays warm, and somebody must watch
    (`rollout monitor`), accept (`rollout promote`) or take it back (`rollout abort`).
    """
    request = asked("deploy", why, skip_health_check, restart, supersede, backup=backup_first)
    roll_out(env, source, request, watch=stand_by, dry_run=dry_run, verbose=verbose, as_json=as_json)


@app.command(epilog="Example: rollout up --env production --follow")
def up(
    env: Env = "production",
    source: From = None,
    follow: Annotated[bool, typer.Option("--follow", help="Stay until the window has closed.")] = False,
    skip_health_check: SkipHealth = False,
    restart: Restart = False,
    supersede: Supersede = False,
    why: Why = "",
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole standard deployment: backup, migration, deployment, and monitoring in the background."""
    request = asked("up", why, skip_health_check, restart, supersede, backup=True, migrate=True)
    watch = None if follow else in_background
    outlook = roll_out(env, source, request, watch=watch, dry_run=dry_run, verbose=verbose, as_json=as_json)
    if outlook and outlook.window and follow:
        from guarded_rollout.cli.monitor import monitor

        monitor(env)


def asked(
    command: str,
    why: str,
    skip_health_check: bool,
    restart: bool,
    supersede: bool,
    *,
    backup: bool,
    migrate: bool = False,
) -> Request:
    """What both commands ask of the engine; they differ in what goes before the release."""
    options = Options(skip_health_check=skip_health_check)
    return Request(
        command,
        operator(),
        why,
        backup=backup,
        migrate=migrate,
        restart=restart,
        supersede=supersede,
        options=options,
    )


def roll_out(
    env: str,
    source: str | None,
    request: Request,
    *,
    watch: Callable[[Session], None] | None,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
) -> DeployResult | None:
    """Build and deploy, and have somebody watch; None where it was only rehearsed."""
    command = request.command
    with session(env, command, as_json=as_json, verbose=verbose, exclusive=not dry_run, log="deploy") as work:
        if dry_run:
            rehearse(work, source, request)
            return None
        outlook = replace_release(work, source, request)
        if outlook.window and watch:
            watch(work)
    return outlook


def stand_by(work: Session) -> None:
    """Somebody is to watch in the foreground; the background takes over if nobody does."""
    start_watching(work.site, settings_file(), stand_by=True)
    name = work.environment.name
    work.out.say(f"Watch it: `rollout monitor --env {name}`; the old release stays warm until then.")


def in_background(work: Session) -> None:
    """Watch without anybody at the terminal."""
    start_watching(work.site, settings_file())
    work.out.say(f"It is watched in the background; see `rollout status --env {work.environment.name}`.")


def rehearse(work: Session, source: str | None, request: Request) -> None:
    """Build aside, check everything, change nothing."""
    with built_aside(work, source) as release:
        work.out.rehearse(f"build release {release.id}")
        work.out.rehearse(*Engine(work.site, work.journal, work.out.say).rehearse(release, request))
        work.out.result(release=release.id, dry_run=True)


def replace_release(work: Session, source: str | None, request: Request) -> DeployResult:
    """Build and deploy, reporting each step."""
    release = work.site.build(source)
    work.out.detail(
        f"built {release.id} (wheel {release.wheel_sha256[:12]}, lock {release.lock_sha256[:12]})"
    )
    engine = Engine(work.site, work.journal, work.out.say, guard=guard_of(work.environment, work.publisher))
    outlook = engine.deploy(release, request)
    left = outlook.window.left(work.site.clock.instant()) if outlook.window else 0.0
    if outlook.serving_already:
        work.out.say(f"{release.id} serves {work.environment.name} already; --restart restarts it.")
    elif outlook.window:
        work.out.say(f"{release.id} has all of the traffic and is watched for {duration(left)}.")
    work.out.result(
        environment=work.environment.name,
        release=release.id,
        serving_already=outlook.serving_already,
        window_seconds_left=round(left),
    )
    return outlook
