"""The pages over HTTP: what they say, what they hide, whom they refuse."""

import gzip
import json
import os
import re
import signal
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from guarded_rollout.backup.copies import RECORD, CopyRecord
from guarded_rollout.clock import Instant
from guarded_rollout.config.environments import load
from guarded_rollout.gates.verdict import GateOutcome
from guarded_rollout.host.release import short
from guarded_rollout.journal.model import RolloutOutcome as End
from guarded_rollout.lock import acquire
from guarded_rollout.notify.events import Kind, event
from guarded_rollout.notify.outbox import DeliveryState, Outbox
from tests.guarded_rollout.gatekit import SHIPPED
from tests.guarded_rollout.sandbox import wait_until
from tests.guarded_rollout.ui.uikit import HOST, NEW, OLD, Place, Site

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}'


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_an_empty_project_has_a_page_that_says_what_to_do(site: Site) -> None:
    assert "Nothing serves in production yet" in text_of(site.get("/env/production").text)
    assert "production" in text_of(site.get("/").text)


def test_a_watched_release_is_seen_with_its_steps_gates_and_traffic(place: Place, site: Site) -> None:
    rollout = place.watched(why="faster")
    began_at = place.clock.now().timestamp() - 600
    place.watch(place.log(rollout, began_at), began_at, 600, lambda age: 0.02)
    said = text_of(site.get("/env/production").text)
    for part in (
        f"{short(NEW)} is being watched",
        "3 gates pass",
        "preflight done",
        "watch under way",
        "100 %",
        "2 % (limit 5 %)",
        "candidate 2 %",
        "stable 1 %",
        "faster",
    ):
        assert part in said, part


def test_releases_go_by_short_names_and_tell_the_whole_one_on_hover(place: Place, site: Site) -> None:
    place.log(place.watched())
    for path in ("/", "/env/production", "/env/production/confirm/abort"):
        html = site.get(path).text
        assert f'<abbr title="{NEW}">{short(NEW)}</abbr>' in html, path
        assert NEW not in text_of(html), path


def test_a_share_that_is_held_counts_down_to_the_next(place: Place, site: Site) -> None:
    place.release(OLD, "blue")
    place.running()
    first = place.environment.traffic[0]
    with acquire(place.environment.lock, environment="production", command="rollout up"):
        rollout = place.journal.begin("production", "up", operator="me", source=OLD, target=NEW)
        place.journal.intend(rollout, "shift")
        place.journal.note(rollout, "share", percent=first.percent)
        html = site.get("/env/production").text
    told = text_of(html)
    assert f"Shifting traffic to {short(NEW)} : {first.percent} % , next step in " in told
    (at,) = re.findall(r'class="following">, next step in <span data-until="([\d.]+)"', html)
    assert float(at) == pytest.approx(place.clock.now().timestamp() + first.hold_seconds, abs=30)


def test_copies_elsewhere_tell_what_was_sent_and_what_failed(place: Place) -> None:
    assert "Backups stay on this machine." in text_of(Site(place).get("/env/production?tab=copies").text)
    file = place.folder / "rollout.toml"
    targets = {"disk": "/mnt/copies", "offsite": "s3:s3.example/b", "new": "sftp:x:/b"}
    tables = [
        f'[backup.copies.{name}]\nrepository = "{repository}"\npassword = "$COPY"\n'
        for name, repository in targets.items()
    ]
    file.write_text(file.read_text() + "".join(tables))
    place.project = load(file)
    sent_at = (datetime.now(UTC) - timedelta(minutes=3)).isoformat()
    records = [
        CopyRecord("disk", "dhash_production_1.zip", sent_at, "a1b2c3d4", 2_500_000, 1.5),
        CopyRecord("offsite", "dhash_production_1.zip", sent_at, problem="connection <refused>"),
    ]
    (place.environment.root / RECORD).write_text(json.dumps([asdict(one) for one in records]))
    html = Site(place).get("/env/production?tab=copies").text
    assert 'aria-current="page">Copies</a>' in html
    told = text_of(html)
    for part in (
        "disk on this machine sent",
        "restic:a1b2c3d4",
        "2.5 MB 1.5 s",
        "offsite failed",
        "connection <refused>",
        "new nothing sent yet",
    ):
        assert part in told, part


def test_a_failing_gate_is_the_first_thing_said(place: Place, site: Site) -> None:
    rollout = place.watched()
    began_at = place.clock.now().timestamp() - 600
    place.watch(place.log(rollout, began_at), began_at, 600, lambda age: 0.3 if age > 300 else 0.01)
    html = site.get("/env/production").text
    assert 'class="headline bad"' in html
    said = text_of(html)
    assert "Quality gate failed: extraction_failure_rate" in said
    assert "The monitor takes it back by itself" in said


def test_names_notes_and_reasons_of_others_are_text(place: Place, site: Site) -> None:
    rollout = place.watched(operator=HOSTILE, why=HOSTILE)
    log = place.log(rollout)
    log.write(1.0, "warning", HOSTILE)
    place.journal.note(rollout, "gate", gate=HOSTILE, news=HOSTILE, reason=HOSTILE)
    outbox = Outbox.open(place.environment.root / "notifications.db")
    told = event(Kind.MESSAGE, "production", place.clock.now(), message=HOSTILE, operator=HOSTILE)
    outbox.put(told, [HOSTILE.replace("/", "")], place.clock.now())
    outbox.close()
    for path in (
        "/env/production",
        f"/env/production/rollouts/{rollout}",
        "/",
        "/env/production/confirm/abort",
    ):
        html = site.get(path).text
        assert "<img" not in html, path
        assert "<script>alert" not in html, path
        assert "49" not in re.findall(r"script>(.*?)<", html)
    assert HOSTILE in unescape(site.get("/env/production").text)


def test_what_is_wrong_with_a_channel_is_said_once(place: Place, site: Site) -> None:
    outbox = Outbox.open(place.environment.root / "notifications.db")
    for number in range(3):
        told = event(Kind.MESSAGE, "production", place.clock.now(), message=f"message {number}")
        outbox.put(told, ["slack", "console"], place.clock.now())
        for channel, state, problem in (
            ("slack", DeliveryState.REFUSED, "SLACK_WEBHOOK_URL is not set"),
            ("console", DeliveryState.DELIVERED, ""),
        ):
            delivery = outbox.head(channel)
            assert delivery is not None
            outbox.finish(delivery, state, problem)
    outbox.put(
        event(Kind.MESSAGE, "production", place.clock.now(), message="late"), ["email"], place.clock.now()
    )
    outbox.close()
    said = text_of(site.get("/env/production").text)
    assert said.count("SLACK_WEBHOOK_URL is not set") == 1
    assert said.count("slack refused") == said.count("console delivered") == 3
    assert "1 pending" in said
    assert "email pending" in said


def test_every_answer_has_the_headers_that_keep_others_out(place: Place, site: Site) -> None:
    rollout = place.watched()
    for path in ("/", "/env/production", f"/env/production/rollouts/{rollout}", "/login", "/nowhere"):
        headers = site.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
    html = site.get("/env/production").text
    assert re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:", html) is None


def test_the_first_page_fits_in_a_hundred_kilobytes(place: Place, site: Site) -> None:
    rollout = place.watched()
    began_at = place.clock.now().timestamp() - 3600
    place.watch(place.log(rollout, began_at), began_at, 3600, lambda age: 0.01 + (age % 7) / 300)
    page = site.get("/env/production")
    linked = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
    linked += ["/static/charts.js", "/env/production/series"]
    sizes = {"page": len(gzip.compress(page.content, 5))}
    for path in linked:
        answer = site.get(path)
        assert answer.status_code == 200, path
        assert answer.headers.get("content-encoding") == "gzip" or len(answer.content) < 1000, path
        sizes[path] = len(gzip.compress(answer.content, 5))
    assert sum(sizes.values()) < 100_000, sizes
    series = site.get("/env/production/series").json()["gates"]["extraction_failure_rate"]
    assert len(series["candidate"][0]) == 721
    assert len(series["stable"][0]) == 721


def test_a_reader_on_another_machine_needs_the_token(place: Place) -> None:
    site = Site(place, loopback=False)
    for path in ("/", "/env/production", "/env/production/series"):
        answer = site.get(path)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login"), path
    assert site.get("/login").status_code == 200
    site.sign_in()
    assert site.get("/env/production").status_code == 200


def test_signing_in_sets_a_cookie_that_no_script_and_no_other_site_can_use(site: Site) -> None:
    answer = site.post("/login", data={"token": "t" * 43, "next": "/env/production"})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert answer.headers["location"] == "/env/production"


@pytest.mark.parametrize("following", ["//evil.example", "https://evil.example", "/\\evil.example", ""])
def test_signing_in_leads_nowhere_else(site: Site, following: str) -> None:
    answer = site.post("/login", data={"token": "t" * 43, "next": following})
    assert answer.headers["location"] == "/"


def test_a_wrong_token_is_told_so(site: Site) -> None:
    answer = site.post("/login", data={"token": "wrong"})
    assert answer.status_code == 401
    assert "That is not the token" in text_of(answer.text)


def test_the_one_time_address_signs_in_once(site: Site) -> None:
    address = f"/login?once={site.access.once()}"
    assert site.get(address).status_code == 303
    site.client.cookies.clear()
    assert site.get(address).status_code == 401


def test_nobody_acts_without_signing_in(place: Place, site: Site) -> None:
    place.watched()
    answer = site.post("/env/production/do/abort", data={"rollout": "x"})
    assert answer.status_code == 401
    assert site.jobs.recent("production") == []


def test_a_form_that_another_site_forged_does_nothing(place: Place, site: Site) -> None:
    rollout = place.watched()
    csrf = site.sign_in()
    whole = {"rollout": str(rollout), "csrf": csrf}
    for headers in (
        {"origin": "http://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"host": "evil.example:3010"},
    ):
        assert site.post("/env/production/do/abort", data=whole, headers=headers).status_code == 403
    for form in ({**whole, "csrf": ""}, {**whole, "csrf": "0" * 64}, {"rollout": str(rollout)}):
        answer = site.post("/env/production/do/abort", data=form)
        assert answer.status_code == 409
        assert "not of your session" in text_of(answer.text)
    assert site.get("/env/production/do/abort").status_code == 405
    assert site.jobs.recent("production") == []


def test_what_is_not_possible_is_refused_with_its_reason(place: Place, site: Site) -> None:
    csrf = site.sign_in()
    answer = site.post("/env/production/do/abort", data={"csrf": csrf, "rollout": "x"})
    assert answer.status_code == 409
    assert "No rollout is open." in text_of(answer.text)
    assert "No rollout is open." in text_of(site.get("/env/production/confirm/abort").text)


def test_a_form_larger_than_ours_is_refused(place: Place, site: Site) -> None:
    place.watched()
    csrf = site.sign_in()
    answer = site.post("/env/production/do/abort", data={"csrf": csrf, "why": "x" * 20_000})
    assert answer.status_code == 409


@pytest.mark.parametrize(
    "path",
    [
        "/env/nowhere",
        "/env/production/rollouts/00000000-0000-0000-0000-000000000000",
        "/env/production/rollouts/x",
        "/env/production/confirm/format",
        "/env/production/confirm/verify?backup=../../etc/passwd",
        "/static/../app.py",
        "/env/../../etc/passwd",
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(site: Site, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code in (404, 409), path
    assert "Traceback" not in answer.text


def test_a_command_runs_as_it_would_in_a_terminal_and_its_end_is_shown(place: Place, site: Site) -> None:
    rollout = place.watched()
    csrf = site.sign_in()
    form = {"csrf": csrf, "rollout": str(rollout)}
    assert site.post("/env/production/do/pause", data=form).status_code == 303
    wait_until(lambda: not site.jobs.recent("production")[0].running, 20, "the command's end")
    (job,) = site.jobs.recent("production")
    assert (job.words, job.exit_code) == (("rollout", "pause", "--env", "production"), 0), site.jobs.output(
        job
    )
    said = text_of(site.get("/env/production").text)
    assert "rollout pause --env production succeeded" in said
    assert f"The window of {short(NEW)} is paused with" in said, "what the command printed"
    assert said.count(f"The window of {short(NEW)} is paused") == 2, "the headline says it too"


def test_a_job_whose_process_died_is_not_running_for_ever(place: Place, site: Site) -> None:
    rollout = place.watched()
    csrf = site.sign_in()
    site.post("/env/production/do/pause", data={"csrf": csrf, "rollout": str(rollout)})
    (job,) = site.jobs.recent("production")
    told = place.folder / ".rollout-ui" / "jobs" / job.id / "process.json"
    wait_until(told.exists, 20)
    os.kill(json.loads(told.read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: site.jobs.recent("production")[0].lost, 20)
    assert "its process died" in text_of(site.get("/env/production").text)


@pytest.mark.parametrize(
    ("dead", "said"),
    [
        ("green.lock", f"{short(NEW)} does not run"),
        ("proxy.lock", "The proxy does not run"),
        ("blue.lock", f"{short(OLD)} is not warm"),
        ("supervisord.pid", "The supervisor does not run"),
    ],
)
def test_what_is_down_is_said_whatever_the_journal_tells(
    place: Place, site: Site, dead: str, said: str
) -> None:
    place.log(place.watched())
    assert said not in text_of(site.get("/env/production").text)
    (place.environment.root / "supervisor" / dead).write_text("4194305")  # above the highest pid there is
    assert said in text_of(site.get("/env/production").text)


def test_a_monitor_that_is_gone_is_said_and_never_called_live(place: Place, site: Site) -> None:
    from guarded_rollout.monitor import heartbeat

    rollout = place.watched()
    log = place.log(rollout)
    long_ago = Instant(datetime.now(UTC) - timedelta(seconds=300))
    heartbeat.beat(place.environment, long_ago, str(rollout), time.time() - 400, log.path)
    place.journal.close()
    html = site.get("/env/production").text
    assert "the monitor was last seen" in text_of(html)


def test_a_damaged_journal_is_said_and_the_rest_is_shown(place: Place, site: Site) -> None:
    place.release(OLD, "blue")
    place.journal.close()
    for path in place.environment.root.glob("journal.db*"):
        path.unlink()
    place.environment.journal.write_bytes(b"no database at all, and long enough to be looked at " * 40)
    said = text_of(site.get("/env/production").text)
    assert "The journal cannot be read" in said
    assert "Cannot read the journal" in said
    assert f"{short(OLD)} serves" in said
    assert site.get("/").status_code == 200
    assert site.get("/env/production/rollouts/00000000-0000-0000-0000-000000000000").status_code == 409


def test_wrong_gates_are_said_and_do_not_hide_the_monitors_verdicts(place: Place, site: Site) -> None:
    rollout = place.watched()
    began_at = place.clock.now().timestamp() - 60
    place.watch(place.log(rollout, began_at), began_at, 60, lambda age: 0.01)
    place.environment.gates.write_text("{")
    said = text_of(site.get("/env/production").text)
    assert "Cannot read the gates file" in said
    assert "extraction_failure_rate" in said


def test_a_rollout_that_ended_badly_leads_to_what_broke_it(place: Place, site: Site) -> None:
    rollout = place.watched()
    place.journal.end(rollout, End.ROLLED_BACK, "extraction_failure_rate: too many")
    html = site.get("/env/production").text
    assert f"{short(NEW)} was taken back" in text_of(html)
    assert f'href="/env/production/rollouts/{rollout}"' in html


def test_a_window_is_judged_again_by_other_thresholds(place: Place, site: Site) -> None:
    rollout = place.watched()
    began_at = place.clock.now().timestamp() - 900
    place.watch(place.log(rollout, began_at), began_at, 900, lambda age: 0.04)
    path = f"/env/production/rollouts/{rollout}"
    said = text_of(site.get(path).text)
    assert "judged again by other thresholds" in said
    assert "would" not in said
    strict = text_of(site.get(f"{path}?extraction_failure_rate.max_failure_percentage=1").text)
    assert "These thresholds would have rolled back" in strict
    assert "Those of the gates file would not have rolled back" in strict
    assert "extraction_failure_rate differs" in strict
    assert str(GateOutcome.FAIL) in strict


def test_a_rollout_under_the_shipped_gates_has_its_page_and_its_replay(place: Place, site: Site) -> None:
    place.environment.gates.write_text(SHIPPED.read_text())
    rollout = place.watched()
    began_at = place.clock.now().timestamp() - 300
    place.watch(place.log(rollout, began_at), began_at, 300, lambda age: 0.01)
    path = f"/env/production/rollouts/{rollout}"
    answer = site.get(path)
    assert answer.status_code == 200
    given = dict(re.findall(r'name="(\w+\.\w+)" value="([^"]*)"', answer.text))
    assert given["relative_memory.min_value"] == "300000000", "as the gates file says it"
    again = site.get(path, params={**given, "memory_trend.times_stable": "2"})
    assert 'id="answer"' in again.text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("x", "is not a number"),
        ("101", "100"),
        ("-1", "0"),
        ("nan", "nan"),
        ("1e999", "inf"),
        ("", "is not a number"),
    ],
)
def test_bad_thresholds_are_named_and_nothing_is_judged(
    place: Place, site: Site, given: str, told: str
) -> None:
    rollout = place.watched()
    place.watch(place.log(rollout), time.time(), 30, lambda age: 0.0)
    path = f"/env/production/rollouts/{rollout}?extraction_failure_rate.max_failure_percentage={given}"
    answer = site.get(path)
    assert answer.status_code == 200
    problem = re.search(r'<p class="notice bad" role="alert">(.*?)</p>', answer.text)
    assert problem is not None
    assert "extraction_failure_rate" in problem[1]
    assert told in unescape(problem[1]).lower()
    assert 'id="answer"' not in answer.text


def test_host_names_of_others_get_no_page(site: Site) -> None:
    answer = site.get("/", headers={"host": "rebound.example:3010"})
    assert answer.status_code == 403
    assert HOST not in answer.text
