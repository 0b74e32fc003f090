"""`rollout logs`: rotate what is old, and show what is there to people."""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.cli.app import AsJson, DryRun, Env, app
from guarded_rollout.cli.session import configured
from guarded_rollout.clock import SystemClock
from guarded_rollout.errors import UsageError
from guarded_rollout.logs import LEVELS, LogLine, open_log, parse
from guarded_rollout.rotation import carry_out, due, session_logs

logs = typer.Typer(name="logs", help="Rotate the logs, or show them.", no_args_is_help=True)
app.add_typer(logs)

AGE = re.compile(r"(\d+)([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
COLOURS = {"warning": "yellow", "error": "red", "critical": "bright_red"}


@logs.command(epilog="Example: rollout logs rotate --env production --dry-run")
def rotate(env: Env = "production", dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Compress logs older than a day, remove compressed ones after 30 days, cut large ones.

    Every rollout command does the same when it begins to write a log.
    """
    with configured(env, as_json=as_json) as (environment, out):
        now = SystemClock().now()
        actions = due(environment.logs, environment.service_logs, now)
        for action in actions:
            (out.rehearse if dry_run else out.say)(str(action))
        if not dry_run:
            carry_out(actions, now)
        if not actions:
            out.say("Nothing is due.")
        out.result(actions=[str(action) for action in actions], dry_run=dry_run)


@logs.command(epilog="Example: rollout logs show --env production --level warning --since 2h --grep gate")
def show(
    env: Env = "production",
    level: Annotated[str, typer.Option(help="This level and above.")] = "info",
    since: Annotated[str, typer.Option(help="Only as old as this: 30s, 10m, 2h, 7d.")] = "",
    kind: Annotated[
        str, typer.Option(help="Only logs of this name: deploy, smoke_tests, the service's, …")
    ] = "",
    grep: Annotated[str, typer.Option(help="Only lines that this regular expression finds.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Only so many, the newest.")] = 200,
    as_json: AsJson = False,
) -> None:
    """Show the lines of all logs of an environment in the order of time, compressed ones too."""
    with configured(env, as_json=as_json) as (environment, _):
        if level not in LEVELS:
            raise UsageError(detail=f"There is no level {level!r}; there are {', '.join(LEVELS)}.")
        try:
            pattern = re.compile(grep, re.IGNORECASE)
        except re.error as error:
            raise UsageError(detail=f"--grep is not a regular expression: {error}.") from None
        wanted = LEVELS[LEVELS.index(level) :]
        oldest = age_limit(since, SystemClock().now())
        found = [
            line
            for path in session_logs(environment.logs, env, kind)
            for line in lines(path)
            if line.level in wanted and line.at >= oldest and pattern.search(line.as_json())
        ]
        for line in sorted(found, key=lambda line: line.at)[-limit:]:
            typer.echo(line.as_json() if as_json else in_words(line, colours=sys.stdout.isatty()))


def lines(path: Path) -> Iterator[LogLine]:
    """The lines of a log; what is none is left out."""
    with open_log(path) as file:
        yield from (line for text in file if (line := parse(text)) is not None)


def age_limit(since: str, now: datetime) -> float:
    """The unix time that `2h` ago was; the beginning of time for nothing. Raises `UsageError`."""
    if not since:
        return float("-inf")
    match = AGE.fullmatch(since)
    if match is None:
        raise UsageError(detail=f"--since {since!r} is not an age such as 30s, 10m, 2h or 7d.")
    try:
        return (now - timedelta(**{UNITS[match[2]]: int(match[1])})).timestamp()
    except (OverflowError, ValueError):  # before all calendars
        return float("-inf")


def in_words(line: LogLine, *, colours: bool) -> str:
    """A line for people: time, level, message, and what else it holds."""
    moment = datetime.fromtimestamp(line.at, UTC)
    more = " ".join(f"{key}={value}" for key, value in line.data.items() if value not in ("", None, [], {}))
    level = f"{line.level.upper():8}"
    if colours and line.level in COLOURS:
        level = typer.style(level, fg=COLOURS[line.level])
    more = typer.style(more, dim=True) if colours else more
    return f"{moment:%Y-%m-%d %H:%M:%S} {level} {line.message}  {more}".rstrip()
