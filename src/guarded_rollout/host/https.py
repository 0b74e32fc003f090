"""The part of Caddy's configuration that makes the public port speak https.

Caddy reads certificate files when it is configured, so renewed ones ask for a reload, and a reload closes
idle connections: some clients send a request into that. So `shutdown_delay` is set for them, and clients are
told to leave in that time: an answer says `Connection: close` (HTTP/2: GOAWAY), and the client comes back to
the new configuration. Caddy waits only if one of the server's addresses goes away, so the public server has a
second one, a socket that nobody uses and whose name a reload changes. By ACME nothing is reloaded: Caddy
renews by itself.
"""

import copy
from pathlib import Path
from typing import Any

from guarded_rollout.config.environments import Environment
from guarded_rollout.config.tls import Tls, TlsMode

Json = dict[str, object]

LEAVE_SECONDS = 1.0  # for clients of a proxy that is about to read its certificate again
LEAVING: Json = {
    "match": [{"expression": "{http.shutting_down} == true"}],
    "handle": [
        {"handler": "headers", "response": {"set": {"Connection": ["close"]}, "deferred": True}},
    ],
}


def beside(run: Path, number: int) -> str:
    """The public server's second address, which a reload changes."""
    return f"unix/{run}/reload-{number}.sock|0600"


def reloaded(running: Any, run: Path) -> Json:
    """The configuration that runs, with another second address: so Caddy lets its clients leave in time."""
    made: Json = copy.deepcopy(running)
    public = running["apps"]["http"]["servers"]["public"]
    number = int(public["listen"][1].rpartition("-")[2].partition(".")[0])
    made["apps"]["http"]["servers"]["public"]["listen"][1] = beside(run, number + 1)  # type: ignore[index]
    return made


def public_server(environment: Environment) -> Json:
    """What the public server is beside its routes."""
    listen = [f":{environment.port}"]
    tls = environment.tls
    if not tls.on:
        return {"listen": listen}
    if tls.mode is TlsMode.FILES:
        listen.append(beside(environment.run, 0))
    # who sends no name, or another one, is shown the only certificate there is
    names = {"default_sni": tls.domain, "fallback_sni": tls.domain}
    return {"listen": listen, "tls_connection_policies": [names], "protocols": ["h1", "h2"]}


def redirecting_server(environment: Environment) -> Json:
    """Plain HTTP, which sends everybody on; an ACME CA finds here what it asks for."""
    sent_on = {"Location": [environment.url + "{http.request.uri}"]}
    redirect = {"handler": "static_response", "status_code": 308, "headers": sent_on}
    return {
        "listen": [f":{environment.redirect_port}"],
        "automatic_https": {"disable": True},
        "routes": [{"handle": [redirect]}],
    }


def tls_app(environment: Environment) -> Json:
    """Where Caddy has its certificate from."""
    tls = environment.tls
    if tls.mode is TlsMode.FILES:
        return {
            "certificates": {"load_files": [{"certificate": str(tls.certificate), "key": str(tls.key)}]},
            # what is in a file may be anybody's; nobody is asked about it
            "disable_ocsp_stapling": True,
        }
    policy = {"subjects": [tls.domain], "issuers": [_issuer(tls, environment.port)]}
    return {"certificates": {"automate": [tls.domain]}, "automation": {"policies": [policy]}}


def _issuer(tls: Tls, port: int) -> Json:
    by_http = {"alternate_port": tls.redirect_port} if tls.redirect_port else {"disabled": True}
    issuer: Json = {
        "module": "acme",
        "challenges": {"http": by_http, "tls-alpn": {"alternate_port": port}},
    }
    if tls.directory:
        issuer["ca"] = tls.directory
    if tls.email:
        issuer["email"] = tls.email
    if tls.root:
        issuer["trusted_roots_pem_files"] = [str(tls.root)]
    return issuer
