"""`rollout gates review`: are the limits right?"""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from guarded_rollout.cli import tables
from guarded_rollout.cli.app import AsJson, Env
from guarded_rollout.cli.gates import commands
from guarded_rollout.cli.session import configured
from guarded_rollout.monitor.threshold_review import Reviewed, as_json, lines_of, newest_sessions, review


@commands.command("review", epilog="Example: rollout gates review --env production --sessions 20")
def review_gates(
    env: Env = "production",
    sessions: Annotated[int, typer.Option(min=1, help="How many of the newest windows.")] = 20,
    log_dir: Annotated[Path | None, typer.Option(help="Folder of the monitoring logs.")] = None,
    as_json_: AsJson = False,
) -> None:
    """Hold each gate's limit against what the last windows really saw."""
    with configured(env, as_json=as_json_) as (environment, out):
        logs = newest_sessions(log_dir or environment.logs, environment.service.name, env, sessions)
        reviewed = review([lines_of(path) for path in logs])
        if not reviewed:
            out.say(f"No monitoring log of {env} has a verdict yet.")
        else:
            tables.show(table(reviewed), err=as_json_)
        out.result(environment=env, sessions=len(logs), gates=as_json(reviewed))


def table(reviewed: list[Reviewed]) -> Table:
    """Build a table with a row for each gate."""
    made = Table("gate", "limit", "median", "most", "judged", "failed", "", box=None)
    for one in reviewed:
        made.add_row(
            one.gate,
            _value(one.limit, one.unit),
            _value(one.median, one.unit),
            _value(one.most, one.unit),
            f"{one.judged} in {one.windows}",
            str(one.failed),
            one.advice,
        )
    return made


def _value(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.4g} {unit}".strip()
