"""The ground of the pages: templates, static files, safe headers, and errors that a person can read."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dhash_service.api.problems import Problem
from dhash_service.errors import DhashError
from dhash_service.web.visitors import NOBODY, Visitor, visit
from dhash_service.web.words import size
from web_assets import Assets, icon, page_headers

HERE = Path(__file__).parent
ASSETS = Assets(HERE / "static")

MACHINES = ("/api/", "/health", "/metrics", "/problems", "/openapi.json", "/static/")
"""Paths that programs ask: their errors stay JSON, whatever a caller says that it accepts."""

environment = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.globals |= {"asset": ASSETS.url, "icon": icon}


def spoken_time(moment: datetime) -> str:
    """A UTC time as pages show it, until a script makes it the reader's own."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


environment.filters["time"] = spoken_time
environment.filters["size"] = size


RELEASE = re.compile(r".+?-(?P<commit>[0-9a-f]{8})(?P<dirty>-dirty)?-[0-9a-f]{8}")
"""A release's id as `rollout` makes it: version, commit, perhaps `dirty`, contents."""


def short_release(release: str) -> tuple[str, bool]:
    """The commit of a release's id, and whether it was built of more than that; any other name as it is."""
    found = RELEASE.fullmatch(release)
    return (found["commit"], bool(found["dirty"])) if found else (release, False)


environment.filters["short_release"] = short_release


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: object,
) -> HTMLResponse:
    """A page. Every template also knows the `visitor`, the `release`, and the `path` that was asked for.

    Raises `jinja2.UndefinedError` for a name that was not given: a page's mistake.
    """
    service = request.app.state.service
    page = environment.get_template(template).render(
        visitor=visitor_of(request),
        release=service.settings.release,
        path=request.url.path,
        asked=asked_for(request),
        **context,
    )
    return HTMLResponse(page, status, headers={**page_headers, **(headers or {})})


def visitor_of(request: Request) -> Visitor:
    """The visitor that was identified; nobody where the path does not identify one."""
    visitor: Visitor = getattr(request.state, "visitor", NOBODY)
    return visitor


def wants_page(request: Request) -> bool:
    """True if a person in a browser is waiting for the answer."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(MACHINES)


async def error_page(request: Request, problem: Problem, headers: Mapping[str, str]) -> Response | None:
    """A problem as a page, for a person in a browser: what is wrong, and what to do next."""
    if not wants_page(request):
        return None
    if problem.status == 401:
        return RedirectResponse(sign_in_url(request), 303, headers={"Cache-Control": "no-store"})
    if not hasattr(request.state, "visitor"):
        with suppress(DhashError):  # the store may be what fails: the page can do without
            await visit(request)
    return render(request, "error.html", status=problem.status, headers=headers, problem=problem)


def sign_in_url(request: Request) -> str:
    """The address to sign in at, which leads back here."""
    return f"/sign-in?{urlencode({'next': asked_for(request)})}" if request.method == "GET" else "/sign-in"


def asked_for(request: Request) -> str:
    """The path and query of a request, as an address of this service."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")
