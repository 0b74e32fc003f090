"""The visitors of pages: nobody in particular, or somebody who signed in with a token.

The session's secret is in a cookie that no script can read and no other site's page can send; the store
knows its hash. What changes something needs a second secret, derived from the first, which only a page of
this service has, and must come from such a page by the browser's own word.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from dhash_service.api.auth import RANK, service_of
from dhash_service.errors import ForbiddenError, ForgedRequestError, UnauthenticatedError
from dhash_service.facts import Role, Session

SIGN_IN = "Sign in again; what was decided is kept."


@dataclass(frozen=True, slots=True)
class Visitor:
    """A visitor of a page. `csrf` goes into every form and every request that changes something."""

    name: str
    role: Role
    csrf: str = ""
    session: Session | None = None

    @property
    def known(self) -> bool:
        """True if somebody has signed in."""
        return self.session is not None

    @property
    def may_decide(self) -> bool:
        return self.known and RANK[self.role] >= RANK[Role.REVIEWER]


NOBODY = Visitor("anonymous", Role.CLIENT)


async def visit(request: Request) -> Visitor:
    """Identify the visitor; pages find it in the request's state too."""
    request.state.visitor = NOBODY
    secret = request.cookies.get(session_cookie(request))
    if secret:
        service = service_of(request)
        session = await service.read(lambda: service.store.sessions.find(secret, service.store.now()))
        if session:
            request.state.visitor = Visitor(session.name, session.role, csrf_of(secret), session)
    visitor: Visitor = request.state.visitor
    return visitor


async def reader(request: Request, visitor: Annotated[Visitor, Depends(visit)]) -> Visitor:
    """Admit a reader: anybody, or where the service is locked only who has signed in.

    Raises `UnauthenticatedError`, which leads a browser to the sign-in page.
    """
    if service_of(request).settings.locked and not visitor.known:
        raise UnauthenticatedError("The service is locked: reading needs a token.", "Sign in.")
    return visitor


async def session(request: Request, visitor: Annotated[Visitor, Depends(visit)]) -> Session:
    """The session of somebody who sends something from a page of this service.

    Raises `ForgedRequestError`, `UnauthenticatedError`.
    """
    require_same_origin(request)
    if visitor.session is None:
        raise UnauthenticatedError("Nobody is signed in, or the session has ended.", SIGN_IN)
    await require_csrf(request, visitor.csrf)
    return visitor.session


async def reviewing_session(session: Annotated[Session, Depends(session)]) -> Session:
    """The same, of somebody who may decide. Raises `ForbiddenError` for the others."""
    if RANK[session.role] < RANK[Role.REVIEWER]:
        raise ForbiddenError(f"{session.name} has the role {session.role.value}; deciding needs reviewer.")
    return session


async def admin_session(session: Annotated[Session, Depends(session)]) -> Session:
    """The same, of an admin. Raises `ForbiddenError` for the others."""
    if session.role is not Role.ADMIN:
        raise ForbiddenError(f"{session.name} has the role {session.role.value}; this needs admin.")
    return session


async def reviewing_visitor(visitor: Annotated[Visitor, Depends(reader)]) -> Visitor:
    """Admit who signed in and may decide. Raises `UnauthenticatedError`, `ForbiddenError`."""
    if not visitor.known:
        raise UnauthenticatedError("Nobody is signed in.", "Sign in.")
    if not visitor.may_decide:
        raise ForbiddenError(f"{visitor.name} has the role {visitor.role.value}; this needs reviewer.")
    return visitor


Anyone = Annotated[Visitor, Depends(visit)]
Reader = Annotated[Visitor, Depends(reader)]
SignedIn = Annotated[Session, Depends(session)]
Reviewer = Annotated[Session, Depends(reviewing_session)]
Reviewing = Annotated[Visitor, Depends(reviewing_visitor)]
Admin = Annotated[Session, Depends(admin_session)]


def require_same_origin(request: Request) -> None:
    """Refuse what another site's page makes a browser send.

    Browsers say where a request comes from in Sec-Fetch-Site, which no script can set; older ones say it in
    Origin, which is compared with Host. The scheme is not: a proxy may have ended TLS.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        forged = site != "same-origin"
    else:
        forged = origin is None or origin.partition("://")[2] != request.headers.get("host")
    if forged:
        raise ForgedRequestError(f"It comes from {origin or site or 'an unknown place'}.")


async def require_csrf(request: Request, expected: str) -> None:
    """Refuse what does not carry the page's secret, in a header or a form's field."""
    given: object = request.headers.get("x-csrf-token")
    if given is None and "form" in request.headers.get("content-type", ""):
        given = (await request.form()).get("csrf")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), expected.encode()):
        raise ForgedRequestError("The page's secret is missing or is another session's.")


def csrf_of(secret: str) -> str:
    """The secret for pages that belongs to a cookie's secret; it tells nothing about that one."""
    return hmac.new(secret.encode(errors="surrogatepass"), b"csrf", hashlib.sha256).hexdigest()


def is_secure(request: Request) -> bool:
    """True if the browser came by https, by itself or through a proxy that ended it."""
    forwarded = request.headers.get("x-forwarded-proto", "").rsplit(",", 1)[-1].strip()
    return request.url.scheme == "https" or forwarded == "https"


def session_cookie(request: Request) -> str:
    """The cookie's name; with its prefix, browsers take it by https from this very host alone."""
    return f"{'__Host-' if is_secure(request) else ''}dhash_session"


def set_cookie(request: Request, response: Response, name: str, value: str, seconds: float) -> None:
    """A cookie that no script reads and no other site's page sends; `seconds` of 0 take it away."""
    response.set_cookie(
        name,
        value,
        max_age=int(seconds),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
