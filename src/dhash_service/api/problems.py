"""Errors as `application/problem+json` (RFC 9457), each with a stable type and what to do next."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from dhash_service.errors import (
    BadRequestError,
    DhashError,
    NotFoundError,
    RetryLaterError,
    UnauthenticatedError,
)

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")


UNEXPECTED = DhashError("The service met what nobody expected.")


class Problem(BaseModel):
    """A problem, and what to do next (RFC 9457)."""

    type: str = Field(
        description="stable name of the kind of problem", examples=["/problems/damaged-picture"]
    )
    title: str = Field(description="the kind of problem in words")
    status: int = Field(description="HTTP status")
    detail: str = Field(description="what is wrong with this request")
    advice: str = Field(description="what to do next")


DESCRIBED = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "The request is at fault", "content": DESCRIBED},
    "5XX": {"model": Problem, "description": "The service is busy or at fault", "content": DESCRIBED},
}

router = APIRouter(tags=["operations"])


@router.get("/problems/", summary="Every kind of problem")
async def list_problems() -> list[Problem]:
    described = {kind.type: problem(kind(kind.__doc__ or kind.title)) for kind in reversed(kinds())}
    return sorted(described.values(), key=lambda each: each.type)


@router.get("/problems/{type}", summary="What a kind of problem means", responses=PROBLEMS)
async def explain_problem(type: str) -> Problem:
    kind = next((kind for kind in kinds() if kind.type == type), None)
    if kind is None:
        raise NotFoundError(f"There is no problem of the type {type}.")
    return problem(kind(kind.__doc__ or kind.title))


def kinds() -> list[type[DhashError]]:
    """Every class of error, the base first."""
    found, waiting = [], [DhashError]
    while waiting:
        kind = waiting.pop(0)
        found.append(kind)
        waiting.extend(kind.__subclasses__())
    return found


def problem(error: DhashError) -> Problem:
    """The error as the body of an answer."""
    return Problem(
        type=f"/problems/{error.type}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        advice=error.hint,
    )


def as_json(body: Problem, headers: Mapping[str, str]) -> JSONResponse:
    """The problem as RFC 9457 has it."""
    return JSONResponse(body.model_dump(), body.status, headers=headers, media_type=MEDIA_TYPE)


def headers_of(error: DhashError) -> dict[str, str]:
    """The headers that the error's status asks for."""
    headers: dict[str, str] = {}
    if isinstance(error, RetryLaterError):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def invalid(error: RequestValidationError) -> BadRequestError:
    """FastAPI's validation errors as one sentence that names each field."""
    fields = "; ".join(
        f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()[:5]
    )
    return BadRequestError(f"{fields}.")


Page = Callable[[Request, Problem, Mapping[str, str]], Awaitable[Response | None]]
"""Answers a person in a browser with a problem as a page; None where it is a program that asks."""


async def told(request: Request, error: DhashError, page: Page) -> Response:
    """The answer to a request that ended in this error, which is logged where it is ours."""
    if error.status >= 500:
        log.error("request failed", path=request.url.path, error=str(error))
    body, headers = problem(error), headers_of(error)
    return await page(request, body, headers) or as_json(body, headers)


def install(app: FastAPI, page: Page) -> None:
    """Answer every error of the application as a problem."""

    async def respond(request: Request, body: Problem, headers: Mapping[str, str]) -> Response:
        return await page(request, body, headers) or as_json(body, headers)

    @app.exception_handler(DhashError)
    async def known(request: Request, error: DhashError) -> Response:
        return await told(request, error, page)

    @app.exception_handler(Exception)  # it goes on to the log after that
    async def unexpected(request: Request, error: Exception) -> Response:
        return await respond(request, problem(UNEXPECTED), {})

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> Response:
        return await respond(request, problem(invalid(error)), {})

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.NOT_FOUND:
            nothing = NotFoundError(f"There is nothing at {request.url.path}.", "See /docs for the paths.")
            return await respond(request, problem(nothing), {})
        title = HTTPStatus(error.status_code).phrase
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(methods(app, request))
        body = Problem(
            type=f"/problems/{title.lower().replace(' ', '-')}",
            title=title,
            status=error.status_code,
            detail=f"{request.method} {request.url.path}: {error.detail}.",
            advice="See /docs for what this path takes.",
        )
        return await respond(request, body, headers)


def methods(app: FastAPI, request: Request) -> list[str]:
    """The methods that the requested path takes. Starlette names those of one of its routes.

    `Observe` has HEAD answered wherever GET is.
    """
    asked = ({**request.scope, "method": method} for method in METHODS)
    taken = [each["method"] for each in asked if any(full(route, each) for route in app.routes)]
    return [*taken, *(["HEAD"] if "GET" in taken else [])]


def full(route: BaseRoute, scope: Scope) -> bool:
    """True for a route that takes this request, its method included."""
    return route.matches(scope)[0] is Match.FULL
