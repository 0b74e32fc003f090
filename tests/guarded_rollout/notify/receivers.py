"""Receivers on loopback that keep what arrives: a webhook that answers as told, and a mail server."""

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class Arrived:
    """One request."""

    path: str
    headers: dict[str, str]
    body: Any

    @property
    def event(self) -> str:
        return self.headers["x-event-id"]


@dataclass
class Answer:
    """What a webhook answers; `hang` seconds first, `cut` closes the line instead."""

    status: int = 200
    body: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    hang: float = 0.0
    cut: bool = False
    drip: bool = False  # a byte at a time, for ever


class Webhook:
    """`answer` may be replaced at any time, also by a function of the number of requests so far."""

    def __init__(self) -> None:
        self.answer: Answer | Callable[[int], Answer] = Answer()
        self.attempts: list[Arrived] = []  # every request
        self.accepted: list[Arrived] = []  # those answered 2xx
        self.closing = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                headers = {name.lower(): value for name, value in self.headers.items()}
                arrived = Arrived(self.path, headers, json.loads(self.rfile.read(length)))
                answer = owner.answer(len(owner.attempts)) if callable(owner.answer) else owner.answer
                owner.attempts.append(arrived)
                owner.closing.wait(answer.hang)
                if answer.cut:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                if 200 <= answer.status < 300:  # before the answer: the next request may come with it
                    owner.accepted.append(arrived)
                self._reply(answer)

            def _reply(self, answer: Answer) -> None:
                body = b"" if answer.status == 204 else answer.body.encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 204:
                    self.send_header("Content-Length", str(10**6 if answer.drip else len(body)))
                self.end_headers()
                self.wfile.write(body)
                while answer.drip and not owner.closing.wait(0.02):
                    self.wfile.write(b".")

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # the sender went away: what some of these tests are about

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def url(self, path: str = "/hook/token-1234567?a=1&b=two%20words") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def events(self) -> list[str]:
        """Ids of what was accepted, in order of arrival."""
        return [arrived.event for arrived in self.accepted]


@contextmanager
def webhook(answer: Answer | Callable[[int], Answer] | None = None) -> Iterator[Webhook]:
    receiver = Webhook()
    receiver.answer = answer or Answer()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.closing.set()
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()


class Mailbox:
    """Takes mail; `refusal` is answered instead, `logins` has who came with which password."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []
        self.encrypted: list[bool] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.refusal = ""
        self.refused_recipients: set[str] = set()
        self.port = 0

    async def handle_RCPT(
        self, server: object, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused_recipients:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refusal:
            return self.refusal
        self.mails.append(envelope)
        self.encrypted.append(server.transport.get_extra_info("ssl_object") is not None)
        return "250 OK"

    def login(
        self, server: object, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"right password", handled=False)


@contextmanager
def mail_server(certificate: tuple[Path, Path] | None = None, *, smtps: bool = False) -> Iterator[Mailbox]:
    """A mail server; with a certificate it offers STARTTLS and a login, or speaks TLS from the start."""
    mailbox = Mailbox()
    options: dict[str, Any] = {}
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        options["ssl_context" if smtps else "tls_context"] = context
        options |= {"authenticator": mailbox.login, "auth_require_tls": not smtps}
    else:
        options |= {"authenticator": mailbox.login, "auth_require_tls": False}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        mailbox.port = probe.getsockname()[1]
    controller = Controller(mailbox, "127.0.0.1", mailbox.port, **options)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of its own for 127.0.0.1, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=loopback", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key
