"""`rollout monitor`: watch a window with the quality gates."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.text import Text

from guarded_rollout.cli.app import DryRun, Verbose, app
from guarded_rollout.cli.session import Output, settings_file
from guarded_rollout.clock import Clock, SystemClock, duration
from guarded_rollout.config import gates
from guarded_rollout.config.environments import Environment, load
from guarded_rollout.config.gates import EnvironmentGates, GatesFile
from guarded_rollout.errors import LockHeldError, RolloutError, UnknownEnvironmentError
from guarded_rollout.host.processes import WATCHER
from guarded_rollout.host.site import Site
from guarded_rollout.interrupts import interruptible
from guarded_rollout.journal.store import Journal
from guarded_rollout.lock import acquire
from guarded_rollout.logs import LEVELS, LogLine, configure, parse
from guarded_rollout.monitor import heartbeat
from guarded_rollout.monitor import log as logs
from guarded_rollout.monitor.session import FAILED, GOOD, Monitor
from guarded_rollout.monitor.sources import Sampler
from guarded_rollout.monitor.start import Assembly, Look
from guarded_rollout.monitor.supervised import supervised
from guarded_rollout.monitor.targets import base_of, endpoint_of, of_endpoint, samplers_of
from guarded_rollout.monitor.watchdog import stand_by, unwatched
from guarded_rollout.notify.notifier import publisher_for
from guarded_rollout.notify.publisher import DryRun as Rehearsal
from guarded_rollout.notify.publisher import Publisher, Silent
from guarded_rollout.rollout import announce
from guarded_rollout.rollout.monitor_adapter import EngineRollouts
from guarded_rollout.status.snapshot import Reader
from guarded_rollout.status.terminal import Terminal, above, below

LOGS = Path("monitor_logs")
REFRESH_SECONDS = 1.0  # of the picture on a terminal

Around = tuple[list[Text], list[Text]]
"""The lines above and below the gates."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line."""

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
        typer.Option("--env", "--environment", "-e", help="Environment. [the gates file's default]"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Gates file. [quality-gates-config.json]")
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
        typer.Option("--for", min=0.01, help="Minutes to watch where no rollout is open. [the gates file's]"),
    ] = None,
    standby: Annotated[bool, typer.Option("--stand-by", hidden=True)] = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
) -> None:
    """Watch the open rollout (or what serves) and act on the quality gates.

    Exit codes: 0 all good, 1 alerts were sent, 2 rolled back, 3 the monitor itself failed.
    """
    request = Request(config, log_dir, endpoint, minutes, dry_run, verbose)
    configure("info" if verbose else "warning")
    try:
        with interruptible():
            code = _stand_by(env) if standby else _monitor(env, request)
    except RolloutError as error:
        Output().fail(error)
        code = FAILED
    except KeyboardInterrupt:
        typer.echo("Interrupted: nobody watches any more.", err=True)
        code = FAILED
    raise typer.Exit(GOOD if supervised() and code != FAILED else code)


def _monitor(env: str | None, request: Request) -> int:
    project = load(settings_file())
    file = gates.load(request.config or next(iter(project.environments.values())).gates)
    name = env or file.default_environment or "production"
    config = file.environment(name)
    url = request.endpoint
    try:
        environment: Environment | None = project.environment(name)
    except UnknownEnvironmentError:
        environment, url = None, url or base_of(file)
        if not url:
            raise
    if url:
        return _watch_url(url, name, config, file, request, environment)
    assert environment is not None
    return _watch_environment(environment, config, file, request)


# ---- what is watched


def _watch_url(
    url: str,
    name: str,
    config: EnvironmentGates,
    file: GatesFile,
    request: Request,
    known: Environment | None,
) -> int:
    """Any service at a URL: it is judged and told of; nothing can be rolled back."""
    samplers = of_endpoint(endpoint_of(url, file.global_settings), config, file.global_settings)
    folder = request.log_dir or (known.logs if known else LOGS)
    with (
        _telling(known, request.dry_run) as tell,
        _printing(request.verbose, file, lambda width: ([Text(url)], [])) as (look, show),
    ):
        made = _assembly(name, config, file, samplers, request, tell, show)
        return made.run(logs.path_for(folder, name, made.clock.now()), None, [look] if look else [])


def _watch_environment(
    environment: Environment, config: EnvironmentGates, file: GatesFile, request: Request
) -> int:
    """The open rollout of an environment, or what serves there."""
    clock = SystemClock()
    if not _rolled_out_here(environment) and not supervised():
        url = f"http://localhost:{environment.port}"
        return _watch_url(url, environment.name, config, file, request, environment)
    with ExitStack() as stack:
        reader = Reader(environment)
        stack.callback(reader.close)

        def around(width: int) -> Around:
            seen = reader.read()
            return above(seen, config, width), [*below(seen)]

        look, show = stack.enter_context(_printing(request.verbose, file, around))
        if not request.dry_run:
            try:
                stack.enter_context(
                    acquire(
                        environment.root / "monitor.lock",
                        environment=environment.name,
                        command="rollout monitor",
                    )
                )
            except LockHeldError as error:
                typer.echo(f"{error.data['owner']} watches {environment.name}: following its log.")
                return follow(environment, clock, show)
        tell = stack.enter_context(_telling(environment, request.dry_run))
        rollouts = EngineRollouts(environment, clock, typer.echo)
        stack.callback(rollouts.close)
        while rollouts.rolling_out():
            clock.sleep(1.0)
        window = rollouts.open_window()
        if window is None and supervised():
            if (ended := rollouts.last()) is not None:  # whoever ended it was killed before it could say so
                announce.tell(ended, tell, clock.now())
            Site(environment).processes.forget(WATCHER)
            return GOOD
        samplers = samplers_of(environment, window, config, file.global_settings)
        made = _assembly(environment.name, config, file, samplers, request, tell, show)
        before = heartbeat.last(environment) if window and not request.dry_run else None
        path = logs.path_for(request.log_dir or environment.logs, environment.name, clock.now())
        if before is not None and window is not None and before.rollout == window.rollout:
            path = Path(before.log) if Path(before.log).exists() else path
            silent = heartbeat.unwatched_seconds(before, window, clock.instant())
            if silent > heartbeat.MISSED_SECONDS:
                tell.publish(unwatched(environment, window, silent, clock))
        looks = [look] if look else []
        if window is not None and not request.dry_run:
            looks.append(_beating(environment, path))
        code = made.run(path, rollouts, looks)
        if window is not None and not request.dry_run:
            with Journal.open(environment.journal, create=False) as journal:
                announce.tell(journal.rollout(UUID(window.rollout)), tell, clock.now())
        if supervised():
            Site(environment).processes.forget(WATCHER)  # nothing is left to watch: not started again
        return code


def _assembly(
    name: str,
    config: EnvironmentGates,
    file: GatesFile,
    samplers: list[Sampler],
    request: Request,
    tell: Publisher,
    show: Callable[[LogLine], None],
) -> Assembly:
    return Assembly(
        name,
        config,
        file.global_settings.timeout_seconds,
        samplers,
        SystemClock(),
        tell,
        show,
        ask=_ask if sys.stdin.isatty() and not supervised() else None,
        minutes=request.minutes,
        dry_run=request.dry_run,
    )


# ---- around it


def _stand_by(env: str | None) -> int:
    environment = load(settings_file()).environment(env or "production")
    clock = SystemClock()
    with _telling(environment, dry_run=False) as tell:
        rollouts = EngineRollouts(environment, clock, lambda line: None)
        stand_by(environment, rollouts, tell, clock)
        rollouts.close()
    Site(environment).processes.forget(WATCHER)
    return GOOD


@contextmanager
def _telling(environment: Environment | None, dry_run: bool) -> Iterator[Publisher]:
    """Whoever is to be told."""
    if dry_run:
        yield Rehearsal(typer.echo)
    elif environment is None:
        yield Silent()
    else:
        with publisher_for(environment) as publisher:
            yield publisher


@contextmanager
def _printing(
    verbose: bool, file: GatesFile, around: Callable[[int], Around]
) -> Iterator[tuple[Look | None, Callable[[LogLine], None]]]:
    """A live view on a terminal, lines elsewhere; the log's file holds all of them."""
    least = file.global_settings.log_level
    if sys.stdout.isatty() and not supervised() and not Console().is_dumb_terminal:
        with Terminal(Console()) as terminal:
            yield drawing(terminal, around), lambda line: _show(line, verbose, least, terminal)
    else:
        yield None, lambda line: _show(line, verbose, least)


def drawing(terminal: Terminal, around: Callable[[int], Around]) -> Look:
    """Draw a monitor's gates and the time left, at most once a second."""
    drawn_at = 0.0

    def draw(monitor: Monitor, now: float) -> None:
        nonlocal drawn_at
        verdicts = monitor.watcher.panel.verdicts
        terminal.take(verdicts)
        if now - drawn_at >= REFRESH_SECONDS:
            drawn_at = now
            held = " (held)" if monitor.window and monitor.window.paused else ""
            session = monitor.session
            left = f"{duration(monitor.left(now))} left{held}"
            head = Text(f"{session.release or session.environment}   {left}", style="bold")
            over, under = around(terminal.width)
            terminal.show(verdicts, [head, *over], under)

    return draw


def _show(line: LogLine, verbose: bool, least: str, terminal: Terminal | None = None) -> None:
    if worth_showing(line, verbose, least):
        text = f"{line.moment:%H:%M:%S} {line.level.upper():8} {line.message}"
        if terminal is not None:
            terminal.print(Text(text))
            return
        with suppress(OSError):  # its disk is full, or its terminal has gone: the watching goes on
            typer.echo(text)


def worth_showing(line: LogLine, verbose: bool, least: str = "info") -> bool:
    """True for news from a level on, with `verbose` for every verdict, and never for samples."""
    if line.level == "debug" or LEVELS.index(line.level) < LEVELS.index(least):
        return False
    return verbose or line.data.get("news") != "judged" or line.level != "info"


def _rolled_out_here(environment: Environment) -> bool:
    """Whether this project started what serves; else there are no slots to ask, and nothing to return to."""
    with Journal.open(environment.journal, create=False) as journal:
        return journal.open_rollout(environment.name) is not None or Site(environment).serving() is not None


def _beating(environment: Environment, path: Path) -> Look:
    beaten_at = float("-inf")

    def look(monitor: Monitor, now: float) -> None:
        nonlocal beaten_at
        if now - beaten_at >= heartbeat.BEAT_SECONDS:
            beaten_at = now
            heartbeat.beat(
                environment,
                SystemClock().instant(),
                monitor.session.rollout,
                monitor.session.began_at,
                path.absolute(),
            )

    return look


def _ask(reason: str) -> bool:
    return input(f"\n{reason}\nRoll back now? Type yes or no: ").strip().lower() in ("y", "yes")


LOOK_SECONDS = 0.5


def follow(environment: Environment, clock: Clock, show: Callable[[LogLine], None]) -> int:
    """Show each line of the other's log until its session has ended; its exit code, 3 if it died."""
    beat = heartbeat.last(environment)
    if beat is None:
        return FAILED
    with Path(beat.log).open(encoding="utf-8") as file:
        rest = ""
        while True:
            rest += file.readline()
            if rest.endswith("\n"):
                line, rest = parse(rest), ""
                if line is None:
                    continue
                show(line)
                if "exit_code" in line.data:
                    return int(line.data["exit_code"])
            elif not beat.alive():
                return FAILED
            else:
                clock.sleep(LOOK_SECONDS)
