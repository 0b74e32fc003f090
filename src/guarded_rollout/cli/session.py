"""A command's session on one environment: its lock, its journal, and errors as sentences with exit codes."""

import inspect
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TextIO

import typer

from guarded_rollout import logs
from guarded_rollout.cli.app import AsJson, DryRun, Env, Verbose
from guarded_rollout.config.environments import SETTINGS_FILE, Environment, load
from guarded_rollout.display import Display
from guarded_rollout.errors import (
    CancelledError,
    MachineRefusedError,
    NoProjectError,
    NotWritableError,
    RolloutError,
)
from guarded_rollout.host.release import Release, make_writable, shorten
from guarded_rollout.host.site import Site
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.journal.store import Journal
from guarded_rollout.logs import LogFile
from guarded_rollout.notify.publisher import NullPublisher, Publisher

if TYPE_CHECKING:
    from guarded_rollout.rollout.engine import Engine

Own = ParamSpec("Own")
Options = dict[str, tuple[Any, object]]
"""Options of the command line by name: kind and default."""
TALK: Options = {"verbose": (Verbose, False), "as_json": (AsJson, False)}
STAMPED = ("deploy", "rollback")
"""The logs of commands whose lines are events: without a terminal each begins with its time."""
SCRATCH = ("rollback-", "rollout-verify-")
"""Prefixes of the temporary folders that commands unpack backups into."""


@dataclass(slots=True)
class Output:
    """A command's output: lines for people or one JSON object for programs, and a log of both."""

    as_json: bool = False
    verbose: bool = False
    log: LogFile | None = None
    display: Display = field(default_factory=Display)
    stamped: bool = False  # lines begin with their time: nobody sees when they come

    def say(self, line: str) -> None:
        if self.log:
            self.log.write("info", line)
        moment = f"{datetime.now(UTC):%FT%TZ} " if self.stamped else ""
        self.display.show(moment + self.shown(line), err=self.as_json)

    def shown(self, line: str) -> str:
        """Return a line as people read it: with short names of releases, unless they asked for all."""
        return line if self.verbose or self.as_json else shorten(line)

    def detail(self, line: str) -> None:
        if self.verbose:
            self.say(line)

    def rehearse(self, *lines: str) -> None:
        """Say what a command would do."""
        for line in lines:
            self.say(f"DRY-RUN: {line}")

    def result(self, **values: object) -> None:
        """Print the result for programs."""
        if self.as_json:
            Display().show(json.dumps(values, default=str))

    def fail(self, error: RolloutError) -> None:
        if self.as_json:
            Display().show(json.dumps(error.as_json(), default=str))
        sentence = coloured(self.shown(error.sentence), typer.colors.RED, sys.stderr)
        self.display.show(sentence, err=True)
        if error.hint:
            self.display.show(f"  {self.shown(error.hint)}", err=True)
        if self.log:
            self.log.write("error", error.sentence, error=error.code(), advice=error.hint)


def coloured(text: str, colour: str, stream: TextIO) -> str:
    """Return a text in a colour, where the stream is a terminal whose owner did not refuse colours."""
    return typer.style(text, fg=colour) if stream.isatty() and not os.environ.get("NO_COLOR") else text


@dataclass(frozen=True, slots=True)
class Session:
    """The environment, site, journal and output of a command."""

    environment: Environment
    site: Site
    journal: Journal
    out: Output
    publisher: Publisher
    dry_run: bool = False

    @property
    def env(self) -> str:
        """The environment's name."""
        return self.environment.name

    def confirm(self, what: str, answer: str, *, force: bool) -> None:
        """Ask for exactly this answer if the environment confirms. Raises `CancelledError`."""
        if force or not self.environment.confirm:
            return
        try:
            given = input(f"{what} Type {answer} to continue: ")
        except EOFError:
            given = ""
        if given.strip() != answer:
            raise CancelledError(what=what.rstrip("?. "))

    def engine(self, *, guarded: bool = False) -> "Engine":
        """The engine on this environment; if guarded, the quality gates judge each shift of traffic."""
        from guarded_rollout.rollout.engine import Engine
        from guarded_rollout.rollout.gate_guard import guard_of

        if not guarded:
            return Engine(self.site, self.journal, self.out.say)
        guard = guard_of(self.environment, self.publisher)
        return Engine(self.site, self.journal, self.out.say, guard=guard, begun=self._stand_by)

    def _stand_by(self) -> None:
        """Leave a watchdog with the supervisor: it tells if this process dies, or nobody watches later."""
        from guarded_rollout.monitor.supervised import start_watching

        start_watching(self.site, settings_file(), stand_by=True)

    @contextmanager
    def recorded(
        self, command: str, step: str, *, source: str | None = None, **plan: object
    ) -> Iterator[dict[str, object]]:
        """Journal a command of a single step. The block fills the yielded dictionary with its evidence."""
        from guarded_rollout.rollout.engine import operator

        rollout = self.journal.begin(self.env, command, operator=operator(), source=source)
        try:
            with self.journal.step(rollout, step, **plan) as evidence:
                yield evidence
        except BaseException as error:
            self.journal.end(rollout, RolloutOutcome.FAILED, str(error))
            raise
        self.journal.end(rollout, RolloutOutcome.COMPLETED)


def with_session(
    *, read_only: bool = False, log: str | None = None
) -> Callable[[Callable[Concatenate[Session, Own], None]], Callable[..., None]]:
    """Give a command a session and the options --env, --dry-run, --verbose and --json.

    A command that is `read_only` has no dry run. `log` is the kind of its log file in monitor_logs/.
    """
    dry: Options = {} if read_only else {"dry_run": (DryRun, False)}

    def decorate(body: Callable[Concatenate[Session, Own], None]) -> Callable[..., None]:
        @wraps(body)
        def command(env: str, verbose: bool, as_json: bool, **own: Any) -> None:
            dry_run = not read_only and own.pop("dry_run")
            with session(
                env,
                body.__name__,
                as_json=as_json,
                verbose=verbose,
                dry_run=dry_run,
                read_only=read_only,
                log=log,
            ) as work:
                body(work, **own)  # type: ignore[call-arg]

        own = list(inspect.signature(body).parameters.values())[1:]
        return take(command, {"env": (Env, "production")}, own, dry | TALK)

    return decorate


def take(
    command: Callable[..., None], first: Options, own: Iterable[inspect.Parameter], last: Options
) -> Callable[..., None]:
    """Let Typer see a wrapped command's `own` options between those that others have as well."""

    def shared(options: Options) -> Iterator[inspect.Parameter]:
        for name, (kind, default) in options.items():
            yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)

    each = (one.replace(kind=one.KEYWORD_ONLY) for one in own)
    command.__signature__ = inspect.Signature([*shared(first), *each, *shared(last)])  # type: ignore[attr-defined]
    return command


@contextmanager
def session(
    env: str,
    command: str,
    *,
    as_json: bool = False,
    verbose: bool = False,
    dry_run: bool = False,
    read_only: bool = False,
    log: str | None = None,
) -> Iterator[Session]:
    """Open a command's session on one environment: exclusive, unless it only reads or is a dry run."""
    with configured(env, as_json=as_json, verbose=verbose) as (environment, out):
        site = Site(environment)
        if read_only or dry_run:
            with Journal.open(environment.journal, create=False) as journal:
                yield Session(environment, site, journal, out, NullPublisher(), dry_run)
        else:
            with _exclusive(site, out, command, log) as (journal, publisher):
                yield Session(environment, site, journal, out, publisher)


@contextmanager
def configured(
    env: str, *, as_json: bool = False, verbose: bool = False, refused: int = MachineRefusedError.exit_code
) -> Iterator[tuple[Environment, Output]]:
    """The environment of rollout.toml and the output, for a command that needs neither lock nor journal."""
    out = Output(as_json, verbose)
    with reporting(out, env, refused):
        yield load(settings_file()).environment(env), out


@contextmanager
def _exclusive(site: Site, out: Output, command: str, log: str | None) -> Iterator[tuple[Journal, Publisher]]:
    """The journal of an environment that nobody else changes meanwhile."""
    from guarded_rollout.backup import publish  # commands that only read start without these
    from guarded_rollout.files import remove_abandoned
    from guarded_rollout.lock import acquire
    from guarded_rollout.notify.notifier import publisher_for
    from guarded_rollout.rollout.announce import PublishingJournal
    from guarded_rollout.rotation import tidy

    environment = site.environment
    env = environment.name
    site.prepare()
    out.display.drops = True
    out.stamped = log in STAMPED and not (sys.stderr if out.as_json else sys.stdout).isatty()
    if log:
        tidy(environment.logs, environment.service_logs, site.clock.now())
        try:
            out.log = LogFile.open(environment.logs, log, env)
        except NotWritableError as error:  # a full disk: what is to be done matters more than its log
            out.say(f"This is not logged: {error.sentence}")
    notifying = publisher_for(environment, clock=site.clock)
    held = acquire(environment.lock, environment=env, command=f"rollout {command}")
    with notifying as publisher, held, PublishingJournal.open(environment.journal) as journal:
        journal.publisher = publisher
        journal.catch_up(env)
        for prefix in SCRATCH:  # what a killed command unpacked may be gigabytes
            remove_abandoned(prefix)
        remove_abandoned(publish.SCRATCH, environment.backups)
        yield journal, publisher


@contextmanager
def built_aside(work: Session, source: str | None) -> Iterator[Release]:
    """Build a release in a scratch folder, for a command that changes nothing."""
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as scratch:
        try:
            yield work.site.build(source, Path(scratch))
        finally:
            make_writable(Path(scratch))


@contextmanager
def reporting(out: Output, env: str = "", refused: int = MachineRefusedError.exit_code) -> Iterator[None]:
    """Turn errors into sentences with their exit code: `refused` where a file or the system refuses."""
    logs.configure("info" if out.verbose else "warning", env)
    try:
        yield
    except RolloutError as error:
        out.fail(error)
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:
        raise  # nobody reads any more
    except OSError as error:
        if out.verbose:
            traceback.print_exception(error)
        out.fail(MachineRefusedError.of(error))
        raise typer.Exit(refused) from None
    except KeyboardInterrupt:
        out.say("Interrupted. `rollout status` shows the state.")
        raise typer.Exit(130) from None
    finally:
        if out.log:
            out.log.close()


def settings_file() -> Path:
    """rollout.toml: $ROLLOUT_TOML, or the nearest one above the current folder. Raises `NoProjectError`."""
    if given := os.environ.get("ROLLOUT_TOML"):
        named = Path(given)
        if not named.exists():
            raise NoProjectError(wanted=f"{named}, which ROLLOUT_TOML names")
        return named.parent.resolve() / named.name  # what runs is told apart by its path
    here = Path.cwd()
    found = (folder / SETTINGS_FILE for folder in (here, *here.parents) if (folder / SETTINGS_FILE).exists())
    if (nearest := next(found, None)) is None:
        raise NoProjectError(wanted=f"{SETTINGS_FILE} in {here} or above it")
    return nearest


def project_gates() -> Path:
    """The gates file of this project. Raises `NoProjectError`, `ConfigurationError`."""
    return next(iter(load(settings_file()).environments.values())).gates
