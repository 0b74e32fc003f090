"""The dashboard as an ASGI application: pages, and the commands that are run from them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from jinja2 import Environment as Jinja
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from guarded_rollout.config.environments import Project
from guarded_rollout.errors import ActionRefusedError, RolloutError
from guarded_rollout.ui import actions
from guarded_rollout.ui.access import Access, Visitor
from guarded_rollout.ui.identity import ReleaseNames
from guarded_rollout.ui.jobs import Jobs
from guarded_rollout.ui.live import RECENT_SECONDS, Live, Reading, Sections, etag_of
from guarded_rollout.ui.past import PastRollouts
from guarded_rollout.ui.sections import TABS, Renderer, templates
from web_assets import Assets, page_headers

STATIC = Path(__file__).parent / "static"
LARGEST_FORM = 16_384


@cache
def _files() -> tuple[Assets, Jinja, ReleaseNames]:
    """What the pages are made of; compiling the templates takes a third of a second."""
    assets, names = Assets(STATIC), ReleaseNames()
    return assets, templates(assets.url, names), names


class Dashboard:
    """One project's dashboard."""

    def __init__(self, project: Project, access: Access, jobs: Jobs) -> None:
        self.project = project
        self._access = access
        self._jobs = jobs
        self._assets, self._jinja, names = _files()
        names.know(project)
        self._renderer = Renderer(self._jinja, jobs)
        self._live = {
            name: Live(environment, jobs, self._renderer.environment)
            for name, environment in project.environments.items()
        }
        self._past = {name: PastRollouts(environment) for name, environment in project.environments.items()}
        self.app = Starlette(
            routes=[
                Route("/", self.environments),
                Route("/login", self.login, methods=["GET", "POST"]),
                Route("/logout", self.logout, methods=["POST"]),
                Route("/env/{env}", self.environment),
                Route("/env/{env}/series", self.series),
                Route("/env/{env}/confirm/{action}", self.confirm),
                Route("/env/{env}/do/{action}", self.do, methods=["POST"]),
                Route("/env/{env}/rollouts/{id}", self.rollout),
                Route("/env/{env}/rollouts/{id}/series", self.past_series),
                Route("/env/{env}/rollouts/{id}/report.md", self.report),
                Mount("/static", self._assets),
            ],
            middleware=[
                Middleware(AccessGate, access=access),
                Middleware(GZipMiddleware),
            ],
            exception_handlers={RolloutError: self._refused, 404: self._missing},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        for live in self._live.values():
            live.close()

    # ---- pages

    async def environments(self, request: Request) -> Response:
        """Show all environments side by side."""
        readings = {name: await live.read(RECENT_SECONDS) for name, live in self._live.items()}
        sections = {f"card-{name}": self._renderer.card(reading) for name, reading in readings.items()}
        if _polls(request):
            return self._changes(request, sections)
        now = max(reading.seen.read_at for reading in readings.values())
        return self._page(request, "environments.html", sections=sections, now=now)

    async def environment(self, request: Request) -> Response:
        """Show one environment."""
        polls = _polls(request)
        asked = request.query_params.get("tab", "")
        tab = asked if asked in TABS else next(iter(TABS))
        reading, sections = await self._live_of(request).sections(RECENT_SECONDS if polls else 0.0)
        if polls and request.query_params.get("shows") != reading.structure:
            return Response(headers={"HX-Refresh": "true", **page_headers})
        if polls:
            hidden = {name for other, group in TABS.items() if other != tab for name, _ in group}
            shown = {name: html for name, html in sections.items() if name not in hidden}
            return self._changes(request, shown)
        return self._page(
            request,
            "environment.html",
            tab=tab,
            tabs=TABS,
            seen=reading.seen,
            sections=sections,
            gates=self._renderer.gates(reading),
            structure=reading.structure,
        )

    def _changes(self, request: Request, sections: Sections) -> Response:
        """The sections of a page that is open already; 304 if it shows them."""
        headers = {"ETag": etag_of(sections), **page_headers}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        html = self._jinja.get_template("changes.html").render(sections=sections)
        return Response(html, media_type="text/html", headers=headers)

    async def rollout(self, request: Request) -> Response:
        """Show one rollout, with a form that replays it by other thresholds."""
        past, identity = self._past_of(request)
        shown = await asyncio.to_thread(past.show, identity, dict(request.query_params))
        return self._page(request, "rollout.html", **shown)

    async def report(self, request: Request) -> Response:
        """A rollout's story for an incident's ticket."""
        past, identity = self._past_of(request)
        told = await asyncio.to_thread(past.report, identity)
        return Response(told, media_type="text/markdown", headers=dict(page_headers))

    # ---- data for the charts

    async def series(self, request: Request) -> Response:
        """The points after `since`, or all of them where that is not known."""
        charts = (await self._live_of(request).read(RECENT_SECONDS)).charts
        dots = charts.since(request.query_params.get("since", "")) if charts else None
        found = {"cursor": "", "gates": {}} if charts is None else charts.whole()
        if charts is not None and dots is not None:
            found = {"cursor": charts.cursor, "dots": dots}
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    async def past_series(self, request: Request) -> Response:
        past, identity = self._past_of(request)
        whole = await asyncio.to_thread(past.series, identity)
        return JSONResponse(whole, headers={"Cache-Control": "no-store"})

    # ---- acting

    async def confirm(self, request: Request) -> Response:
        """Ask for confirmation of an action, saying what it will do."""
        reading = await self._live_of(request).read()
        action, backup = request.path_params["action"], request.query_params.get("backup", "")
        asked = self._question(action, reading, backup)
        part = request.headers.get("x-part") == "question"
        return self._page(
            request,
            "question.html" if part else "confirm.html",
            question=asked,
            backup=backup,
            chosen={name: request.query_params.get(name, "") for name in ("target", "source")},
            standing=actions.standing(reading.seen),
        )

    async def do(self, request: Request) -> Response:
        """Run the command that was confirmed."""
        form = await self._form(request)
        if self._visitor(request) is None:
            return self._problem(request, 401, "You are not signed in: nothing was done.")
        action, reading = request.path_params["action"], await self._live_of(request).read()
        if action in actions.CHECKS:
            _, line = actions.check(action, reading.seen, form.get("backup", ""))
        else:
            line = actions.words(action, reading.seen, form)
        self._jobs.start(reading.seen.environment.name, action, line)
        return RedirectResponse(f"/env/{reading.seen.environment.name}", 303)

    def _question(self, action: str, reading: Reading, backup: str) -> actions.Question:
        if action in actions.CHECKS:
            return actions.check(action, reading.seen, backup)[0]
        return actions.question(action, reading.seen)

    async def login(self, request: Request) -> Response:
        """Sign in by the one-time address, or by the token."""
        visitor, problem = None, ""
        following = request.query_params.get("next", "/")
        if request.method == "POST":
            form = await self._form(request, signed=False)
            following = form.get("next", "/")
            visitor = self._access.by_token(form.get("token", ""))
            problem = "" if visitor else "That is not the token; `rollout ui --token` prints it."
        elif code := request.query_params.get("once"):
            visitor = self._access.by_code(code)
            problem = (
                "" if visitor else "This address was used already, or is too old. Sign in with the token."
            )
        if visitor is None:
            open_to_read = self._access.open_to_read
            made = self._page(
                request, "login.html", problem=problem, next=following, open_to_read=open_to_read
            )
            made.status_code = 401 if problem else 200
            return made
        local = following.startswith("/") and not following.startswith(("//", "/\\"))
        answer = RedirectResponse(following if local else "/", 303)
        answer.set_cookie(
            self._access.cookie_name, visitor.cookie, httponly=True, samesite="strict", path="/"
        )
        return answer

    async def logout(self, request: Request) -> Response:
        await self._form(request)
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(self._access.cookie_name, path="/", httponly=True, samesite="strict")
        return answer

    async def _form(self, request: Request, *, signed: bool = True) -> Mapping[str, str]:
        """Read a form's text fields; a signed-in operator's must carry the session's CSRF token."""
        if int(request.headers.get("content-length") or LARGEST_FORM + 1) > LARGEST_FORM:
            raise ActionRefusedError(detail="This form is larger than any of ours.")
        form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
        visitor = self._visitor(request)
        if (
            signed
            and visitor
            and not secrets.compare_digest(form.get("csrf", "").encode(), visitor.csrf.encode())
        ):
            raise ActionRefusedError(detail="This form is not of your session: nothing was done.")
        return form

    # ---- inside

    def _live_of(self, request: Request) -> Live:
        name = request.path_params["env"]
        self.project.environment(name)
        return self._live[name]

    def _past_of(self, request: Request) -> tuple[PastRollouts, UUID]:
        name = request.path_params["env"]
        self.project.environment(name)
        try:
            return self._past[name], UUID(request.path_params["id"])
        except ValueError:
            raise ActionRefusedError(detail="That is no rollout's id.") from None

    def _visitor(self, request: Request) -> Visitor | None:
        return self._access.by_cookie(request.cookies)

    def _page(self, request: Request, name: str, **values: Any) -> Response:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        html = self._jinja.get_template(name).render(
            environments=list(self.project.environments),
            here=request.path_params.get("env", ""),
            visitor=self._visitor(request),
            path=path if request.method == "GET" and not path.startswith("/login") else "/",
            **values,
        )
        return Response(html, media_type="text/html", headers=dict(page_headers))

    def _problem(self, request: Request, status: int, sentence: str, advice: str = "") -> Response:
        env = request.path_params.get("env", "") if "path_params" in request.scope else ""
        back = f"/env/{env}" if env in self.project.environments else "/"
        title = {401: "Not signed in", 404: "Not here"}.get(status, "Refused")
        made = self._page(request, "problem.html", title=title, sentence=sentence, advice=advice, back=back)
        made.status_code = status
        return made

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RolloutError)
        unknown = error.code().startswith("unknown-")
        return self._problem(request, 404 if unknown else 409, error.sentence, error.hint)

    async def _missing(self, request: Request, error: Exception) -> Response:
        return self._problem(request, 404, "There is no such page.")


def _polls(request: Request) -> bool:
    """True if an open page asks what has changed."""
    return "hx-request" in request.headers


class AccessGate:
    """Refuses requests from other origins, and readers without the token where it is required."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = self._answer(request)
        await (answer or self._app)(scope, receive, send)

    def _answer(self, request: Request) -> Response | None:
        if refusal := self._access.refusal(request.method, request.headers):
            return Response(refusal, 403, media_type="text/plain", headers=dict(page_headers))
        path = request.url.path
        if self._access.open_to_read or path == "/login" or path.startswith("/static/"):
            return None
        if self._access.by_cookie(request.cookies) is None:
            login = f"/login?{urlencode({'next': path})}"
            if _polls(request):
                return Response(headers={"HX-Redirect": login, **page_headers})
            return RedirectResponse(login, 303)
        return None
