"""`rollout monitor`: watch a window with the quality gates."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from guarded_rollout.checks.window_checks import all_samplers
from guarded_rollout.cli.app import DryRun, Verbose, app
from guarded_rollout.cli.monitor_view import DISPLAY, Around, Observer, viewing
from guarded_rollout.cli.session import Output, project_gates, settings_file
from guarded_rollout.clock import Clock, SystemClock, duration
from guarded_rollout.config import gates
from guarded_rollout.config.environments import Environment, load
from guarded_rollout.config.gates import EnvironmentGates, GatesFile
from guarded_rollout.config.service import Service
from guarded_rollout.errors import LockHeldError, RolloutError, UnknownEnvironmentError, WindowDiffersError
from guarded_rollout.host.processes import WATCHER
from guarded_rollout.host.site import Site
from guarded_rollout.interrupts import interruptible
from guarded_rollout.journal.store import Journal
from guarded_rollout.lock import acquire, owner
from guarded_rollout.logs import LogLine, configure, parse, path_for
from guarded_rollout.monitor import heartbeat
from guarded_rollout.monitor.heartbeat import Beater, session_log
from guarded_rollout.monitor.monitor import FAILED, GOOD, Monitor
from guarded_rollout.monitor.ports import OpenWindow
from guarded_rollout.monitor.session import GateSession, SessionTarget
from guarded_rollout.monitor.supervised import supervised
from guarded_rollout.monitor.targets import base_of, endpoint_of, of_endpoint
from guarded_rollout.monitor.watchdog import Watchdog, unwatched
from guarded_rollout.notify.notifier import publisher_for
from guarded_rollout.notify.publisher import DryRunPublisher, NullPublisher, Publisher
from guarded_rollout.rollout import announce
from guarded_rollout.rollout.monitor_adapter import EngineRollouts
from guarded_rollout.status.snapshot import Reader
from guarded_rollout.status.terminal import above, below

LOGS = Path("monitor_logs")
FOLLOW_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """The options of the command line."""

    config: Path | None
    log_dir: Path | None
    endpoint: str | None
    minutes: float | None
    dry_run: bool
    verbose: bool


@app.command(
    epilog="Example: rollout monitor --env staging --config custom-gates.json --dry-run --verbose",
)
def monitor(
    env: Annotated[
        str | None,
        typer.Option(
            "--env", "--environment", "-e", help="Environment.", show_default="the gates file's default"
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Gates file.", show_default="quality-gates-config.json")
    ] = None,
    log_dir: Annotated[Path | None, typer.Option("--log-dir", help="Folder for the log.")] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint", help="Watch the service at this base URL instead; nothing is rolled back."
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--for",
            min=0.01,
            max=527_040,
            help="Minutes to watch where no rollout is open.",
            show_default="the gates file's",
        ),
    ] = None,
    standby: Annotated[bool, typer.Option("--stand-by", hidden=True)] = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
) -> None:
    """Watch the open rollout (or what serves) and act on the quality gates.

    Exit codes: 0 all good, 1 alerts were sent, 2 rolled back, 3 the monitor itself failed.
    """
    asked = MonitorOptions(config, log_dir, endpoint, minutes, dry_run, verbose)
    configure("info" if verbose else "warning")
    try:
        with interruptible():
            code = _stand_by(env) if standby else _monitor(env, asked)
    except RolloutError as error:
        Output().fail(error)
        code = FAILED
    except Exception as error:  # Python's own code would say that alerts were sent
        traceback.print_exception(error)
        code = FAILED
    except KeyboardInterrupt:
        typer.echo("Interrupted: nobody watches any more.", err=True)
        code = FAILED
    raise typer.Exit(GOOD if supervised() and code != FAILED else code)


def _monitor(env: str | None, asked: MonitorOptions) -> int:
    project = load(settings_file())
    file = gates.load(asked.config or project_gates())
    name = env or file.default_environment or "production"
    config = file.environment(name)
    url = asked.endpoint
    try:
        environment: Environment | None = project.environment(name)
    except UnknownEnvironmentError:
        environment, url = None, url or base_of(file)
        if not url:
            raise
    if url:
        service = next(iter(project.environments.values())).service
        return _watch_url(url, name, config, file, asked, service, environment)
    assert environment is not None
    return _watch_environment(environment, config, file, asked)


# ---- what is watched


def _watch_url(
    url: str,
    name: str,
    config: EnvironmentGates,
    file: GatesFile,
    asked: MonitorOptions,
    service: Service,
    known: Environment | None,
) -> int:
    """Watch any service at a URL: it is judged and alerts are sent; nothing can be rolled back."""
    settings = file.global_settings
    endpoint = endpoint_of(url, service, settings)
    if known is not None and known.tls.on and url == known.url:
        endpoint = replace(endpoint, root=known.tls.root, here=True)
    samplers = of_endpoint(endpoint, config, service, settings)
    clock = SystemClock()
    path = path_for(asked.log_dir or (known.logs if known else LOGS), service.name, name, clock.now())
    with (
        _publishing(known, asked.dry_run) as publisher,
        viewing(asked.verbose, file, lambda width: ([Text(url)], [])) as (view, show),
    ):
        session = GateSession(
            SessionTarget(name, dry_run=asked.dry_run),
            config,
            samplers,
            path,
            timeout=file.global_settings.timeout_seconds,
            clock=clock,
            publisher=publisher,
            listeners=(show,),
        )
        return _run(session, None, asked, [view] if view else [])


def _watch_environment(
    environment: Environment, config: EnvironmentGates, file: GatesFile, asked: MonitorOptions
) -> int:
    """Watch the open rollout of an environment, or what serves there."""
    clock = SystemClock()
    if not _rolled_out_here(environment) and not supervised():
        url = environment.url
        return _watch_url(url, environment.name, config, file, asked, environment.service, environment)
    with ExitStack() as stack:
        reader = Reader(environment)
        stack.callback(reader.close)

        def around(width: int) -> Around:
            seen = reader.read()
            return above(seen, config, width), [*below(seen)]

        view, show = stack.enter_context(viewing(asked.verbose, file, around))
        if not asked.dry_run and (code := _lock_or_follow(stack, environment, clock, show)) is not None:
            return code
        publisher = stack.enter_context(_publishing(environment, asked.dry_run))
        rollouts = EngineRollouts(environment, clock, DISPLAY.show, publisher)
        stack.callback(rollouts.close)
        while rollouts.rolling_out():
            clock.sleep(1.0)
        window = rollouts.open_window()
        if window is not None and not asked.dry_run:
            _require_its_window(window, config, asked.config)
        if window is None and supervised():
            return _nothing_left(environment, rollouts, publisher, clock)
        kind = environment.service.name
        path = path_for(asked.log_dir or environment.logs, kind, environment.name, clock.now())
        live = window is not None and not asked.dry_run
        if window is not None and live:
            path = session_log(environment, window.rollout, clock, asked.log_dir)
            _publish_unwatched(environment, window, publisher, clock)
        session = GateSession(
            SessionTarget(
                environment.name,
                window.rollout if window else "",
                window.candidate if window else "",
                asked.dry_run,
            ),
            config,
            all_samplers(environment, window, config, file.global_settings),
            path,
            timeout=file.global_settings.timeout_seconds,
            clock=clock,
            publisher=publisher,
            opened_at=window.opened_at if window else None,
            listeners=(show,),
        )
        observers = [view] if view else []
        if live:
            beater = Beater(environment, session)
            observers.append(lambda monitor, now: beater.beat(now))
        code = _run(session, rollouts, asked, observers)
        if window is not None and live:
            with Journal.open(environment.journal, create=False) as journal:
                announce.publish(journal.rollout(UUID(window.rollout)), publisher, clock.now())
        if supervised():
            Site(environment).processes.forget(WATCHER)  # nothing is left to watch: not started again
        return code


def _require_its_window(window: OpenWindow, config: EnvironmentGates, given: Path | None) -> None:
    """Refuse a gates file whose window is not the one that was opened. Raises `WindowDiffersError`."""
    asked = config.monitoring.window_minutes * 60
    if given is not None and window.seconds and asked != window.seconds:
        raise WindowDiffersError(
            path=given, release=window.candidate, asked=duration(asked), opened=duration(window.seconds)
        )


def _nothing_left(
    environment: Environment, rollouts: EngineRollouts, publisher: Publisher, clock: Clock
) -> int:
    """Publish the end of a rollout whose command was killed before it could, and stop being supervised."""
    if (ended := rollouts.last()) is not None:
        announce.publish(ended, publisher, clock.now())
    Site(environment).processes.forget(WATCHER)
    return GOOD


def _run(
    session: GateSession, rollouts: EngineRollouts | None, asked: MonitorOptions, observers: list[Observer]
) -> int:
    ask = _ask if sys.stdin.isatty() and not supervised() else None
    seconds = asked.minutes * 60 if asked.minutes else None
    return Monitor(session, rollouts, seconds=seconds, ask=ask, observers=observers).run()


def _publish_unwatched(
    environment: Environment, window: OpenWindow, publisher: Publisher, clock: Clock
) -> None:
    """Alert if this window was unwatched for too long before this monitor came."""
    before = heartbeat.last(environment)
    if before is not None and before.rollout == window.rollout:
        silent = heartbeat.unwatched_seconds(before, window, clock.instant())
        if silent > heartbeat.MISSED_SECONDS:
            publisher.publish(unwatched(environment, window, silent, clock))


# ---- around it


def _stand_by(env: str | None) -> int:
    environment = load(settings_file()).environment(env or "production")
    clock = SystemClock()
    with _publishing(environment, dry_run=False) as publisher:
        rollouts = EngineRollouts(environment, clock, lambda line: None, publisher)
        Watchdog(environment, rollouts, publisher, clock).stand_by()
        rollouts.close()
    Site(environment).processes.forget(WATCHER)
    return GOOD


@contextmanager
def _publishing(environment: Environment | None, dry_run: bool) -> Iterator[Publisher]:
    """Open the publisher of an environment, or one that only says what it would publish."""
    if dry_run:
        yield DryRunPublisher(typer.echo)
    elif environment is None:
        yield NullPublisher()
    else:
        with publisher_for(environment) as publisher:
            yield publisher


def _rolled_out_here(environment: Environment) -> bool:
    """Return True if this project started what serves; else there are no slots, and nothing to return to."""
    with Journal.open(environment.journal, create=False) as journal:
        return journal.open_rollout(environment.name) is not None or Site(environment).serves


def _ask(reason: str) -> bool:
    return input(f"\n{reason}\nRoll back now? Type yes or no: ").strip().lower() in ("y", "yes")


# ---- another one's session


def _lock_or_follow(
    stack: ExitStack, environment: Environment, clock: Clock, show: Callable[[LogLine], None]
) -> int | None:
    """Become the monitor of this environment, or follow the one that is; returns the followed exit code."""
    lock = environment.root / "monitor.lock"
    followed = False
    while True:
        try:
            stack.enter_context(acquire(lock, environment=environment.name, command="rollout monitor"))
        except LockHeldError as error:
            if not followed:
                typer.echo(f"{error.data['owner']} watches {environment.name}: following its log.")
            followed = True
            if (code := follow(environment, lock, clock, show)) is not None:
                return code
        else:
            return None


def follow(environment: Environment, lock: Path, clock: Clock, show: Callable[[LogLine], None]) -> int | None:
    """Show each line of the other monitor's log until its session has ended.

    Returns its exit code, 3 if it died, None if it went before it had begun. The heartbeat may still be that
    of the rollout before: the log is the other's once the process that beat is alive.
    """
    while (beat := heartbeat.last(environment)) is None or not beat.alive():
        if owner(lock) is None:
            return None
        clock.sleep(FOLLOW_SECONDS)
    with Path(beat.log).open(encoding="utf-8") as file:
        rest, code = "", None
        while True:
            watched = owner(lock) is not None  # asked first, so that nothing it wrote is missed
            rest += file.readline()
            if rest.endswith("\n"):
                line, rest = parse(rest), ""
                if line is not None:
                    show(line)
                    code = line.data.get("exit_code")  # a session that failed may have been resumed since
            elif code is not None:
                return int(code)
            elif not watched:
                return FAILED
            else:
                clock.sleep(FOLLOW_SECONDS)
