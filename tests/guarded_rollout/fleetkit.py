"""Three hosts on one machine, with a network, /etc and a real sshd each; one PostgreSQL; an edge."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.dhash_service.store.databases import fresh_database, postgres_server
from tests.guarded_rollout.sandbox import OURS, ROOT, SOURCE, free_port, health_gate_alone, wait_until
from tests.guarded_rollout.storage import SSHD, listens
from tests.leftovers import owned_folder

NAMES = ("h1", "h2", "h3")
PORT = 3000
BIN = Path(sys.executable).parent


def unable() -> str:
    """Say why this machine cannot have hosts of its own; empty if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for name, found in (("sshd", SSHD), ("ip", shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin"))):
        if found is None:
            return f"{name} is not installed"
    probe = f"probe{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        return "this machine gives no network namespaces"
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return ""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass
class Host:
    """One host: its network namespace, its address, and its sshd, from which everything on it descends."""

    name: str
    folder: Path
    space: str
    address: str
    link: str
    sshd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Let people in."""
        own = self.folder / "etc"
        script = (
            f"hostname {self.name} && mount --bind {own} /etc && mkdir -p /run/sshd &&"
            f" exec {SSHD} -D -e -f /etc/ssh/sshd_config"
        )
        log = (self.folder / "sshd.log").open("ab")
        self.sshd = subprocess.Popen(
            ["ip", "netns", "exec", self.space, "unshare", "--mount", "--uts", "sh", "-c", script],
            stdout=log,
            stderr=log,
        )
        log.close()

    def vanish(self) -> None:
        """Cut its network off and end its sshd with all sessions; what serves there runs on, unreachable."""
        ip("link", "set", self.link, "down")
        self.stop()

    def come_back(self) -> None:
        ip("link", "set", self.link, "up")
        self.start()

    def stop(self) -> None:
        if self.sshd is None:
            return
        with suppress(psutil.Error):
            for child in psutil.Process(self.sshd.pid).children(recursive=True):
                if child.name().startswith("sshd"):
                    child.kill()
        self.sshd.kill()
        self.sshd.wait(20)
        self.sshd = None


@dataclass
class Source:
    """What a release is built from."""

    source: Path

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        path = self.source / name
        before = path.read_text()
        after = change(before)
        assert after != before, f"nothing to change in {name}"
        path.write_text(after)


def unwell_if(condition: str) -> Callable[[Source], None]:
    """A release that says it is not well while this Python expression is true."""
    decides = "    failing = not all"
    return lambda made: made.edit(
        "src/dhash_service/api/operations.py",
        lambda text: text.replace(decides, f"    failing = {condition} or not all", 1),
    )


def dead_on(host: str) -> Callable[[Source], None]:
    """A release that ends as it begins on this host."""
    begins = "    import uvicorn\n"
    dies = f'    if __import__("platform").node() == "{host}":\n        raise SystemExit("no such device")\n'
    return lambda made: made.edit(
        "src/dhash_service/cli/serve.py", lambda text: text.replace(begins, dies + begins, 1)
    )


@dataclass
class Fleet:
    """The hosts, what is in front of them, and the controller's folder."""

    folder: Path
    hosts: list[Host]
    port: int
    subnet: str
    wheels: dict[str, Path] = field(default_factory=dict)

    @property
    def inventory(self) -> Path:
        return self.folder / "hosts.json"

    def rollout(self, *words: str, code: int | None = 0, **variables: str) -> dict[str, Any]:
        """Run `rollout fleet … --json` on the controller; its JSON."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.variables(**variables),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert code is None or done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
        return {**told, "progress": done.stderr, "code": done.returncode}

    def start(self, *words: str, **variables: str) -> "subprocess.Popen[str]":
        """The same, in the background."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.variables(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def command(self, *words: str) -> list[str]:
        program = [sys.executable, "-m", "guarded_rollout.cli", "fleet"]
        return [*program, words[0], "-i", str(self.inventory), *words[1:], "--json"]

    def variables(self, **more: str) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.folder), "ROLLOUT_OPERATOR": "anna", **more}

    def on(self, host: Host, *words: str) -> dict[str, Any]:
        """Run `rollout … --json` on a host, as its own operator would."""
        done = subprocess.run(
            [*self.ssh(host), f"cd {host.folder}/p && {BIN}/rollout {' '.join(words)} --json"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout, done.stderr
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told

    def ssh(self, host: Host) -> list[str]:
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        words = [word for option in options for word in ("-o", option)]
        return ["ssh", "-i", str(self.folder / "key"), *words, f"root@{host.address}"]

    def wheel(self, version: str, *spoils: "Callable[[Source], None]") -> Path:
        """A release of the project's own service, changed as an editor would."""
        if version not in self.wheels:
            made = Source(self.folder / f"source-{version}")
            for name in SOURCE:
                (made.source / name).parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, made.source / name)
            made.edit(
                "pyproject.toml", lambda text: re.sub(r'(?m)^version = ".*"', f'version = "{version}"', text)
            )
            for spoil in spoils:
                spoil(made)
            out = self.folder / f"dist-{version}"
            words = [BIN / "uv", "build", "--quiet", "--wheel", "--out-dir", out, made.source]
            subprocess.run([str(word) for word in words], check=True)
            self.wheels[version] = next(out.glob("*.whl"))
            shutil.rmtree(made.source)
        return self.wheels[version]

    def versions(self) -> list[str]:
        """What each host answers with on its public port."""
        return [
            str(httpx.get(f"http://{host.address}:{PORT}/health", timeout=10).json()["release"]).split("-")[0]
            for host in self.hosts
        ]


@contextmanager
def fleet() -> Iterator[Fleet]:
    """Three hosts with nothing on them yet, an edge in front, and the controller's inventory."""
    folder = owned_folder("fl")
    mark = os.getpid() % 10_000
    subnet, bridge = f"10.{200 + mark % 50}.{mark // 50 % 250}", f"fl{mark}"
    hosts = [
        Host(name, folder / name, f"fl{mark}{name}", f"{subnet}.{10 + at}", f"fl{mark}{name}")
        for at, name in enumerate(NAMES, 1)
    ]
    made = Fleet(folder, hosts, free_port(), subnet)
    edge: subprocess.Popen[bytes] | None = None
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", f"{subnet}.1/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        with postgres_server(durable=False) as server, fresh_database(server) as url:
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
            for host in hosts:
                connect(host, bridge, subnet)
                furnish(host, folder, url)
                host.start()
            write_inventory(made)
            edge = start_edge(made)
            for host in hosts:
                wait_until(lambda host=host: reachable(host.address, 22), 30, f"sshd of {host.name}")
            yield made
            close(made)
    finally:
        close(made)
        if edge is not None:
            edge.kill()
            edge.wait(20)
        for host in hosts:
            subprocess.run(["ip", "link", "del", host.link], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", host.space], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)
        for inside, _, _ in os.walk(folder):
            os.chmod(inside, 0o755)
        shutil.rmtree(folder, ignore_errors=True)


def close(made: Fleet) -> None:
    """End all that runs in the hosts' namespaces, by its id."""
    for host in made.hosts:
        host.stop()
        for _ in range(3):
            listed = subprocess.run(
                ["ip", "netns", "pids", host.space], capture_output=True, text=True, check=False
            )
            for pid in listed.stdout.split():
                with suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)


def connect(host: Host, bridge: str, subnet: str) -> None:
    ip("netns", "add", host.space)
    inner = f"{host.link}i"
    ip("link", "add", host.link, "type", "veth", "peer", "name", inner)
    ip("link", "set", inner, "netns", host.space)
    ip("link", "set", host.link, "master", bridge, "up")
    for words in (("addr", "add", f"{host.address}/24", "dev", inner), ("link", "set", inner, "up")):
        ip("-n", host.space, *words)
    ip("-n", host.space, "link", "set", "lo", "up")


def furnish(host: Host, folder: Path, url: str) -> None:
    """Its /etc with an sshd of its own, its home, and the project's folder."""
    shutil.copytree("/etc", host.folder / "etc", symlinks=True, ignore_dangling_symlinks=True)
    home, project, ssh = host.folder / "home", host.folder / "p", host.folder / "etc/ssh"
    for made in (home, project, ssh):
        made.mkdir(parents=True, exist_ok=True)
    for key in ssh.glob("ssh_host_*"):
        key.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh / "host_key"], check=True)
    shutil.copy(folder / "key.pub", ssh / "authorized_keys")
    (ssh / "sshd_config").write_text(
        f"ListenAddress {host.address}\nHostKey /etc/ssh/host_key\nPidFile {host.folder}/sshd.pid\n"
        "AuthorizedKeysFile /etc/ssh/authorized_keys\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
        "PasswordAuthentication no\nMaxStartups 50\nSubsystem sftp internal-sftp\n"
        f"SetEnv HOME={home} UV_CACHE_DIR={uv_cache()}\n"
    )
    (project / "rollout.toml").write_text(
        "\n".join(
            [
                few_checks(OURS.replace('source = "src"\n', "")),
                "[backup]\nwheels = []",
                "[environments.production]",
                f"port = {PORT}",
                f"store = {json.dumps(url)}",
                "confirm = false",
                "traffic = [{ percent = 10, hold_seconds = 1.0 }, { percent = 100, hold_seconds = 0.0 }]",
                "control_percent = 0",
                "[environments.production.checks]",
                "interval_seconds = 0.1",
                "validation_interval_seconds = 0.1",
                "start_seconds = 90",
                "drain_seconds = 3",
                "finish_seconds = 3",
            ]
        )
        + "\n"
    )
    (project / "quality-gates-config.json").write_text(health_gate_alone(6))
    if not (folder / "rollout.toml").exists():
        shutil.copy(project / "rollout.toml", folder)
        (folder / "locks").mkdir()
        shutil.copy(ROOT / "locks/service.txt", folder / "locks")


def few_checks(text: str) -> str:
    """The description of the service with its check of health and its migrations alone: it starts sooner."""
    text = re.sub(r"(?m)^store_\w+ = .*\n", "", text)
    head, *tables = re.split(r"(?m)^(?=\[service\.checks\.)", text)
    return head + "".join(table for table in tables if table.startswith("[service.checks.health]"))


def uv_cache() -> str:
    told = subprocess.run([BIN / "uv", "cache", "dir"], capture_output=True, text=True, check=True)
    return told.stdout.strip()


def write_inventory(made: Fleet) -> None:
    options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5"
    variables = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(made.folder / "key"),
        "ansible_ssh_common_args": f"{options} -o ServerAliveInterval=2 -o ServerAliveCountMax=3",
        "ansible_python_interpreter": sys.executable,
        "rollout_command": str(BIN / "rollout"),
        "release_poll": 1,
        "edge_kind": "caddy",
        "edge_caddy": str(BIN / "caddy"),
        "edge_caddy_config": str(made.folder / "edge/Caddyfile"),
        "edge_caddy_upstreams": str(made.folder / "edge/upstreams"),
        "edge_caddy_admin": f"unix/{made.folder}/edge/admin.sock",
    }
    hosts = {
        host.name: {
            "ansible_host": host.address,
            "rollout_project": str(host.folder / "p"),
            "ansible_remote_tmp": f"{host.folder}/home/.ansible",
            "ansible_async_dir": f"{host.folder}/home/.ansible_async",
        }
        for host in made.hosts
    }
    edge = {"front": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}
    made.inventory.write_text(
        json.dumps({"fleet": {"hosts": hosts, "vars": variables}, "edge": {"hosts": edge}}, indent=2)
    )


def start_edge(made: Fleet) -> subprocess.Popen[bytes]:
    place = made.folder / "edge"
    (place / "upstreams").mkdir(parents=True)
    for host in made.hosts:
        (place / f"upstreams/{host.name}.caddy").write_text(f"to {host.address}:{PORT}\n")
    (place / "Caddyfile").write_text(
        f"{{\n  admin unix/{place}/admin.sock\n  persist_config off\n  shutdown_delay 3s\n}}\n"
        f"http://127.0.0.1:{made.port} {{\n  @leaving expression `{{http.shutting_down}} == true`\n"
        f"  header @leaving Connection close\n  reverse_proxy {{\n    import {place}/upstreams/*.caddy\n"
        "    lb_policy round_robin\n    lb_try_duration 5s\n    lb_try_interval 100ms\n"
        "    health_uri /health\n    health_interval 500ms\n    health_timeout 2s\n    fail_duration 2s\n"
        "    transport http {\n      dial_timeout 1s\n    }\n  }\n}\n"
    )
    with (place / "log").open("wb") as log:
        edge = subprocess.Popen(
            [BIN / "caddy", "run", "--config", place / "Caddyfile", "--adapter", "caddyfile"],
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(place)},
        )
    wait_until(lambda: listens(made.port), 20, "the edge listens")
    return edge


def reachable(address: str, port: int) -> bool:
    import socket

    with suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False


class Clients:
    """Readers through the edge, until the block ends: how many were answered, and what was not."""

    def __init__(self, port: int, clients: int = 2) -> None:
        self._url = f"http://127.0.0.1:{port}/api/dhash/search?hash=00ff00ff00ff00ff"
        self._over = threading.Event()
        self._clients = [threading.Thread(target=self._ask) for _ in range(clients)]
        self.answered = 0
        self.failed: list[str] = []

    def __enter__(self) -> "Clients":
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for client in self._clients:
            client.join(30)

    def _get(self, http: httpx.Client) -> httpx.Response:
        """Ask once more where an idle connection was closed under the question, as browsers do.

        The edge closes those whenever a host comes or goes (RFC 9112, 9.3.1).
        """
        try:
            return http.get(self._url)
        except httpx.RemoteProtocolError:
            return http.get(self._url)

    def _ask(self) -> None:
        with httpx.Client(timeout=20) as http:
            while not self._over.is_set():
                try:
                    answer = self._get(http)
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.answered += 1
                else:
                    self.failed.append(f"{answer.status_code} {answer.text[:200]}")
                time.sleep(0.1)


def until_line(process: "subprocess.Popen[str]", holds: Callable[[str], bool], seconds: float = 120) -> str:
    """Read a command's output until a line says so; all of it until then."""
    assert process.stdout is not None
    deadline, read = time.monotonic() + seconds, ""
    for line in process.stdout:
        read += line
        if holds(line):
            return read
        assert time.monotonic() < deadline, read
    raise AssertionError(f"it ended before: {read}")
