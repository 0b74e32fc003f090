"""Roles by bearer token: reading and submitting are open unless locked; deciding and admin never are."""

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from dhash_service.errors import ForbiddenError, UnauthenticatedError
from dhash_service.facts import Role
from dhash_service.service import Service
from dhash_service.store import Token

RANK = {role: rank for rank, role in enumerate(Role)}
TOKENS_FRESH_SECONDS = 2.0
"""A revoked token works this much longer; a store that is asked on every request costs more than that."""

bearer = HTTPBearer(auto_error=False, description="a token made by `dhash token create`")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request comes from. Nobody in particular is a client named ``anonymous``."""

    name: str
    role: Role


ANONYMOUS = Caller("anonymous", Role.CLIENT)


class TokenBook:
    """The store's tokens, read again every `TOKENS_FRESH_SECONDS`."""

    def __init__(self, read: Callable[[], Sequence[Token]]) -> None:
        self._read = read
        self._tokens: Sequence[Token] = ()
        self._read_at = float("-inf")

    def caller(self, secret: str) -> Caller | None:
        """Whose secret this is. Every token is compared, in constant time, whichever one fits."""
        if time.monotonic() - self._read_at > TOKENS_FRESH_SECONDS:
            self._tokens = self._read()
            self._read_at = time.monotonic()
        digest = hashlib.sha256(secret.encode()).hexdigest()
        fitting = [token for token in self._tokens if hmac.compare_digest(token.sha256, digest)]
        return Caller(fitting[0].name, fitting[0].role) if fitting else None


def service_of(request: Request) -> Service:
    """The running service."""
    service: Service = request.app.state.service
    return service


def allow(role: Role) -> Callable[..., Awaitable[Caller]]:
    """A dependency that answers 401 or 403 unless the caller has this role or a higher one."""

    async def check(request: Request, credentials: Credentials) -> Caller:
        service = service_of(request)
        if credentials is None:
            if role is Role.CLIENT and not service.settings.locked:
                return ANONYMOUS
            raise UnauthenticatedError(f"This needs a token with the role {role.value}.")
        book: TokenBook = request.app.state.tokens
        caller = await service.read(lambda: book.caller(credentials.credentials))
        if caller is None:
            raise UnauthenticatedError("The token is unknown or was revoked.")
        if RANK[caller.role] < RANK[role]:
            raise ForbiddenError(f"{caller.name} has the role {caller.role.value}; this needs {role.value}.")
        return caller

    return check


Running = Annotated[Service, Depends(service_of)]
Client = Annotated[Caller, Depends(allow(Role.CLIENT))]
Reviewer = Annotated[Caller, Depends(allow(Role.REVIEWER))]
Admin = Annotated[Caller, Depends(allow(Role.ADMIN))]
