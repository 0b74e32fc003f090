"""The certificate of the public port: what the files hold, and what the proxy shows to clients."""

import os
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from guarded_rollout.config.tls import Tls
from guarded_rollout.errors import CertificateError

ROUNDS = 10  # of a handshake; three are usual
ANSWER_SECONDS = 5.0
DAYS_LEFT = 14  # below so many somebody is told; most certificates are renewed when they have 30


@cache
def trust(root: Path | None = None) -> ssl.SSLContext:
    """Trust this CA alone, or the machine's and Mozilla's; those of SSL_CERT_FILE alone if it is set."""
    if root is not None:
        return ssl.create_default_context(cafile=str(root))
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE"):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that a client of this domain would accept."""

    domain: str
    expires: datetime

    @property
    def days_left(self) -> float:
        return (self.expires - datetime.now(UTC)).total_seconds() / 86400


def read_certificate(tls: Tls) -> Certificate:
    """Read the files and shake hands with them, as a client would. Raises `CertificateError`.

    So the key is that of the certificate, the chain leads to a CA that is trusted, the name is the domain,
    and its time has not passed.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for path in (tls.certificate, tls.key, tls.root):
        if path is not None:
            _require_readable(path)
    try:
        server.load_cert_chain(str(tls.certificate), str(tls.key), password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        mismatch = "KEY_VALUES_MISMATCH" in str(error)
        what = f"{tls.key} is not its key" if mismatch else f"it or {tls.key} is no PEM file, or locked"
        raise CertificateError(path=tls.certificate, problem=what) from None
    try:
        shown = _shake_hands(server, trust(tls.root), tls.domain)
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(path=tls.certificate, problem=error.verify_message) from None
    except ssl.SSLError as error:
        raise CertificateError(path=tls.root or tls.certificate, problem=str(error.reason)) from None
    return Certificate(tls.domain, datetime.fromtimestamp(ssl.cert_time_to_seconds(shown), UTC))


def _require_readable(path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise CertificateError(path=path, problem=str(error.strerror).lower()) from None


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, domain: str) -> str:
    """Return when the server's certificate expires, as the client that accepted it reads it."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname=domain)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(ROUNDS):
        for side in (asking, answering):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return str((asking.getpeercert() or {})["notAfter"])


def in_file(path: Path) -> bytes:
    """The certificate of a PEM file that clients are shown, as DER."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    first = path.read_text(errors="replace").partition(begin)[2].partition(end)[0]
    return ssl.PEM_cert_to_DER_cert(f"{begin}{first}{end}")


def shown_at(port: int, domain: str) -> bytes | None:
    """The certificate that this machine's port shows to clients, as DER; None if nobody answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as connected,
            context.wrap_socket(connected, server_hostname=domain) as secure,
        ):
            return secure.getpeercert(binary_form=True)
    except OSError:  # ssl.SSLError is one
        return None
