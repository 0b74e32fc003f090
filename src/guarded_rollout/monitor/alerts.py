"""Alerts of one session's gates."""

from collections.abc import Sequence

from guarded_rollout.clock import Clock
from guarded_rollout.gates.verdict import Verdict
from guarded_rollout.notify.events import Facts, Kind, event
from guarded_rollout.notify.publisher import Publisher


class AlertPublisher:
    """Publishes the news of one session; `count` is the number of alerts."""

    def __init__(self, publisher: Publisher, clock: Clock, environment: str, known: Facts) -> None:
        self.count = 0
        self._publisher = publisher
        self._clock = clock
        self._environment = environment
        self._known = known

    def started(self, gates: Sequence[str]) -> None:
        release = self._known.get("release") or "what serves"
        self._publish(Kind.MONITORING_STARTED, Facts(active_gates=tuple(gates), release=release))

    def breach(self, verdict: Verdict, failing: Sequence[str]) -> None:
        """A breach begins. Published also for a gate that only rolls back, as that may be disabled."""
        self.count += 1
        self._publish(Kind.GATE_ALERT, Facts(**facts_of(verdict), active_gates=tuple(failing)))

    def over(self, verdict: Verdict, failing: Sequence[str]) -> None:
        """A breach or a silence is over."""
        self._publish(Kind.GATE_CLEARED, Facts(**facts_of(verdict), active_gates=tuple(failing)))

    def silence(self, silent: Sequence[Verdict]) -> None:
        """A source falls silent: one message for all of its gates."""
        self.count += 1
        names = ", ".join(verdict.gate for verdict in silent)
        facts: Facts = {**facts_of(silent[0]), "gate": names, "reason": f"{names}: {silent[0].reason}"}
        self._publish(Kind.GATE_ALERT, facts)

    def unreadable(self, gates: Sequence[str], reason: str) -> None:
        """The end has come, and these gates have no data."""
        self.count += 1
        self._publish(Kind.GATE_ALERT, Facts(gate=", ".join(gates), reason=reason, actual="no data"))

    def _publish(self, kind: Kind, facts: Facts) -> None:
        known = Facts(**{**self._known, **facts})
        self._publisher.publish(event(kind, self._environment, self._clock.now(), **known))


def facts_of(verdict: Verdict) -> Facts:
    """A verdict as a message carries it."""
    return Facts(
        gate=verdict.gate,
        threshold=f"{verdict.limit:g} {verdict.unit}".strip(),
        actual="no data" if verdict.value is None else f"{verdict.value:.4g} {verdict.unit}".strip(),
        reason=verdict.reason,
    )
