"""`rollout deploy` and `rollout up`: replace what serves by a new release."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from guarded_rollout.checks.variables import variable_changes
from guarded_rollout.cli.app import AllowUnknown, AsJson, DryRun, Env, From, Verbose, Why, app
from guarded_rollout.cli.pipeline import drawn
from guarded_rollout.cli.session import Session, built_aside, configured, session, settings_file
from guarded_rollout.cli.wait import wait_for_end
from guarded_rollout.clock import SystemClock, duration
from guarded_rollout.monitor.supervised import start_watching, stop_watching
from guarded_rollout.rollout.draining import await_slot
from guarded_rollout.rollout.engine import Request, operator
from guarded_rollout.rollout.runner import DeployResult
from guarded_rollout.rollout.steps import Options
from guarded_rollout.rollout.window import WATCH
from guarded_rollout.status.rows import seconds_of

Restart = Annotated[
    bool, typer.Option("--restart", help="Roll out even what serves already, through the other slot.")
]
Supersede = Annotated[
    bool,
    typer.Option(
        "--supersede",
        help="Take back the release that is being watched first; cut what the one before still answers.",
    ),
]
SkipHealth = Annotated[
    bool,
    typer.Option(
        "--skip-health-check", help="Skip the pre-deployment check of what serves now, nothing else."
    ),
]
Override = Annotated[
    str,
    typer.Option(
        "--override", help="Reason to go on although preflight fails; recorded, and told to everybody."
    ),
]
NoContract = Annotated[
    bool,
    typer.Option(
        "--no-contract",
        help="Leave contracting migrations to `rollout migrate --direction contract`: machines that share"
        " the store still run the old release.",
    ),
]
Wait = Annotated[
    bool,
    typer.Option("--wait", help="Have it watched in the background, and end as `rollout wait` does."),
]


@app.command(epilog="Example: rollout deploy --env staging --from git:v1.2.0 --backup-first --verbose")
def deploy(
    env: Env = "production",
    source: From = None,
    backup_first: Annotated[
        bool, typer.Option("--backup-first", help="Take a verified backup before it.")
    ] = False,
    skip_health_check: SkipHealth = False,
    allow_unknown: AllowUnknown = False,
    restart: Restart = False,
    supersede: Supersede = False,
    override: Override = "",
    no_contract: NoContract = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Have it watched in the background, as `rollout up` does.")
    ] = False,
    wait: Wait = False,
    why: Why = "",
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Build a release, verify it beside the one that serves, and shift the traffic to it.

    Ends with the monitoring window open: the old release stays warm, and somebody must watch
    (`rollout monitor`), accept (`rollout promote`) or take it back (`rollout abort`).
    """
    options = Options(skip_health_check, allow_unknown, override.strip(), no_contract)
    request = Request(
        "deploy", operator(), why, backup=backup_first, restart=restart, supersede=supersede, options=options
    )
    with _session(env, request, as_json=as_json, verbose=verbose, dry_run=dry_run) as work:
        opened = roll_out(work, source, request, in_background if watch or wait else stand_by)
    if opened and wait:
        wait_for_end(env, verbose=verbose, as_json=as_json)


@app.command(epilog="Example: rollout up --env production --follow")
def up(
    env: Env = "production",
    source: From = None,
    follow: Annotated[bool, typer.Option("--follow", help="Stay until the window has closed.")] = False,
    skip_health_check: SkipHealth = False,
    allow_unknown: AllowUnknown = False,
    restart: Restart = False,
    supersede: Supersede = False,
    override: Override = "",
    no_contract: NoContract = False,
    wait: Wait = False,
    why: Why = "",
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole standard deployment: backup, migration, deployment, and monitoring in the background."""
    options = Options(skip_health_check, allow_unknown, override.strip(), no_contract)
    request = Request(
        "up",
        operator(),
        why,
        backup=True,
        migrate=True,
        restart=restart,
        supersede=supersede,
        options=options,
    )
    with _session(env, request, as_json=as_json, verbose=verbose, dry_run=dry_run) as work:
        opened = roll_out(work, source, request, None if follow else in_background)
    if opened and wait:
        wait_for_end(env, verbose=verbose, as_json=as_json)
    elif opened and follow:
        from guarded_rollout.cli.monitor import monitor

        monitor(env)


@contextmanager
def _session(env: str, request: Request, *, as_json: bool, verbose: bool, dry_run: bool) -> Iterator[Session]:
    """The session of a deployment, once its slot is given up: nobody is locked out meanwhile."""
    if not (dry_run or request.supersede):
        with configured(env, as_json=as_json, verbose=verbose) as (environment, out):
            await_slot(environment, SystemClock(), out.say)
    with session(
        env, request.command, as_json=as_json, verbose=verbose, dry_run=dry_run, log="deploy"
    ) as work:
        yield work


def roll_out(
    work: Session, source: str | None, request: Request, watch: Callable[[Session], None] | None
) -> bool:
    """Build and deploy, and have the window watched. Returns True if one is open now."""
    if work.dry_run:
        rehearse(work, source, request)
        return False
    window = replace_release(work, source, request, watch).window
    return window is not None


def stand_by(work: Session) -> None:
    """Expect `rollout monitor`: the watchdog that stands by alerts if nobody runs it."""
    work.out.say(f"Watch it: `rollout monitor --env {work.env}`; the old release stays warm until then.")


def in_background(work: Session) -> None:
    """Watch without anybody at the terminal."""
    start_watching(work.site, settings_file())
    work.out.say(f"It is watched in the background; see `rollout status --env {work.env}`.")


def rehearse(work: Session, source: str | None, request: Request) -> None:
    """Build aside, check everything, change nothing."""
    with built_aside(work, source) as release:
        work.out.rehearse(f"build release {release.id}")
        work.out.rehearse(*work.engine().rehearse(release, request))
        work.out.result(release=release.id, dry_run=True)


def replace_release(
    work: Session, source: str | None, request: Request, watch: Callable[[Session], None] | None
) -> DeployResult:
    """Build and deploy, reporting each step, and have the window watched."""
    began = work.site.clock.monotonic()
    try:
        with drawn(work):
            release = work.site.build(source)
            work.out.detail(
                f"built {release.id} (wheel {release.artifact_sha256[:12]}, lock {release.lock_sha256[:12]})"
            )
            for change in variable_changes(work.site, release):
                work.out.say(f"variable {change}")
            result = work.engine(guarded=True).deploy(release, request)
    except BaseException:
        if work.journal.open_rollout(work.env) is None:
            stop_watching(work.site)  # it was taken back: the watchdog has nothing to stand by for
        raise
    left = result.window.left(work.site.clock.instant()) if result.window else 0.0
    if result.serving_already:
        work.out.say(f"{release.id} serves {work.env} already; --restart restarts it.")
    elif result.window is None:
        stop_watching(work.site)
    else:
        control = work.environment.control_percent
        share = f"{100 - control} %" if control else "all"
        work.out.say(f"{release.id} has {share} of the traffic and is watched for {duration(left)}.")
        work.out.say(_times(work, work.site.clock.monotonic() - began))
        if watch:
            watch(work)
    work.out.result(
        environment=work.env,
        release=release.id,
        serving_already=result.serving_already,
        window_seconds_left=round(left),
    )
    return result


def _times(work: Session, seconds: float) -> str:
    """Say how long it took, and what of it took longest."""
    rollout = work.journal.open_rollout(work.env)
    steps = rollout.steps if rollout else ()
    took = [(step.name, seconds_of(step)) for step in steps if step.name != WATCH]
    parts = ", ".join(f"{name} {duration(spent)}" for name, spent in took if spent and spent >= 0.5)
    return f"It took {duration(seconds)}" + (f": {parts}." if parts else ".")
