"""What a scraper of metrics asks: a loopback port of the proxy with every slot by itself.

Prometheus cannot ask a unix socket, and the public port answers for whichever release a request meets: while
traffic is shared, two releases' counters would be mixed there into one that jumps back and forth.

    /proxy           the proxy's own metrics: what clients saw of each slot
    /<slot>/metrics  the service's own metrics
    /<slot>/health   1 or 0 as the gauge `rollout_slot_healthy`: whether /health answered 200 in time
"""

from guarded_rollout.config.environments import Environment
from guarded_rollout.host.slots import SLOTS, Slots

Json = dict[str, object]

HEALTHY = "rollout_slot_healthy"
SERVER = "metrics"  # its name in the proxy's own metrics
ANSWER_SECONDS = 5  # below Prometheus's usual timeout of 10 s: a service that hangs is an answer, 0


def server(environment: Environment) -> Json:
    """The proxy's server for scrapers; it writes nothing and passes no other path on."""
    routes: list[Json] = [{"match": [{"path": ["/proxy"]}], "handle": [{"handler": "metrics"}]}]
    for slot in SLOTS:
        upstreams = [{"dial": f"unix/{Slots(environment).socket(slot)}"}]
        for path in ("/metrics", "/health"):
            ask: Json = {
                "handler": "reverse_proxy",
                "upstreams": upstreams,
                "transport": {"protocol": "http", "response_header_timeout": f"{ANSWER_SECONDS}s"},
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
