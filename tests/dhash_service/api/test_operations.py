"""What operators and monitors ask."""

import asyncio
from types import SimpleNamespace
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from dhash_service.api import problems
from dhash_service.api.direct import Direct
from dhash_service.errors import DhashError
from tests.dhash_service.api.test_submit import problem, seeds, send
from tests.dhash_service.serving import Server
from tests.pictures import jpeg

GAUGES = {
    "extraction_failure_rate",
    "p95_hash_time_ms",
    "low_confidence_queue_length",
    "memory_usage_percentage",
    "error_rate",
}


def test_health_names_every_check(client: httpx.Client) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok"
    assert body["release"] == "test-1"
    assert set(body["checks"]) == {"store", "index", "documents", "disk"}
    assert all(check["ok"] and check["detail"] for check in body["checks"].values())


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/docs", "/openapi.json"])
def test_it_answers(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


PLACES = (
    "/ /health/ready /openapi.json /problems/ /api/dhash/banks /api/dhash/review /static/base.css /nowhere"
)
SEARCHES = "/api/dhash/search?hash=0123456789abcdef /api/dhash/search?hash=no"


@pytest.mark.parametrize("path", f"{PLACES} {SEARCHES}".split())
def test_head_is_answered_as_get_is_without_the_body(client: httpx.Client, path: str) -> None:
    def described(answer: httpx.Response) -> tuple[int, dict[str, str]]:
        varies = ("date", "x-request-id")
        return answer.status_code, {name: it for name, it in answer.headers.items() if name not in varies}

    plain = {"Accept-Encoding": "identity"}
    got, headed = client.get(path, headers=plain), client.head(path, headers=plain)
    assert described(headed) == described(got)
    assert headed.content == b""
    assert client.get("/health/live").status_code == 200  # the connection is in step


def test_head_is_refused_where_get_is(client: httpx.Client) -> None:
    refused = client.head("/api/dhash/search/batch")
    assert refused.status_code == 405
    assert "HEAD" not in refused.headers["Allow"]


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("/api/dhash/banks", "GET, HEAD"),
        ("/review", "GET, POST, HEAD"),
        ("/lookup", "POST"),
        ("/openapi.json", "GET, HEAD"),
        (f"/api/dhash/{UUID(int=7)}", "DELETE, GET, HEAD"),
    ],
)
def test_a_refused_method_is_told_all_that_the_path_takes(
    client: httpx.Client, path: str, taken: str
) -> None:
    for accept in ("application/json", "text/html"):
        refused = client.put(path, headers={"Accept": accept})
        assert (refused.status_code, refused.headers["Allow"]) == (405, taken)


def test_metrics_hold_the_contracts_gauges_and_raw_totals(client: httpx.Client) -> None:
    before = client.get("/metrics").json()
    assert set(before) >= GAUGES
    send(client, jpeg(200, 100, next(seeds)))
    send(client, b"no picture")
    after = client.get("/metrics").json()
    change = {name: after["counters"][name] - value for name, value in before["counters"].items()}
    assert change["images_ok_total"] == 1
    assert change["images_rejected_total"] == 1
    assert change["images_failed_total"] == 0
    assert change["requests_total"] >= 2
    buckets = after["histograms"]["hash_seconds"]["buckets"]
    assert list(buckets.values()) == sorted(buckets.values())
    assert buckets["+Inf"] == after["histograms"]["hash_seconds"]["count"]


def test_whoever_reads_json_as_well_gets_json(client: httpx.Client) -> None:
    accept = "application/json, text/plain;version=0.0.4;q=0.5"
    answer = client.get("/metrics", headers={"Accept": accept})
    assert "images_ok_total" in answer.json()["counters"]


def test_prometheus_gets_its_own_format(client: httpx.Client) -> None:
    answer = client.get("/metrics", headers={"Accept": "text/plain; version=0.0.4"})
    assert answer.headers["content-type"].startswith("text/plain")
    assert "# TYPE dhash_images_total counter" in answer.text


def test_the_configuration_shows_no_secret(client: httpx.Client) -> None:
    config = client.get("/api/config").json()
    assert config["algorithm"] == "dhash-64-visual-fast"
    assert config["store"].startswith("sqlite:///")


def test_admin_status_needs_an_admin(
    client: httpx.Client, reviewer: dict[str, str], admin: dict[str, str]
) -> None:
    assert client.get("/api/admin/status").status_code == 401
    assert client.get("/api/admin/status", headers=reviewer).status_code == 403
    answer = client.get("/api/admin/status", headers=admin)
    assert answer.status_code == 200
    assert answer.json()["release"] == "test-1"
    assert answer.json()["known"] >= 0


def test_a_revoked_token_stops_working(server: Server) -> None:
    from tests.dhash_service.serving import dhash

    headers = server.token("short", "admin")
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/api/admin/status", headers=headers).status_code == 200
        assert dhash("token", "revoke", "short", env=server.env).returncode == 0
        for _ in range(400):
            if client.get("/api/admin/status", headers=headers).status_code == 401:
                return
    pytest.fail("it still works")


def test_every_answer_carries_a_request_id_and_keeps_the_callers(client: httpx.Client) -> None:
    assert len(client.get("/health/live").headers["x-request-id"]) == 32
    given = client.get("/health/live", headers={"X-Request-ID": "abc-123"})
    assert given.headers["x-request-id"] == "abc-123"
    forged = client.get("/health/live", headers={"X-Request-ID": 'x" level="error'})
    assert forged.headers["x-request-id"] != 'x" level="error'


def test_each_kind_of_problem_explains_itself(client: httpx.Client) -> None:
    assert client.get("/problems/damaged-picture").json()["advice"]
    answer = client.get("/problems/unheard-of")
    assert (answer.status_code, problem(answer)) == (404, "not-found")
    assert DhashError.type == "internal"


def test_a_wrong_method_is_said_so(client: httpx.Client) -> None:
    answer = client.put("/api/dhash")
    assert (answer.status_code, problem(answer)) == (405, "method-not-allowed")


async def no_page(*_: object) -> None:
    """What programs get."""


def test_what_nobody_expected_is_a_problem_too() -> None:
    """Of the application, and of what is answered below it; a plain search is."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    def as_broken() -> None:
        broken()

    app = FastAPI()
    app.state.service = SimpleNamespace(settings=SimpleNamespace(locked=False), search=broken)
    app.get("/broken")(as_broken)
    problems.install(app, no_page)
    direct = Direct(app, no_page)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        await direct(dict(scope, app=app), receive, send)

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(front, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return [await client.get(path) for path in ("/broken", "/api/dhash/search?hash=0123456789abcdef")]

    answers = asyncio.run(ask())
    assert [(each.status_code, problem(each)) for each in answers] == [(500, "internal")] * 2
