"""Messages in words, and templates that operators may edit."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_rollout.errors import NotificationTemplateError
from guarded_rollout.notify.channels import pager, slack, teams
from guarded_rollout.notify.channels.factory import BUILDERS
from guarded_rollout.notify.events import Facts, Kind, event
from guarded_rollout.notify.message import (
    NAMES,
    NEXT,
    checked,
    fit,
    printable,
    render,
    shipped,
    shorten,
    template_for,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOWHERE = Path("/nonexistent")
EVERY_FACT = Facts(
    operator="robin",
    deployment="0192",
    release="1.4.0",
    gate="health",
    threshold="2 in a row",
    actual="3 in a row",
    reason="it does not answer",
    backup_file="backups/dhash_production_20260102_030405.zip",
    duration_seconds=83.2,
    active_gates=("health", "error_rate"),
    health="3 of 3",
    smoke="passed",
    error="connection refused",
    done="rolling back",
    next_command="rollout status",
    manual_command="rollout rollback --to previous",
    recipients=("@ops",),
    data={"host": "a"},
)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_template_that_says_the_next_command(kind: Kind) -> None:
    assert checked(shipped(kind), NOWHERE)
    bare = render(event(kind, "production", AT), shipped(kind))
    assert "production" in bare.title
    if kind is not Kind.ACKNOWLEDGED:
        assert dict(bare.facts)["Next"] == NEXT[kind].format(environment="production")
    assert "$" not in bare.plain()


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (Kind.MESSAGE, Kind.ACKNOWLEDGED)])
def test_a_rollout_s_message_carries_what_the_event_knows(kind: Kind) -> None:
    told = event(kind, "production", AT, message="own words", **EVERY_FACT)
    said = render(told, shipped(kind)).plain()
    for part in ("own words", "production", "robin", "0192", "1.4.0", "2026-01-02 03:04:05", "rolling back"):
        assert part in said
    for part in ("connection refused", "rollout rollback --to previous", "host: a"):
        assert part in said


@pytest.mark.parametrize("kind", [Kind.GATE_ALERT, Kind.AUTO_ROLLBACK, Kind.ESCALATED])
def test_a_breach_says_the_limit_and_the_value(kind: Kind) -> None:
    facts = dict(render(event(kind, "production", AT, **EVERY_FACT), shipped(kind)).facts)
    assert (facts["Gate"], facts["Limit"], facts["Actual value"]) == ("health", "2 in a row", "3 in a row")


def test_releases_have_short_names_but_for_the_fact_and_the_commands() -> None:
    old, new = "1.3.0-0123abcd-11111111", "1.4.0-f7a389c2-22222222"
    back = f"rollout rollback --to {old} --env production --force"
    facts = Facts(release=new, done=f"{old} serves again", manual_command=back)
    said = render(event(Kind.DEPLOYMENT_FAILED, "production", AT, **facts), shipped(Kind.DEPLOYMENT_FAILED))
    told = dict(said.facts)
    assert said.title == "production: deployment of f7a389c FAILED"
    assert told["Done"] == "0123abc serves again"
    assert (told["Release"], told["Manual rollback"]) == (new, back)


def test_a_line_without_a_value_is_left_out() -> None:
    said = render(event(Kind.GATE_ALERT, "production", AT, gate="health"), shipped(Kind.GATE_ALERT))
    assert "Reason" not in dict(said.facts)
    assert dict(said.facts)["Gate"] == "health"


@pytest.mark.parametrize("nothing", ["", "\x1f", " \n", "\ud83d"])
def test_a_line_whose_value_cannot_be_shown_is_left_out(nothing: str) -> None:
    """Discord refuses a whole message for one empty field."""
    message = render(
        event(Kind.GATE_ALERT, "production", AT, gate="health", error=nothing), "T\nError: $error"
    )
    assert message.facts == ()


def test_a_template_s_own_control_characters_are_not_sent() -> None:
    template = checked("\x00\x1b[2J$environment\n\x07hello", NOWHERE)
    message = render(event(Kind.MESSAGE, "production", AT), template)
    assert (message.title, message.text) == ("[2Jproduction", "hello")


def test_a_name_that_a_control_character_ended_is_checked_as_it_is_sent() -> None:
    with pytest.raises(NotificationTemplateError, match="actualagainst"):
        checked("$gate: $actual\x00against $threshold", NOWHERE)


@pytest.mark.parametrize("sign", ["x", "ä", "日", "\U0001f600", "*", "\n"])
def test_a_long_message_fits_into_what_teams_takes(sign: str) -> None:
    template = "T\n" + "$message\n" * 3 + "".join(f"L{number}: $error\n" for number in range(80))
    told = event(Kind.MESSAGE, "production", AT, message=sign * 9000, error=f"a{sign * 9000}b")
    made = teams.body(render(told, checked(template, NOWHERE)))
    assert len(json.dumps(made, ensure_ascii=False).encode()) <= 28 * 1024
    facts = made["attachments"][0]["content"]["body"][-1]["facts"]
    assert len(facts) >= 25
    assert facts[-1]["title"] == "Event"


def test_a_template_of_a_thousand_lines_is_no_more_blocks_than_slack_takes() -> None:
    lines = ["$environment", "$environment", *(f"Line {number}: $environment" for number in range(1000))]
    made = slack.body(render(event(Kind.MESSAGE, "production", AT), checked("\n".join(lines), NOWHERE)))
    assert len(made["blocks"]) == slack.BLOCKS
    assert made["blocks"][-1]["type"] == "context"


def test_the_pager_is_notified_of_an_environment_of_any_name() -> None:
    told = event(Kind.GATE_ALERT, "pro\ud83dd\x1b", AT, release="1.0\x07")
    (body,) = pager.bodies(render(told, shipped(told.kind)))
    assert json.dumps(body, ensure_ascii=False).encode()
    assert (body["payload"]["source"], body["payload"]["component"]) == ("prod", "1.0")


def test_an_operator_s_template_replaces_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "gate_alert.txt").write_text("$$ $gate!\nSee the runbook.\nWo: $environment\n")
    said = render(
        event(Kind.GATE_ALERT, "production", AT, gate="health"), template_for(Kind.GATE_ALERT, tmp_path)
    )
    assert (said.title, said.text, said.facts) == ("$ health!", "See the runbook.", (("Wo", "production"),))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        ("title\n\n$reson", r"line 3 names \$reson"),
        ("100 $ lost", "line 1 has a lone"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_wrong_template_is_named_with_its_line(tmp_path: Path, text: str | bytes, problem: str) -> None:
    (tmp_path / "message.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(NotificationTemplateError, match=problem):
        template_for(Kind.MESSAGE, tmp_path)


def test_what_an_event_says_is_never_taken_for_a_template() -> None:
    said = render(
        event(Kind.MESSAGE, "production", AT, message="$environment ${gate} $$"), shipped(Kind.MESSAGE)
    )
    assert said.text == "$environment ${gate} $$"


@given(st.text(max_size=300), st.integers(0, 200))
def test_shortening_keeps_the_limit_and_says_so(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(text) <= limit or "shortened" in short or len(short) <= 60
    assert len(short) <= max(limit, 60)


@given(st.text(alphabet="<&>ab ", max_size=500), st.integers(80, 200))
def test_escaping_cannot_break_a_limit(text: str, limit: int) -> None:
    escaped = fit(text, limit, lambda part: part.replace("&", "&amp;").replace("<", "&lt;"))
    assert len(escaped) <= limit
    assert not re.search(r"&(?!amp;|lt;)", escaped)


@given(st.text())
def test_printable_text_can_be_sent_anywhere(text: str) -> None:
    printable(text).encode()
    assert "\x1b" not in printable(text)
    assert "\r" not in printable(text)


def test_a_template_may_name_every_fact() -> None:
    assert set(Facts.__annotations__) <= set(NAMES)


def test_the_documentation_names_every_event_channel_and_placeholder() -> None:
    text = (Path(__file__).parents[3] / "docs" / "notifications.md").read_text()
    for name in (*Kind, *BUILDERS):
        assert f"`{name}`" in text, name
    assert set(re.findall(r"`\$(\w+)`", text)) == set(NAMES)


def test_a_title_names_the_service_once() -> None:
    sent = event(Kind.MESSAGE, "production", AT, message="hello", operator="ann")
    assert render(sent, "$environment: $message", service="orders").title == "orders: production: hello"
    assert render(sent, "$message ($service)", service="orders").title == "hello (orders)"
    assert render(sent, "$environment: $message").title == "production: hello"
