"""Who is notified when, over a clock that only the test moves."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guarded_rollout.config import gates
from guarded_rollout.config.gates import Escalation, Notifications
from guarded_rollout.notify import incidents
from guarded_rollout.notify.events import Event, Kind, event
from guarded_rollout.notify.notifier import Notifier
from guarded_rollout.notify.outbox import DeliveryState
from tests.guarded_rollout.manual_clock import ManualClock
from tests.guarded_rollout.notify.conftest import PRODUCTION

ROOT = Path(__file__).parents[3]
AT = datetime(2026, 1, 1, tzinfo=UTC)
ENVIRON = {
    "SLACK_WEBHOOK_URL": "http://127.0.0.1:9/x",
    "SMTP_HOST": "127.0.0.1",
    "PAGER_ROUTING_KEY": "k",
}
Make = Callable[..., Notifier]


def alert(gate: str = "health") -> Event:
    return event(Kind.GATE_ALERT, "production", AT, gate=gate)


def lined_up(notifier: Notifier, channel: str) -> list[Event]:
    """Take all that waits for a channel."""
    found = []
    while delivery := notifier.outbox.head(channel):
        notifier.outbox.finish(delivery, DeliveryState.DELIVERED)
        found.append(delivery.event)
    return found


def over(notifier: Notifier, clock: ManualClock, minutes: float) -> list[tuple[float, str, Event]]:
    """Let time pass in steps of ten seconds; what was told, when, and where."""
    told = []
    for _ in range(int(minutes * 6)):
        clock.advance(10)
        notifier.escalate()
        elapsed = (clock.now() - AT).total_seconds() / 60
        for channel in ("slack", "email", "pager"):
            told += [(elapsed, channel, each) for each in lined_up(notifier, channel)]
    return told


def test_an_unacknowledged_breach_is_notified_to_more_people_after_5_and_15_minutes(notifier: Make) -> None:
    clock = ManualClock(AT)
    guard = notifier(ENVIRON, PRODUCTION, clock=clock)
    guard.publish(alert())
    assert [each.kind for each in lined_up(guard, "slack")] == [Kind.GATE_ALERT]
    assert [each.kind for each in lined_up(guard, "email")] == [Kind.GATE_ALERT]
    told = over(guard, clock, 120)
    assert [(minute, channel) for minute, channel, _ in told] == [(5, "slack"), (15, "slack"), (15, "pager")]
    assert [each.facts["recipients"] for *_, each in told] == [
        ("@ops", "@media-eng"),
        ("@ops", "@media-eng", "@on-call"),
        ("@ops", "@media-eng", "@on-call"),
    ]
    assert {each.facts["gate"] for *_, each in told} == {"health"}


def test_the_shipped_file_escalates_as_the_contract_says() -> None:
    plan = gates.load(ROOT / "quality-gates-config.json").environment("production").notifications
    stages = incidents.stages(alert(), plan)
    assert [stage.after / timedelta(minutes=1) for stage in stages] == [0, 5, 15]
    assert stages[0].channels == ("slack", "email")
    assert stages[1].recipients == ("@ops", "@media-eng")
    assert "pager" in stages[2].channels
    assert "@on-call" in stages[2].recipients


@pytest.mark.parametrize("minutes", [1, 4, 6, 14])
def test_an_acknowledged_breach_is_escalated_no_further(notifier: Make, minutes: float) -> None:
    clock = ManualClock(AT)
    guard = notifier(ENVIRON, PRODUCTION, clock=clock)
    guard.publish(alert())
    before = over(guard, clock, minutes)
    guard.acknowledge(event(Kind.ACKNOWLEDGED, "production", clock.now(), operator="robin"))
    after = over(guard, clock, 60)
    assert {each.kind for *_, each in after} == {Kind.ACKNOWLEDGED}
    assert [each.kind for *_, each in before if each.kind is Kind.ESCALATED] == [Kind.ESCALATED] * (
        minutes > 5
    )


def test_a_recovery_ends_the_escalation_and_is_notified_wherever_it_went(notifier: Make) -> None:
    clock = ManualClock(AT)
    guard = notifier(ENVIRON, PRODUCTION, clock=clock)
    guard.publish(alert())
    over(guard, clock, 16)
    guard.publish(event(Kind.GATE_CLEARED, "production", clock.now(), gate="health"))
    told = over(guard, clock, 60)
    assert sorted(channel for _, channel, _ in told) == ["email", "pager", "slack"]
    assert {each.kind for *_, each in told} == {Kind.GATE_CLEARED}


def test_whoever_comes_back_after_a_crash_sends_each_level_that_is_due_once(notifier: Make) -> None:
    clock = ManualClock(AT)
    notifier(ENVIRON, PRODUCTION, clock=clock).publish(alert())
    clock.advance(20 * 60)
    first, second = (notifier(ENVIRON, PRODUCTION, clock=clock) for _ in range(2))
    first.escalate()
    second.escalate()
    kinds = [each.kind for each in lined_up(first, "slack")]
    assert kinds == [Kind.GATE_ALERT, Kind.ESCALATED, Kind.ESCALATED]


@pytest.mark.parametrize(("passes", "told"), [(4, 0), (6, 2)])
def test_a_breach_that_passes_within_the_initial_delay_disturbs_nobody(
    notifier: Make, passes: float, told: int
) -> None:
    clock = ManualClock(AT)
    staging = Notifications(channels=PRODUCTION.channels[:1], escalation=Escalation(initial_delay_minutes=5))
    guard = notifier(ENVIRON, staging, clock=clock)
    guard.publish(alert())
    assert lined_up(guard, "slack") == []
    found = over(guard, clock, passes)
    guard.publish(event(Kind.GATE_CLEARED, "production", clock.now(), gate="health"))
    found += over(guard, clock, 10)
    assert [each.kind for *_, each in found] == [Kind.GATE_ALERT, Kind.GATE_CLEARED][:told]


def test_a_disaster_does_not_wait_for_the_initial_delay(notifier: Make) -> None:
    plan = Notifications(channels=PRODUCTION.channels[:1], escalation=Escalation(initial_delay_minutes=5))
    guard = notifier(ENVIRON, plan, clock=ManualClock(AT))
    for kind in (Kind.ROLLBACK_FAILED, Kind.UNWATCHED, Kind.AUTO_ROLLBACK):
        guard.publish(event(kind, "production", AT))
    assert len(lined_up(guard, "slack")) == 3
