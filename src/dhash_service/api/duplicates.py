"""Groups of duplicates: finding and deciding them."""

from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from dhash_service.api.auth import Client, Reviewer, Running
from dhash_service.api.models import Known, Sighted
from dhash_service.api.problems import PROBLEMS
from dhash_service.duplicates import LARGEST_GROUP, DuplicateGroup, Grouping, Member, Rule
from dhash_service.facts import GroupDecision, Verdict
from dhash_service.search.pairs import WIDEST

router = APIRouter(prefix="/api/dhash/duplicates", tags=["duplicates"], responses=PROBLEMS)

DuplicateRadius = Annotated[
    int, Query(ge=0, le=WIDEST, description="most differing bits of two neighbours in a group")
]
Within = Annotated[
    str | None,
    Query(min_length=1, max_length=255, description="only pictures with this part in a name or source"),
]


class DuplicatePicture(Known):
    """A picture of a group."""

    distance: int = Field(ge=0, le=64, description="bits that differ from the suggested picture")
    files: list[Sighted] = Field(description="the places that these very bytes were seen at")

    @classmethod
    def member(cls, member: Member) -> Self:
        files = [Sighted.of(each) for each in member.files]
        return cls(**Known.of(member.image).model_dump(), distance=member.distance, files=files)


class GroupDecided(BaseModel):
    """A recorded decision on a group."""

    group: UUID
    kept: UUID | None
    verdict: Verdict
    reviewer: str
    note: str

    @classmethod
    def of(cls, decision: GroupDecision) -> Self:
        return cls(
            group=decision.group,
            kept=decision.kept,
            verdict=decision.verdict,
            reviewer=decision.reviewer,
            note=decision.note,
        )


class Duplicated(BaseModel):
    """A group of duplicates; the suggested picture to keep stands first."""

    id: UUID = Field(description="follows from the members")
    exact: bool = Field(description="all members have one fingerprint")
    size: int = Field(description=f"members; at most {LARGEST_GROUP} of them are listed")
    pictures: list[DuplicatePicture]
    decision: GroupDecided | None

    @classmethod
    def of(cls, group: DuplicateGroup) -> Self:
        return cls(
            id=group.id,
            exact=group.exact,
            size=group.size,
            pictures=[DuplicatePicture.member(member) for member in group.members],
            decision=GroupDecided.of(group.decision) if group.decision else None,
        )


class DuplicatesPage(BaseModel):
    """A page of groups of duplicates, the largest first."""

    radius: int
    known: int = Field(description="pictures compared")
    total: int = Field(description="groups found")
    groups: list[Duplicated]
    next: int | None = Field(description="`start` of the next page; null on the last one")

    @classmethod
    def of(
        cls, grouping: Grouping, groups: list[DuplicateGroup], radius: int, start: int, limit: int
    ) -> Self:
        return cls(
            radius=radius,
            known=grouping.known,
            total=len(grouping),
            groups=[Duplicated.of(group) for group in groups],
            next=start + limit if start + limit < len(grouping) else None,
        )


class GroupDecisionRequest(BaseModel):
    """A person's answer to "are these the same picture?", and the picture to keep."""

    members: list[UUID] = Field(min_length=2, max_length=LARGEST_GROUP)
    keep: UUID | None = None
    verdict: Verdict = Verdict.SAME
    note: str = Field("", max_length=2000)


class GroupRecorded(BaseModel):
    """A recorded decision on a group."""

    lookups: int = Field(description="waiting lookups between two members, decided with it")


@router.get("", summary="Groups of duplicates, the largest first")
async def duplicates(
    service: Running,
    client: Client,
    radius: DuplicateRadius = 4,
    within: Within = None,
    keep: Annotated[Rule, Query(description="rule for the suggested picture to keep")] = Rule.LARGEST,
    start: Annotated[int, Query(ge=0, le=10_000_000, description="groups to skip")] = 0,
    limit: Annotated[int, Query(ge=1, le=100, description="most groups")] = 20,
) -> DuplicatesPage:
    def read() -> DuplicatesPage:
        found = service.duplicates.find(radius, within)
        groups = service.duplicates.groups(found, keep, start, limit)
        return DuplicatesPage.of(found, groups, radius, start, limit)

    return await service.read(read)


@router.post("/decision", summary="Decide a group: duplicates, or not", status_code=201)
async def decide_group(service: Running, reviewer: Reviewer, body: GroupDecisionRequest) -> GroupRecorded:
    count = await service.read(
        lambda: service.duplicates.decide(body.members, body.keep, body.verdict, reviewer.name, body.note)
    )
    return GroupRecorded(lookups=count)
