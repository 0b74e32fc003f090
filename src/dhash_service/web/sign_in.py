"""Signing in with a token, and out again."""

import asyncio
import hashlib
import secrets
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from dhash_service.api.auth import Running, service_of
from dhash_service.api.limits import address
from dhash_service.facts import Session, Sha256, new_id
from dhash_service.reviewing import Reviewing
from dhash_service.web.pages import render
from dhash_service.web.throttle import Throttle
from dhash_service.web.visitors import (
    Anyone,
    SignedIn,
    csrf_of,
    require_csrf,
    require_same_origin,
    session_cookie,
    set_cookie,
)

FORM_COOKIE = "dhash_form"
FORM_SECONDS = 3600

router = APIRouter()


@router.get("/sign-in")
async def form(
    request: Request,
    visitor: Anyone,
    next: Annotated[str, Query(max_length=2000)] = "/review",
) -> Response:
    if visitor.known:
        return RedirectResponse(local(next), 303)
    return filled(request, next)


@router.post("/sign-in")
async def sign_in(
    request: Request,
    service: Running,
    visitor: Anyone,
    token: Annotated[str, Form(max_length=500)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/review",
) -> Response:
    require_same_origin(request)
    await require_csrf(request, csrf_of(request.cookies.get(FORM_COOKIE, secrets.token_urlsafe())))
    throttle: Throttle = request.app.state.sign_ins
    throttle.admit(address(request.scope))
    found = await service.read(lambda: service.store.token(token.strip()))
    if found is None:
        throttle.failed(address(request.scope))
        return filled(request, next, wrong="This token is unknown, or was revoked.", status=401)
    secret, now = secrets.token_urlsafe(32), service.store.now()
    lasts = timedelta(hours=service.settings.session_hours)
    digest = Sha256(hashlib.sha256(secret.encode()).hexdigest())
    opened = Session(
        new_id(), found.id, found.name, found.role, digest, now + lasts, service.settings.release, now
    )
    await asyncio.wrap_future(service.store.sessions.open(opened))
    answer = RedirectResponse(local(next), 303)
    set_cookie(request, answer, session_cookie(request), secret, lasts.total_seconds())
    set_cookie(request, answer, FORM_COOKIE, "", 0)
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, service: Running, session: SignedIn) -> Response:
    await Reviewing(service).give_back(session.id)
    await asyncio.wrap_future(service.store.sessions.end(session.id, service.store.now()))
    answer = RedirectResponse("/sign-in", 303)
    set_cookie(request, answer, session_cookie(request), "", 0)
    return answer


def filled(request: Request, next: str, *, wrong: str = "", status: int = 200) -> Response:
    """The form, with a secret of its own, so that no other site can sign a browser in."""
    secret = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(32)
    page = render(
        request,
        "sign_in.html",
        status=status,
        next=local(next),
        wrong=wrong,
        csrf=csrf_of(secret),
        locked=service_of(request).settings.locked,
    )
    set_cookie(request, page, FORM_COOKIE, secret, FORM_SECONDS)
    return page


def local(next: str) -> str:
    """The address to go on to: one of this service, whatever somebody wrote into the link."""
    plain = next.startswith("/") and next[1:2] not in ("/", "\\") and next.isprintable()
    return next if plain else "/review"
