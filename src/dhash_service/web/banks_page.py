"""The pages of banks: what each does to a match, its entries, and its lists in and out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response, UploadFile
from fastapi.responses import RedirectResponse

from dhash_service.api.auth import Running
from dhash_service.banks import DIGITS, BankSummary, exported
from dhash_service.errors import BadRequestError
from dhash_service.facts import BankAction, BankEntry, PictureBank
from dhash_service.web.pages import render
from dhash_service.web.visitors import Admin, Reader, Reviewing

router = APIRouter(prefix="/banks")

Name = Annotated[str, Form(min_length=1, max_length=64)]
Named = Annotated[str, Query(min_length=1, max_length=64)]
Done = Annotated[str, Query(max_length=300)]
Text = Annotated[str, Form(max_length=2000)]

DOES = {
    BankAction.TOLD: "the picture is kept, and the answer names the bank",
    BankAction.QUEUED: "the picture is kept, and waits for a reviewer",
    BankAction.REFUSED: "nothing is kept, and the sender is told so",
}

PAGE = 100
"""Entries on one page."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a bank's entries: `start` of `total` that have the words asked for are before it."""

    entries: Sequence[BankEntry]
    start: int
    total: int

    @classmethod
    def of(cls, entries: Sequence[BankEntry], words: str, start: int) -> "Listed":
        sought = words.strip().casefold()
        found = [one for one in entries if sought in f"{one.value} {one.label} {one.note}".casefold()]
        found.sort(key=lambda one: (-one.severity, one.label, one.kind, one.value))
        return cls(found[start : start + PAGE], start, len(found))

    @property
    def end(self) -> int:
        return self.start + len(self.entries)


@router.get("")
async def page(request: Request, service: Running, visitor: Reader, done: Done = "") -> Response:
    """Every bank in numbers, and for an admin the form that makes one."""
    found = await service.read(lambda: service.banks.summaries(datetime.now(UTC)))
    return render(request, "banks.html", banks=found, actions=DOES, done=done)


@router.get("/bank")
async def one(
    request: Request,
    service: Running,
    visitor: Reader,
    name: Named,
    find: Annotated[str, Query(max_length=255)] = "",
    start: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    done: Done = "",
) -> Response:
    """One bank: for who may decide its entries, and for an admin the forms that change it."""
    now = datetime.now(UTC)

    def read() -> tuple[list[BankEntry], BankSummary]:
        entries = service.banks.entries(name)
        return entries, next(each for each in service.banks.summaries(now) if each.bank.name == name)

    entries, summary = await service.read(read)
    listed = Listed.of(entries, find, start) if visitor.may_decide else None
    kinds = (service.banks.algorithm, *DIGITS)
    return render(
        request,
        "bank.html",
        summary=summary,
        listed=listed,
        find=find,
        kinds=kinds,
        actions=DOES,
        now=now,
        done=done,
    )


@router.post("")
async def set_bank(
    service: Running,
    admin: Admin,
    name: Name,
    action: Annotated[BankAction, Form()],
    radius: Annotated[int, Form(ge=0, le=16)],
    note: Text = "",
) -> Response:
    """Make a bank, or change its settings; then its page."""
    await service.read(lambda: service.banks.set(PictureBank(name, action, radius, note)))
    bits = "bit" if radius == 1 else "bits"
    return back(name, f"Saved. A match within {radius} {bits}: {DOES[action]}.")


@router.post("/entry")
async def change_entry(
    service: Running,
    admin: Admin,
    name: Name,
    kind: Annotated[str, Form(max_length=64)],
    value: Annotated[str, Form(max_length=200)],
    label: Annotated[str, Form(max_length=255)] = "",
    severity: Annotated[str, Form(max_length=4)] = "0",
    note: Text = "",
    expires_at: Annotated[str, Form(max_length=40)] = "",
    remove: Annotated[bool, Form()] = False,
) -> Response:
    """Put one hash into a bank, or take it out; then the bank's page. Raises `BadRequestError`."""
    row = {"kind": kind, "value": value, "label": label, "severity": severity or "0", "note": note}
    line = json.dumps(row | {"expires_at": expires_at})
    told = await service.read(lambda: service.banks.load(name, line, removed=remove))
    if told.faults:
        raise BadRequestError(told.faults[0][1])
    return back(name, f"{label or value} is {'no longer in it' if remove else 'in it'}.")


@router.post("/entries")
async def import_entries(
    service: Running,
    admin: Admin,
    name: Name,
    file: UploadFile,
    remove: Annotated[bool, Form()] = False,
) -> Response:
    """Put a list of hashes into a bank, or take them out; then its page, with what was refused."""
    try:
        text = (await file.read()).decode()
    except UnicodeDecodeError:
        raise BadRequestError("The list is not UTF-8.", "Save it as UTF-8 and send that.") from None
    told = await service.read(lambda: service.banks.load(name, text, removed=remove))
    faults = "".join(f" Line {line}: {why}" for line, why in told.faults[:2])
    counted = f"{told.read:,} lines read, {told.changed:,} entries changed, {told.refused:,} refused."
    return back(name, f"{counted}{faults}")


@router.get("/list")
async def export(service: Running, visitor: Reviewing, name: Named) -> Response:
    """A bank's hashes as CSV."""
    found = await service.read(lambda: service.banks.entries(name))
    headers = {"Content-Disposition": 'attachment; filename="bank.csv"', "X-Content-Type-Options": "nosniff"}
    return Response("".join(exported(found, as_json=False)), media_type="text/csv", headers=headers)


def back(name: str, done: str) -> Response:
    """To the bank's page, which says what was done."""
    return RedirectResponse(f"/banks/bank?{urlencode({'name': name, 'done': done[:300]})}", 303)
