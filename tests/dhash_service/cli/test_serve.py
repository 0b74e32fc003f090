"""`dhash serve` as operators run it: several processes, a socket, an orderly end, errors as sentences."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import pytest

from dhash_service.cli.serve import require_possible
from dhash_service.errors import AddressInUseError
from tests.dhash_service.serving import dhash, serving, start
from tests.pictures import jpeg


def test_several_processes_are_one_service(tmp_path: Path) -> None:
    with serving(tmp_path, processes=2) as server:
        for seed in range(20):
            picture = jpeg(120, 90, seed)
            # A connection each, so that both processes get some.
            sent = httpx.post(
                f"{server.url}/api/dhash", content=picture, headers={"Content-Type": "image/jpeg"}
            )
            assert sent.status_code == 201
        readings = [httpx.get(f"{server.url}/metrics").json() for _ in range(10)]
        assert {reading["counters"]["images_ok_total"] for reading in readings} == {20}
        assert len({reading["started_at"] for reading in readings}) == 1
        deadline = time.monotonic() + 5
        search = {"hash": sent.json()["hash"], "radius": 0}
        while time.monotonic() < deadline:
            answers = [httpx.get(f"{server.url}/api/dhash/search", params=search).json() for _ in range(8)]
            if all(answer["results"] for answer in answers):
                break
        assert all(answer["results"] for answer in answers)


def test_all_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    server = start(tmp_path, processes=2).wait_until_ready()
    started = psutil.Process(server.process.pid).children(recursive=True)
    assert len(started) >= 2
    (counted,) = {Path(process.environ()["PROMETHEUS_MULTIPROC_DIR"]) for process in started}
    assert counted.exists()
    server.process.kill()
    server.process.wait(10)
    _, left = psutil.wait_procs(started, timeout=30)
    for process in left:
        process.kill()
    assert left == []
    assert not counted.exists()
    wait_until_closed(int(server.env["DHASH_PORT"]))


def wait_until_closed(port: int) -> None:
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return
        time.sleep(0.01)
    pytest.fail(f"port {port} is still open")


def test_a_request_in_flight_is_finished_after_sigterm(tmp_path: Path) -> None:
    picture = jpeg(400, 300)
    server = start(tmp_path).wait_until_ready()
    head = (
        "POST /api/dhash HTTP/1.1\r\nHost: dhash\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(picture)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(server.env["DHASH_PORT"])), timeout=30) as connection:
        connection.sendall(head.encode())
        assert b"100 Continue" in connection.recv(1024)  # the application waits for the body
        server.process.terminate()
        wait_until_closed(int(server.env["DHASH_PORT"]))  # nobody else is let in
        connection.sendall(picture)
        assert b"201 Created" in connection.recv(4096)
    assert server.stop() in (0, -15)


def test_a_unix_socket_serves_and_is_replaced_when_stale() -> None:
    with tempfile.TemporaryDirectory(prefix="dh-") as name:
        folder = Path(name)
        address = folder / "s.sock"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(address))
        env = {"DHASH_STORE": f"sqlite:///{folder}/dhash.db", "DHASH_UDS": str(address)}
        process = subprocess.Popen(
            [sys.executable, "-m", "dhash_service", "serve", "--migrate"], env={**os.environ, **env}
        )
        try:
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(address))) as client:
                deadline = time.monotonic() + 30
                while True:
                    try:
                        assert client.get("http://dhash/health").status_code == 200
                        break
                    except httpx.TransportError:
                        assert time.monotonic() < deadline
                        time.sleep(0.05)
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.parametrize(
    ("env", "code", "said"),
    [
        ({"DHASH_PORT": "x"}, 2, "DHASH_PORT"),
        ({"DHASH_STORE": "mysql://db/x"}, 2, "Use sqlite:///PATH or postgresql://"),
        ({"DHASH_STORE": "sqlite:////nowhere/at/all/dhash.db"}, 1, "dhash db upgrade"),
        ({"DHASH_STORE": "postgresql://nobody@127.0.0.1:1/none"}, 1, "DHASH_STORE"),
        ({"DHASH_UDS": "/tmp/" + "x" * 120}, 2, "107 bytes"),
    ],
)
def test_what_keeps_it_from_starting_is_a_sentence(env: dict[str, str], code: int, said: str) -> None:
    run = dhash("serve", env=env)
    assert run.returncode == code, run.stderr
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_a_store_of_another_algorithm_is_not_served(tmp_path: Path) -> None:
    env = {"DHASH_STORE": f"sqlite:///{tmp_path}/dhash.db"}
    assert dhash("db", "upgrade", env=env).returncode == 0
    assert dhash("token", "create", "x", env=env).returncode == 0  # the first to open it sets the algorithm
    run = dhash("serve", env={**env, "DHASH_ALGORITHM": "dhash-64"})
    assert run.returncode == 1
    assert "dhash-64-visual-fast" in run.stderr
    assert "DHASH_ALGORITHM" in run.stderr


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        env = {
            "DHASH_STORE": f"sqlite:///{tmp_path}/dhash.db",
            "DHASH_PORT": str(taken.getsockname()[1]),
        }
        run = dhash("serve", "--migrate", env=env)
    assert run.returncode == 1
    assert "in use" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_file_where_a_socket_is_wanted_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    for path in (tmp_path / "photo.jpg", tmp_path, tmp_path / "missing" / "socket"):
        with pytest.raises(AddressInUseError, match=str(path.parent)):
            require_possible(path)
    assert (tmp_path / "photo.jpg").read_bytes() == b"mine"
    require_possible(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as left:  # by a service that was killed
        left.bind(str(tmp_path / "socket"))
    require_possible(tmp_path / "socket")


def test_the_socket_of_a_service_that_is_alive_is_left_to_it(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dh-") as name:
        path = Path(name) / "s.sock"
        with socket.socket(socket.AF_UNIX) as alive:
            alive.bind(str(path))
            alive.listen(1)
            run = dhash(
                "serve", "--migrate", "--uds", path, env={"DHASH_STORE": f"sqlite:///{name}/dhash.db"}
            )
            assert (run.returncode, "somebody listens there" in run.stderr) == (1, True), run.stderr
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        require_possible(path)
