"""The port that Prometheus asks: each slot by itself, its health as a number, and the proxy."""

import os
import signal
import socket
from collections.abc import Iterator

import httpx
import pytest

from guarded_rollout.config.environments import parse
from guarded_rollout.errors import ConfigurationError, PortTakenError
from guarded_rollout.host import caddy
from guarded_rollout.host.caddy import HEALTHY, configuration
from tests.guarded_rollout.sandbox import Sandbox, free_port
from tests.guarded_rollout.test_environments import HERE


@pytest.fixture(scope="module")
def scraped() -> Iterator[tuple[Sandbox, httpx.Client]]:
    """A service in the blue slot, and a client of the metrics port."""
    made = Sandbox()
    port = made.open_metrics()
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(caddy, "ANSWER_SECONDS", 1)  # so that one that hangs is soon not healthy
            made.deploy()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield made, client
    finally:
        made.close()


def test_each_slot_and_the_proxy_are_asked_by_themselves(scraped: tuple[Sandbox, httpx.Client]) -> None:
    _, client = scraped
    assert "requests_total" in client.get("/blue/metrics").json()["counters"]
    assert client.get("/green/metrics").status_code == 502  # nothing runs there
    assert "caddy_config_last_reload_successful 1" in client.get("/proxy").text


def test_health_is_a_number_that_prometheus_can_read(scraped: tuple[Sandbox, httpx.Client]) -> None:
    _, client = scraped
    answer = client.get("/blue/health")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert f"\n{HEALTHY} 1\n" in answer.text
    assert f"\n{HEALTHY} 0\n" in client.get("/green/health").text


@pytest.mark.parametrize("path", ["/", "/blue/api/dhash", "/blue/metrics/x", "/blue/../health", "/config/"])
def test_nothing_else_is_passed_on(scraped: tuple[Sandbox, httpx.Client], path: str) -> None:
    _, client = scraped
    assert client.get(path).status_code == 404


def test_a_service_that_hangs_is_not_healthy(scraped: tuple[Sandbox, httpx.Client]) -> None:
    sandbox, client = scraped
    pid = sandbox.pids()["blue"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert f"\n{HEALTHY} 0\n" in client.get("/blue/health").text
    finally:
        os.kill(pid, signal.SIGCONT)


def test_without_a_port_nobody_listens() -> None:
    environment = parse({"environments": {"production": {}}}, HERE).environment("production")
    assert environment.metrics_port == 0
    assert "metrics" not in configuration(environment)["apps"]["http"]["servers"]  # type: ignore[index]


def test_a_taken_port_is_named_before_anything_starts(sandbox: Sandbox) -> None:
    sandbox.open_metrics(sandbox.port)
    with pytest.raises(ConfigurationError, match=r"metrics_port.*already"):
        _ = sandbox.environment
    with socket.create_server(("127.0.0.1", 0)) as other:
        sandbox.open_metrics(other.getsockname()[1])
        with pytest.raises(PortTakenError, match=str(other.getsockname()[1])):
            sandbox.site.traffic.require_own_port()


def test_two_environments_cannot_share_it() -> None:
    port = free_port()
    table = {"metrics_port": port}
    with pytest.raises(ConfigurationError, match=rf"{port} is production's already"):
        parse({"environments": {"production": table, "staging": table}}, HERE)
