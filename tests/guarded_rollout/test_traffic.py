import os
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from guarded_rollout.config.gates import GlobalSettings
from guarded_rollout.errors import NoAnswerError, PortTakenError
from guarded_rollout.host.caddy import PIN, SIDE_COOKIE, TRY_COOKIE, TRY_HEADER, TRY_SECONDS, configuration
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.monitor.crashes import CrashesSource
from guarded_rollout.monitor.edge_log import EdgeSource
from guarded_rollout.monitor.stall import StallSource, counted
from guarded_rollout.monitor.targets import edge_log_of, samplers_of
from tests.guarded_rollout.gatekit import shipped
from tests.guarded_rollout.sandbox import Sandbox, wait_until

SILENT_SECONDS = 0.5


@pytest.fixture(scope="module")
def running_site():
    """The same release in both slots: its pid tells which one answered."""
    made = Sandbox()
    text = (made.folder / "rollout.toml").read_text()
    silent = f"[service]\nsilent_seconds = {SILENT_SECONDS}"
    (made.folder / "rollout.toml").write_text(text.replace("[service]", silent, 1))
    site = made.site
    release = site.build(None)
    site.require(release, "schema_upgrade")
    yield site
    made.close()


@pytest.fixture
def two_slots(running_site):
    """Both slots up, blue with all of the traffic, whatever the test before did."""
    site, release = running_site, running_site.build(None)
    site.traffic.give("blue", 100)
    for slot in ("blue", "green"):
        site.start(slot, release)
    site.traffic.ensure()
    wait_until(lambda: site.answers("blue") and site.answers("green"))
    wait_until(lambda: answers(site) == "blue")
    return site


def answers(site) -> str | None:
    """The slot that answers on the public port."""
    try:
        pid = site.public().ask("GET", "/").json()["pid"]
    except NoAnswerError:
        return None
    return next(name for name in ("blue", "green") if site.processes.state(name).pid == pid)


def count(site, requests: int = 60) -> Counter:
    slots = {site.processes.state(name).pid: name for name in ("blue", "green")}
    return Counter(slots[site.public().ask("GET", "/").json()["pid"]] for _ in range(requests))


def test_the_share_moves_with_the_file_and_nothing_is_reloaded(two_slots):
    proxy = two_slots.processes.state("proxy").pid
    assert count(two_slots) == {"blue": 60}
    two_slots.traffic.give("green", 50)
    half = count(two_slots, 200)
    assert 60 < half["green"] < 140  # six standard deviations around 100
    two_slots.traffic.give("green", 100)
    assert count(two_slots) == {"green": 60}
    assert two_slots.traffic.serving() == "green"
    assert two_slots.traffic.share() == {"blue": 0, "green": 100}
    two_slots.traffic.give("blue", 100)
    assert count(two_slots) == {"blue": 60}
    assert two_slots.processes.state("proxy").pid == proxy


def test_a_missing_share_file_sends_everything_to_blue(two_slots):
    two_slots.traffic.give("green", 100)
    two_slots.traffic.share_file.unlink()
    assert count(two_slots) == {"blue": 60}
    assert two_slots.traffic.share() == {"blue": 100, "green": 0}
    assert two_slots.traffic.serving() == "blue"


def test_a_dead_slot_costs_no_request_that_may_be_sent_twice(two_slots):
    two_slots.traffic.give("green", 100, spare=True)
    green = two_slots.processes.state("green").pid
    os.kill(green, signal.SIGKILL)
    answer = two_slots.public().ask("POST", "/api/dhash", body=os.urandom(20_000))
    assert answer.status == 201
    assert two_slots.public().ask("GET", "/").ok


def test_what_clients_got_is_in_the_edges_log_and_what_checks_ask_is_not(two_slots):
    two_slots.traffic.give("green", 100, spare=True)
    wait_until(lambda: answers(two_slots) == "green")  # a slot that failed is left out for two seconds
    log = edge_log_of(two_slots.environment)
    log.begin(time.time())
    asked = [
        two_slots.public().ask("GET", path).status for path in ("/", "/", "/health/?a=secret", "/nowhere")
    ]
    pinned = {PIN: "blue"}
    assert two_slots.public().ask("GET", "/", headers=pinned).json()["pid"] == pid(two_slots, "blue")
    wait_until(lambda: log.counts("green").counters["requests_total"] == len(asked))
    assert log.counts("green").counters['requests_total{route="/health/*"}'] == 1
    assert log.counts("blue").counters["requests_total"] == 0
    assert "secret" not in two_slots.environment.edge_log.read_text()


def test_a_frozen_slot_costs_reads_no_more_than_a_while(two_slots):
    log = edge_log_of(two_slots.environment)
    log.begin(time.time())
    two_slots.traffic.give("green", 100, spare=True)
    frozen = pid(two_slots, "green")
    os.kill(frozen, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        answer = two_slots.public().ask("GET", "/")
        assert answer.json()["pid"] == pid(two_slots, "blue")
        assert SILENT_SECONDS <= time.monotonic() - begun < SILENT_SECONDS + 2
    finally:
        os.kill(frozen, signal.SIGCONT)
    wait_until(lambda: log.counts("green").counters["passed_on_total"] == 1)
    assert log.counts("blue").counters["requests_total"] == 1


def test_requests_that_a_killed_slot_had_in_hand_are_its_crash(two_slots):
    two_slots.traffic.give("green", 100, spare=True)
    wait_until(lambda: answers(two_slots) == "green")
    samplers = samplers_of(two_slots.environment, None, shipped("production"), GlobalSettings())
    (crashes,) = [one for one in samplers if isinstance(one, CrashesSource)]
    (log,) = [one.log for one in samplers if isinstance(one, EdgeSource)]
    log.begin(time.time())
    assert crashes.sample().gauges == {"crashes": 0}
    killed, before = pid(two_slots, "green"), begun(two_slots, "green")
    os.kill(killed, signal.SIGSTOP)
    with ThreadPoolExecutor() as clients:
        asked = [
            clients.submit(two_slots.public().ask, "POST", path, body=b"x")
            for path in ("/api/dhash", "/other")
        ]
        wait_until(lambda: begun(two_slots, "green") == before + 2, what="both are in its hands")
        os.kill(killed, signal.SIGKILL)
        assert [one.result().status for one in asked] == [201, 502]
    wait_until(lambda: log.counts("green").counters["unserved_total"] == 2)
    wait_until(lambda: crashes.sample().gauges == {"crashes": 1})


def test_a_slot_that_stands_still_is_seen_before_anybody_has_given_up(two_slots):
    two_slots.traffic.give("green", 100, spare=True)
    wait_until(lambda: answers(two_slots) == "green")
    samplers = samplers_of(two_slots.environment, None, shipped("production"), GlobalSettings())
    (stall,) = [one for one in samplers if isinstance(one, StallSource)]
    assert stall.sample().gauges == {"unanswered_seconds": 0}
    frozen = pid(two_slots, "green")
    os.kill(frozen, signal.SIGSTOP)
    with ThreadPoolExecutor() as clients:
        try:
            patient = replace(two_slots.public(), timeout_seconds=60)
            asked = clients.submit(patient.ask, "POST", "/api/dhash", body=os.urandom(20))
            wait_until(lambda: stall.sample().gauges["unanswered_seconds"] > 2)
            assert not asked.done()
        finally:
            os.kill(frozen, signal.SIGCONT)
        assert asked.result().status == 201
    wait_until(lambda: stall.sample().gauges == {"unanswered_seconds": 0})


def begun(site, slot: str) -> float:
    """The requests that the proxy has passed on to a slot, answered or not."""
    return counted(Endpoint(site.traffic.admin_socket).ask("GET", "/metrics").text, slot)[0]


def pid(site, slot: str) -> int:
    return site.processes.state(slot).pid


@pytest.mark.parametrize("slot", ["blue", "green"])
def test_a_slot_that_is_no_spare_gets_nothing_whatever_happens_to_the_other(two_slots, slot):
    """It may hold a release that nobody has verified yet: its answers would be acknowledged writes."""
    two_slots.traffic.give(slot, 100)
    wait_until(lambda: answers(two_slots) == slot)
    os.kill(two_slots.processes.state(slot).pid, signal.SIGKILL)
    begun = time.monotonic()
    while (status := two_slots.public().ask("POST", "/api/dhash", body=os.urandom(20_000)).status) != 201:
        waited = time.monotonic() - begun
        assert status == 502
        assert waited >= TRY_SECONDS, "it is waited for: the supervisor has it back"
        assert waited < 30, "the supervisor does not have it back"
    assert count(two_slots, 20) == {slot: 20}


def test_a_request_that_may_not_be_sent_twice_is_answered_with_a_problem(two_slots):
    two_slots.traffic.give("green", 100)
    wait_until(lambda: answers(two_slots) == "green")  # a slot that failed is left out for two seconds
    two_slots.processes.stop("green")
    answer = two_slots.public().ask("POST", "/api/dhash/queue/1/decision", body=b"{}")
    assert answer.status in (502, 503)
    assert answer.json()["type"] == "/problems/unavailable"


def test_a_stopped_release_finishes_what_it_has_in_its_hands(two_slots):
    slow = threading.Thread(
        target=lambda: seen.append(two_slots.public().ask("GET", "/slow?seconds=1.5").status)
    )
    seen: list[int] = []
    slow.start()
    wait_until(lambda: connections(two_slots) > 0)
    two_slots.traffic.give("green", 100)
    two_slots.stop("blue")
    slow.join()
    assert seen == [200]


def connections(site) -> int:
    import psutil

    inner = str(site.slots.socket("blue"))
    pid = site.processes.state("blue").pid
    return sum(connection.laddr == inner for connection in psutil.Process(pid).net_connections("unix")) - 1


def test_a_taken_port_is_refused_before_the_proxy_starts(sandbox):
    with socket.socket() as other:
        other.bind(("127.0.0.1", sandbox.port))
        other.listen()
        with pytest.raises(PortTakenError, match=str(sandbox.port)):
            sandbox.site.traffic.ensure()
    assert not sandbox.site.processes.wanted("proxy")
    assert not sandbox.site.processes.up()


def test_a_killed_proxy_is_back_with_the_same_share(two_slots):
    two_slots.traffic.give("green", 100)
    os.kill(two_slots.processes.state("proxy").pid, signal.SIGKILL)
    wait_until(lambda: answers(two_slots) == "green")


def test_the_configuration_is_the_same_whatever_the_share(sandbox):
    site = sandbox.site
    before = configuration(site.environment)
    site.traffic.give("green", 37)
    assert configuration(site.environment) == before
    assert site.traffic.share() == {"blue": 63, "green": 37}


def test_clients_may_send_any_origin_and_the_admin_socket_is_ours_alone(two_slots):
    assert two_slots.public().ask("GET", "/", headers={"Origin": "http://evil.example"}).ok
    assert (two_slots.traffic.admin_socket.stat().st_mode & 0o777) == 0o600
    metrics = Endpoint(two_slots.traffic.admin_socket).ask("GET", "/metrics").body.decode()
    assert 'server="blue"' in metrics


def test_a_release_learns_who_asks_and_whether_by_https(two_slots):
    plain = two_slots.public().ask("GET", "/forwarded").json()
    assert plain["x-forwarded-for"] in ("127.0.0.1", "::1")
    assert plain["x-forwarded-proto"] == "http"
    tls = two_slots.public().ask("GET", "/forwarded", headers={"X-Forwarded-Proto": "https"}).json()
    assert tls["x-forwarded-proto"] == "https"  # as a program that ends TLS on this machine says


# ---- who answered, and asking for the candidate


def named(site, **headers: str) -> str:
    """The slot whose release the answer names."""
    answer = site.public().ask("GET", "/", headers=headers)
    assert answer.ok
    return answer.headers["x-release"]


@pytest.fixture
def two_names(two_slots):
    """Both slots have the same release here: let the names be those of the slots."""
    for slot in ("blue", "green"):
        assert two_slots.slots.name_file(slot).read_text() == two_slots.slots.release(slot).id
        two_slots.slots.name_file(slot).write_text(slot)
    yield two_slots
    two_slots.slots.name()
    two_slots.traffic.give("blue", 100)


def test_an_answer_names_the_release_that_gave_it(two_names):
    two_names.traffic.give("green", 50, spare=True)
    for _ in range(20):
        answer = two_names.public().ask("GET", "/")
        pid = two_names.processes.state(answer.headers["x-release"]).pid
        assert answer.json()["pid"] == pid


@pytest.mark.parametrize("candidate", ["green", "blue"])
def test_testers_ask_for_the_candidate_by_header_or_cookie(two_names, candidate):
    traffic = two_names.traffic
    stable = "blue" if candidate == "green" else "green"
    traffic.give(candidate, 1, spare=True)
    assert traffic.candidate() == candidate
    assert traffic.share()[candidate] == 1
    key = traffic.open_to_testers()
    assert traffic.open_to_testers() == key
    for headers in ({TRY_HEADER: key}, {"Cookie": f"a=1; {TRY_COOKIE}={key}"}):
        assert {named(two_names, **headers) for _ in range(20)} == {candidate}
    for wrong in ("", key[:-1], "{http.vars.try}", "null"):
        assert (
            named(two_names, **{TRY_HEADER: wrong}) == stable
            or named(two_names, **{TRY_HEADER: wrong}) == stable
        )
    assert {named(two_names) for _ in range(20)} >= {stable}
    traffic.give(candidate, 100, spare=True)
    assert named(two_names, **{TRY_HEADER: key}) == candidate
    traffic.give(stable, 100)
    assert traffic.candidate() is None
    assert traffic.tester_key() == "", "a key ends with its rollout"
    assert {named(two_names, **{TRY_HEADER: key}) for _ in range(10)} == {stable}


def test_nobody_asks_for_a_candidate_that_is_not_verified_or_unless_it_was_opened(two_names):
    key = two_names.traffic.open_to_testers()
    two_names.traffic.share_file.write_text("0000")  # staged: not a spare yet
    assert {named(two_names, **{TRY_HEADER: key}) for _ in range(10)} == {"blue"}
    two_names.traffic.give("green", 1, spare=True)
    two_names.traffic.close_to_testers()
    assert [named(two_names, **{TRY_HEADER: ""}) for _ in range(20)].count("green") <= 5
    log = (two_names.environment.service_logs / "proxy.log").read_text()
    assert two_names.traffic.try_file.name not in log, "it is there before it is read"


# ---- clients that keep their side


@pytest.fixture(scope="module")
def sticky_site():
    made = Sandbox()
    made.configure(more="sticky = true\nrelease_header = ''\n")
    site = made.site
    release = site.build(None)
    site.require(release, "schema_upgrade")
    for slot in ("blue", "green"):
        site.start(slot, release)
    site.traffic.ensure()
    wait_until(lambda: site.answers("blue") and site.answers("green"))
    wait_until(lambda: answers(site) == "blue")
    yield site
    made.close()


def test_a_client_that_keeps_cookies_changes_sides_once_at_most(sticky_site):
    site = sticky_site
    slots = {site.processes.state(name).pid: name for name in ("blue", "green")}

    def ask(cookie: str = "") -> tuple[str, str]:
        answer = site.public().ask("GET", "/", headers={"Cookie": cookie} if cookie else {})
        assert "x-release" not in answer.headers
        return slots[answer.json()["pid"]], answer.headers.get("set-cookie", "").partition(";")[0]

    assert ask()[1] == "", "there is one side alone: nobody needs a cookie"
    site.traffic.give("green", 30, spare=True)
    clients = [ask() for _ in range(60)]
    sides = {cookie: [side] for side, cookie in clients}
    assert len(sides) == 60
    assert all(cookie.startswith(f"{SIDE_COOKIE}=") for cookie in sides)
    for share in (30, 60, 100):
        site.traffic.give("green", share, spare=True)
        for cookie, seen in sides.items():
            for _ in range(2):
                side, again = ask(cookie)
                assert again == "", "a client that has one keeps it"
                seen.append(side)
    for seen in sides.values():
        assert seen == sorted(seen), "blue, then green for good"
        assert seen[-1] == "green"
    assert 5 < sum(seen[0] == "green" for seen in sides.values()) < 35  # 18 are expected
    site.traffic.give("green", 50, spare=True)
    assert ask(f"{SIDE_COOKIE}=forged' || true")[1].startswith(f"{SIDE_COOKIE}="), (
        "no number of ours: a new one"
    )
