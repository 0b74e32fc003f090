"""`dhash duplicates`: groups of pictures that are the same, or nearly."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dhash_service.cli.app import app, open_store, tidy_at_sigterm

if TYPE_CHECKING:
    from dhash_service.duplicates import DuplicateGroup
    from dhash_service.store.store import Store

AT_ONCE = 200
"""Groups read from the store at a time."""


class Keep(StrEnum):
    """A rule for the picture to keep."""

    LARGEST = "largest"
    OLDEST = "oldest"


@app.command(epilog="Example: dhash duplicates --within 2019/ --csv > duplicates.csv")
def duplicates(
    radius: Annotated[int, typer.Option(min=0, max=8, help="Most differing bits of neighbours.")] = 4,
    within: Annotated[
        str | None, typer.Option(help="Only pictures with this part in a name or source.")
    ] = None,
    keep: Annotated[Keep, typer.Option(help="Which picture to suggest to keep.")] = Keep.LARGEST,
    parquet: Annotated[
        str | None,
        typer.Option(
            help="Take fingerprints from this file, folder or URL, not from the store:"
            " columns `id` or `name`, and `hash`."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a group.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One line a file.")] = False,
    as_html: Annotated[bool, typer.Option("--html", help="One page with pictures.")] = False,
) -> None:
    """Find groups of duplicates: same bytes, same fingerprints, near ones. Nothing is deleted.

    Exact: equal to comparing each picture with each. Needs DuckDB, the extra `duplicates`.
    """
    from dhash_service.duplicates import COLUMNS, Duplicates, Rule, rows, spreadsheet_rows
    from dhash_service.errors import BadRequestError

    if as_json + as_csv + as_html > 1:
        raise BadRequestError("More than one format is asked for.", "Choose --json, --csv or --html.")
    if parquet is not None:
        if as_csv or as_html or within is not None or keep is not Keep.LARGEST:
            raise BadRequestError(
                "--parquet knows fingerprints alone, and prints JSON.",
                "Leave out --csv, --html, --within and --keep, or `dhash import` it and ask the store.",
            )
        with tidy_at_sigterm():
            tell_parquet(parquet, radius)
        return
    with open_store() as store, tidy_at_sigterm():
        finder = Duplicates(store)
        found = finder.find(radius, within)

        def groups() -> "Iterator[DuplicateGroup]":
            for start in range(0, len(found), AT_ONCE):
                yield from finder.groups(found, Rule(keep.value), start, AT_ONCE)

        if as_json:
            for group in groups():
                typer.echo(
                    json.dumps({"group": str(group.id), "size": group.size, "files": list(rows(group))})
                )
        elif as_csv:
            writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for group in groups():
                writer.writerows(spreadsheet_rows(group))
            sys.stdout.flush()
        elif as_html:
            tell_html(store, groups(), radius, found.known)
        else:
            for group in groups():
                typer.echo(f"{group.size:,} {'picture' if group.size == 1 else 'pictures'}")
                for row in rows(group):
                    mark = "keep" if row["keep"] else f"{row['distance']:>2} b"
                    typer.echo(f"  {mark}  {row['width']}×{row['height']}  {row['source'] or row['id']}")
            typer.echo(f"{len(found):,} groups among {found.known:,} pictures.", err=True)


def tell_html(store: "Store", groups: "Iterable[DuplicateGroup]", radius: int, known: int) -> None:
    """Print one page, thumbnails included."""
    from dhash_service.web.duplicates_page import report
    from dhash_service.web.found import data_url

    def thumbnails(group: "DuplicateGroup") -> list[str | None]:
        found = [store.thumbnail(member.image.id) for member in group.members]
        return [data_url(each) if each else None for each in found]

    typer.echo(report([(group, thumbnails(group)) for group in groups], radius, known))


def tell_parquet(place: str, radius: int) -> None:
    """Print the groups of what is in Parquet, a JSON object each."""
    from dhash_service.duplicates import grouped
    from dhash_service.scale import installed
    from dhash_service.search.pairs import read_parquet

    if "://" in place:
        with installed():
            from dhash_service.scale.parts import brought_here
        with brought_here(place) as folder:
            ids, values = read_parquet(folder)
    else:
        ids, values = read_parquet(Path(place))
    import numpy as np

    for group in grouped(np.arange(len(values)), values, radius):
        members = [{"id": ids[place], "hash": f"{values[place]:016x}"} for place in group]
        typer.echo(json.dumps({"size": len(members), "members": members}))
