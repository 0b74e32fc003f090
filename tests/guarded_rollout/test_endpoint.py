"""One HTTP request against real sockets that answer as told."""

import base64
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from guarded_rollout.errors import NoAnswerError
from guarded_rollout.host.certificate import trust
from guarded_rollout.host.endpoint import Answer, Endpoint, is_url
from guarded_rollout.host.site import CommandResult
from tests.guarded_rollout.notify.receivers import make_certificate

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"
Serve = Callable[[socket.socket], None]


@contextmanager
def listening(listener: socket.socket, serve: Serve) -> Iterator[list[bytes]]:
    """Give each connection to `serve` after its first bytes were read into the list."""
    asked: list[bytes] = []

    def accept() -> None:
        while True:
            try:
                connected, _ = listener.accept()
                with closing(connected):
                    asked.append(connected.recv(65536))
                    serve(connected)
            except ssl.SSLError:
                continue
            except OSError:
                if over.is_set():
                    return

    over = threading.Event()
    listener.listen()
    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def loopback() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"


def answers(content: bytes) -> Serve:
    return lambda connected: connected.sendall(content)


def fetch(content: bytes | Serve, timeout: float = 5.0, *, max_bytes: int = 100) -> Answer:
    listener = loopback()
    serve = answers(content) if isinstance(content, bytes) else content
    with listening(listener, serve):
        return Endpoint(url_of(listener), timeout, max_bytes=max_bytes).fetch("GET", "/")


def test_a_unix_socket_and_a_port_are_asked_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "s"
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(path))
    for listener, address in ((local, path), (tcp := loopback(), url_of(tcp))):
        with listening(listener, answers(OK)) as asked:
            answer = Endpoint(address, headers={"User-Agent": "guard"}).ask("POST", "/a?b=1", body=b"body")
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"ok", "text/plain")
        assert answer.ok
        assert 0 < answer.seconds < 5
        head, _, body = asked[0].partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[0] == "POST /a?b=1 HTTP/1.1"
        assert {"User-Agent: guard", "Connection: close", "Content-Length: 4"} <= set(lines)
        assert body in (b"body", b"")  # it may come in a packet of its own


def test_the_target_is_the_base_and_the_path_encoded_once() -> None:
    for base, path, target in (
        ("", "", "/"),
        ("/", "/health", "/health"),
        ("/prefix/", "/a", "/prefix/a"),
        ("/hook/t%20x?a=1&b=two%20words#part", "", "/hook/t%20x?a=1&b=two%20words"),
        ("", "/ö b?q=ü&r=1+2", "/%C3%B6%20b?q=%C3%BC&r=1+2"),
        ("", "/a%2Fb", "/a%2Fb"),
    ):
        listener = loopback()
        with listening(listener, answers(OK)) as asked:
            Endpoint(url_of(listener) + base).ask("GET", path)
        assert asked[0].split()[1].decode() == target


def test_a_whole_url_as_the_path_is_asked_instead() -> None:
    listener = loopback()
    with listening(listener, answers(OK)) as asked:
        Endpoint("http://127.0.0.1:1").ask("GET", f"{url_of(listener)}/elsewhere")
    assert asked[0].startswith(b"GET /elsewhere ")


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    answer = fetch(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
    assert (answer.status, answer.headers["location"], answer.ok) == (302, "http://127.0.0.1:1/", False)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "does not answer: Remote end closed"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer: SSH-2.0"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "5 bytes read, 5 more expected"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwo", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "more than 100 headers"),
    ],
)
def test_what_is_no_whole_answer_is_a_problem_in_words(content: bytes, problem: str) -> None:
    answer = fetch(content)
    assert problem in answer.problem
    assert answer.status == 0


@pytest.mark.parametrize("length", [b"Content-Length: 101\r\n", b""])
def test_an_answer_that_is_too_long_is_cut_and_said(length: bytes) -> None:
    answer = fetch(b"HTTP/1.1 201 Created\r\n" + length + b"\r\n" + b"x" * 101)
    assert answer == Answer(
        201, b"x" * 100, answer.headers, answer.seconds, "answered more than 100 bytes"
    )  # fmt: skip
    assert fetch(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100).problem == ""


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"])
def test_a_receiver_that_drips_headers_or_body_does_not_move_the_deadline(head: bytes) -> None:
    def drip(connected: socket.socket) -> None:
        connected.sendall(head)
        while True:  # until the asker has gone
            connected.sendall(b"x")
            time.sleep(0.02)

    began = time.monotonic()
    answer = fetch(drip, timeout=0.3, max_bytes=10**6)
    assert answer == Answer(seconds=answer.seconds, problem="timed out after 0.3 s")
    assert 0.3 <= time.monotonic() - began < 2


def test_no_answer_is_an_error_with_the_request_and_the_reason(tmp_path: Path) -> None:
    with pytest.raises(NoAnswerError) as caught:
        Endpoint(tmp_path / "none").ask("GET", "/health")
    assert str(caught.value).startswith(f"GET /health to {tmp_path}/none failed: it does not answer: ")


@pytest.mark.parametrize("address", ["http://[::1", "http://127.0.0.1:99999", "http://a b/", "http://x:y/"])
def test_an_address_that_is_none_is_a_problem_too(address: str) -> None:
    assert "does not answer" in Endpoint(address, 1).fetch("GET", "/").problem


def test_a_name_and_password_in_the_address_are_credentials() -> None:
    listener = loopback()
    with listening(listener, answers(OK)) as asked:
        Endpoint(url_of(listener).replace("//", "//me:pass%40word@")).ask("GET", "/")
    given = base64.b64encode(b"me:pass@word")
    assert b"Authorization: Basic " + given in asked[0]
    assert b"Host: 127.0.0.1" in asked[0]


# ---- TLS and proxies


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    trust.cache_clear()
    yield
    trust.cache_clear()


@pytest.fixture
def secure(tmp_path: Path) -> tuple[socket.socket, Path]:
    certificate, key = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context.wrap_socket(loopback(), server_side=True), certificate


def test_https_is_believed_only_by_a_trusted_certificate(
    secure: tuple[socket.socket, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, certificate = secure
    with listening(listener, answers(OK)):
        stranger = Endpoint(url_of(listener, "https")).fetch("GET", "/")
        assert "certificate verify failed" in stranger.problem
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        trust.cache_clear()
        assert Endpoint(url_of(listener, "https")).fetch("GET", "/").body == b"ok"


def test_a_proxied_endpoint_goes_through_the_environments_proxy_and_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy, direct = loopback(), loopback()
    monkeypatch.setenv("HTTP_PROXY", url_of(proxy))
    monkeypatch.setenv("http_proxy", url_of(proxy))
    with listening(proxy, answers(OK)) as through, listening(direct, answers(OK)) as straight:
        address = url_of(direct)
        Endpoint(address, proxied=True).ask("GET", "/a?b")
        assert through[0].startswith(f"GET {address}/a?b HTTP/1.1\r\n".encode())
        Endpoint(address).ask("GET", "/c")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        Endpoint(address, proxied=True).ask("GET", "/d")
    assert len(through) == 1
    assert [request.split()[1] for request in straight] == [b"/c", b"/d"]


def test_https_goes_through_a_tunnel_with_the_proxys_credentials(
    secure: tuple[socket.socket, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, certificate = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def tunnel(connected: socket.socket) -> None:
        with socket.create_connection(listener.getsockname()) as far:
            connected.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=relay, args=(far, connected))
            back.start()
            relay(connected, far)
            back.join()

    proxy = loopback()
    monkeypatch.setenv("https_proxy", url_of(proxy).replace("//", "//me:secret@"))
    with listening(listener, answers(OK)), listening(proxy, tunnel) as asked:
        assert Endpoint(url_of(listener, "https"), proxied=True).ask("GET", "/").body == b"ok"
    head = asked[0].decode()
    assert head.startswith(f"CONNECT 127.0.0.1:{head.split()[1].split(':')[1]} HTTP/1.")
    assert "Proxy-Authorization: Basic " + base64.b64encode(b"me:secret").decode() in head


def relay(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one side has gone


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("http://localhost:3000", True),
        ("https://[::1]:3000/a?b=c", True),
        ("https://hooks.example/services/T/B/x", True),
        ("localhost:3000", False),
        ("ftp://host/", False),
        ("http://", False),
        ("http://[::1", False),
        ("http://host:port/", False),
        ("http://host:99999/", False),
        ("http://host/a b", False),
        ("http://host/\x1b", False),
        ("", False),
    ],
)
def test_an_address_is_known_by_its_scheme_host_and_port(text: str, valid: bool) -> None:
    assert is_url(text) is valid


def test_a_socket_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    problem = Endpoint(tmp_path / "none.sock").fetch("GET", "/").problem
    assert problem == "does not answer: nothing listens on its unix socket"


def test_the_beginning_of_a_page_is_one_line_that_no_terminal_obeys() -> None:
    page = b"<!DOCTYPE HTML>\n<html>\n    <head>\x1b[2J\n" + b" " * 1000
    assert Answer(404, page).summary() == "404 <!DOCTYPE HTML> <html> <head> [2J"
    assert Answer(503).summary() == "503"


def test_an_answer_that_nests_too_deeply_is_no_json() -> None:
    deep = b"[" * 100_000
    assert Answer(200, deep).json() is None
    assert CommandResult(True, deep.decode(), "").lines() == []
