"""`rollout notify`: send a message, try the channels, replay the fallback file."""

import json
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from rich.table import Table

from guarded_rollout.cli import tables
from guarded_rollout.cli.app import AsJson, DryRun, Env, Verbose, app
from guarded_rollout.cli.session import Output, reporting, settings_file
from guarded_rollout.clock import SystemClock
from guarded_rollout.config.environments import Environment, load
from guarded_rollout.errors import UsageError
from guarded_rollout.notify import message as messages
from guarded_rollout.notify import settings
from guarded_rollout.notify.channels import factory
from guarded_rollout.notify.dispatch import attempt
from guarded_rollout.notify.events import Event, Facts, Kind, Level, event
from guarded_rollout.notify.fallback import Fallback
from guarded_rollout.notify.notifier import Notifier, plan_of
from guarded_rollout.rollout.engine import operator

DELIVERED, NOT_DELIVERED, INTERNAL = 0, 1, 2


@app.command(
    epilog='Example: rollout notify --level warning --message "Disk is filling up" --data \'{"free_gb": 3}\''
)
def notify(
    env: Env = "production",
    level: Annotated[str, typer.Option(help="info, warning, error or critical.")] = "info",
    message: Annotated[str, typer.Option(help="The message; - reads it from standard input.")] = "",
    data: Annotated[str, typer.Option(help="More facts, as a JSON object.")] = "",
    setup: Annotated[
        list[str] | None,
        typer.Option(
            help="Write an address into .env.notifications: slack=https://…; - reads it from standard input."
            " Also NAME=VALUE of any setting. Can be repeated."
        ),
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Try each configured channel, and tabulate.")] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="Send the events of the fallback file again, and mark them.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Stay, deliver what is pending, and escalate, until interrupted.")
    ] = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Send a message to every configured channel (to the pager only if it is critical).

    Exits with 0 if at least one delivered it; otherwise a line is in the fallback file.
    """
    out = Output(as_json, verbose)
    try:
        with reporting(out, env, INTERNAL):
            environment = load(settings_file()).environment(env)
            if setup:
                code = _setup(environment, out, setup, dry_run=dry_run)
            elif test:
                code = _test(environment, out, dry_run=dry_run)
            elif replay:
                code = _replay(environment, out, dry_run=dry_run)
            elif follow:
                code = _follow(environment, out)
            else:
                words = sys.stdin.read() if message == "-" else message
                code = _notify(environment, out, level, words, data, dry_run=dry_run)
    except typer.Exit:
        raise
    except Exception as error:
        typer.secho(f"notify failed: {type(error).__name__}: {error}", err=True, fg=typer.colors.RED)
        code = INTERNAL
    raise typer.Exit(code)


def _notify(
    environment: Environment, out: Output, level: str, words: str, data: str, *, dry_run: bool
) -> int:
    if not words.strip():
        raise UsageError(detail="There is no message: say it with --message.")
    sent, problem = compose(environment.name, level, words, data)
    if problem:
        # A script's broken argument must not lose what it had to say.
        if not dry_run:
            Fallback(environment.logs).save(sent, {}, problem)
        raise UsageError(detail=f"{problem} The message is kept in the fallback file (`--replay` sends it).")
    if dry_run:
        return _rehearse(environment, out, sent)
    with Notifier.of(environment) as notifier:
        notifier.send(sent, notifier.all_channels(sent))
        notifier.flush([sent])
        results, delivered = notifier.outcome(sent), notifier.delivered(sent)
        fallback = notifier.fallback.path
    on = factory.configured(settings.load(environment.project))
    for channel, result in results.items():
        if channel in on or channel == "console":  # what nobody set up is no news
            out.say(f"{channel:8} {result}")
    if delivered:
        out.say(f"Delivered ({sent.id}).")
    else:
        out.say(f"No channel delivered it; it is in {environment.shown(fallback)}.")
    out.result(id=sent.id, delivered=delivered, notification_results=results)
    return DELIVERED if delivered else NOT_DELIVERED


def compose(environment: str, level: str, words: str, data: str) -> tuple[Event, str]:
    """Return the event that these arguments describe, and what is wrong with them."""
    problem, more = "", {}
    if level not in list(Level):
        problem = f"There is no level {level!r}; there are {', '.join(Level)}."
        more["level"] = level
    if data:
        try:
            given = json.loads(data)
        except (ValueError, RecursionError) as error:
            problem = problem or f"--data is not JSON: {error}."
            more["text"] = data
        else:
            if isinstance(given, dict):
                more = {**given, **more}
            else:
                problem = problem or "--data is not a JSON object, such as '{\"free_gb\": 3}'."
                more["text"] = data
    facts = Facts(operator=operator(), data=more) if more else Facts(operator=operator())
    chosen = Level(level) if level in list(Level) else Level.WARNING
    return event(
        Kind.MESSAGE, environment, SystemClock().now(), message=words, level=chosen, **facts
    ), problem


def _rehearse(environment: Environment, out: Output, sent: Event) -> int:
    found = settings.load(environment.project)
    channels = factory.configured(found)
    out.rehearse(f"would notify {', '.join(channels) or 'no channel, for none is configured'}")
    template = messages.template_for(sent.kind, found.templates)
    for line in messages.render(sent, template, service=environment.service.name).plain().splitlines():
        out.rehearse(f"  {line}")
    out.result(channels=channels, dry_run=True)
    return DELIVERED


def _setup(environment: Environment, out: Output, given: Sequence[str], *, dry_run: bool) -> int:
    """Write settings down where only this user can read them; what no channel can use is refused."""
    changed: dict[str, str] = {}
    for word in given:
        channel, separator, value = word.partition("=")
        if not separator or not value:
            raise UsageError(detail=f"--setup {channel}=… needs an address, or - to read it.")
        name = factory.BUILDERS.get(channel, (channel, None))[0] or channel
        changed[name] = sys.stdin.readline().strip() if value == "-" else value
    before = settings.load(environment.project, {})
    after = replace(before, values={**before.values, **changed})
    on = [name for name in factory.configured(after) if name not in factory.configured(before)]
    for name in factory.configured(after):
        factory.build(name, after)  # raises where a value is wrong
    if dry_run:
        out.rehearse(f"would write {', '.join(changed)} into {settings.FILE}")
        return DELIVERED
    path = settings.write(environment.project, changed)
    out.say(f"{', '.join(changed)} is in {environment.shown(path)}, which only this user can read.")
    out.say(
        f"On: {', '.join(on) or 'as before'}. `rollout notify --test --env {environment.name}` tries them."
    )
    out.result(file=path, settings=list(changed), channels=list(factory.configured(after)))
    return DELIVERED


def _test(environment: Environment, out: Output, *, dry_run: bool) -> int:
    found = settings.load(environment.project)
    for name in found.unknown:
        out.say(f"{settings.FILE} has {name}, which is no setting.")
    on = factory.configured(found)
    if dry_run:
        out.rehearse(f"would send a test message to {', '.join(on) or 'no channel'}")
        return DELIVERED
    words = "This is a test of the notification channels; nothing has happened."
    sent = event(Kind.MESSAGE, environment.name, SystemClock().now(), message=words, operator=operator())
    trials = _try_each(on, sent, found, environment.service.name)
    wanted = [str(channel) for channel in plan_of(environment).channels]
    table = Table("channel", "outcome", "seconds", f"of {environment.name}", box=None)
    for each in trials:
        table.add_row(
            each.channel,
            each.problem or "delivered",
            f"{each.seconds:.2f}",
            "yes" if each.channel in wanted else "no",
        )
    for name in wanted:
        if name not in on and name != "console":
            setting = factory.BUILDERS[name][0]
            table.add_row(name, f"off: {setting} is not set", "", "yes")
    tables.show(table, err=out.as_json)
    out.result(channels={each.channel: each.problem or "delivered" for each in trials})
    return DELIVERED if trials and not any(each.problem for each in trials) else NOT_DELIVERED


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of a test message on one channel; `problem` is empty if it was delivered."""

    channel: str
    seconds: float
    problem: str


def _try_each(channels: Sequence[str], sent: Event, found: settings.Settings, service: str) -> list[Trial]:
    """Send an event to these channels at once, past the outbox."""
    message = messages.render(sent, messages.shipped(sent.kind), service=service)

    def try_one(channel: str) -> Trial:
        began = time.monotonic()
        failure = attempt(lambda: factory.build(channel, found).send(message))
        problem = found.redact(str(failure)) if failure else ""
        return Trial(channel, time.monotonic() - began, problem)

    with ThreadPoolExecutor(len(channels) or 1) as pool:
        return list(pool.map(try_one, channels))


def _replay(environment: Environment, out: Output, *, dry_run: bool) -> int:
    fallback = Fallback(environment.logs)
    lines = list(fallback.lines())
    waiting = [line for line in lines if line.event and not line.replayed]
    unreadable = sum(line.event is None for line in lines)
    if unreadable:
        out.say(f"{unreadable} lines of {environment.shown(fallback.path)} cannot be read and stay there.")
    if dry_run:
        out.rehearse(f"would send {len(waiting)} events again")
        return DELIVERED
    if not waiting:
        out.say("Nothing waits in the fallback file.")
        out.result(waiting=0, delivered=0)
        return DELIVERED
    with Notifier.of(environment) as notifier:
        tried = notifier.replay()
        delivered = sum(notifier.delivered(each) for each in tried)
        for each in tried:
            out.detail(f"{each.at:%FT%TZ} {each.id} {dict(notifier.outcome(each))}")
    out.say(f"{delivered} of {len(tried)} events delivered and marked.")
    out.result(waiting=len(tried), delivered=delivered)
    return DELIVERED if delivered == len(tried) else NOT_DELIVERED


def _follow(environment: Environment, out: Output) -> int:
    with Notifier.of(environment) as notifier:
        out.say(f"Delivering for {environment.name}; {notifier.outbox.pending()} messages wait.")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
        return DELIVERED
