"""Traffic: one Caddy per environment, and the share of it that each slot gets: a file that `caddy` reads."""

import errno
import json
import re
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from guarded_rollout.config.environments import Environment
from guarded_rollout.config.tls import TlsMode
from guarded_rollout.errors import CertificateError, PortForbiddenError, PortTakenError
from guarded_rollout.files import write_atomic
from guarded_rollout.host import https
from guarded_rollout.host.caddy import (
    ANSWER_SECONDS,
    DRAIN_SECONDS,
    SPARE,
    STREAM_HANDLER,
    TO_BLUE,
    configuration,
)
from guarded_rollout.host.certificate import in_file, read_certificate, shown_at
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.host.processes import PROXY, Processes, Spec
from guarded_rollout.host.programs import program
from guarded_rollout.host.slots import Slot, Slots

ALL = "g"  # above every hexadecimal digit
PORT_SECONDS = 5.0  # that a proxy may take to accept clients; one that never does is told by the checks
RELOAD_SECONDS = 60.0  # that the proxy may take to read a certificate again, requests in flight included

IN_FLIGHT = re.compile(r"^caddy_http_requests_in_flight\{(?P<labels>[^}]*)\} (?P<count>\S+)$", re.MULTILINE)
"""The proxy's gauge: a line for each handler that a request passes, so the highest counts them all."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """The requests that a slot is answering. `streams` (event streams, WebSockets) end only when told to."""

    requests: int = 0
    streams: int = 0

    @property
    def total(self) -> int:
        return self.requests + self.streams

    def __str__(self) -> str:
        counts = ((self.requests, "request"), (self.streams, "stream"))
        return " and ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in counts if count)


class Traffic:
    """The proxy of one environment."""

    def __init__(self, environment: Environment, processes: Processes) -> None:
        self._environment = environment
        self._processes = processes
        self.share_file = environment.run / "green_share"
        self.try_file = environment.run / "try_key"
        self.admin_socket = environment.run / "admin.sock"

    def share(self) -> dict[Slot, int]:
        """Percent of the traffic per slot; a missing file sends all to blue, as the proxy does."""
        try:
            written = self.share_file.read_text().strip().rstrip(SPARE + TO_BLUE)
        except FileNotFoundError:
            written = ""
        green = 100 if written == ALL else round(int(written or "0", 16) * 100 / 0x10000)
        return {"blue": 100 - green, "green": green}

    def serving(self) -> Slot:
        """The slot that has most of the traffic."""
        share = self.share()
        return "green" if share["green"] > share["blue"] else "blue"

    def give(self, slot: Slot, percent: int, *, spare: bool = False) -> None:
        """Give this slot so much of the traffic, the other one the rest, from the next request on.

        With a `spare`, either slot answers for the other when that does not: both must have been verified,
        or whoever stands there would get requests as soon as the one that serves has a bad moment. This slot
        is the candidate then, and testers who know the key may ask for it. Without one nobody may any more.
        """
        green = percent if slot == "green" else 100 - percent
        share = ALL if green >= 100 else f"{green * 0x10000 // 100:04x}"
        candidate = TO_BLUE if slot == "blue" else ""
        write_atomic(self.share_file, share + (candidate + SPARE if spare else ""))
        if not spare and self.tester_key():
            self.close_to_testers()

    def open_to_testers(self) -> str:
        """Let whoever knows this key ask for the candidate, until the rollout ends; return the key."""
        if not (key := self.tester_key()):
            key = secrets.token_hex(16)
            write_atomic(self.try_file, key, mode=0o600)
        return key

    def tester_key(self) -> str:
        """The key that testers have; empty if they have none."""
        return self.try_file.read_text() if self.try_file.exists() else ""

    def close_to_testers(self) -> None:
        """Let nobody ask for the candidate any more."""
        write_atomic(
            self.try_file, "", mode=0o600
        )  # where there is none, the proxy complains at each request

    def candidate(self) -> Slot | None:
        """The slot that testers may ask for: while clients are served by a verified candidate."""
        written = self.share_file.read_text().strip() if self.share_file.exists() else ""
        if not written.endswith(SPARE):
            return None
        return "blue" if written.endswith(TO_BLUE + SPARE) else "green"

    def in_flight(self, slot: Slot) -> InFlight:
        """Return what this slot is answering; nothing where the proxy does not say."""
        answer = Endpoint(self.admin_socket, ANSWER_SECONDS).fetch("GET", "/metrics")
        counts = {
            one["labels"]: int(float(one["count"]))
            for one in IN_FLIGHT.finditer(answer.text)
            if f'server="{slot}"' in one["labels"]
        }
        streams = max(
            (n for labels, n in counts.items() if f'handler="{STREAM_HANDLER}"' in labels), default=0
        )
        return InFlight(max(counts.values(), default=0) - streams, streams)

    def ensure(self) -> None:
        """Start the proxy unless it runs. Raises `PortTakenError` before anything was started."""
        self.require_own_port()
        path = self._environment.root / "proxy" / "caddy.json"
        write_atomic(path, json.dumps(configuration(self._environment), indent=1))
        Slots(self._environment).name()
        if not self.try_file.exists():
            self.close_to_testers()
        home = str(path.parent)
        self._processes.start(
            PROXY,
            Spec(
                command=[program("caddy"), "run", "--config", str(path)],
                # it would write to the operator's home folder otherwise
                environment={"HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home},
                folder=home,
                drain_seconds=DRAIN_SECONDS,
            ),
        )
        self._wait_for_port()

    def _wait_for_port(self) -> None:
        """Wait until clients are accepted: a proxy that was just started is not there at once."""
        deadline = time.monotonic() + PORT_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._environment.port), 1):
                return
            time.sleep(0.02)

    def renew_certificate(self) -> bool:
        """Let the proxy read renewed certificate files; False if it shows what they hold already.

        Raises `CertificateError` where clients would not accept them: the proxy goes on with what it has.
        """
        tls = self._environment.tls
        if tls.mode is not TlsMode.FILES or not self._answers():
            return False
        read_certificate(tls)
        if shown_at(self._environment.port, tls.domain) == in_file(Path(str(tls.certificate))):
            return False
        admin = Endpoint(self.admin_socket, RELOAD_SECONDS)
        running = admin.ask("GET", "/config/").json()
        body = json.dumps(https.reloaded(running, self._environment.run)).encode()
        answer = admin.ask("POST", "/load", body=body, headers={"Content-Type": "application/json"})
        if not answer.ok:
            raise CertificateError(path=tls.certificate, problem=f"the proxy says {answer.summary()}")
        return True

    def require_own_port(self) -> None:
        """Raise `PortTakenError` if another program listens: Caddy itself would share the port with it."""
        if self._answers():
            return
        metrics = self._environment.metrics_port
        for port in filter(None, (self._environment.port, self._environment.redirect_port)):
            _require_free(socket.AF_INET, "0.0.0.0", port)
            _require_free(socket.AF_INET6, "::", port)
        if metrics:
            _require_free(socket.AF_INET, "127.0.0.1", metrics)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(2)
            try:
                probe.connect(str(self.admin_socket))
            except OSError:
                return False
        return True


def _require_free(family: socket.AddressFamily, address: str, port: int) -> None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            probe.listen(1)
    except PermissionError:
        raise PortForbiddenError(port=port) from None
    except OSError as error:  # a machine without IPv6 has nothing that could be taken there
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(port=port) from None
