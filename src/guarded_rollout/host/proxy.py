"""Traffic: one Caddy per environment with a configuration that never changes, and a share that is a file.

Caddy reads the share of the green slot from a file at every request and compares it with the first digits
of the request's random UUID, so moving traffic reloads nothing: a reload closes idle keep-alive connections
and fails about one request in a thousand. Each slot has an inner server of its own, because Caddy counts
requests, codes and latencies per server, not per upstream; an inner server answers its own errors by closing
the connection, or the edge would take them for an answer instead of trying the other slot. An answer that a
dying release has cut is asked for again as well, if its Content-Length is known and it is small (2 KB): Caddy
has passed nothing on by then. Of a chunked answer it has.

The public server writes a line for each request into the edge's log, which Caddy rolls over and
`monitor.edge_log` reads. A release that takes a GET and says nothing is given up after `silent_seconds`, and
the other one is asked without that limit, where either may answer. From this machine, `Rollout-Slot: green`
asks one slot by the way that clients come.
"""

import errno
import json
import socket
from pathlib import Path

from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import PortTakenError
from guarded_rollout.files import write_atomic
from guarded_rollout.host.processes import PROXY, Processes, Spec
from guarded_rollout.host.programs import program
from guarded_rollout.host.slots import SLOTS, Slot, Slots

TRY_SECONDS = 3  # how long the edge looks for a slot that answers
PIN = "Rollout-Slot"  # the header by which checks ask one slot through the public port
ALL = "g"  # above every hexadecimal digit
SPARE = "+"  # below every one of them: behind a share, it moves nothing
DRAIN_SECONDS = 15  # the proxy's own grace for requests in flight when it is stopped

HEALTHY = "rollout_slot_healthy"
SCRAPED = "metrics"  # the name of the scrapers' server in the proxy's own metrics
ANSWER_SECONDS = 5  # below Prometheus's usual timeout of 10 s: a service that hangs is an answer, 0

Json = dict[str, object]


class Traffic:
    """The proxy of one environment."""

    def __init__(self, environment: Environment, processes: Processes) -> None:
        self._environment = environment
        self._processes = processes
        self.share_file = environment.run / "green_share"
        self.admin_socket = environment.run / "admin.sock"

    def share(self) -> dict[Slot, int]:
        """Percent of the traffic per slot; a missing file sends all to blue, as the proxy does."""
        try:
            written = self.share_file.read_text().strip().removesuffix(SPARE)
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
        or whoever stands there would get requests as soon as the one that serves has a bad moment.
        """
        green = percent if slot == "green" else 100 - percent
        share = ALL if green >= 100 else f"{green * 0x10000 // 100:04x}"
        write_atomic(self.share_file, share + (SPARE if spare else ""))

    def ensure(self) -> None:
        """Start the proxy unless it runs. Raises `PortTakenError` before anything was started."""
        self.require_own_port()
        path = self._environment.root / "proxy" / "caddy.json"
        write_atomic(path, json.dumps(configuration(self._environment), indent=1))
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

    def require_own_port(self) -> None:
        """Raise `PortTakenError` if another program listens: Caddy itself would share the port with it."""
        if self._answers():
            return
        port, metrics = self._environment.port, self._environment.metrics_port
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
        raise PortTakenError(port=port) from None
    except OSError as error:  # a machine without IPv6 has nothing that could be taken there
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(port=port) from None


def configuration(environment: Environment) -> Json:
    """Caddy's whole configuration; the same for the life of the environment."""
    run = environment.run
    slots = Slots(environment)
    share = {"handler": "vars", "share": f"{{file.{run}/green_share}}"}
    is_green = "{http.request.uuid} < {http.vars.share}"
    has_spare = f"{{http.vars.share}}.endsWith('{SPARE}')"
    both: list[tuple[str, Slot, Slot]] = [(is_green, "green", "blue"), (f"!({is_green})", "blue", "green")]
    servers: Json = {
        "public": {
            "listen": [f":{environment.port}"],
            "automatic_https": {"disable": True},
            # Whoever ends TLS on this machine says so; from elsewhere anybody could say anything.
            "trusted_proxies": {"source": "static", "ranges": ["127.0.0.0/8", "::1/128"]},
            "logs": {"default_logger_name": "edge"},
            "routes": [
                {"handle": [share, *NOTED]},
                *(_pinned(environment, slot) for slot in SLOTS),
                *(
                    _route(f"{mine} && {has_spare} && {which}", _edge(environment, *order, silent=silent))
                    for mine, *order in both
                    for which, silent in ((READS, True), ("true", False))
                ),
                *(_route(mine, _edge(environment, slot)) for mine, slot, _ in both),
            ],
            "errors": {
                "routes": [
                    *(
                        _route(
                            f"{mine} && {has_spare} && {READS} && {SILENT}",
                            [*NOTED[1:], _edge(environment, spare)[-1]],  # what was noted before is older
                        )
                        for mine, _, spare in both
                    ),
                    {"handle": [UNAVAILABLE]},
                ]
            },
        }
    }
    for slot in SLOTS:
        servers[slot] = {
            "listen": [f"{dial(run, slot)}|0600"],
            "automatic_https": {"disable": True},
            "trusted_proxies_unix": True,  # or the client's address and scheme end at the edge
            "routes": [{"handle": [_upstream(slots.socket(slot))]}],
            "errors": {"routes": [{"handle": [{"handler": "static_response", "abort": True}]}]},
        }
    if environment.metrics_port:
        servers[SCRAPED] = _scraped(environment)
    return {
        "admin": {"listen": f"unix/{run}/admin.sock|0600", "config": {"persist": False}},
        "logging": {"logs": _logs(environment)},
        "apps": {"http": {"grace_period": f"{DRAIN_SECONDS}s", "metrics": {}, "servers": servers}},
    }


UNAVAILABLE: Json = {
    "handler": "static_response",
    "status_code": "{http.error.status_code}",
    "headers": {"Content-Type": ["application/problem+json"], "Retry-After": ["1"]},
    "body": '{"type": "/problems/unavailable", "title": "The service does not answer",'
    ' "detail": "No release of the service answers. Try again in a moment."}',
}


READS = "{http.request.method} in ['GET', 'HEAD', 'OPTIONS']"
SILENT = "int({http.error.status_code}) == 504"

NOTED: list[Json] = [
    {"handler": "log_append", "key": key, "value": f"{{http.{place}}}"}
    for key, place in (
        ("slot", "vars.slot"),
        ("upstream", "reverse_proxy.upstream.address"),
        ("retries", "reverse_proxy.retries"),
    )
]
"""What is noted of a request in the edge's log: the slot of its share, and which one answered it."""

UNSAID = ("headers", "host", "remote_ip", "remote_port", "client_ip", "proto", "tls")
LOG_MB, LOGS_KEPT = 10, 4


def dial(run: Path, slot: Slot) -> str:
    """What the edge dials for a slot, as its log names it."""
    return f"unix/{run}/in-{slot}.sock"


def _logs(environment: Environment) -> Json:
    """The proxy's own log, and the edge's: a line for each request, without who asked and with what."""
    fields: Json = {f"request>{name}": {"filter": "delete"} for name in UNSAID}
    fields |= {name: {"filter": "delete"} for name in ("resp_headers", "user_id", "level", "msg")}
    fields["request>uri"] = {"filter": "regexp", "regexp": "[?].*", "value": ""}
    rolled = {"roll": True, "roll_size_mb": LOG_MB, "roll_keep": LOGS_KEPT, "roll_gzip": False}
    access, cut = "http.log.access.edge", "http.handlers.reverse_proxy"
    edge: Json = {
        "writer": {"output": "file", "filename": str(environment.edge_log), "mode": "0600", **rolled},
        "encoder": {"format": "filter", "wrap": {"format": "json"}, "fields": fields},
        "include": [access, cut],
        "level": "INFO",
    }
    return {"default": {"level": "WARN", "exclude": [access]}, "edge": edge}


def _route(expression: str, handle: list[Json]) -> Json:
    return {"match": [{"expression": expression}], "handle": handle}


def _pinned(environment: Environment, slot: Slot) -> Json:
    """The way of clients to one slot, for who asks on this machine; no client's request, so not logged."""
    match = {"header": {PIN: [slot]}, "client_ip": {"ranges": ["127.0.0.0/8", "::1/128"]}}
    return {"match": [match], "handle": [{"handler": "vars", "log_skip": True}, *_edge(environment, slot)]}


def _edge(environment: Environment, *order: Slot, silent: bool = False) -> list[Json]:
    """The public proxy handler: the first of these slots that answers, asked until one does.

    With `silent`, one that takes the request and says nothing is given up: see `errors` of the public server.
    """
    safe = [
        {"method": ["GET", "HEAD", "OPTIONS"]},
        {"method": ["POST"], "path": list(environment.service.retry_posts)},
    ]
    seconds = environment.service.silent_seconds if silent else 0
    proxy: Json = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": dial(environment.run, slot)} for slot in order],
        "transport": {"protocol": "http", "response_header_timeout": f"{seconds:g}s"},
        "request_buffers": 1_000_000,  # a half-read body could not be sent a second time
        "load_balancing": {
            "selection_policy": {"policy": "first"},
            "try_duration": f"{TRY_SECONDS}s",
            "try_interval": "20ms",
            "retry_match": safe,
        },
        # the only one there is shall be asked again at once
        "health_checks": {"passive": {"fail_duration": "2s"}} if len(order) > 1 else {},
    }
    return [{"handler": "vars", "slot": order[0]}, proxy]


def _upstream(path: Path) -> Json:
    return {"handler": "reverse_proxy", "upstreams": [{"dial": f"unix/{path}"}]}


def _scraped(environment: Environment) -> Json:
    """The server for scrapers of metrics, on a loopback port; it writes nothing and passes no other path on.

    Prometheus cannot ask a unix socket, and the public port answers for whichever release a request meets:
    while traffic is shared, two releases' counters would be mixed there into one that jumps back and forth.

        /proxy           the proxy's own metrics: what clients saw of each slot
        /<slot>/metrics  the service's own metrics
        /<slot>/health   1 or 0 as the gauge `rollout_slot_healthy`: whether /health answered 200 in time
    """
    routes: list[Json] = [{"match": [{"path": ["/proxy"]}], "handle": [{"handler": "metrics"}]}]
    for slot in SLOTS:
        for path in ("/metrics", "/health"):
            ask = _upstream(Slots(environment).socket(slot)) | {
                "transport": {"protocol": "http", "response_header_timeout": f"{ANSWER_SECONDS}s"}
            }
            if path == "/health":
                ask["handle_response"] = [
                    {"match": {"status_code": [200]}, "routes": [{"handle": [_healthy(1)]}]},
                    {"routes": [{"handle": [_healthy(0)]}]},
                ]
            rewrite = {"handler": "rewrite", "uri": path}
            routes.append(
                {"match": [{"path": [f"/{slot}{path}"]}], "handle": [rewrite, ask], "terminal": True}
            )
    routes.append({"handle": [{"handler": "static_response", "status_code": 404}]})
    return {
        "listen": [f"127.0.0.1:{environment.metrics_port}"],
        "automatic_https": {"disable": True},
        "routes": routes,
        "errors": {"routes": [{"match": [{"path": ["/*/health"]}], "handle": [_healthy(0)]}]},
    }


def _healthy(value: int) -> Json:
    return {
        "handler": "static_response",
        "status_code": 200,
        "headers": {"Content-Type": ["text/plain; version=0.0.4; charset=utf-8"]},
        "body": f"# TYPE {HEALTHY} gauge\n{HEALTHY} {value}\n",
    }
