"""Roles by bearer token: reading and submitting are open unless locked; deciding and admin never are."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from dhash_service.errors import ForbiddenError, UnauthenticatedError
from dhash_service.facts import Role
from dhash_service.service import Service

RANK = {role: rank for rank, role in enumerate(Role)}
bearer = HTTPBearer(auto_error=False, description="a token made by `dhash token create`")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request. Without credentials it is a client named ``anonymous``."""

    name: str
    role: Role

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN


ANONYMOUS = Caller("anonymous", Role.CLIENT)


def service_of(request: Request) -> Service:
    """The running service."""
    service: Service = request.app.state.service
    return service


async def identify(service: Service, credentials: HTTPAuthorizationCredentials | None, role: Role) -> Caller:
    """Find the holder of the token. Raises `UnauthenticatedError`, `ForbiddenError`."""
    if credentials is None:
        raise UnauthenticatedError(f"This needs a token with the role {role.value}.")
    token = await service.read(lambda: service.store.token(credentials.credentials))
    if token is None:
        raise UnauthenticatedError("The token is unknown or was revoked.")
    if RANK[token.role] < RANK[role]:
        raise ForbiddenError(f"{token.name} has the role {token.role.value}; this needs {role.value}.")
    return Caller(token.name, token.role)


def allow(role: Role) -> Callable[..., Awaitable[Caller]]:
    """A dependency that answers 401 or 403 unless the caller has this role or a higher one."""

    async def check(request: Request, credentials: Credentials) -> Caller:
        return await identify(service_of(request), credentials, role)

    return check


async def allow_client(request: Request) -> Caller:
    """Anybody, unless the service is locked. Outside the OpenAPI document: there, a scheme is a must."""
    service = service_of(request)
    credentials = await bearer(request)
    if credentials is None and not service.settings.locked:
        return ANONYMOUS
    return await identify(service, credentials, Role.CLIENT)


async def running(request: Request) -> Service:
    """The running service, as a dependency. FastAPI gives each plain function a thread of its own."""
    return service_of(request)


Running = Annotated[Service, Depends(running)]
Client = Annotated[Caller, Depends(allow_client)]
Reviewer = Annotated[Caller, Depends(allow(Role.REVIEWER))]
Admin = Annotated[Caller, Depends(allow(Role.ADMIN))]
