"""The outbox keeps events, their order and their incidents; what is decided in it is decided once."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guarded_rollout.errors import OutboxError
from guarded_rollout.notify.events import Event, Kind, Level, event
from guarded_rollout.notify.incidents import EscalationStage
from guarded_rollout.notify.outbox import DeliveryState, Outbox

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox.open(tmp_path / "notifications.db")
    yield outbox
    outbox.close()


def note(number: int = 0) -> Event:
    return event(Kind.MESSAGE, "production", AT, message=f"number {number}")


def alert(gate: str = "health") -> Event:
    return event(Kind.GATE_ALERT, "production", AT, gate=gate, actual="3", threshold="2")


def clear(gate: str = "health") -> Event:
    return event(Kind.GATE_CLEARED, "production", AT, gate=gate)


def drained(outbox: Outbox, channel: str) -> list[Event]:
    """Deliver all of a queue."""
    found = []
    while delivery := outbox.head(channel):
        outbox.finish(delivery, DeliveryState.DELIVERED)
        found.append(delivery.event)
    return found


def test_an_event_comes_out_as_it_went_in(outbox: Outbox) -> None:
    whole = event(
        Kind.AUTO_ROLLBACK,
        "production",
        AT + timedelta(microseconds=5),
        level=Level.ERROR,
        gate="health",
        active_gates=("a", "b"),
        duration_seconds=1.5,
        data={"deep": [1, {"x": None}]},
        reason="naïve “quotes” \u2028 \x00",
    )
    outbox.put(whole, ["slack"], AT)
    assert drained(outbox, "slack") == [whole]


def test_each_channel_has_its_own_line_in_order(outbox: Outbox) -> None:
    events = [note(number) for number in range(5)]
    for each in events:
        outbox.put(each, ["slack", "email"], AT)
    assert drained(outbox, "slack") == events
    assert outbox.channels() == ("email",)
    assert drained(outbox, "email") == events
    assert outbox.head("pager") is None


def test_the_same_event_is_stored_once(outbox: Outbox) -> None:
    same = note()
    assert outbox.put(same, ["slack"], AT)
    assert not outbox.put(same, ["slack"], AT)
    assert drained(outbox, "slack") == [same]


def test_the_head_waits_and_nothing_overtakes_it(outbox: Outbox) -> None:
    first, second = note(1), note(2)
    outbox.put(first, ["slack"], AT)
    outbox.put(second, ["slack"], AT)
    head = outbox.head("slack")
    assert head is not None
    outbox.postpone(head, "down", due=50.0)
    again = outbox.head("slack")
    assert again is not None
    assert (again.event, again.attempts, again.due) == (first, 1, 50.0)


def test_hurrying_forgets_our_own_patience_but_not_the_receiver_s_word(outbox: Outbox) -> None:
    for channel, due, closed in (("slack", 50.0, 0.0), ("email", 0.0, 60.0)):
        outbox.put(note(), [channel], AT)
        head = outbox.head(channel)
        assert head is not None
        outbox.postpone(head, "down", due=due, closed=closed)
    outbox.skip_backoff()
    heads = [outbox.head(channel) for channel in ("slack", "email")]
    assert [head and head.due for head in heads] == [0.0, 60.0]


def test_a_refused_event_makes_way(outbox: Outbox) -> None:
    first, second = note(1), note(2)
    outbox.put(first, ["slack"], AT)
    outbox.put(second, ["slack"], AT)
    head = outbox.head("slack")
    assert head is not None
    outbox.finish(head, DeliveryState.REFUSED, "answered 400")
    assert drained(outbox, "slack") == [second]
    assert str(outbox.results(first)["slack"]) == "refused: answered 400"


def test_a_breach_is_one_message_and_its_end_another(outbox: Outbox) -> None:
    sent = [
        outbox.put(each, ["slack"], AT) for each in (alert(), alert(), alert(), clear(), clear(), alert())
    ]
    assert sent == [True, False, False, True, False, True]
    kinds = [each.kind for each in drained(outbox, "slack")]
    assert kinds == [Kind.GATE_ALERT, Kind.GATE_CLEARED, Kind.GATE_ALERT]


def test_two_gates_are_two_incidents(outbox: Outbox) -> None:
    sent = [
        outbox.put(each, ["slack"], AT) for each in (alert("health"), alert("error_rate"), clear("health"))
    ]
    assert sent == [True, True, True]
    assert [incident.key for incident in outbox.incidents()] == ["gate:error_rate"]


def test_the_end_of_an_incident_is_notified_wherever_it_was_published(outbox: Outbox) -> None:
    outbox.put(alert(), ["slack"], AT)
    [incident] = outbox.incidents()
    escalated = event(Kind.ESCALATED, "production", AT, gate="health")
    assert outbox.escalate(incident, EscalationStage(1, timedelta(minutes=5), ("pager",)), escalated)
    outbox.put(clear(), ["slack"], AT)
    head = drained(outbox, "pager")
    assert [each.kind for each in head] == [Kind.ESCALATED, Kind.GATE_CLEARED]


def test_a_stage_is_notified_once_by_whoever_comes_first(tmp_path: Path, outbox: Outbox) -> None:
    outbox.put(alert(), ["slack"], AT)
    other = Outbox.open(tmp_path / "notifications.db")
    stage = EscalationStage(1, timedelta(minutes=5), ("slack",))
    [incident], [same] = outbox.incidents(), other.incidents()
    sent = [
        box.escalate(m, stage, event(Kind.ESCALATED, "production", AT))
        for box, m in ((outbox, incident), (other, same))
    ]
    other.close()
    assert sent == [True, False]


def test_a_held_breach_that_passes_is_notified_to_nobody(outbox: Outbox) -> None:
    assert not outbox.put(alert(), ["slack"], AT, delayed=True)
    assert not outbox.put(clear(), ["slack"], AT)
    assert drained(outbox, "slack") == []
    assert outbox.incidents() == []


def test_a_rollback_that_succeeded_ends_every_incident(outbox: Outbox) -> None:
    for each in (alert("health"), alert("error_rate"), event(Kind.ROLLBACK_FAILED, "production", AT)):
        outbox.put(each, ["slack"], AT)
    drained(outbox, "slack")
    outbox.put(event(Kind.ROLLBACK_SUCCEEDED, "production", AT), ["slack"], AT)
    assert outbox.incidents() == []
    head = outbox.head("slack")
    assert head is not None
    assert set(head.incidents) == {"gate:health", "gate:error_rate", "rollback"}


def test_acknowledging_names_what_was_open(outbox: Outbox) -> None:
    outbox.put(alert(), ["slack"], AT)
    taken = event(Kind.ACKNOWLEDGED, "production", AT, operator="robin")
    assert outbox.acknowledge(taken, ["slack"]) == ("gate:health",)
    assert outbox.acknowledge(event(Kind.ACKNOWLEDGED, "production", AT), ["slack"]) == ()
    assert [each.kind for each in drained(outbox, "slack")] == [Kind.GATE_ALERT, Kind.ACKNOWLEDGED]
    assert [incident.acknowledged for incident in outbox.incidents()] == [True]


def test_one_process_at_a_time_works_a_line(tmp_path: Path, outbox: Outbox) -> None:
    other = Outbox.open(tmp_path / "notifications.db")
    with outbox.claim("slack") as mine, other.claim("slack") as theirs, other.claim("email") as another:
        assert (mine, theirs, another) == (True, False, True)
    with other.claim("slack") as free:
        assert free
    other.close()


def test_what_is_old_and_over_is_forgotten_and_nothing_else(outbox: Outbox) -> None:
    delivered, waiting, opened = note(1), note(2), alert()
    outbox.put(delivered, ["slack"], AT)
    drained(outbox, "slack")
    outbox.put(opened, ["slack"], AT)
    drained(outbox, "slack")
    outbox.put(waiting, ["slack"], AT)
    assert outbox.prune(AT + timedelta(days=1)) == 1
    assert [bool(outbox.results(each)) for each in (delivered, waiting, opened)] == [False, True, True]


def test_the_file_is_for_its_owner_alone(tmp_path: Path, outbox: Outbox) -> None:
    assert (tmp_path / "notifications.db").stat().st_mode & 0o077 == 0


def test_a_damaged_outbox_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    path.write_bytes(b"this is no database" * 500)
    with pytest.raises(OutboxError, match=r"damaged\.db cannot be used: .*not a database"):
        Outbox.open(path)
    with pytest.raises(OutboxError):
        Outbox.open(path / "below" / "a file")


def test_an_outbox_that_breaks_while_it_is_used_is_a_clear_error(tmp_path: Path, outbox: Outbox) -> None:
    with closing(sqlite3.connect(tmp_path / "notifications.db")) as connection:
        connection.execute("DROP TABLE delivery")
        with pytest.raises(OutboxError, match="no such table"):
            outbox.put(note(), ["slack"], AT)
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (0,), (
            "and nothing is half stored"
        )


def test_gates_that_fell_silent_together_are_heard_again_together(outbox: Outbox) -> None:
    happened = (alert("error_rate, memory_usage"), clear("memory_usage"), clear("error_rate"), clear("error"))
    sent = [outbox.put(each, ["slack"], AT) for each in happened]
    assert sent == [True, True, False, False]
