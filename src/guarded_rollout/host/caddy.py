"""Caddy's configuration, as data. It is the same for the life of an environment.

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

Two files beside the share are read as well: the id of the release that answers, which the answer names, and,
while traffic is shared, the key by which testers ask for the candidate. With `sticky`, a client brings the
number that is compared with the share along in a cookie: it changes sides once at most, as the share moves
past it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from guarded_rollout.config.environments import Environment
from guarded_rollout.config.tls import TlsMode
from guarded_rollout.host import https
from guarded_rollout.host.slots import SLOTS, Slot, Slots
from guarded_rollout.host.stream import LIST, SOCKET, SYNC, streamed_file

TRY_SECONDS = 3  # how long the edge looks for a slot that answers
IDLE_SECONDS = 3  # how long an idle connection to a slot is kept
DRAIN_SECONDS = 15  # the proxy's own grace for requests in flight when it is stopped
PIN = "Rollout-Slot"  # the header by which checks ask one slot through the public port
SPARE = "+"  # behind a share; below every hexadecimal digit, so it moves nothing
TO_BLUE = "-"  # before SPARE: the candidate is blue; below every digit as well
TRY_HEADER, TRY_COOKIE = "X-Rollout-Try", "rollout_try"
SIDE_COOKIE = "rollout_side"
STREAM_HANDLER = "vars"  # of a slot's own server, event streams and WebSockets alone pass one

HEALTHY = "rollout_slot_healthy"
STREAM_LAG = "rollout_stream_lag_seconds"
LAG = (
    f'{{{{ $at := httpInclude "/stream{SYNC}" | fromJson }}}}'
    "{{ if eq $at.txid $at.replicated_txid }}0{{ else }}"
    f'{{{{ $told := index (httpInclude "/stream{LIST}" | fromJson).databases 0 }}}}'
    '{{ $sent := toDate "2006-01-02T15:04:05Z07:00" $told.last_sync_at }}'
    "{{ max 1 (sub (now | unixEpoch) ($sent | unixEpoch)) }}{{ end }}"
)
"""The stream's lag in whole seconds, in Go's templates: 0 where all is at the target."""
SCRAPED = "metrics"  # the name of the scrapers' server in the proxy's own metrics
ANSWER_SECONDS = 5  # below Prometheus's usual timeout of 10 s: a service that hangs is an answer, 0

Json = dict[str, object]


def configuration(environment: Environment) -> Json:
    """Caddy's whole configuration; the same for the life of the environment."""
    run = environment.run
    slots = Slots(environment)
    is_green = "{http.vars.draw} < {http.vars.share}"
    has_spare = f"{{http.vars.share}}.endsWith('{SPARE}')"
    both: list[tuple[str, Slot, Slot]] = [(is_green, "green", "blue"), (f"!({is_green})", "blue", "green")]
    servers: Json = {
        "public": {
            **https.public_server(environment),
            "automatic_https": {"disable": True},
            # Whoever ends TLS on this machine says so; from elsewhere anybody could say anything.
            "trusted_proxies": {"source": "static", "ranges": ["127.0.0.0/8", "::1/128"]},
            "logs": {"default_logger_name": "edge"},
            "routes": [
                *([https.LEAVING] if environment.tls.mode is TlsMode.FILES else []),
                *_before_the_share(environment),
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
            "routes": [STREAMS, {"handle": [_named(environment, slot) | _upstream(slots.socket(slot))]}],
            "errors": {"routes": [{"handle": [{"handler": "static_response", "abort": True}]}]},
        }
    if environment.metrics_port:
        servers[SCRAPED] = _scraped(environment)
    http: Json = {"grace_period": f"{DRAIN_SECONDS}s", "metrics": {}, "servers": servers}
    apps: Json = {"http": http}
    if environment.redirect_port:
        servers["redirect"] = https.redirecting_server(environment)
    if environment.tls.on:
        apps["tls"] = https.tls_app(environment)
    if environment.tls.mode is TlsMode.FILES:
        http["shutdown_delay"] = f"{https.LEAVE_SECONDS:g}s"
    return {
        "admin": {"listen": f"unix/{run}/admin.sock|0600", "config": {"persist": False}},
        "logging": {"logs": _logs(environment)},
        "apps": apps,
    }


STREAMS: Json = {
    "match": [{"header": {"Accept": ["*text/event-stream*"]}}, {"header": {"Upgrade": ["*"]}}],
    "handle": [{"handler": STREAM_HANDLER, "stream": True}],
}
"""Passed by requests whose answers do not end by themselves, so that the gauge counts them apart."""

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


def inner_socket(run: Path, slot: Slot) -> Path:
    """The socket of a slot's own server, by which its clients come."""
    return run / f"in-{slot}.sock"


def dial(run: Path, slot: Slot) -> str:
    """What the edge dials for a slot, as its log names it."""
    return f"unix/{inner_socket(run, slot)}"


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


def _before_the_share(environment: Environment) -> Iterator[Json]:
    """The files that are read, and who does not go by the share."""
    share = {"share": f"{{file.{environment.run}/green_share}}", "draw": "{http.request.uuid}"}
    yield {"handle": [{"handler": "vars", **share}, *NOTED]}
    yield from (_pinned(environment, slot) for slot in SLOTS)
    spare = f"{{http.vars.share}}.endsWith('{SPARE}')"
    yield _route(spare, [{"handler": "vars", "try": f"{{file.{environment.run}/try_key}}"}])
    yield from (_tried(environment, slot) for slot in SLOTS)
    if environment.sticky:
        yield from _sticky()


def _tried(environment: Environment, slot: Slot) -> Json:
    """The way of testers to this slot, while it is the candidate's and they know the key."""
    blue = f"{{http.vars.share}}.endsWith('{TO_BLUE}{SPARE}')"
    there = f"{{http.vars.share}}.endsWith('{SPARE}') && {blue if slot == 'blue' else '!' + blue}"
    known = " || ".join(
        f"{{http.request.{place}}} == {{http.vars.try}}"
        for place in (f"header.{TRY_HEADER}", f"cookie.{TRY_COOKIE}")
    )
    return _route(f"{there} && {{http.vars.try}} != '' && ({known})", _edge(environment, slot))


def _sticky() -> Iterator[Json]:
    """A client's number is that of its cookie; while traffic is shared, one without gets one."""
    known = f"{{http.request.cookie.{SIDE_COOKIE}}}.matches('^[0-9a-f]{{8}}-[0-9a-f-]{{27}}$')"
    shared = "{http.vars.share}.matches('^[0-9a-f]{4}') && !{http.vars.share}.startsWith('0000')"
    yield _route(known, [{"handler": "vars", "draw": f"{{http.request.cookie.{SIDE_COOKIE}}}"}])
    cookie = f"{SIDE_COOKIE}={{http.request.uuid}}; Path=/; HttpOnly; SameSite=Lax"
    given: Json = {"handler": "headers", "response": {"add": {"Set-Cookie": [cookie]}, "deferred": True}}
    yield _route(f"{shared} && !{known}", [given])


def _named(environment: Environment, slot: Slot) -> Json:
    """What names the release in each answer of a slot."""
    header = environment.release_header
    named = {"set": {header: [f"{{file.{Slots(environment).name_file(slot)}}}"]}}
    return {"headers": {"response": named}} if header else {}


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
        "transport": _transport(seconds),
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


def _transport(answer_seconds: float) -> Json:
    """HTTP to a slot, whose answer may take this long (0: as long as it likes).

    Idle connections are closed before services close them: uvicorn and Node do after 5 s, and a request that
    crosses with that is lost. A service with a thread a connection does not end on SIGTERM while one is open.
    """
    return {
        "protocol": "http",
        "response_header_timeout": f"{answer_seconds:g}s",
        "keep_alive": {"idle_timeout": f"{IDLE_SECONDS}s"},
    }


def _upstream(path: Path, answer_seconds: float = 0) -> Json:
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"unix/{path}"}],
        "transport": _transport(answer_seconds),
    }


def _scraped(environment: Environment) -> Json:
    """The server for scrapers of metrics, on a loopback port; it writes nothing and passes no other path on.

    Prometheus cannot ask a unix socket, and the public port answers for whichever release a request meets:
    while traffic is shared, two releases' counters would be mixed there into one that jumps back and forth.

        /proxy           the proxy's own metrics: what clients saw of each slot
        /<slot>/metrics  the service's own metrics
        /<slot>/health   1 or 0 as the gauge `rollout_slot_healthy`: whether it is well, and says so in time
        /stream          the gauge `rollout_stream_lag_seconds`: of writes that only this machine has
    """
    routes: list[Json] = [{"match": [{"path": ["/proxy"]}], "handle": [{"handler": "metrics"}]}]
    for slot in SLOTS:
        rule = environment.service.health
        for path, asked in (("/metrics", "/metrics"), ("/health", rule.path)):
            ask = _upstream(Slots(environment).socket(slot), ANSWER_SECONDS)
            if path == "/health":
                ask["handle_response"] = [
                    {
                        "match": {"status_code": list(rule.valid_status_codes)},
                        "routes": [{"handle": [_healthy(1)]}],
                    },
                    {"routes": [{"handle": [_healthy(0)]}]},
                ]
            rewrite = {"handler": "rewrite", "uri": asked}
            routes.append(
                {"match": [{"path": [f"/{slot}{path}"]}], "handle": [rewrite, ask], "terminal": True}
            )
    if environment.stream is not None and (store := streamed_file(environment)) is not None:
        routes += _streamed(environment, store)
    routes.append({"handle": [{"handler": "static_response", "status_code": 404}]})
    return {
        "listen": [f"127.0.0.1:{environment.metrics_port}"],
        "automatic_https": {"disable": True},
        "routes": routes,
        "errors": {"routes": [{"match": [{"path": ["/*/health"]}], "handle": [_healthy(0)]}]},
    }


def _healthy(value: int) -> Json:
    return _gauge(HEALTHY, str(value))


def _gauge(name: str, value: str) -> Json:
    return {
        "handler": "static_response",
        "status_code": 200,
        "headers": {"Content-Type": ["text/plain; version=0.0.4; charset=utf-8"]},
        "body": f"# TYPE {name} gauge\n{name} {value}\n",
    }


def _streamed(environment: Environment, store: Path) -> Iterator[Json]:
    """The stream's lag as `Stream.state` reckons it, by a template: Caddy runs anyway, nothing else does.

    Where litestream or its target does not say, the answer is a 5xx, so Prometheus's `up` is 0.
    """
    for path, request in (
        (SYNC, [{"handler": "request_body", "set": json.dumps({"path": str(store)})}]),
        (LIST, []),
    ):
        method = "POST" if request else "GET"
        rewrite: Json = {"handler": "rewrite", "method": method, "uri": path}
        ask = _upstream(environment.run / SOCKET)
        yield {"match": [{"path": [f"/stream{path}"]}], "handle": [rewrite, *request, ask], "terminal": True}
    filled = [{"handler": "templates"}, _gauge(STREAM_LAG, LAG)]
    yield {"match": [{"path": ["/stream"]}], "handle": filled, "terminal": True}
