"""`rollout notify`: tell people something, try the channels, send again what nobody heard."""

import json
import sys
import time
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from guarded_rollout.cli.app import AsJson, DryRun, Env, Verbose, app
from guarded_rollout.cli.session import Output, reporting, settings_file
from guarded_rollout.clock import SystemClock
from guarded_rollout.config.environments import Environment, load
from guarded_rollout.errors import UsageError
from guarded_rollout.notify import message as messages
from guarded_rollout.notify import settings, trial
from guarded_rollout.notify.channels import factory
from guarded_rollout.notify.events import Event, Facts, Kind, Level, event
from guarded_rollout.notify.fallback import Fallback
from guarded_rollout.notify.notifier import Notifier, plan_of, write_down
from guarded_rollout.rollout.engine import operator

DELIVERED, NOT_DELIVERED, INTERNAL = 0, 1, 2


@app.command(
    epilog='Example: rollout notify --level warning --message "Disk is filling up" --data \'{"free_gb": 3}\''
)
def notify(
    env: Env = "production",
    level: Annotated[str, typer.Option(help="info, warning, error or critical.")] = "info",
    message: Annotated[str, typer.Option(help="What to tell; - reads it from standard input.")] = "",
    data: Annotated[str, typer.Option(help="More to tell, as a JSON object.")] = "",
    test: Annotated[bool, typer.Option("--test", help="Try each configured channel, and tabulate.")] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="Send again what the fallback file has, and mark it.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Stay, deliver what waits, and escalate, until interrupted.")
    ] = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Tell every configured channel (the pager only what is critical).

    Exits with 0 if at least one delivered it; otherwise a line is in the fallback file.
    """
    out = Output(as_json, verbose)
    try:
        with reporting(out, env):
            environment = load(settings_file()).environment(env)
            if test:
                code = _test(environment, out, dry_run=dry_run)
            elif replay:
                code = _replay(environment, out, dry_run=dry_run)
            elif follow:
                code = _follow(environment, out)
            else:
                words = sys.stdin.read() if message == "-" else message
                code = _tell(environment, out, level, words, data, dry_run=dry_run)
    except typer.Exit:
        raise
    except Exception as error:
        typer.secho(f"notify failed: {type(error).__name__}: {error}", err=True, fg=typer.colors.RED)
        code = INTERNAL
    raise typer.Exit(code)


def _tell(environment: Environment, out: Output, level: str, words: str, data: str, *, dry_run: bool) -> int:
    if not words.strip():
        raise UsageError(detail="There is no message: say it with --message.")
    told, problem = compose(environment.name, level, words, data)
    if problem:
        # A script's broken argument must not lose what it had to say.
        if not dry_run:
            write_down(Fallback(environment.logs), told, {}, problem)
        raise UsageError(detail=f"{problem} The message is kept in the fallback file (`--replay` sends it).")
    if dry_run:
        return _rehearse(environment, out, told)
    with Notifier.of(environment) as notifier:
        channels = notifier.everyone(told)
        notifier.send(told, channels)
        notifier.settle([told])
        results, heard = notifier.outcome(told), notifier.heard(told)
        fallback = notifier.fallback.path
    _show(out, results)
    if heard:
        out.say(f"Delivered ({told.id}).")
    else:
        out.say(f"No channel delivered it; it is in {environment.shown(fallback)}.")
    out.result(id=told.id, delivered=heard, notification_results=results)
    return DELIVERED if heard else NOT_DELIVERED


def compose(environment: str, level: str, words: str, data: str) -> tuple[Event, str]:
    """The event that these arguments mean, and what is wrong with them."""
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
    told = event(Kind.MESSAGE, environment, SystemClock().now(), message=words, level=chosen, **facts)
    return told, problem


def _rehearse(environment: Environment, out: Output, told: Event) -> int:
    found = settings.load(environment.project)
    channels = factory.configured(found)
    out.rehearse(f"would notify {', '.join(channels) or 'no channel, for none is configured'}")
    for line in messages.render(told, messages.template_for(told.kind, found.templates)).plain().splitlines():
        out.rehearse(f"  {line}")
    out.result(channels=channels, dry_run=True)
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
    told = event(Kind.MESSAGE, environment.name, SystemClock().now(), message=words, operator=operator())
    trials = trial.try_each(on, told, found)
    wanted = [str(channel) for channel in plan_of(environment).channels]
    table = Table("channel", "outcome", "seconds", f"of {environment.name}", box=None)
    for each in trials:
        outcome = "delivered" if each.delivered else each.problem
        table.add_row(each.channel, outcome, f"{each.seconds:.2f}", "yes" if each.channel in wanted else "no")
    for name in wanted:
        if name not in on and name != "console":
            setting = factory.BUILDERS[name][0]
            table.add_row(name, f"off: {setting} is not set", "", "yes")
    Console(stderr=out.as_json).print(table)
    out.result(channels={each.channel: each.problem or "delivered" for each in trials})
    return DELIVERED if trials and all(each.delivered for each in trials) else NOT_DELIVERED


def _replay(environment: Environment, out: Output, *, dry_run: bool) -> int:
    fallback = Fallback(environment.logs)
    entries = list(fallback.entries())
    waiting = [entry for entry in entries if entry.event and not entry.replayed]
    unreadable = sum(entry.event is None for entry in entries)
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
        heard = sum(notifier.heard(each) for each in tried)
        for each in tried:
            out.detail(f"{each.at:%FT%TZ} {each.id} {dict(notifier.outcome(each))}")
    out.say(f"{heard} of {len(tried)} events delivered and marked.")
    out.result(waiting=len(tried), delivered=heard)
    return DELIVERED if heard == len(tried) else NOT_DELIVERED


def _follow(environment: Environment, out: Output) -> int:
    with Notifier.of(environment) as notifier:
        out.say(f"Delivering for {environment.name}; {notifier.outbox.waiting()} messages wait.")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return DELIVERED


def _show(out: Output, results: Mapping[str, str]) -> None:
    for channel, result in results.items():
        out.say(f"{channel:8} {result}")
