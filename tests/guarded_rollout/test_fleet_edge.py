"""HAProxy in front of hosts: the role drains one and takes it back, and the check in the docs is right."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml

from guarded_rollout.fleet.play import COLLECTION
from tests.guarded_rollout.sandbox import ROOT, free_port, wait_until
from tests.guarded_rollout.storage import running

HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = [pytest.mark.system, pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")]
CHECK = "http-check send meth GET uri /health ver HTTP/1.1 hdr Host app"
PLAY = [
    {
        "hosts": "fleet",
        "gather_facts": False,
        "serial": 1,
        "tasks": [
            {
                "ansible.builtin.include_role": {"name": "edge", "tasks_from": "{{ what }}"},
                "vars": {"edge_host": "{{ inventory_hostname }}"},
                "when": "inventory_hostname == 'h1'",
            }
        ],
    }
]


@contextmanager
def named(name: str) -> Iterator[int]:
    """A service that answers with its name, and refuses requests without a Host, as Caddy does."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers["Host"] else 503)
            self.send_header("Content-Length", str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[int]:
    """HAProxy before three hosts."""
    with ExitStack() as stack:
        servers = "".join(
            f"  server {name} 127.0.0.1:{stack.enter_context(named(name))} check inter 200\n"
            for name in ("h1", "h2", "h3")
        )
        port = free_port()
        (tmp_path / "haproxy.cfg").write_text(
            f"global\n  stats socket {tmp_path}/admin.sock level admin\n"
            "defaults\n  mode http\n  timeout connect 1s\n  timeout client 20s\n  timeout server 20s\n"
            f"frontend front\n  bind 127.0.0.1:{port}\n  default_backend rollout\n"
            f"backend rollout\n  balance roundrobin\n  option httpchk\n  {CHECK}\n{servers}"
        )
        stack.enter_context(running([HAPROXY, "-db", "-f", tmp_path / "haproxy.cfg"], tmp_path / "log", port))
        yield port


def served_by(port: int) -> set[str]:
    return {httpx.get(f"http://127.0.0.1:{port}/", timeout=10).text for _ in range(9)}


def ask(folder: Path, what: str) -> None:
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {
        "fleet": {"hosts": dict.fromkeys(("h1", "h2", "h3"), here)},
        "edge": {"hosts": {"front": here}},
        "all": {"vars": {"edge_kind": "haproxy", "edge_haproxy_socket": f"{folder}/admin.sock"}},
    }
    (folder / "hosts.json").write_text(json.dumps(hosts))
    (folder / "play.yml").write_text(yaml.safe_dump(PLAY))
    words = ["ansible-playbook", "-i", folder / "hosts.json", "-e", f"what={what}", folder / "play.yml"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name(str(words[0]))), *map(str, words[1:])],
        env={**os.environ, "ANSIBLE_ROLES_PATH": str(COLLECTION / "roles")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_host_is_drained_and_taken_back(edge: int, tmp_path: Path) -> None:
    wait_until(lambda: served_by(edge) == {"h1", "h2", "h3"}, 10)
    ask(tmp_path, "drain")
    assert served_by(edge) == {"h2", "h3"}
    ask(tmp_path, "restore")
    wait_until(lambda: served_by(edge) == {"h1", "h2", "h3"}, 10)


def test_the_check_that_the_docs_give_is_the_one_that_was_tried() -> None:
    assert CHECK in " ".join((ROOT / "docs/scale.md").read_text().split())
