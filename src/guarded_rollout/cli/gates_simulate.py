"""`rollout gates simulate`: how often are the gates wrong, and how soon right?"""

import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from guarded_rollout.cli import tables
from guarded_rollout.cli.app import AsJson
from guarded_rollout.cli.gates import Config, commands
from guarded_rollout.cli.session import Output, project_gates, reporting
from guarded_rollout.clock import duration
from guarded_rollout.config import gates
from guarded_rollout.config.terms import Action
from guarded_rollout.errors import UsageError
from guarded_rollout.gates.replay import Replay, replay
from guarded_rollout.gates.verdict import News

PERCENT = "as 2% or 0.02"
WINDOWS_OF_ALL = 20
"""Windows that are drawn for --fault: each takes a second and more."""


@commands.command(
    epilog="Example: rollout gates simulate --rate 2% --limit 5% --rps 1; or --fault slower=2.5 --rps 15"
)
def simulate(
    rps: Annotated[float, typer.Option(min=0.001, max=10_000, help="Requests per second.")],
    rate: Annotated[str | None, typer.Option(help=f"True failure rate, {PERCENT}.")] = None,
    limit: Annotated[str | None, typer.Option(help="The gate's limit.")] = None,
    fault: Annotated[
        str | None,
        typer.Option(
            help="Instead of --rate and --limit: what the candidate does wrong beside stable, as slower=2.5, "
            "failing=10% or `none`. Asks all gates of the file that see a release from outside."
        ),
    ] = None,
    windows: Annotated[
        int | None,
        typer.Option(
            min=1, max=100_000, help="How many windows are drawn.", show_default="1000; 20 of a fault"
        ),
    ] = None,
    later_rate: Annotated[
        str | None, typer.Option("--then", help="The true failure rate from --at on.")
    ] = None,
    at: Annotated[float, typer.Option("--at", min=0, help="Minute at which it changes.")] = 40.0,
    window: Annotated[
        float | None,
        typer.Option(min=1, max=1440, help="Minutes that are watched.", show_default="60; 10 of a fault"),
    ] = None,
    evaluation: Annotated[
        float, typer.Option(min=0.5, max=1440, help="The gate's evaluation window.")
    ] = 10.0,
    min_samples: Annotated[int, typer.Option(min=1, help="The gate's min_sample_size.")] = 20,
    confidence: Annotated[
        float | None, typer.Option(min=0.5, max=0.9999, help="The gate's full_window_confidence.")
    ] = None,
    config: Config = None,
    env: Annotated[str | None, typer.Option("--env", help="Gates of this environment, for --fault.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random numbers: the same seed draws the same.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Simulate how often a gate takes back a healthy release, and how soon a bad one.

    Of one gate on a share of failures, by each decision rule; or of all gates of a file that compare two
    releases or watch one from outside, with a fault.
    """
    from guarded_rollout.gates.simulate import Scenario  # NumPy is slow to import

    out = Output(as_json)
    with reporting(out):
        if fault is not None:
            if rate is not None or limit is not None:
                raise UsageError(detail="--fault stands instead of --rate and --limit.")
            seconds = 60 * (10.0 if window is None else window)
            _whole(out, fault, rps, seconds, windows or WINDOWS_OF_ALL, seed, config, env)
            return
        if rate is None or limit is None:
            raise UsageError(detail="Give --rate and --limit, or --fault.")
        now, then = share(rate, "--rate"), share(later_rate, "--then") if later_rate else None
        bound = share(limit, "--limit")
        if then is None and now > bound:  # bad from the beginning
            now, then, at = 0.0, now, 0.0
        minutes = 60.0 if window is None else window
        scenario = Scenario(
            now, bound, rps, windows or 1000, then, at * 60, minutes * 60, evaluation * 60, min_samples,
            full_window_confidence=confidence, seed=seed,
        )  # fmt: skip
        _one_gate(out, scenario)


# ---- one gate on a share of failures, by each rule


def _one_gate(out: Output, scenario: "Scenario") -> None:  # type: ignore[name-defined]  # noqa: F821
    from guarded_rollout.gates.simulate import simulate as by_rule

    results = by_rule(scenario)
    if out.as_json:
        rows = [
            {
                "rule": one.rule,
                "false_rollback_share": one.false_share,
                "decided_share": one.decided_share,
                "median_seconds_to_decision": None if math.isinf(one.median_delay) else one.median_delay,
            }
            for one in results
        ]
        out.result(windows=scenario.windows, rules=rows)
        return
    table = Table("rule", "healthy, rolled back", "bad, decided", "median time to it", box=None)
    then = scenario.later_rate
    for one in results:
        late = "–" if math.isinf(one.median_delay) else f"{one.median_delay:.1f} s"
        caught = "–" if then is None else f"{(one.decided - one.too_early) / scenario.windows:.1%}"
        table.add_row(one.rule, f"{one.false_share:.2%}", caught, "–" if then is None else late)
    tables.show(table)


def share(text: str, option: str) -> float:
    """`2%` or `0.02` as a share of 1. Raises `UsageError`."""
    try:
        value = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UsageError(detail=f"{option} {text!r} is no share: give 2% or 0.02.")
    return value


# ---- all gates that see a release from outside, with a fault


def _whole(
    out: Output,
    fault: str,
    rps: float,
    seconds: float,
    windows: int,
    seed: int,
    config: Path | None,
    env: str | None,
) -> None:
    from guarded_rollout.monitor.recordings import Drawn, drawn_gates, fault_of, recording

    wrong = fault_of(fault)
    file = gates.load(config or project_gates())
    environment = file.environment(env or file.default_environment or next(iter(file.environments)))
    asked = drawn_gates(environment)
    drawn = (Drawn(rps, wrong, seconds, seed=seed + number) for number in range(windows))
    found = [replay(asked, recording(one)) for one in drawn]
    names = [name for name, _ in asked.quality_gates.enabled()]
    left_out = [name for name, _ in environment.quality_gates.enabled() if name not in names]
    rows = {name: {action: list(_firsts(found, name, action)) for action in Action} for name in names}
    rows["any of them"] = {action: list(_firsts(found, None, action)) for action in Action}
    if out.as_json:
        told = {
            name: {
                action: {
                    "windows": len(seconds),
                    "median_seconds": statistics.median(seconds) if seconds else None,
                }
                for action, seconds in by_action.items()
            }
            for name, by_action in rows.items()
        }
        out.result(windows=windows, gates=told, left_out=left_out)
        return
    table = Table("gate", f"alerts, of {windows}", "median", "rolls back", "median", box=None)
    for name, by_action in rows.items():
        if any(by_action.values()) or name == "any of them":
            cells = [by_action[action] for action in (Action.ALERT, Action.AUTO_ROLLBACK)]
            table.add_row(name, *(word for cell in cells for word in (str(len(cell)), _median(cell))))
    tables.show(table)
    out.say(f"Not simulated, for want of their sources: {', '.join(left_out) or 'none'}.")


def _firsts(found: list[Replay], gate: str | None, action: Action) -> Iterator[float]:
    """Of each window in which it followed, the seconds to the first time."""
    for one in found:
        times = [
            change.at - one.began_at
            for change in one.changes
            if change.news is News.FAILED and action in change.actions
            if gate in (None, change.verdict.gate)
        ]
        if times:
            yield min(times)


def _median(seconds: list[float]) -> str:
    return duration(statistics.median(seconds)) if seconds else "–"
