"""The API of a real service: every request is answered below 500, and the next good one as ever."""

import hashlib
import http.client
import json
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from tests.dhash_service.api.test_hostile import document
from tests.dhash_service.serving import Server, serving
from tests.pictures import jpeg, photo, samples

from dhash_service.app import create_app
from dhash_service.facts import Sha256, image_id
from dhash_service.settings import Settings
from fuzz.damage import damaged
from fuzz.engine import Check, Target, require
from fuzz.trees import ANYTHING, LEAVES, changed

ANSWER_SECONDS = 30
AGAIN = 50  # requests after which a good one must be answered well
SPEC = create_app(Settings()).openapi()["paths"]
PAGES = [  # which the OpenAPI document does not name
    *(("GET", path) for path in ("/", "/docs", "/status", "/review", "/review/pairs", "/review/history")),
    *(("GET", path) for path in ("/pictures/{id}", "/pictures/{id}/large", "/pictures/{id}/thumbnail")),
    *(("GET", path) for path in ("/review/progress", "/sign-in", "/static/{name}", "/openapi.json")),
    *(("POST", path) for path in ("/lookup", "/sign-in", "/sign-out", "/review/pairs", "/review/leases")),
    *(("POST", path) for path in ("/review/decisions", "/review/withdrawals", "/review/history")),
]
OPERATIONS = [(method.upper(), path) for path, methods in SPEC.items() for method in methods] + PAGES
PARAMETERS = sorted(
    {
        parameter["name"]
        for methods in SPEC.values()
        for operation in methods.values()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    }
    | {"page", "q", "before", "reason"}
)
FILES = [sample.data for sample in samples(photo(24, 18))]
PICTURE = jpeg(40, 30, 1)
DOCUMENTS = [
    {"hash": "0f0f0f0f0f0f0f0f", "radius": 8, "limit": 5},
    {"decision": "same", "note": "a"},
    {"images": [{"url": "x"}, {"hash": "ffffffffffffffff"}]},
]
FORMS = [b"hash=0f0f0f0f0f0f0f0f&radius=8", b"token=a&next=%2F%2Fevil", b"verdict=same&lease=1&csrf=x"]
MULTIPART = (
    b'--fuzz\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
    b"Content-Type: image/jpeg\r\n\r\nBODY\r\n--fuzz\r\n"
    b'Content-Disposition: form-data; name="image"; filename="../b.png"\r\n\r\nBODY\r\n--fuzz--\r\n'
).replace(b"BODY", PICTURE)
JSON = st.one_of(*(changed(one, leaves=LEAVES) for one in DOCUMENTS), ANYTHING)
TYPES = ("image/jpeg", "application/pdf", "multipart/form-data", "text/plain; charset=utf-7", "\xff/\xfe", "")
BODIES = st.one_of(
    st.tuples(st.just("application/octet-stream"), damaged([*FILES, document()])),
    st.tuples(st.just("application/json"), JSON.map(lambda tree: json.dumps(tree).encode())),
    st.tuples(st.just("multipart/form-data; boundary=fuzz"), damaged([MULTIPART])),
    st.tuples(st.just("application/x-www-form-urlencoded"), damaged(FORMS)),
    st.tuples(st.sampled_from(TYPES), st.one_of(st.binary(max_size=200), damaged(FILES))),
)
VALUES = st.one_of(
    st.text(max_size=20),
    LEAVES.map(str),
    st.sampled_from(["0f0f0f0f0f0f0f0f", "../../etc/passwd", "%00", "true", "9" * 5000, "\x00", "1e309"]),
    st.sampled_from([str(image_id(Sha256(hashlib.sha256(PICTURE).hexdigest()))), "4", "1", "0"]),
)
HEADERS = st.dictionaries(
    st.sampled_from(("X-Request-ID", "Accept", "Cookie", "Range", "If-None-Match", "Content-Encoding")),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
    max_size=2,
)


@dataclass(frozen=True)
class Request:
    """One request, as bytes on the wire; `admin` adds a valid token; `wrong`: the wire itself is odd."""

    head: bytes
    body: bytes
    admin: bool
    wrong: bool


@st.composite
def requests(draw: DrawFn) -> Request:
    """An operation of the API with parameters and a body of any kind; one in eight is odd on the wire."""
    method, template = draw(st.sampled_from(OPERATIONS))
    path = "/".join(
        quote(draw(VALUES), safe="") if part.startswith("{") else part for part in template.split("/")
    )
    query = draw(st.dictionaries(st.sampled_from(PARAMETERS), VALUES, max_size=3))
    if query:
        path += "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    kind, body = draw(BODIES) if method == "POST" else ("", b"")
    length, wrong = str(len(body)), draw(st.integers(0, 7)) == 0
    if wrong:
        method = draw(st.sampled_from((method, method, "PUT", "PATCH", "OPTIONS", "HEAD", "TRACE", "\u00e9")))
        length = draw(st.sampled_from((length, length, "-1", "x", "0", "9" * 30)))
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", "Connection: close"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"{name}: {value}" for name, value in draw(HEADERS).items()]
    head = "\r\n".join(lines).encode(errors="surrogatepass")
    if wrong and draw(st.booleans()):
        head = draw(damaged([head]))
    return Request(head, body, draw(st.booleans()), wrong)


@contextmanager
def opened() -> Iterator[Check]:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-api-"))
    try:
        with serving(folder, document_workers=1) as server:
            token = server.token("fuzz", "admin")["Authorization"].encode()
            tried = 0

            def check(drawn: Request) -> None:
                nonlocal tried
                tried += 1
                _ask(server, drawn, token)
                if tried % AGAIN == 0:
                    _is_well(server)

            _is_well(server)
            yield check
    finally:
        shutil.rmtree(folder)


def _ask(server: Server, drawn: Request, token: bytes) -> None:
    """Send it, and look at what comes back; a connection that is closed without an answer is one too."""
    head = drawn.head + b"\r\nAuthorization: " + token if drawn.admin else drawn.head
    port = int(server.env["DHASH_PORT"])
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as wire:
        wire.settimeout(ANSWER_SECONDS)
        try:
            wire.sendall(head + b"\r\n\r\n" + drawn.body)
            if drawn.wrong:  # the service may wait for more: there is none
                wire.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(wire)
            answer.begin()
            body = answer.read()
        except (ConnectionError, http.client.HTTPException) as error:
            require(server.process.poll() is None, "the service is dead")
            require(drawn.wrong, f"no answer: {error!r}")
            return
    busy = answer.status == 503 and "Retry-After" in answer.headers and b"/problems/busy" in body
    require(answer.status < 500 or busy, f"{answer.status}: {body[:300]!r}")
    kind = answer.headers.get("Content-Type", "")
    if answer.status >= 400 and kind.startswith("application/problem+json"):
        require(json.loads(body)["status"] == answer.status, f"a problem of another status: {body[:300]!r}")


def _is_well(server: Server) -> None:
    require(server.process.poll() is None, "the service is dead")
    headers = {"Content-Type": "image/jpeg"}
    good = server.client.post("/api/dhash", content=PICTURE, headers=headers)
    erased = good.status_code == 451  # an admin's DELETE may name it
    require(good.status_code in (200, 201) or erased, f"a good picture is answered {good.status_code}")
    pages = server.client.post(
        "/api/dhash/extract", content=document(), headers={"Content-Type": "application/pdf"}
    )
    require(pages.status_code == 200, f"a good document is answered {pages.status_code}")
    require(server.client.get("/health").status_code == 200, "it is not well")


TARGET = Target("api", requests(), opened)
