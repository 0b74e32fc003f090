"""The two requests that come by the thousand, below FastAPI: a search by hash, a picture sent as it is.

Whatever is not plain about a request (a token, a form, a wrong parameter) leaves it to the application, whose
routes these are: it describes them, and answers the same.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from dhash_service.api import search as searching
from dhash_service.api import submit as submitting
from dhash_service.api.bodies import require_body
from dhash_service.api.models import ANY_HASH, LIMIT, RADIUS, Bounds, SearchAnswer, Submitted
from dhash_service.api.problems import UNEXPECTED, Page, told
from dhash_service.errors import DhashError
from dhash_service.facts import UNLABELLED
from dhash_service.service import Service
from dhash_service.store.sightings import label_of

Headers = Iterable[tuple[bytes, bytes]]
Answer = Callable[[bytes], Awaitable[tuple[int, bytes]]]
"""Makes status and JSON of an answer, given the request's body."""

Plain = Callable[[Service, bytes, Headers], Answer | None]
"""Looks at a request's query and headers; None where the application has to answer."""

HASH = re.compile(ANY_HASH)
ESCAPES = frozenset("%+")


def search(service: Service, query: bytes, headers: Headers) -> Answer | None:
    """GET /api/dhash/search with a hash, a radius and a limit that are in order."""
    given = parameters(query, {"hash", "radius", "limit"})
    digits = given.get("hash", "")
    radius, limit = number(given.get("radius"), RADIUS), number(given.get("limit"), LIMIT)
    if "" in given or not HASH.fullmatch(digits) or radius is None or limit is None:
        return None
    value = int(digits, 16)

    async def answer(body: bytes) -> tuple[int, bytes]:
        found = await service.search(value, radius, limit)
        return 200, to_json(SearchAnswer.fields(value, radius, service.algorithm.name, found))

    return answer


def submit(service: Service, query: bytes, headers: Headers) -> Answer | None:
    """POST /api/dhash with a picture as the body."""
    kind = next((value for name, value in headers if name == b"content-type"), b"").lower()
    given = parameters(query, {"name", "source", "register"})
    register = {"true": True, "false": False}.get(given.pop("register", "true"))
    named = kind.startswith(b"image/") or kind == b"application/octet-stream"
    if not named or register is None or "" in given:
        return None

    async def answer(body: bytes) -> tuple[int, bytes]:
        require_body(body)
        label = label_of(given.get("name"), given.get("source")) if given else UNLABELLED
        sent = await service.submit(body, register=register, label=label)
        return (201 if sent.created else 200), to_json(Submitted.fields(sent, service.settings.release))

    return answer


PATHS: Mapping[tuple[str, str], Plain] = {
    ("GET", "/api/dhash/search"): search,
    ("POST", "/api/dhash"): submit,
}


class Direct:
    """ASGI middleware, last before the application. It takes a body in one piece, as `Limits` gives it."""

    def __init__(self, app: ASGIApp, page: Page) -> None:
        self._app = app
        self._page = page
        known = {(method, route.path): route for route in described() for method in route.methods or ()}
        self._plain = {key: (known[key], plain) for key, plain in PATHS.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plain = self._plain.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if plain is None:
            await self._app(scope, receive, send)
            return
        route, look = plain
        service: Service = scope["app"].state.service
        headers = scope["headers"]
        open_to_all = not service.settings.locked and all(name != b"authorization" for name, _ in headers)
        answer = look(service, scope["query_string"], headers) if open_to_all else None
        if answer is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        await self._answer(answer, scope, receive, send)

    async def _answer(self, answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        try:
            status, content = await answer(message.get("body", b""))
        except DhashError as error:
            await (await told(Request(scope), error, self._page))(scope, receive, send)
            return
        except Exception:
            await (await told(Request(scope), UNEXPECTED, self._page))(scope, receive, send)
            raise  # for the log
        length = str(len(content)).encode()
        described = [(b"content-length", length), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": described})
        await send({"type": "http.response.body", "body": content})


def described() -> list[APIRoute]:
    """The routes that stand for these in the OpenAPI document."""
    routes = [*searching.router.routes, *submitting.router.routes]
    return [route for route in routes if isinstance(route, APIRoute)]


def parameters(query: bytes, names: set[str]) -> dict[str, str]:
    """The parameters of a query by name; one named "" where another was given, or one of them twice."""
    given: dict[str, str] = {}
    for name, value in pairs(query.decode("latin-1")) if query else ():
        given["" if name in given or name not in names else name] = value
    return given


def pairs(query: str) -> Iterable[Sequence[str]]:
    """Names and values, as `parse_qsl` gives them, in a fifth of its time where nothing is escaped."""
    found = [pair.split("=") for pair in query.split("&")]
    plain = ESCAPES.isdisjoint(query) and all(len(pair) == 2 for pair in found)
    return found if plain else parse_qsl(query, keep_blank_values=True)


def number(text: str | None, bounds: Bounds) -> int | None:
    """The number that plain digits say, or the usual one; None for others, and out of bounds."""
    if text is None:
        return bounds.usual
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else -1
    return value if bounds.least <= value <= bounds.most else None
