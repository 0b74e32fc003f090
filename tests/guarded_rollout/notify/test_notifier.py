"""Nothing is lost, nothing out of order, and duplicates only after a crash, whatever the receivers do."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from guarded_rollout.config.gates import ChannelName, Notifications
from guarded_rollout.errors import FallbackFileError
from guarded_rollout.notify.dispatch import Patience
from guarded_rollout.notify.events import Event, Kind, Level, event
from guarded_rollout.notify.fallback import Fallback
from guarded_rollout.notify.notifier import Notifier
from guarded_rollout.notify.outbox import DeliveryState
from tests.guarded_rollout.notify.conftest import QUICK
from tests.guarded_rollout.notify.receivers import Answer, mail_server, webhook
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
AT = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., Notifier]
BOTH = Notifications(channels=(ChannelName.SLACK, ChannelName.TEAMS))


def note(number: int = 0, **facts: Any) -> Event:
    return event(Kind.MESSAGE, "production", AT, message=f"number {number}", **facts)


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fallback_lines(notifier: Notifier) -> list[dict[str, Any]]:
    path = notifier.fallback.path
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_an_event_is_delivered_once_to_every_channel(notifier: Make) -> None:
    with webhook() as slack, mail_server() as mailbox:
        environ = {
            "SLACK_WEBHOOK_URL": slack.url(),
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(mailbox.port),
            "EMAIL_FROM": "guard@example.org",
            "EMAIL_TO": "ops@example.org",
        }
        plan = Notifications(channels=(ChannelName.SLACK, ChannelName.EMAIL))
        with notifier(environ, plan) as guard:
            for number in range(5):
                guard.publish(note(number))
    assert len(slack.events()) == len(set(slack.events())) == 5
    assert len(mailbox.mails) == 5
    assert fallback_lines(guard) == []


def test_a_receiver_that_throttles_is_given_the_time_it_asks_for(notifier: Make) -> None:
    def answer(number: int) -> Answer:
        return Answer(429, headers={"Retry-After": "1"}) if number == 0 else Answer()

    patient = Patience(poll=0.05, retries=3, first_try=3, first_backoff=0.01, longest_backoff=0.01)
    with webhook(answer) as slack:
        begun = time.monotonic()
        with notifier({"SLACK_WEBHOOK_URL": slack.url()}, patience=patient) as guard:
            guard.publish(note())
        assert 1.0 <= time.monotonic() - begun < 6
    assert len(slack.attempts) == 2
    assert len(slack.accepted) == 1


@pytest.mark.parametrize(
    "dead", [Answer(500), Answer(hang=60), Answer(cut=True), Answer(400)], ids=["500", "hang", "cut", "400"]
)
def test_a_dead_channel_delays_no_other(notifier: Make, dead: Answer) -> None:
    with webhook(dead) as slack, webhook() as teams:
        environ = {
            "SLACK_WEBHOOK_URL": slack.url(),
            "TEAMS_WEBHOOK_URL": teams.url(),
            "NOTIFICATION_TIMEOUT": "3",
        }
        with notifier(environ, BOTH) as guard:
            begun = time.monotonic()
            events = [note(number) for number in range(20)]
            for each in events:
                guard.publish(each)
            wait_until(lambda: len(teams.accepted) == 20)
            assert time.monotonic() - begun < 2.5
        assert teams.events() == [each.id for each in events]
        assert fallback_lines(guard) == []  # one channel heard it


def test_what_failed_is_delivered_in_order_by_the_next_process(notifier: Make) -> None:
    events = [note(number) for number in range(30)]
    with webhook(Answer(503)) as slack:
        environ = {"SLACK_WEBHOOK_URL": slack.url()}
        with notifier(environ) as guard:
            for each in events:
                guard.publish(each)
        assert slack.accepted == []
        slack.answer = Answer()
        with notifier(environ):
            wait_until(lambda: len(slack.accepted) == 30)
    assert slack.events() == [each.id for each in events]


def test_a_poisoned_event_does_not_block_those_behind_it(notifier: Make) -> None:
    def answer(number: int) -> Answer:
        return Answer(400, "invalid_payload") if number == 0 else Answer()

    with webhook(answer) as slack, notifier({"SLACK_WEBHOOK_URL": slack.url()}) as guard:
        bad, good = note(1), note(2)
        guard.publish(bad)
        guard.publish(good)
        wait_until(lambda: len(slack.accepted) == 1)
    assert slack.events() == [good.id]
    [line] = fallback_lines(guard)
    assert line["id"] == bad.id
    assert line["notification_results"] == {"slack": "refused: answered 400: invalid_payload"}


def test_thousand_events_survive_an_outage_and_two_kills(tmp_path: Path) -> None:
    with webhook(Answer(503)) as slack, webhook(Answer(cut=True)) as teams:
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SLACK_WEBHOOK_URL": slack.url(),
            "TEAMS_WEBHOOK_URL": teams.url(),
        }

        def deliver(first: int, count: int) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "tests.guarded_rollout.notify.deliver", tmp_path, first, count]
            return subprocess.Popen(
                [str(word) for word in command],
                env=environ,
                cwd=ROOT,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )

        def ids(process: subprocess.Popen[str], count: int) -> list[str]:
            assert process.stdout is not None
            return [process.stdout.readline().strip() for _ in range(count)]

        # Every channel is down; killed while it stores and retries.
        with deliver(0, 1000) as process:
            stored = ids(process, 600)
            process.send_signal(signal.SIGKILL)
            assert process.stdout is not None
            stored += process.stdout.read().split()
        # Up again; killed in the middle of delivering.
        slack.answer, teams.answer = Answer(hang=0.001), Answer(202, hang=0.001)
        with deliver(len(stored), 1000 - len(stored)) as process:
            stored += ids(process, 1000 - len(stored))
            wait_until(lambda: len(slack.accepted) > 250)
            process.send_signal(signal.SIGKILL)
        assert len(set(slack.events())) < 1000
        with deliver(0, 0) as process:
            assert process.wait(60) == 0

    assert len(stored) == len(set(stored)) == 1000
    for receiver in (slack, teams):
        once = list(dict.fromkeys(receiver.events()))
        # One more may have been stored than the killed process could say.
        assert [id for id in once if id in set(stored)] == stored
        assert len(once) - len(stored) <= 1
        assert len(receiver.events()) - len(once) <= 1  # in flight when it was killed


# ---- when nobody hears


def test_what_nobody_received_is_in_the_fallback_file_with_the_reasons(notifier: Make) -> None:
    with webhook(Answer(500, "oops")) as slack, notifier({"SLACK_WEBHOOK_URL": slack.url()}) as guard:
        lost = note(1, operator="robin", data={"ticket": 7})
        guard.publish(lost)
    [line] = fallback_lines(guard)
    assert line["timestamp"] == "2026-01-01T00:00:00+00:00"
    assert (line["environment"], line["level"], line["message"]) == ("production", "info", "number 1")
    assert line["data"] == {"operator": "robin", "data": {"ticket": 7}}
    assert line["notification_results"] == {"slack": "pending: answered 500: oops"}
    assert line["fallback_reason"] == "no channel delivered it"
    assert guard.fallback.path.stat().st_mode & 0o077 == 0


def test_without_any_channel_the_reason_says_so(notifier: Make) -> None:
    with notifier(
        {"SLACK_WEBHOOK_URL": ""}, Notifications(channels=(ChannelName.SLACK, ChannelName.EMAIL))
    ) as guard:
        guard.publish(note())
    [line] = fallback_lines(guard)
    assert line["fallback_reason"] == "no channel is configured"
    assert line["notification_results"]["slack"].startswith("refused: not configured")
    assert set(line["notification_results"]) == {"slack", "email"}


def test_a_long_outage_reaches_the_fallback_file_while_the_process_lives(notifier: Make) -> None:
    with webhook(Answer(503)) as slack, notifier({"SLACK_WEBHOOK_URL": slack.url()}) as guard:
        for number in range(3):
            guard.publish(note(number))
        wait_until(lambda: len(fallback_lines(guard)) == 3)
        slack.answer = Answer()
        wait_until(lambda: len(slack.accepted) == 3)
    assert len(fallback_lines(guard)) == 3


def test_a_replay_sends_what_nobody_received_and_marks_it(notifier: Make) -> None:
    with webhook(Answer(404)) as slack:
        environ = {"SLACK_WEBHOOK_URL": slack.url()}
        with notifier(environ) as guard:
            events = [note(number) for number in range(3)]
            for each in events:
                guard.publish(each)
        with guard.fallback.path.open("a") as file:
            file.write("not json\n")
        with notifier(environ) as guard:
            assert guard.replay() == events
            assert not any(guard.delivered(each) for each in events)
        slack.answer = Answer()
        with notifier(environ) as guard:
            assert guard.replay() == events
            assert guard.replay() == []
    assert slack.events() == [each.id for each in events]
    lines = guard.fallback.path.read_text().splitlines()
    assert len(lines) == 4
    assert lines[3] == "not json"
    marked = [json.loads(line) for line in lines[:3]]
    assert all(line["replayed_at"] for line in marked)
    assert [line["notification_results"] for line in marked] == [{"slack": "delivered"}] * 3


def test_a_replay_marks_what_was_delivered_meanwhile_without_sending_it_twice(notifier: Make) -> None:
    with webhook(Answer(503)) as slack:
        environ = {"SLACK_WEBHOOK_URL": slack.url()}
        with notifier(environ) as guard:
            guard.publish(note())
        slack.answer = Answer()
        with notifier(environ):
            pass
        with notifier(environ) as guard:
            guard.replay()
    assert len(slack.accepted) == 1
    assert "replayed_at" in fallback_lines(guard)[0]


def test_a_line_of_an_older_fallback_file_is_replayed_once(notifier: Make, tmp_path: Path) -> None:
    line = {
        "timestamp": "2025-06-01T10:00:00.000Z",
        "environment": "production",
        "level": "error",
        "message": "from before",
        "data": {"gate": "health"},
        "notification_results": [],
        "fallback_reason": "all channels failed",
    }
    (tmp_path / "monitor_logs").mkdir()
    (tmp_path / "monitor_logs" / "notification_fallback.jsonl").write_text(json.dumps(line) + "\n")
    with webhook() as slack, notifier({"SLACK_WEBHOOK_URL": slack.url()}) as guard:
        guard.replay()
        guard.replay()
    [arrived] = slack.accepted
    assert "from before" in json.dumps(arrived.body)
    assert "gate: health" in json.dumps(arrived.body)


def test_an_outbox_that_breaks_sends_events_to_the_fallback_file(notifier: Make) -> None:
    with notifier({}) as guard:
        guard.outbox.close()
        guard.publish(note())
    [line] = fallback_lines(guard)
    assert "outbox" in line["fallback_reason"]


def test_what_no_disk_took_is_kept_until_one_does(notifier: Make, tmp_path: Path) -> None:
    """A full disk takes neither the outbox nor the fallback file: here neither can grow."""
    first, second = note(1), note(2)
    with notifier({}) as guard:
        with capture_logs() as said, no_file_grows_beyond(0):
            guard.publish(first)
            guard.publish(second)
            assert not guard.outbox.results(first)
        wait_until(lambda: bool(guard.outbox.results(first) and guard.outbox.results(second)))
    assert [line["message"] for line in fallback_lines(guard)] == ["number 1", "number 2"]
    assert "number 1" in str(said), "and the log has it should this process die first"


def test_what_the_outbox_could_not_take_is_sent_when_it_can_again(notifier: Make) -> None:
    sent = note(1)
    with webhook() as slack, notifier({"SLACK_WEBHOOK_URL": slack.url()}) as guard:
        with no_file_grows_beyond(4000):  # a page of the outbox does not fit, a line of the other file does
            guard.publish(sent)
            assert not guard.outbox.results(sent)
        wait_until(lambda: bool(slack.accepted))
    [line] = fallback_lines(guard)
    assert "disk" in line["fallback_reason"]
    assert len(slack.accepted) == 1


def test_a_disk_that_fills_up_leaves_no_half_line(tmp_path: Path) -> None:
    fallback = Fallback(tmp_path)
    fallback.add(note(1), "one", {}, "")
    with no_file_grows_beyond(fallback.path.stat().st_size + 100), pytest.raises(FallbackFileError):
        fallback.add(note(2), "two", {}, "")
    fallback.add(note(3), "three", {}, "")
    assert [line.event and line.event.message for line in fallback.lines()] == ["number 1", "number 3"]


# ---- bad input


def test_a_malformed_address_keeps_the_event_and_shows_no_secret(
    notifier: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    with webhook() as teams:
        environ = {
            "SLACK_WEBHOOK_URL": "hooks.example.org/T0/secretpath",
            "TEAMS_WEBHOOK_URL": teams.url(),
        }
        with notifier(environ, BOTH) as guard:
            sent = note()
            guard.publish(sent)
    assert len(teams.accepted) == 1
    result = guard_results(notifier, sent)["slack"]
    assert result == "refused: SLACK_WEBHOOK_URL: is not an address such as https://host/path."
    out, err = capfd.readouterr()
    assert "secretpath" not in out + err + result


def guard_results(notifier: Make, sent: Event) -> dict[str, str]:
    return {name: str(result) for name, result in notifier({}).outbox.results(sent).items()}


def test_secrets_are_in_no_log_and_no_result(notifier: Make, capfd: pytest.CaptureFixture[str]) -> None:
    with webhook(Answer(500, "no such hook: /hook/token-1234567")) as slack:
        with notifier({"SLACK_WEBHOOK_URL": slack.url()}) as guard:
            guard.publish(note())
        everything = "".join(capfd.readouterr()) + guard.fallback.path.read_text()
    assert "postponed" in everything
    assert "token-1234567" not in everything


def test_a_megabyte_is_cut_with_a_notice_and_kept_whole(notifier: Make) -> None:
    with webhook() as slack, webhook() as teams, webhook() as discord, webhook(Answer(202)) as pager:
        environ = {
            "SLACK_WEBHOOK_URL": slack.url(),
            "TEAMS_WEBHOOK_URL": teams.url(),
            "DISCORD_WEBHOOK_URL": discord.url(),
            "PAGER_URL": pager.url(),
            "PAGER_ROUTING_KEY": "k",
        }
        plan = Notifications(
            channels=(ChannelName.SLACK, ChannelName.TEAMS, ChannelName.DISCORD, ChannelName.PAGER)
        )
        huge = event(Kind.MESSAGE, "production", AT, message="<m> " * 262_144)
        with notifier(environ, plan) as guard:
            guard.publish(huge)
            wait_until(lambda: all(receiver.accepted for receiver in (slack, teams, discord, pager)))
    for receiver in (slack, teams, discord, pager):
        body = json.dumps(receiver.accepted[0].body, ensure_ascii=False)
        assert "shortened: 1,048,575 characters" in body
        assert len(body) < 28_000


def test_a_broken_settings_file_stops_nothing_and_is_the_reason(notifier: Make, tmp_path: Path) -> None:
    (tmp_path / ".env.notifications").write_text(
        "SLACK_WEBHOOK_URL=http://127.0.0.1:9/x\nthis is no setting\n"
    )
    with notifier({}) as guard:
        guard.publish(note())
    [line] = fallback_lines(guard)
    assert "line 2 is not a setting" in line["fallback_reason"]


def test_a_broken_template_of_the_operator_s_stops_nothing(notifier: Make, tmp_path: Path) -> None:
    (tmp_path / "notification_templates").mkdir()
    (tmp_path / "notification_templates" / "message.txt").write_text("$massage\n")
    with webhook() as slack, notifier({"SLACK_WEBHOOK_URL": slack.url()}) as guard:
        guard.publish(note(7))
    assert "number 7" in json.dumps(slack.accepted[0].body)


def test_a_clock_that_was_set_back_does_not_silence_a_channel(notifier: Make) -> None:
    with webhook() as slack:
        guard = notifier({"SLACK_WEBHOOK_URL": slack.url()})
        guard.publish(note())
        head = guard.outbox.head("slack")
        assert head is not None
        guard.outbox.postpone(head, "down", due=time.time() + 30 * 86_400)
        with guard:
            wait_until(lambda: len(slack.accepted) == 1)


def test_own_words_go_to_every_configured_channel_but_page_only_when_critical(notifier: Make) -> None:
    environ = {"SLACK_WEBHOOK_URL": "x", "TEAMS_WEBHOOK_URL": "x", "PAGER_ROUTING_KEY": "x"}
    guard = notifier(environ)
    assert guard.all_channels(note()) == ("slack", "teams")
    critical = event(Kind.MESSAGE, "production", AT, level=Level.CRITICAL, message="now")
    assert guard.all_channels(critical) == ("slack", "teams", "pager")
    assert guard.default_channels() == ("slack",)


def test_the_quick_patience_of_these_tests_still_tries_more_than_once() -> None:
    assert QUICK.attempts > 1
    assert DeliveryState.PENDING == "pending"


@pytest.mark.parametrize("asked", ["0", "-5", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_receiver_that_asks_for_no_wait_is_not_hammered(notifier: Make, asked: str) -> None:
    patient = Patience(poll=0.05, retries=1, first_try=1, first_backoff=0.2, longest_backoff=0.2)
    with webhook(Answer(429, headers={"Retry-After": asked})) as slack:
        with notifier({"SLACK_WEBHOOK_URL": slack.url()}, patience=patient) as guard:
            guard.publish(note())
        assert 2 <= len(slack.attempts) <= 20
