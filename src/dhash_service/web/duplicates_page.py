"""The page of duplicates: groups side by side, each decided as a whole."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from dhash_service.api.auth import Running
from dhash_service.api.duplicates import DuplicateRadius
from dhash_service.duplicates import COLUMNS, DuplicateGroup, Grouping, Rule, spreadsheet_rows
from dhash_service.errors import BadRequestError
from dhash_service.facts import Verdict
from dhash_service.search.pairs import WIDEST
from dhash_service.web.pages import environment, render
from dhash_service.web.visitors import Reader, Reviewer
from dhash_service.web.words import bits

PAGE = 20
"""Groups on one page."""

AT_ONCE = 200
"""Groups read for the exported list at a time."""

router = APIRouter(prefix="/duplicates")


@router.get("")
async def page(
    request: Request,
    service: Running,
    visitor: Reader,
    radius: DuplicateRadius = 4,
    within: Annotated[str, Query(max_length=255)] = "",
    keep: Rule = Rule.LARGEST,
    start: Annotated[int, Query(alias="from", ge=0, le=10_000_000)] = 0,
) -> Response:
    """The groups, the largest first."""

    def read() -> tuple[Grouping, Sequence[DuplicateGroup]]:
        found = service.duplicates.find(radius, within or None)
        return found, service.duplicates.groups(found, keep, start, PAGE)

    found, groups = await service.read(read)
    asked = {"radius": radius, "within": within, "keep": keep.value}
    return render(
        request,
        "duplicates.html",
        groups=groups,
        total=len(found),
        known=found.known,
        radius=radius,
        radii=[(each, bits(each)) for each in range(WIDEST + 1)],
        within=within,
        keep=keep,
        rules=list(Rule),
        start=start,
        query=urlencode(asked),
        here=request.url.query,
        next=urlencode(asked | {"from": start + PAGE}) if start + PAGE < len(found) else None,
    )


@router.get("/export.csv")
async def export(
    service: Running,
    visitor: Reader,
    radius: DuplicateRadius = 4,
    within: Annotated[str, Query(max_length=255)] = "",
    keep: Rule = Rule.LARGEST,
) -> StreamingResponse:
    """Every group as a list, a line for each file."""
    found = await service.read(lambda: service.duplicates.find(radius, within or None))

    def parts() -> Iterator[str]:
        yield ",".join(COLUMNS) + "\n"
        for start in range(0, len(found), AT_ONCE):
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
            for group in service.duplicates.groups(found, keep, start, AT_ONCE):
                writer.writerows(spreadsheet_rows(group))
            yield text.getvalue()

    name = {"Content-Disposition": 'attachment; filename="duplicates.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(parts(), media_type="text/csv", headers=name)


@router.post("")
async def decide(
    service: Running,
    reviewer: Reviewer,
    members: Annotated[str, Form(max_length=40_000)],
    verdict: Annotated[Verdict, Form()],
    keep: Annotated[UUID | None, Form()] = None,
    query: Annotated[str, Form(max_length=4_000)] = "",  # the 255 characters of `within`, encoded
) -> Response:
    """Record a decision on a group; then the page again."""
    try:
        ids = [UUID(member) for member in members.split()]
    except ValueError:
        raise BadRequestError("A member is no id.", "Load the groups again.") from None
    kept = keep if verdict is Verdict.SAME else None
    await service.read(lambda: service.duplicates.decide(ids, kept, verdict, reviewer.name, ""))
    return RedirectResponse("/duplicates" + (f"?{query}" if query.isprintable() and query else ""), 303)


def report(groups: Sequence[tuple[DuplicateGroup, Sequence[str | None]]], radius: int, known: int) -> str:
    """A page of its own with all groups, each with its members' thumbnails as data: URLs."""
    template = environment.get_template("duplicates_report.html")
    return template.render(groups=groups, radius=bits(radius), known=known)
