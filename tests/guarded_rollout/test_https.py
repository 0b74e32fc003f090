"""TLS on the public port, on the real Caddy: files, renewed files, and ACME."""

import http.client
import json
import os
import re
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from guarded_rollout.checks.findings import Severity
from guarded_rollout.checks.preflight import inspect
from guarded_rollout.cli.smoke import stand_in
from guarded_rollout.clock import SystemClock
from guarded_rollout.config.environments import Environment, load
from guarded_rollout.config.tls import Tls, TlsMode
from guarded_rollout.errors import CertificateError, ConfigurationError
from guarded_rollout.host.caddy import PIN, configuration
from guarded_rollout.host.certificate import in_file, read_certificate, shown_at, trust
from guarded_rollout.host.programs import program
from guarded_rollout.host.site import Site
from guarded_rollout.journal.store import Journal
from guarded_rollout.operations.maintenance import WEEKLY, Round, run
from tests.guarded_rollout.certificates import Authority
from tests.guarded_rollout.sandbox import Sandbox, free_port, wait_until
from tests.leftovers import owned_folder

DOMAIN = "pictures.test"
RESTARTS = bytes([0x88, 2]) + (1012).to_bytes(2)  # a WebSocket's close frame: the service restarts
GOES_AWAY = bytes([0x88, 2]) + (1001).to_bytes(2)


class Answering(BaseHTTPRequestHandler):
    """Says which slot it is, and by which scheme its client came."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers["Upgrade"]:
            self._talk()
            return
        server = Path(str(self.server.server_address)).stem
        told = {"slot": server, "scheme": self.headers["X-Forwarded-Proto"]}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _talk(self) -> None:
        """Say everything back, and close properly when asked to leave."""
        self.close_connection = True
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        while said := self.connection.recv(100):
            self.connection.sendall(RESTARTS if said == b"leave" else said)

    def address_string(self) -> str:
        return "a client"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class Slots(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A service in one slot."""

    daemon_threads = True


def configured(authority: Authority, folder: Path, tls: str = "files", **more: object) -> Environment:
    """An environment whose public port speaks https; `more` are keys of its certificate."""
    made = authority.issue(DOMAIN)
    keys = {"domain": DOMAIN, "root": authority.root, "redirect_port": free_port()}
    if tls == "files":
        keys |= {"file": made / "file.pem", "key": made / "key.pem"}
    keys |= more
    said = {name: value if isinstance(value, int) else str(value) for name, value in keys.items()}
    lines = [
        '[service]\nname = "pictures"\n[service.commands]\nserve = ["x"]\n[environments.production]',
        f'port = {free_port()}\ntls = "{tls}"\n[environments.production.certificate]',
        *(f"{name} = {json.dumps(value)}" for name, value in said.items()),
    ]
    (folder / "rollout.toml").write_text("\n".join(lines))
    return load(folder / "rollout.toml").environment("production")


@contextmanager
def proxied(environment: Environment) -> Iterator[Site]:
    """The environment's real proxy, before a small service in either slot."""
    site = Site(environment)
    site.prepare()
    servers = [Slots(str(site.slots.socket(slot)), Answering) for slot in ("blue", "green")]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    site.slots.name()
    site.traffic.close_to_testers()
    with caddy(environment.root / "proxy", configuration(environment)):
        wait_until(lambda: _accepts(environment.port))
        yield site
    for server in servers:
        server.shutdown()
        server.server_close()


@contextmanager
def caddy(home: Path, config: object, **more: str) -> Iterator[None]:
    path = home / "caddy.json"
    path.write_text(json.dumps(config))
    variables = (
        os.environ | {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)} | more
    )
    with (home / "caddy.log").open("wb") as log:
        running = subprocess.Popen(
            [program("caddy"), "run", "--config", str(path)], env=variables, stderr=log, stdout=log
        )
        try:
            yield
        finally:
            running.terminate()
            try:
                running.wait(20)
            finally:
                running.kill()


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(owned_folder("ca"))


@pytest.fixture(scope="module")
def site(authority: Authority) -> Iterator[Site]:
    with proxied(configured(authority, owned_folder("tl"))) as made:
        yield made


def test_checks_reach_the_port_by_https_and_the_service_is_told(site: Site):
    answer = site.public().ask("GET", "/")
    assert str(site.public()) == f"https://{DOMAIN}:{site.environment.port}" == site.environment.url
    assert answer.json() == {"slot": "blue", "scheme": "https"}


@pytest.mark.parametrize("slot", ["blue", "green"])
def test_a_check_pinned_to_a_slot_asks_it_by_https(site: Site, slot: str):
    assert site.public().ask("GET", "/", headers={PIN: slot}).json() == {"slot": slot, "scheme": "https"}


def test_plain_http_is_sent_on_to_the_same_address_by_https(site: Site):
    connection = http.client.HTTPConnection("127.0.0.1", site.environment.redirect_port)
    connection.request("POST", "/api/x?y=1", headers={"Host": "somebody.else"})
    answer = connection.getresponse()
    connection.close()
    assert (answer.status, answer.headers["Location"]) == (308, f"{site.environment.url}/api/x?y=1")


def test_who_names_no_host_or_another_is_shown_the_certificate(site: Site):
    there = in_file(site.environment.tls.certificate)
    assert shown_at(site.environment.port, "127.0.0.1") == shown_at(site.environment.port, "x.test") == there


class Client(threading.Thread):
    """Asks over one connection as long as that stays open, as programs do; counts what failed."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._site = site
        self.answered, self.connections, self.failed = 0, 0, []
        self.leave = threading.Event()
        self.start()

    def run(self) -> None:
        endpoint = self._site.public()
        connection, _ = endpoint._connection(urlsplit(str(endpoint)))
        while not self.leave.is_set():
            self.connections += connection.sock is None
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                self.answered += answer.status == 200
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
        connection.close()


def test_a_renewed_certificate_is_shown_and_no_request_fails(site: Site, authority: Authority):
    environment = site.environment
    assert not site.traffic.renew_certificate()  # it is shown already
    clients = [Client(site) for _ in range(8)]
    wait_until(lambda: all(client.answered for client in clients))
    authority.issue(DOMAIN)
    assert site.traffic.renew_certificate()
    assert shown_at(environment.port, DOMAIN) == in_file(environment.tls.certificate)
    before = [client.answered for client in clients]
    wait_until(lambda: all(client.answered > had for client, had in zip(clients, before, strict=True)))
    for client in clients:
        client.leave.set()
        client.join()
    assert [failed for client in clients for failed in client.failed] == []
    assert all(client.connections > 1 for client in clients)  # told to come again, they did


@contextmanager
def acme_authority(*, proxy: int) -> Iterator[tuple[str, Path]]:
    """A real ACME CA, which reaches every name by this HTTP proxy: the port that it validates.

    Yields its directory, and its own certificate.
    """
    home, port = owned_folder("ac"), free_port()
    server = {
        "listen": [f":{port}"],
        "automatic_https": {"disable_redirects": True},
        "tls_connection_policies": [{}],
        "routes": [
            {
                "match": [{"host": ["localhost"]}],
                "handle": [{"handler": "acme_server", "challenges": ["http-01"]}],
            }
        ],
    }
    issuer = {"module": "internal"}
    config = {
        "admin": {"disabled": True},
        "apps": {
            "http": {"servers": {"ca": server}},
            "tls": {"automation": {"policies": [{"subjects": ["localhost"], "issuers": [issuer]}]}},
            "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
        },
    }
    with caddy(home, config, HTTP_PROXY=f"http://127.0.0.1:{proxy}"):
        root = home / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        wait_until(lambda: root.exists() and shown_at(port, "localhost") is not None)
        yield f"https://localhost:{port}/acme/local/directory", root


@pytest.mark.parametrize(
    ("domain", "issued", "key", "root", "problem"),
    [
        (DOMAIN, {}, "other.test", True, "is not its key"),
        ("other.test", {}, DOMAIN, True, "is not its key"),
        ("wrong.test", {}, "", True, "not valid for 'wrong.test'"),
        (DOMAIN, {"ends": "20210101000000Z"}, "", True, "certificate has expired"),
        (DOMAIN, {"begins": "20590101000000Z"}, "", True, "certificate is not yet valid"),
        (DOMAIN, {}, "", False, "unable to get local issuer certificate"),
        (DOMAIN, {}, "nobody.test", True, "no such file or directory"),
    ],
)
def test_files_that_clients_would_refuse_are_refused_with_the_reason(
    authority: Authority, domain: str, issued: dict[str, str], key: str, root: bool, problem: str
):
    made, other = authority.issue("some.test" if issued else DOMAIN, **issued), authority.issue("other.test")
    keys = {"": made, DOMAIN: made, "other.test": other, "nobody.test": made / "none"}
    name = "some.test" if issued else domain
    file = other if domain == "other.test" else made
    ca = authority.root if root else None
    tls = Tls(TlsMode.FILES, name, file / "file.pem", keys[key] / "key.pem", ca, "", "", 0)
    with pytest.raises(CertificateError, match=re.escape(problem)):
        read_certificate(tls)


@contextmanager
def websocket(site: Site) -> Iterator[ssl.SSLSocket]:
    """A connection that has become a WebSocket's, to the configuration that stays."""
    wait_until(lambda: len(list(site.environment.run.glob("reload-*.sock"))) == 1)
    environment, context = site.environment, trust(site.environment.tls.root)
    lines = (
        *("GET /talk HTTP/1.1", f"Host: {DOMAIN}", "Connection: Upgrade", "Upgrade: websocket"),
        *("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x", "", ""),
    )
    with (
        socket.create_connection(("127.0.0.1", environment.port), 60) as plain,
        context.wrap_socket(plain, server_hostname=DOMAIN) as connected,
    ):
        connected.sendall("\r\n".join(lines).encode())
        answered = received(connected, 13)
        assert b" 101 " in answered
        while not answered.endswith(b"\r\n\r\n"):
            answered += received(connected, 1)
        yield connected


def received(connection: ssl.SSLSocket, size: int) -> bytes:
    """So many bytes, in however many pieces they come."""
    found = b""
    while len(found) < size and (piece := connection.recv(size - len(found))):
        found += piece
    assert len(found) == size, found
    return found


def test_a_websocket_is_asked_to_come_again_by_the_service_and_by_a_renewal(site: Site, authority: Authority):
    with websocket(site) as first, websocket(site) as second:
        first.sendall(b"leave")
        assert received(first, len(RESTARTS)) == RESTARTS
        second.sendall(b"hello")
        assert received(second, 5) == b"hello"
        authority.issue(DOMAIN)
        assert site.traffic.renew_certificate()
        assert received(second, len(GOES_AWAY)) == GOES_AWAY
    with websocket(site) as again:
        again.sendall(b"hello")
        assert received(again, 5) == b"hello"


def test_a_certificate_that_clients_would_refuse_is_not_loaded(site: Site, authority: Authority):
    shown = shown_at(site.environment.port, DOMAIN)
    authority.issue(DOMAIN, ends="20210101000000Z")
    with pytest.raises(CertificateError, match="has expired"):
        site.traffic.renew_certificate()
    assert shown_at(site.environment.port, DOMAIN) == shown
    authority.issue(DOMAIN)


def test_words_beside_a_certificate_may_be_in_any_encoding(authority: Authority):
    """`openssl pkcs12` writes a name above it, as whoever exported it has typed it."""
    path = authority.issue("named.example.org") / "file.pem"
    plain = in_file(path)
    path.write_bytes(b"friendlyName: B\xfcro\n" + path.read_bytes())
    assert in_file(path) == plain


@pytest.mark.parametrize(
    ("ends_in_days", "mode", "level", "said"),
    [
        (90, 0o600, Severity.OK, f"{DOMAIN}, until 20"),
        (90, 0o640, Severity.WARNING, "other users can read its key (mode 640)"),
        (5, 0o600, Severity.WARNING, "it expires in 5 days"),
        (-1, 0o600, Severity.FAILED, "certificate has expired"),
    ],
)
def test_preflight_looks_at_the_certificate(
    authority: Authority, ends_in_days: int, mode: int, level: Severity, said: str
):
    environment = configured(authority, owned_folder("tl"))
    ends = datetime.now(UTC) + timedelta(days=ends_in_days, hours=1)
    made = authority.issue(DOMAIN, ends=f"{ends:%Y%m%d%H%M%SZ}")
    (made / "key.pem").chmod(mode)
    (environment.project / "quality-gates-config.json").write_text("{}")
    site = Site(environment)
    site.prepare()
    with Journal.open(environment.journal) as journal:
        rows = [row for row in inspect(site, journal, None) if row.name == "certificate"]
    assert (rows[0].level, said in rows[0].detail) == (level, True), rows


@pytest.mark.parametrize(
    ("tls", "keys", "where", "said"),
    [
        ("on", {}, "tls", "'on' is none of off, files, acme"),
        ("files", {"domain": ""}, "certificate.domain", "is missing"),
        ("files", {"domain": "a b"}, "certificate.domain", "'a b' is no name of a host"),
        ("acme", {"domain": "-.x"}, "certificate.domain", "is no name of a host"),
        ("files", {"file": ""}, "certificate.file", "is missing"),
        ("files", {"key": ""}, "certificate.key", "is missing"),
        ("acme", {"email": "me"}, "certificate.email", "'me' is no address"),
        ("acme", {"directory": "http://ca"}, "certificate.directory", "begins with https://"),
        ("acme", {"redirect_port": 70000}, "certificate.redirect_port", "a port is 1 to 65535"),
        ("files", {"certificat": "x"}, "certificate.certificat", "unknown key"),
    ],
)
def test_a_mistake_in_the_configuration_is_said_with_its_place(
    authority: Authority, tmp_path: Path, tls: str, keys: dict[str, object], where: str, said: str
):
    with pytest.raises(ConfigurationError) as refused:
        configured(authority, tmp_path, tls, **keys)
    assert f"environments.production.{where}" in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("port", "tls", "url"),
    [(443, "files", "https://pictures.test"), (3000, "acme", "https://pictures.test:3000")],
)
def test_the_address_leaves_out_the_usual_port(
    authority: Authority, tmp_path: Path, port: int, tls: str, url: str
):
    environment = configured(authority, tmp_path, tls)
    assert replace(environment, port=port).url == url
    off = replace(environment, tls=replace(environment.tls, mode=TlsMode.OFF))
    assert replace(off, port=80).url == "http://localhost"
    assert off.redirect_port == 0


def test_two_environments_do_not_share_a_redirect_port(authority: Authority, tmp_path: Path):
    taken = configured(authority, tmp_path).redirect_port
    file = tmp_path / "rollout.toml"
    file.write_text(file.read_text() + f"\n[environments.staging]\nport = {taken}\n")
    with pytest.raises(ConfigurationError, match=f"{taken} is staging's already"):
        load(file)


def test_a_certificate_is_got_by_acme(authority: Authority):
    folder, proxy = owned_folder("tl"), free_port()
    with acme_authority(proxy=proxy) as (directory, root):
        environment = configured(
            authority, folder, "acme", redirect_port=proxy, root=root, directory=directory, email="a@b.c"
        )
        with proxied(environment) as site:
            wait_until(lambda: shown_at(environment.port, DOMAIN) is not None)
            assert site.public().ask("GET", "/").json() == {"slot": "blue", "scheme": "https"}


def test_a_checks_command_trusts_the_ca_and_others_do_not_hear_of_it(authority: Authority):
    environment = configured(authority, owned_folder("tl"))
    site = Site(environment)
    words = [sys.executable, "-c", "import os; print(os.environ.get('SSL_CERT_FILE'))"]
    asked = site.run(words, stand_in(environment), more={"url": environment.url})
    assert asked.output.strip() == str(authority.root)
    assert site.run(words, stand_in(environment)).output.strip() == "None"


@pytest.mark.parametrize(("days", "level"), [(90, Severity.OK), (3, Severity.WARNING), (-1, Severity.FAILED)])
def test_the_weekly_round_says_how_long_the_certificate_lasts(
    authority: Authority, days: int, level: Severity
):
    environment = configured(authority, owned_folder("tl"))
    ends = datetime.now(UTC) + timedelta(days=days, hours=1)
    authority.issue(DOMAIN, ends=f"{ends:%Y%m%d%H%M%SZ}")
    work = Round(environment, SystemClock(), "ann", dry_run=False)
    [note] = run({"certificate": WEEKLY["certificate"]}, work)
    assert note.level is level, note


@pytest.mark.system
def test_a_release_is_rolled_out_and_replaced_behind_https(authority: Authority):
    made = authority.issue(DOMAIN)
    sandbox = Sandbox()
    try:
        lines = (
            *('tls = "files"', "[environments.production.certificate]", f'domain = "{DOMAIN}"'),
            *(f'file = "{made / "file.pem"}"', f'key = "{made / "key.pem"}"', f'root = "{authority.root}"'),
        )
        sandbox.configure(more="\n".join(lines))
        sandbox.deploy()
        sandbox.deploy("2.0.0")
        with sandbox.engine() as engine:
            engine.promote()
        smoke = sandbox.rollout("smoke")
        assert smoke.returncode == 0, smoke.stdout + smoke.stderr
        assert f"https://{DOMAIN}:{sandbox.port}" in smoke.stdout
        assert f"https://{DOMAIN}:{sandbox.port}" in sandbox.rollout("status").stdout
        authority.issue(DOMAIN)
        warned = sandbox.rollout("preflight")
        assert "the proxy shows another one than the file holds" in warned.stdout + warned.stderr
        assert "The renewed certificate" in sandbox.rollout("start").stdout
        assert shown_at(sandbox.port, DOMAIN) == in_file(made / "file.pem")
    finally:
        sandbox.close()
