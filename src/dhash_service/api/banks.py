"""Banks of known pictures: their settings, their lists in and out."""

from typing import Annotated, Self

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from dhash_service.api.auth import Admin, Client, Reviewer, Running
from dhash_service.api.problems import PROBLEMS
from dhash_service.banks import Imported, exported
from dhash_service.errors import BadRequestError
from dhash_service.facts import BankAction, PictureBank

router = APIRouter(prefix="/api/dhash/banks", tags=["banks"], responses=PROBLEMS)

Name = Annotated[str, Path(min_length=1, max_length=64, description="the bank's name")]
TEXT = {"schema": {"type": "string"}}
BYTES = {"schema": {"type": "string", "format": "binary", "description": "CSV or JSON lines, in UTF-8"}}
LIST = {"requestBody": {"required": True, "content": {"application/octet-stream": BYTES}}}


class BankSettings(BaseModel):
    """The settings of a bank."""

    action: BankAction = Field(BankAction.TOLD, description="what happens to a picture that matches")
    radius: int = Field(4, ge=0, le=16, description="most differing bits of a fingerprint that matches")
    note: str = Field("", max_length=2000)


class BankState(BankSettings):
    """A bank, and the number of its entries."""

    name: str
    entries: int

    @classmethod
    def of(cls, bank: PictureBank, entries: int) -> Self:
        return cls(name=bank.name, action=bank.action, radius=bank.radius, note=bank.note, entries=entries)


class RefusedLine(BaseModel):
    """A line of a list that was not taken."""

    line: int
    why: str


class ImportReport(BaseModel):
    """The result of an import."""

    read: int = Field(description="lines")
    changed: int = Field(description="entries added, changed or taken out")
    refused: int = Field(description="lines that are no entry")
    faults: list[RefusedLine] = Field(description="the first of them")

    @classmethod
    def of(cls, done: Imported) -> Self:
        faults = [RefusedLine(line=line, why=why) for line, why in done.faults]
        return cls(read=done.read, changed=done.changed, refused=done.refused, faults=faults)


@router.get("", summary="Every bank with its settings")
async def list_banks(service: Running, client: Client) -> list[BankState]:
    return [BankState.of(*each) for each in await service.read(service.banks.all)]


@router.put("/{name}", summary="Make a bank, or change its settings")
async def set_bank(service: Running, admin: Admin, name: Name, body: BankSettings) -> BankSettings:
    bank = PictureBank(name, body.action, body.radius, body.note)
    await service.read(lambda: service.banks.set(bank))
    return body


@router.post(
    "/{name}/entries",
    summary="Put a list of hashes into a bank, or take them out: CSV with a head, or JSON lines",
    openapi_extra=LIST,
)
async def import_entries(
    request: Request,
    service: Running,
    admin: Admin,
    name: Name,
    remove: Annotated[bool, Query(description="take these hashes out instead")] = False,
) -> ImportReport:
    try:
        text = (await request.body()).decode()
    except UnicodeDecodeError:
        raise BadRequestError("The list is not UTF-8.", "Save it as UTF-8 and send that.") from None
    return ImportReport.of(await service.read(lambda: service.banks.load(name, text, removed=remove)))


@router.get(
    "/{name}/entries",
    summary="The hashes of a bank as a list: CSV, or JSON lines with `format=json`",
    response_class=Response,
    responses={200: {"content": {"text/csv": TEXT, "application/x-ndjson": TEXT}}},
)
async def export_entries(
    service: Running,
    reviewer: Reviewer,
    name: Name,
    format: Annotated[str, Query(pattern="^(csv|json)$", description="csv or json")] = "csv",
) -> Response:
    found = await service.read(lambda: service.banks.entries(name))
    text = "".join(exported(found, as_json=format == "json"))
    return Response(text, media_type="application/x-ndjson" if format == "json" else "text/csv")
