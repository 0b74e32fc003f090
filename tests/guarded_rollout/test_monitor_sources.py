"""Sources against real sockets: hanging, lying, enormous and broken endpoints are data, never a crash."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.host.endpoint import MAX_BYTES, Endpoint
from guarded_rollout.host.endpoint import Answer as Got
from guarded_rollout.monitor.metrics_formats import Metrics, NotMetricsError, Wanted, read
from guarded_rollout.monitor.sources import HealthProbe, ProxyMetrics, ServiceMetrics, wanted_by
from tests.guarded_rollout.gatekit import gate, shipped
from tests.guarded_rollout.webkit import Answer, Web, web

WANTED = wanted_by(one for _, one in shipped("production").quality_gates.enabled())
DOCUMENT = {
    "extraction_failure_rate": 1.5,
    "p95_hash_time_ms": 120,
    "low_confidence_queue_length": 7,
    "memory_usage_percentage": 40.5,
    "error_rate": 0.1,
    "release": "1.0.0",
    "started_at": 1000.5,
    "counters": {
        "images_ok_total": 10,
        "images_failed_total": 1,
        "images_rejected_total": 2,
        "requests_total": 14,
        "server_errors_total": 1,
    },
    "histograms": {"hash_seconds": {"buckets": {"0.1": 5, "2": 9, "+Inf": 10}, "sum": 3.0, "count": 10}},
}


@pytest.fixture
def server() -> Iterator[Web]:
    answers: dict[str, object] = {
        "/health": Answer(),
        "/metrics": Answer(body=json.dumps(DOCUMENT).encode()),
    }
    with web(answers) as found:  # type: ignore[arg-type]
        yield found


def metrics(server: Web, timeout: float = 2) -> Sample:
    return ServiceMetrics(Endpoint(server.url, timeout), WANTED).sample()


def test_the_services_metrics_are_read(server: Web) -> None:
    sample = metrics(server)
    assert sample.ok
    assert (sample.source, sample.side, sample.release) == (Source.SERVICE, Side.CANDIDATE, "1.0.0")
    assert sample.counters["images_failed_total"] == 1
    assert sample.gauges["low_confidence_queue_length"] == 7
    assert sample.histograms["hash_seconds"].counts == (5, 9, 10)
    assert sample.started_at == 1000.5


def test_only_what_gates_ask_for_is_kept(server: Web) -> None:
    server.answers["/metrics"] = Answer(body=json.dumps({**DOCUMENT, "secret": 5}).encode())
    sample = metrics(server)
    assert "secret" not in sample.gauges
    assert "images_rejected_total" not in sample.counters


def test_a_sample_survives_its_log_line(server: Web) -> None:
    sample = metrics(server)
    again = Sample.from_json(json.loads(json.dumps(sample.as_json())))
    assert again.counters == sample.counters
    assert again.histograms == sample.histograms
    assert again.started_at == sample.started_at


def test_a_service_with_only_the_contracts_gauges_is_read(server: Web) -> None:
    gauges = {name: value for name, value in DOCUMENT.items() if isinstance(value, float | int)}
    gauges.pop("started_at")
    server.answers["/metrics"] = Answer(body=json.dumps(gauges).encode())
    sample = metrics(server)
    assert sample.ok
    assert len(sample.gauges) == 5
    assert not sample.counters


def test_the_gates_user_agent_is_sent_and_no_connection_is_kept(server: Web) -> None:
    HealthProbe(Endpoint(server.url, headers={"User-Agent": "watcher/2"})).sample()
    path, headers = server.asked[-1]
    assert path == "/health"
    assert headers["User-Agent"] == "watcher/2"
    assert headers["Connection"] == "close"


@pytest.mark.parametrize("status", [200, 204, 301, 404, 500, 503])
def test_health_is_ok_with_200_alone(server: Web, status: int) -> None:
    server.answers["/health"] = Answer(status, b"store: \x1b[31mdown\n", headers={"Location": "/elsewhere"})
    sample = HealthProbe(Endpoint(server.url)).sample()
    assert sample.ok is (status == 200)
    if status == 503:
        assert sample.problem == "answered 503: store: [31mdown"


def test_a_port_where_nobody_listens_is_a_problem_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        sample = HealthProbe(Endpoint(f"http://127.0.0.1:{taken.getsockname()[1]}", 2)).sample()
    assert "does not answer" in sample.problem


def test_a_unix_socket_is_asked_the_same_way(tmp_path: Path) -> None:
    sample = HealthProbe(Endpoint(tmp_path / "none.sock", 2)).sample()
    assert "does not answer" in sample.problem


def test_an_endpoint_that_hangs_costs_its_timeout_and_no_more(server: Web) -> None:
    released = threading.Event()
    server.answers["/metrics"] = Answer(pause=released.wait)
    began = time.monotonic()
    sample = metrics(server, timeout=0.3)
    released.set()
    assert "timed out after 0.3 s" in sample.problem
    assert time.monotonic() - began < 2


def test_an_endpoint_that_drips_is_cut_off_as_a_whole(server: Web) -> None:
    gate_ = threading.Event()
    server.answers["/metrics"] = Answer(body=b"x" * 100, pieces=100, pause=lambda: gate_.wait(0.1))
    began = time.monotonic()
    sample = metrics(server, timeout=0.3)
    gate_.set()
    assert "timed out" in sample.problem
    assert time.monotonic() - began < 2


def test_ten_megabytes_are_not_read_to_their_end(server: Web) -> None:
    server.answers["/metrics"] = Answer(body=b'{"a": "' + b"x" * 10_000_000 + b'"}')
    sample = metrics(server)
    assert sample.problem == f"answered more than {MAX_BYTES} bytes"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "answered nothing"),
        (b"<!DOCTYPE html><html>Bad gateway</html>", "answered HTML"),
        (b"[1, 2]", "no object"),
        (b'{"counters": ', "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b"hello there", "neither JSON nor Prometheus"),
        (b"\xff\xfe\x00garbage", "neither JSON nor Prometheus"),
    ],
)
def test_what_is_no_metrics_is_said_in_words(server: Web, body: bytes, problem: str) -> None:
    server.answers["/metrics"] = Answer(body=body, content_type="text/html")
    assert problem in metrics(server).problem


def test_numbers_that_are_none_are_left_out(server: Web) -> None:
    counters = (
        '{"images_ok_total": NaN, "images_failed_total": -4, "requests_total": "9",'
        ' "server_errors_total": true}'
    )
    body = (
        f'{{"counters": {counters}, "memory_usage_percentage": Infinity, "low_confidence_queue_length": 3,'
        ' "started_at": null, "release": 5, "histograms": {"hash_seconds": {"buckets": {"1": 5, "+Inf": 3}}}}'
    )
    server.answers["/metrics"] = Answer(body=body.encode())
    sample = metrics(server)
    assert sample.ok
    assert dict(sample.counters) == {}
    assert dict(sample.gauges) == {"low_confidence_queue_length": 3}
    assert dict(sample.histograms) == {}


@pytest.mark.parametrize(
    "histogram",
    [
        {"nan": 1, "+Inf": 3},
        {"1": 1e400, "+Inf": 1e400},
        {"1": float("nan"), "+Inf": 3},
        {"1": 10**400, "+Inf": 10**400},
    ],
)
def test_a_histogram_of_numbers_that_are_none_is_none(histogram: dict[str, float]) -> None:
    body = json.dumps({"error_rate": 10**400, "histograms": {"hash_seconds": {"buckets": histogram}}})
    found = read(body.encode(), "", WANTED)
    assert (dict(found.histograms), dict(found.gauges)) == ({}, {})


@pytest.mark.parametrize("edge", ["NaN", "abc", "", "-Inf"])
def test_a_bucket_without_an_edge_is_no_histogram(edge: str) -> None:
    text = f'# TYPE h histogram\nh_bucket{{le="{edge}"}} 1\nh_bucket{{le="+Inf"}} 2\n'
    assert dict(read(text.encode(), "", Wanted(histograms=["h"])).histograms) == {}


def test_a_process_that_began_with_the_epoch_is_kept_as_such() -> None:
    sample = Sample(Source.SERVICE, 1.0, started_at=0.0)
    assert Sample.from_json(json.loads(json.dumps(sample.as_json()))) == sample


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["counters", "histograms", "hash_seconds", "buckets", "1", "+Inf", "started_at"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JSON | st.binary(max_size=80))
def test_no_answer_whatever_breaks_the_reading(document: object) -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    try:
        found = read(body, "", WANTED)
    except NotMetricsError:
        return
    assert isinstance(found, Metrics)


PROMETHEUS = b"""# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{code="200",path="/a"} 90
http_requests_total{code="200",path="/b"} 5
http_requests_total{code="500",path="/a"} 4
http_requests_total{code="503",path="/b"} 1
# TYPE work_seconds histogram
work_seconds_bucket{le="0.5"} 3
work_seconds_bucket{le="+Inf"} 4
work_seconds_sum 2.5
work_seconds_count 4
process_start_time_seconds 17.5
"""


def test_prometheus_text_is_read_with_labels_selected_and_added_up() -> None:
    wanted = Wanted(
        counters=[
            'http_requests_total{code=~"5.."}',
            "http_requests_total",
            'http_requests_total{code="200",path="/a"}',
        ],
        histograms=["work_seconds"],
    )
    found = read(PROMETHEUS, "text/plain; version=0.0.4", wanted)
    assert list(found.counters.values()) == [5, 100, 90]
    assert found.histograms["work_seconds"].counts == (3, 4)
    assert found.started_at == 17.5


def test_a_gate_on_prometheus_metrics_needs_no_code(server: Web) -> None:
    own = gate(
        "fives",
        kind="ratio",
        numerator=['http_requests_total{code=~"5.."}'],
        denominator=["http_requests_total"],
        threshold={"max_percentage": 3, "evaluation_window_minutes": 1, "min_sample_size": 1},
    )
    server.answers["/metrics"] = Answer(body=PROMETHEUS, content_type="text/plain; version=0.0.4")
    sample = ServiceMetrics(Endpoint(server.url), wanted_by([own])).sample()
    assert sum(sample.counters.values()) == 105


def caddy(server: str, code: int, count: int, handler: str = "reverse_proxy") -> str:
    name = "caddy_http_request_duration_seconds"
    labels = f'code="{code}",handler="{handler}",method="GET",server="{server}"'
    return (
        f'{name}_bucket{{{labels},le="0.1"}} {count // 2}\n'
        f'{name}_bucket{{{labels},le="+Inf"}} {count}\n{name}_count{{{labels}}} {count}\n'
    )


CADDY = (
    "# TYPE caddy_http_request_duration_seconds histogram\n"
    + caddy("blue", 200, 9)
    + caddy("blue", 502, 2)
    + caddy("green", 200, 5)
    + caddy("public", 200, 99, "vars")
).encode()


@pytest.mark.parametrize("number", ["NaN", "-4", "9" * 400, "1e400"])
def test_what_the_proxy_cannot_have_counted_is_left_out(number: str) -> None:
    text = CADDY.replace(b"} 9\n", f"}} {number}\n".encode())
    assert text != CADDY
    seen = ProxyMetrics(Endpoint(""), "blue").sample_of(Got(200, text))
    assert seen.problem or seen.counters["responses_total"] == 2
    json.dumps(seen.as_json(), allow_nan=False)


def test_what_the_proxy_counted_is_read_slot_by_slot(server: Web) -> None:
    server.answers["/metrics"] = Answer(body=CADDY, content_type="text/plain")
    blue = ProxyMetrics(Endpoint(server.url), "blue").sample()
    assert (blue.counters["responses_total"], blue.counters["responses_failed_total"]) == (11, 2)
    assert blue.counters["responses_502_total"] == 2
    assert blue.histograms["response_seconds"].counts == (5, 11)
    green = ProxyMetrics(Endpoint(server.url), "green", Side.STABLE).sample()
    assert (green.counters["responses_total"], green.counters["responses_failed_total"]) == (5, 0)
    assert green.side is Side.STABLE


def test_a_proxy_without_traffic_counts_nought() -> None:
    with web({"/metrics": Answer(body=b"# TYPE go_threads gauge\ngo_threads 5\n")}) as server:
        sample = ProxyMetrics(Endpoint(server.url), "blue").sample()
    assert sample.ok
    assert dict(sample.counters) == {"responses_total": 0, "responses_failed_total": 0}
