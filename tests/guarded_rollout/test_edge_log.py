"""The edge's log, from lines as Caddy writes them; `test_traffic.py` has Caddy write them."""

import json
import time
from pathlib import Path

import pytest

from guarded_rollout.config.environments import load
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.gates.statistics import quantile
from guarded_rollout.monitor.edge_log import EdgeLog, EdgeSource, Writes
from guarded_rollout.monitor.routes import Routes

ROOT = Path(__file__).parents[2]

SLOTS = {"unix//run/in-blue.sock": "blue", "unix//run/in-green.sock": "green"}
SUBMIT = "POST /api/dhash"


def line(at=10.0, slot="green", by=None, method="GET", uri="/", status=200, seconds=0.05, **more) -> str:
    return json.dumps(
        {
            "ts": at,
            "logger": "http.log.access.edge",
            "request": {"method": method, "uri": uri},
            "duration": seconds,
            "size": 2,
            "status": status,
            "slot": slot,
            "retries": 0,
            "upstream": f"unix//run/in-{by or slot}.sock",
            **more,
        }
    )


def cut(at=10.0, upstream="in-green", error="reading: unexpected EOF", uri="/") -> str:
    request = {"method": "GET", "uri": uri}
    told = {"ts": at, "upstream": f"unix//run/{upstream}.sock", "request": request, "error": error}
    after = {"ts": at, "request": request, "duration": 0, "size": 5, "status": 200}
    return "\n".join(json.dumps(one) for one in (told, after))


class Written:
    def __init__(self, folder, since=0.0):
        self.path = folder / "edge.log"
        self.path.touch()
        self.log = self.reader(since)

    def reader(self, since: float) -> EdgeLog:
        log = EdgeLog(self.path, Routes([SUBMIT, "/pictures/{id}"]), SLOTS, Writes([SUBMIT]))
        log.begin(since)
        return log

    def add(self, *lines: str, end="\n") -> None:
        with self.path.open("a") as file:
            file.write("\n".join(lines) + end)

    def roll(self, name: str) -> None:
        self.path.rename(self.path.with_name(f"edge-{name}.log"))
        self.path.touch()

    def of(self, slot="green") -> Sample:
        return EdgeSource(self.log, slot).sample()

    def counted(self, slot="green") -> dict[str, float]:
        return {name: value for name, value in self.of(slot).counters.items() if value and "{" not in name}


@pytest.fixture
def written(tmp_path):
    return Written(tmp_path)


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        (line(), {"requests_total": 1}),
        (line(status=404), {"requests_total": 1}),
        (line(status=503), {"requests_total": 1, "failed_total": 1, "errors_total": 1}),
        (
            line(status=502, upstream=""),
            {"requests_total": 1, "failed_total": 1, "errors_total": 1, "unserved_total": 1},
        ),
        (cut(), {"requests_total": 1, "failed_total": 1, "cut_total": 1}),
        (cut(upstream="green"), {}),  # the inner proxy's own line about the same answer
        (cut(error="reading: context canceled"), {}),  # the client left
        (cut(error="writing: broken pipe"), {}),
        (line(status=499, seconds=0.2), {}),
        (line(status=499, seconds=8), {"requests_total": 1, "failed_total": 1, "timed_out_total": 1}),
        (line(status=201, method="POST", uri="/api/dhash"), {"requests_total": 1, "acknowledged_total": 1}),
        (line(status=200, method="POST", uri="/api/dhash"), {"requests_total": 1}),
        ("{torn", {}),
        ('{"ts": 10.0, "msg": "of another program"}', {}),
    ],
)
def test_what_a_client_got_is_counted(written, text, counted):
    written.add(text)
    assert written.counted() == counted
    assert written.counted("blue") == {}


def test_a_request_that_the_other_slot_answered_is_held_against_the_first(written):
    written.add(line(slot="green", by="blue"))
    assert written.counted("blue") == {"requests_total": 1}
    assert written.counted("green") == {"passed_on_total": 1}


def test_a_request_that_had_to_be_asked_again_is_held_against_the_first_whoever_answered(written):
    written.add(line(retries=1), line(by="blue", retries=2), line(slot="blue"))
    assert written.counted() == {"requests_total": 1, "passed_on_total": 1, "unserved_total": 2}
    assert written.counted("blue") == {"requests_total": 2}


def test_each_route_is_counted_by_itself_and_there_from_the_beginning(written):
    assert written.of().counters['failed_total{route="/pictures/{id}"}'] == 0
    written.add(line(uri="/pictures/1", status=500), line(uri="/pictures/2"), line(uri="/other/1"))
    found = written.of()
    assert found.counters['failed_total{route="/pictures/{id}"}'] == 1
    assert found.counters['requests_total{route="/pictures/{id}"}'] == 2
    assert found.counters['requests_total{route="other"}'] == 1
    assert set(found.histograms) == {"seconds", 'seconds{route="/pictures/{id}"}', 'seconds{route="other"}'}


def test_quantiles_come_from_the_histogram_within_a_quarter(written):
    written.add(*(line(seconds=n / 1000) for n in range(1, 1001)))
    histogram = written.of().histograms["seconds"]
    for q in (0.5, 0.95, 0.99):
        found = quantile(q, histogram.edges, histogram.counts)
        assert found is not None
        assert found.low <= q <= found.high <= 1.26 * found.low


def test_a_line_is_counted_once_it_is_whole(written):
    written.add(line()[:40], end="")
    assert written.counted() == {}
    written.add(line()[40:])
    assert written.counted() == {"requests_total": 1}
    assert written.counted() == {"requests_total": 1}


def test_nothing_is_lost_or_counted_twice_where_the_file_is_rolled_over(written):
    written.add(line())
    assert written.counted()["requests_total"] == 1
    written.add(line())
    written.roll("2026-01-01")
    written.add(line())
    written.roll("2026-01-02")
    written.add(line())
    assert written.counted()["requests_total"] == 4


def test_a_monitor_that_comes_later_goes_on_where_the_one_before_was(written):
    now = time.time()
    written.add(line(now - 30), line(now - 9))
    written.roll("2026-01-01")
    written.add(line(now - 11), line(now - 8))
    written.log = written.reader(since=now - 10)
    assert written.counted()["requests_total"] == 2
    assert written.of().started_at == now - 10


def test_a_log_that_is_gone_is_no_data(written):
    written.path.unlink()
    assert "cannot be read: No such file" in written.of().problem


def test_a_sample_survives_the_monitors_log(written):
    written.add(line(), line(status=500))
    sample = EdgeSource(written.log, "green", Side.STABLE).sample()
    assert Sample.from_json(json.loads(json.dumps(sample.as_json()))) == sample


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/api/dhash", "POST /api/dhash"),
        ("GET", "/api/dhash", "other"),
        ("GET", "/api/dhash/search", "/api/dhash/*"),
        ("DELETE", "/api/dhash/a/b", "/api/dhash/*"),
        ("GET", "/health/live", "/health/*"),
        ("GET", "/health.live", "other"),
        ("GET", "/", "other"),
    ],
)
def test_a_request_is_of_the_first_route_that_fits(method, path, route):
    service = load(ROOT / "rollout.toml").environment("production").service
    assert Routes(service.routes).of(method, path) == route


def test_however_many_paths_there_are_the_routes_stay_few():
    routes = Routes(["/items/{id}"])
    assert {routes.of("GET", f"/items/{n}") for n in range(10_000)} == {"/items/{id}"}
    assert {routes.of("GET", f"/{n}") for n in range(10_000)} == {"other"}
    assert len(routes._known) <= 4096
