"""Who looks at a page: nobody in particular, or somebody who signed in."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from dhash_service.api.auth import RANK, service_of
from dhash_service.errors import UnauthenticatedError
from dhash_service.facts import Role


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks for a page. `csrf` goes into every form and every request that changes something."""

    name: str
    role: Role
    csrf: str = ""

    @property
    def known(self) -> bool:
        """Whether somebody has signed in."""
        return bool(self.csrf)

    @property
    def may_decide(self) -> bool:
        return self.known and RANK[self.role] >= RANK[Role.REVIEWER]


NOBODY = Visitor("anonymous", Role.CLIENT)


async def visit(request: Request) -> Visitor:
    """Who asks, whoever it is; pages find it in the request's state too."""
    request.state.visitor = NOBODY
    return NOBODY


async def reader(request: Request, visitor: Annotated[Visitor, Depends(visit)]) -> Visitor:
    """Whoever may read: anybody, or where the service is locked only who has signed in.

    Raises `UnauthenticatedError`, which leads a browser to the sign-in page.
    """
    if service_of(request).settings.locked and not visitor.known:
        raise UnauthenticatedError("The service is locked: reading needs a token.", "Sign in.")
    return visitor


Anyone = Annotated[Visitor, Depends(visit)]
Reader = Annotated[Visitor, Depends(reader)]
