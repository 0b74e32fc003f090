"""Describes a gates file in plain words."""

from collections.abc import Iterator

from guarded_rollout.clock import duration
from guarded_rollout.config.gates import EnvironmentGates, GatesFile, OnUndecided
from guarded_rollout.config.kinds import (
    ConsecutiveGate,
    DecidedGate,
    Gate,
    GaugeGate,
    QuantileGate,
    RatioGate,
    RegressionGate,
    TrendGate,
)
from guarded_rollout.config.terms import Action, Decision, Source

DOES = {Action.ALERT: "alerts", Action.AUTO_ROLLBACK: "rolls back"}


def describe_file(file: GatesFile) -> Iterator[str]:
    """Describe the whole file, environment by environment."""
    for name, environment in file.environments.items():
        default = " (the default)" if name == file.default_environment else ""
        yield f"{name}{default}"
        for line in describe_environment(environment):
            yield f"  {line}"


def describe_environment(environment: EnvironmentGates) -> Iterator[str]:
    """Describe an environment: its window, gates, rollback and notifications."""
    monitoring, back = environment.monitoring, environment.auto_rollback
    polls = monitoring.poll_intervals
    yield (
        f"is watched for {duration(monitoring.window_minutes * 60)}, asked every "
        f"{duration(polls.initial_interval_seconds)} for {duration(polls.initial_minutes * 60)}, then every "
        f"{duration(polls.normal_interval_seconds)}"
    )
    ends = {
        OnUndecided.ACCEPT: "accepts and says so",
        OnUndecided.ALERT: "accepts and alerts",
        OnUndecided.HOLD: "stays open until they can, or somebody promotes the release",
    }
    yield f"where gates never had enough to tell, a window {ends[monitoring.on_undecided]}"
    for name, gate in environment.quality_gates.enabled():
        yield f"{name} {describe_gate(gate, back.enabled)}"
    if not back.enabled:
        yield "nothing is rolled back by itself here: auto_rollback is not enabled"
    else:
        asks = "after somebody has confirmed it" if back.confirmation_required else "without asking"
        yield f"rolls back {asks}; says so if that takes longer than {back.rollback_timeout_minutes:g} min"
    told = environment.notifications
    yield f"notifies {', '.join(told.channels) or 'nobody'} at once" + "".join(
        f", after {level.delay_minutes:g} min {', '.join(level.recipients)} by {', '.join(level.channels)}"
        for level in told.escalation.escalation_levels
    )


def describe_gate(gate: Gate, rollback_enabled: bool = True) -> str:
    """Describe a gate, as the end of a sentence that begins with its name."""
    does = " and ".join(
        DOES[action] if action is Action.ALERT or rollback_enabled else "would roll back if that were enabled"
        for action in gate.actions
    )
    words = f"{does or 'does nothing'} {condition(gate)}"
    if isinstance(gate, DecidedGate):
        words += f"; {_rule(gate)}"
    if gate.quarantine:
        words += "; what the release wrote is then taken out of search"
    for policy in gate.no_data_policies:
        then = " and ".join(DOES[action] for action in policy.actions) or "does nothing"
        words += f"; after {duration(policy.after_seconds)} without data it {then}"
    return words


def condition(gate: Gate) -> str:
    """Describe the condition for a failure, in words that begin with `when`."""
    match gate:
        case ConsecutiveGate(threshold=threshold):
            where = f"GET {gate.path}" if gate.path else "the health endpoint"
            if gate.source is Source.CHECKS:
                where = "what the release declares to be checked in the window"
            whose = " of the release before" if gate.side == "stable" else ""
            slow = f" within {duration(gate.slow_after_seconds)}" if gate.slow_after_seconds else ""
            often = duration(threshold.check_interval_seconds)
            times = f"more than {threshold.limit} times in a row"
            return f"when {where}{whose}, asked every {often}, is not OK{slow} {times}"
        case GaugeGate(threshold=threshold):
            often = duration(threshold.check_interval_seconds)
            limit = f"{threshold.limit:g} {gate.unit}".strip()
            alert = "" if threshold.alert_value is None else f" (to alert, above {threshold.alert_value:g})"
            return f"when {gate.metric}, read every {often}, is above {limit}{alert}"
        case RatioGate(threshold=threshold):
            what = f"of {' + '.join(gate.denominator)} ({gate.source}) are {' + '.join(gate.numerator)}"
            return f"when more than {threshold.limit:g} % {what} {_window(threshold)}"
        case QuantileGate(threshold=threshold):
            limit = f"{threshold.limit:g} {gate.unit}".strip()
            what = f"the {gate.quantile:.4g} quantile of {gate.histogram} ({gate.source})"
            return f"when {what} is above {limit} {_window(threshold)}"
        case RegressionGate(threshold=threshold):
            what = _compared(gate)
            worse = "worse than" if threshold.limit == 1 else f"more than {threshold.limit:g} times"
            least = f" and {threshold.min_value:g} or more" if threshold.min_value else ""
            words = f"when the candidate's {what} ({gate.source}) is surely {worse} stable's{least}"
            if threshold.alert_ratio is not None:
                words += f" (to alert, {threshold.alert_ratio:g} times)"
            routes = ", of all requests or of one route," if gate.by_route else ""
            return f"{words}{routes} {_window(threshold)}"
        case TrendGate(threshold=threshold):
            return (
                f"when {gate.what} ({gate.source}) grows so steadily that {_limit(gate)} is reached: "
                f"to alert, within {threshold.horizon_hours:g} h; to roll back, within "
                f"{threshold.return_minutes:g} min, or if only the candidate grows so and it is above "
                f"{threshold.times_stable:g} times stable's level"
            )
    raise TypeError(f"no words for {type(gate).__name__}")


def _limit(gate: TrendGate) -> str:
    if gate.limit_metric:
        return gate.limit_metric
    return f"{(gate.threshold.max_value or 0) * gate.scale:g} {gate.unit}".strip()


def _compared(gate: RegressionGate) -> str:
    if gate.histogram:
        return f"{gate.quantile:.4g} quantile of {gate.histogram}"
    if gate.amount:
        return f"{gate.amount} for each of {gate.per}"
    return gate.gauge or f"{' + '.join(gate.numerator or ())} of {' + '.join(gate.denominator or ())}"


def _window(threshold: object) -> str:
    minutes = getattr(threshold, "window_minutes", 0)
    return f"over {duration(minutes * 60)}, with {getattr(threshold, 'min_samples', 0)} samples or more"


def _rule(gate: DecidedGate) -> str:
    guarded = "decides before the window is full only on conclusive evidence"
    rules = {action: gate.decision_for(action) for action in gate.actions}
    words = {Decision.GUARDED: guarded, Decision.LITERAL: "decides as soon as there are enough samples"}
    if len(set(rules.values())) <= 1:
        said = words[next(iter(rules.values()), Decision.GUARDED)]
    else:
        said = ", ".join(f"for {action}: {words[rule]}" for action, rule in rules.items())
    if gate.full_window_confidence is not None:
        said += f", and asks the full window for {gate.full_window_confidence:g} confidence"
    return said
