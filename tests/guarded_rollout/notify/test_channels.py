"""What each channel sends, to real receivers, and what it makes of their answers."""

import email
import email.policy
import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from guarded_rollout.errors import NotificationSettingsError
from guarded_rollout.notify import settings
from guarded_rollout.notify.channels import Channel, NotConfigured, Refused, Unavailable, factory
from guarded_rollout.notify.channels.console import Console
from guarded_rollout.notify.channels.http import retry_after
from guarded_rollout.notify.events import Event, Kind, event
from guarded_rollout.notify.message import Message, render, shipped
from tests.guarded_rollout.notify.receivers import (
    Answer,
    Mailbox,
    Webhook,
    mail_server,
    make_certificate,
    webhook,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def alert(**facts: Any) -> Event:
    known: Any = {
        "gate": "extraction_failure_rate",
        "threshold": "5 %",
        "actual": "12.5 %",
        "reason": "25 of 200 images failed in 10 minutes",
        "release": "1.4.0",
        "operator": "robin",
        "done": "rolling back to 1.3.0",
    }
    return event(Kind.GATE_ALERT, "production", AT, **{**known, **facts})


def message(of: Event | None = None, matters: tuple[str, ...] = ("gate:extraction_failure_rate",)) -> Message:
    of = of or alert()
    return render(of, shipped(of.kind), matters)


def channel(name: str, **environ: str) -> Channel:
    return factory.build(name, settings.load(Path("/nonexistent"), environ))


def on(name: str, receiver: Webhook, **environ: str) -> Channel:
    address = {
        "slack": "SLACK_WEBHOOK_URL",
        "teams": "TEAMS_WEBHOOK_URL",
        "discord": "DISCORD_WEBHOOK_URL",
        "pager": "PAGER_URL",
    }[name]
    return channel(name, **{address: receiver.url(), "PAGER_ROUTING_KEY": "key-of-the-pager", **environ})


WEBHOOKS = ("slack", "teams", "discord", "pager")


def every_text(value: Any) -> list[str]:
    """Every string in a JSON value."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in every_text(item)]
    if isinstance(value, list):
        return [text for item in value for text in every_text(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("name", WEBHOOKS)
def test_a_message_says_what_happened_to_what_against_which_limit_what_was_done_and_the_next_command(
    name: str,
) -> None:
    with webhook() as receiver:
        on(name, receiver).send(message())
    [arrived] = receiver.accepted
    text = "\n".join(every_text(arrived.body)).replace("\\", "")
    for part in (
        "extraction_failure_rate failed",
        "production",
        "5 %",
        "12.5 %",
        "25 of 200",
        "robin",
        "1.4.0",
    ):
        assert part in text
    assert "rolling back to 1.3.0" in text
    assert "rollout status --env production" in text
    assert message().event.id != arrived.event
    assert arrived.event in text


@pytest.mark.parametrize("name", WEBHOOKS)
def test_the_query_string_of_an_address_is_kept(name: str) -> None:
    with webhook() as receiver:
        on(name, receiver).send(message())
    assert receiver.accepted[0].path.startswith("/hook/token-1234567?a=1&b=two")
    assert ("wait=true" in receiver.accepted[0].path) == (name == "discord")


@pytest.mark.parametrize("name", WEBHOOKS)
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(200), None),
        (Answer(202), None),
        (Answer(204), None),
        (Answer(200, "ok", headers={"Content-Type": "text/html"}), None),
        (Answer(200, "\n<!DOCTYPE html><title>Sign in</title>" + "." * 9000), Unavailable),
        (Answer(302, headers={"Location": "http://127.0.0.1/elsewhere"}), Refused),
        (Answer(400, "invalid_payload"), Refused),
        (Answer(403, "action_prohibited"), Refused),
        (Answer(404, "no_team"), Refused),
        (Answer(410), Refused),
        (Answer(429, headers={"Retry-After": "7"}), Unavailable),
        (Answer(500), Unavailable),
        (Answer(503), Unavailable),
        (Answer(cut=True), Unavailable),
        (Answer(hang=3), Unavailable),
        (Answer(drip=True), Unavailable),
    ],
    ids=lambda value: (
        f"{value.status}{'-cut' * value.cut}{'-hang' * bool(value.hang)}{'-drip' * value.drip}"
        if isinstance(value, Answer)
        else ""
    ),
)
def test_an_answer_says_whether_another_try_is_worth_it(
    name: str, answer: Answer, outcome: type[Exception] | None
) -> None:
    with webhook(answer) as receiver:
        sender = on(name, receiver, NOTIFICATION_TIMEOUT="0.3")
        if outcome is None:
            sender.send(message())
        else:
            with pytest.raises(outcome) as caught:
                sender.send(message())
            if answer.status == 429:
                assert isinstance(caught.value, Unavailable)
                assert caught.value.retry_after == 7
    assert len(receiver.attempts) == 1


def test_nobody_listening_is_worth_another_try() -> None:
    with webhook() as receiver:
        sender = on("slack", receiver)
    with pytest.raises(Unavailable):
        sender.send(message())


def test_a_connector_of_teams_that_fails_with_200_has_not_delivered() -> None:
    failure = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {}."
    with webhook(Answer(200, failure.format(429))) as receiver, pytest.raises(Unavailable):
        on("teams", receiver).send(message())
    with webhook(Answer(200, failure.format(413))) as receiver, pytest.raises(Refused):
        on("teams", receiver).send(message())
    with webhook(Answer(200, "1")) as receiver:
        on("teams", receiver).send(message())
    card = receiver.accepted[0].body["attachments"][0]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert card["content"]["type"] == "AdaptiveCard"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("", None), ("7", 7), ("0.25", 0.25), ("-3", 0), ("99999", 3600), ("soon", None),
        ("nan", None), ("inf", 3600),
        ("Fri, 02 Jan 2026 03:04:35 GMT", 30), ("Fri, 02 Jan 2026 03:04:00 GMT", 0),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, AT) == seconds


def test_slack_gets_its_settings_and_no_mention_that_nobody_meant() -> None:
    with webhook() as receiver:
        sender = on("slack", receiver, SLACK_CHANNEL="#ops", SLACK_USERNAME="guard", SLACK_ICON=":shield:")
        sender.send(message(alert(reason="<!channel> & <@U1>")))
    body = receiver.accepted[0].body
    assert (body["channel"], body["username"], body["icon_emoji"]) == ("#ops", "guard", ":shield:")
    assert "&lt;!channel&gt; &amp; &lt;@U1&gt;" in str(body["blocks"])


def test_slack_s_blocks_keep_slack_s_limits_whatever_comes() -> None:
    long = alert(reason="<" * 1_000_000, data={"k": "v" * 5000}, error="e" * 9000)
    with webhook() as receiver:
        on("slack", receiver).send(message(long))
    blocks = receiver.accepted[0].body["blocks"]
    assert len(blocks) <= 50
    assert len(blocks[0]["text"]["text"]) <= 150
    fields = [field["text"] for block in blocks for field in block.get("fields", [])]
    assert max(len(block.get("fields", [])) for block in blocks) <= 10
    assert max(map(len, fields)) <= 2000
    assert any("shortened: 1,000,000 characters" in field for field in fields)


def test_discord_s_embed_keeps_discord_s_limits_and_pings_nobody() -> None:
    facts = dict.fromkeys(("reason", "operator", "deployment", "backup_file", "error", "health"), "x" * 3000)
    with webhook(Answer(204)) as receiver:
        on("discord", receiver, DISCORD_USERNAME="guard").send(message(alert(**facts)))
    body = receiver.accepted[0].body
    assert body["username"] == "guard"
    assert body["allowed_mentions"] == {"parse": []}
    [embed] = body["embeds"]
    assert len(embed["fields"]) <= 25
    texts = [embed["title"], embed["description"], embed["footer"]["text"]]
    texts += [part for field in embed["fields"] for part in (field["name"], field["value"])]
    assert sum(map(len, texts)) <= 6000
    assert all(field["value"] for field in embed["fields"])


def test_a_pager_s_incident_opens_is_acknowledged_and_ends_by_one_key() -> None:
    matters = ("gate:health",)
    opening = alert(gate="health")
    taken = event(Kind.ACKNOWLEDGED, "production", AT, operator="robin")
    ended = event(Kind.GATE_CLEARED, "production", AT, gate="health")
    with webhook(Answer(202)) as receiver:
        pager = on("pager", receiver)
        for each in (opening, taken, ended):
            pager.send(message(each, matters))
    bodies = [arrived.body for arrived in receiver.accepted]
    assert [body["event_action"] for body in bodies] == ["trigger", "acknowledge", "resolve"]
    assert {body["dedup_key"] for body in bodies} == {"production:gate:health"}
    assert {body["routing_key"] for body in bodies} == {"key-of-the-pager"}
    assert bodies[0]["payload"]["severity"] == "error"
    assert bodies[0]["payload"]["source"] == "production"


def test_a_rollback_that_succeeded_ends_every_incident_of_its_environment() -> None:
    done = event(Kind.ROLLBACK_SUCCEEDED, "production", AT)
    with webhook(Answer(202)) as receiver:
        on("pager", receiver).send(message(done, ("gate:health", "gate:error_rate", "rollback")))
    assert {body.body["dedup_key"] for body in receiver.accepted} == {
        "production:gate:health",
        "production:gate:error_rate",
        "production:rollback",
    }
    assert {body.body["event_action"] for body in receiver.accepted} == {"resolve"}


# ---- mail


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def mail(mailbox: Mailbox, **environ: str) -> Channel:
    known = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mailbox.port),
        "EMAIL_FROM": "Guard <guard@example.org>",
        "EMAIL_TO": "ops@example.org, media@example.org",
        "NOTIFICATION_TIMEOUT": "3",
    }
    return channel("email", **{**known, **environ})


def parsed(mailbox: Mailbox, number: int = 0) -> EmailMessage:
    content = mailbox.mails[number].content
    assert isinstance(content, bytes)
    found = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def part(of: EmailMessage, kind: str) -> str:
    found = of.get_body((kind,))
    assert isinstance(found, EmailMessage)
    text = found.get_content()
    assert isinstance(text, str)
    return text


def test_a_mail_has_text_and_html_and_the_event_s_id() -> None:
    sent = message(alert(reason="<b>25 of 200</b> & more"))
    with mail_server() as mailbox:
        mail(mailbox).send(sent)
    found = parsed(mailbox)
    assert found["Subject"].startswith("[error] production: quality gate extraction_failure_rate failed")
    assert found["To"] == "ops@example.org, media@example.org"
    assert found["Message-ID"] == f"<{sent.event.id}@example.org>"
    assert found["X-Event-Id"] == sent.event.id
    assert "Reason: <b>25 of 200</b> & more" in part(found, "plain")
    assert "&lt;b&gt;25 of 200&lt;/b&gt; &amp; more" in part(found, "html")
    assert mailbox.mails[0].rcpt_tos == ["ops@example.org", "media@example.org"]


@pytest.mark.parametrize("smtps", [False, True], ids=["starttls", "tls"])
def test_mail_goes_over_tls_with_a_login(certificate: tuple[Path, Path], smtps: bool) -> None:
    with mail_server(certificate, smtps=smtps) as mailbox:
        mail(
            mailbox,
            SMTP_SECURITY="tls" if smtps else "starttls",
            SMTP_USER="guard",
            SMTP_PASS="right password",
            SMTP_CA_FILE=str(certificate[0]),
        ).send(message())
    assert mailbox.logins == [(b"guard", b"right password")]
    assert mailbox.encrypted == [True]


def test_a_wrong_password_is_refused_and_never_shown(certificate: tuple[Path, Path]) -> None:
    with mail_server(certificate) as mailbox, pytest.raises(Refused) as caught:
        mail(mailbox, SMTP_USER="guard", SMTP_PASS="wrong one", SMTP_CA_FILE=str(certificate[0])).send(
            message()
        )
    assert "535" in str(caught.value)
    assert "wrong one" not in str(caught.value)


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: tuple[Path, Path]) -> None:
    with mail_server(certificate) as mailbox, pytest.raises(Refused, match="certificate is not trusted"):
        mail(mailbox, SMTP_USER="guard", SMTP_PASS="right password").send(message())
    assert mailbox.logins == []


def test_a_password_is_not_sent_in_the_clear() -> None:
    with mail_server() as mailbox, pytest.raises(Refused, match="no TLS"):
        mail(mailbox, SMTP_USER="guard", SMTP_PASS="right password").send(message())
    assert mailbox.logins == []


def test_starttls_is_asked_for_where_it_is_not_offered() -> None:
    with mail_server() as mailbox, pytest.raises(Refused, match="STARTTLS"):
        mail(mailbox, SMTP_SECURITY="starttls").send(message())


@pytest.mark.parametrize(
    ("refusal", "outcome"), [("451 try later", Unavailable), ("554 no", Refused)], ids=["451", "554"]
)
def test_smtp_s_own_rule_says_whether_another_try_is_worth_it(refusal: str, outcome: type[Exception]) -> None:
    with mail_server() as mailbox:
        mailbox.refusal = refusal
        with pytest.raises(outcome, match=refusal):
            mail(mailbox).send(message())


def test_one_refused_recipient_does_not_keep_the_mail_from_the_others() -> None:
    with mail_server() as mailbox:
        mailbox.refused_recipients = {"ops@example.org"}
        mail(mailbox).send(message())
        assert mailbox.mails[0].rcpt_tos == ["media@example.org"]
        mailbox.refused_recipients = {"ops@example.org", "media@example.org"}
        with pytest.raises(Refused, match=r"ops@example\.org: 550 no such user"):
            mail(mailbox).send(message())


def test_those_an_escalation_names_get_the_mail_too() -> None:
    escalated = event(Kind.ESCALATED, "production", AT, recipients=("@ops", "@on-call", "lee@example.org"))
    with mail_server() as mailbox:
        mail(mailbox, NOTIFICATION_RECIPIENTS="@on-call=night@example.org, @ops=ops@example.org").send(
            message(escalated)
        )
    assert mailbox.mails[0].rcpt_tos == [
        "ops@example.org", "media@example.org", "night@example.org", "lee@example.org"
    ]  # fmt: skip


def test_nothing_in_an_event_becomes_a_header_of_its_mail() -> None:
    hostile = alert(gate="x\r\nBcc: all@example.org\r\n\r\nbody")
    with mail_server() as mailbox:
        mail(mailbox).send(message(hostile))
    found = parsed(mailbox)
    assert found["Bcc"] is None
    assert mailbox.mails[0].rcpt_tos == ["ops@example.org", "media@example.org"]


# ---- the rest


def test_the_console_prints_the_whole_message() -> None:
    stream = StringIO()
    Console(stream).send(message())
    assert "production: quality gate extraction_failure_rate failed" in stream.getvalue()
    assert "Next: rollout status --env production" in stream.getvalue()


def test_a_closed_console_is_refused() -> None:
    stream = StringIO()
    stream.close()
    with pytest.raises(Refused):
        Console(stream).send(message())


def test_apprise_delivers() -> None:
    with webhook() as receiver:
        channel("apprise", APPRISE_URLS=f"json://127.0.0.1:{receiver.port}/path").send(message())
        assert "25 of 200" in receiver.accepted[0].body["message"]


@pytest.mark.parametrize(
    ("name", "environ", "problem"),
    [
        ("slack", {"SLACK_WEBHOOK_URL": "hooks.example.org/secretpath"}, "SLACK_WEBHOOK_URL: is not an"),
        ("teams", {"TEAMS_WEBHOOK_URL": "ftp://example.org/secretpath"}, "TEAMS_WEBHOOK_URL: is not an"),
        ("discord", {"DISCORD_WEBHOOK_URL": "https:///secretpath"}, "is not an address"),
        ("discord", {"DISCORD_WEBHOOK_URL": "https://[::1/secretpath"}, "is not an address"),
        ("slack", {"SLACK_WEBHOOK_URL": "https://example.org:port/secretpath"}, "is not an address"),
        ("slack", {"SLACK_WEBHOOK_URL": "https://x.org/", "NOTIFICATION_TIMEOUT": "soon"}, "_TIMEOUT"),
        ("email", {"SMTP_HOST": "x", "SMTP_PORT": "smtp"}, "SMTP_PORT: is 'smtp'"),
        ("email", {"SMTP_HOST": "x", "EMAIL_FROM": "a@b.org"}, "EMAIL_TO: has ''"),
        ("email", {"SMTP_HOST": "x", "EMAIL_FROM": "me", "EMAIL_TO": "a@b.org"}, "EMAIL_FROM: has 'me'"),
        ("email", {"SMTP_HOST": "x", "EMAIL_FROM": "a@b.org", "EMAIL_TO": "a@b.org, c"}, "EMAIL_TO: has 'c'"),
        ("email", {"SMTP_HOST": "x", "SMTP_SECURITY": "ssl"}, "SMTP_SECURITY: is 'ssl'"),
        ("email", {"SMTP_HOST": "x", "NOTIFICATION_RECIPIENTS": "@ops"}, "@name=address is meant"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_and_a_secret_is_not_shown(
    name: str, environ: dict[str, str], problem: str
) -> None:
    with pytest.raises(NotificationSettingsError) as caught:
        channel(name, **environ)
    assert re.search(problem, str(caught.value))
    assert "secretpath" not in str(caught.value)


def test_a_channel_that_is_off_says_so() -> None:
    with pytest.raises(NotConfigured, match=r"SLACK_WEBHOOK_URL is not set"):
        channel("slack")


def test_a_retry_after_date_far_ahead_is_cut_to_an_hour() -> None:
    far = AT + timedelta(days=3)
    assert retry_after(f"{far:%a, %d %b %Y %H:%M:%S} GMT", AT) == 3600
