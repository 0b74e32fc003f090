"""The page of banks: what each does to a match, how many hashes it holds, and its lists in and out."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response, UploadFile
from fastapi.responses import RedirectResponse

from dhash_service.api.auth import Running
from dhash_service.banks import exported
from dhash_service.errors import BadRequestError
from dhash_service.facts import BankAction, PictureBank
from dhash_service.web.pages import render
from dhash_service.web.visitors import Admin, Reader, Reviewing

router = APIRouter(prefix="/banks")

Name = Annotated[str, Form(min_length=1, max_length=64)]

DOES = {
    BankAction.TOLD: "the answer says so",
    BankAction.QUEUED: "a person looks at it",
    BankAction.REFUSED: "it is not kept",
}


@router.get("")
async def page(
    request: Request,
    service: Running,
    visitor: Reader,
    done: Annotated[str, Query(max_length=300)] = "",
) -> Response:
    """Every bank, and for an admin the forms that change them."""
    banks = await service.read(service.banks.all)
    return render(request, "banks.html", banks=banks, actions=DOES, done=done)


@router.post("")
async def set_bank(
    service: Running,
    admin: Admin,
    name: Name,
    action: Annotated[BankAction, Form()],
    radius: Annotated[int, Form(ge=0, le=16)],
    note: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Make a bank, or change its settings; then the page again."""
    await service.read(lambda: service.banks.set(PictureBank(name, action, radius, note)))
    return back(f"{name}: matches within {radius} bits are {action.value}.")


@router.post("/entries")
async def import_entries(
    service: Running,
    admin: Admin,
    name: Name,
    file: UploadFile,
    remove: Annotated[bool, Form()] = False,
) -> Response:
    """Put a list of hashes into a bank, or take them out; then the page again, with what was refused."""
    try:
        text = (await file.read()).decode()
    except UnicodeDecodeError:
        raise BadRequestError("The list is not UTF-8.", "Save it as UTF-8 and send that.") from None
    told = await service.read(lambda: service.banks.load(name, text, removed=remove))
    faults = "".join(f" Line {line}: {why}" for line, why in told.faults[:2])
    counted = f"{told.read:,} lines read, {told.changed:,} entries changed, {told.refused:,} refused."
    return back(f"{name}: {counted}{faults}"[:300])


@router.get("/list")
async def export(
    service: Running, visitor: Reviewing, name: Annotated[str, Query(min_length=1, max_length=64)]
) -> Response:
    """A bank's hashes as CSV."""
    found = await service.read(lambda: service.banks.entries(name))
    headers = {"Content-Disposition": 'attachment; filename="bank.csv"', "X-Content-Type-Options": "nosniff"}
    return Response("".join(exported(found, as_json=False)), media_type="text/csv", headers=headers)


def back(done: str) -> Response:
    """To the page again, which says what was done."""
    return RedirectResponse(f"/banks?{urlencode({'done': done})}", 303)
