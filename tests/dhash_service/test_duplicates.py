"""Groups of duplicates: found, suggested, exported and decided, on both databases."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from dhash_service.cli import main  # noqa: F401  (registers the commands)
from dhash_service.cli.app import app
from dhash_service.duplicates import Duplicates, Rule
from dhash_service.errors import BadRequestError
from dhash_service.facts import Image, Label, Verdict
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import NEW, hide_image, picture, queued, review


def keep(store: Store, name: str, value: int, width: int = 640, source: str = "") -> Image:
    made = picture(name, value)
    made = replace(made, fingerprint=replace(made.fingerprint, width=width))
    return store.add_image(made, NEW, label=Label(source.rpartition("/")[2], source)).result(10).image


@pytest.fixture
def three(store: Store) -> list[Image]:
    """Two near copies, of which the second is larger, and one that stands alone."""
    return [
        keep(store, "small", 0x00FF, 100, "/a/small.jpg"),
        keep(store, "large", 0x00FE, 900, "/b/large.jpg"),
        keep(store, "alone", 0xFFFF << 40, 100, "/a/alone.jpg"),
    ]


def test_near_copies_are_a_group_with_the_largest_or_oldest_first(store: Store, three: list[Image]) -> None:
    finder = Duplicates(store)
    found = finder.find(4)
    assert (len(found), found.known) == (1, 3)
    (group,) = finder.groups(found, Rule.LARGEST)
    assert [member.image.id for member in group.members] == [three[1].id, three[0].id]
    assert [member.distance for member in group.members] == [0, 1]
    assert not group.exact
    (oldest,) = finder.groups(found, Rule.OLDEST)
    assert oldest.members[0].image.id == three[0].id
    assert oldest.id == group.id
    assert len(finder.find(0)) == 0


def test_files_with_the_same_bytes_are_a_group_of_one_picture(store: Store, three: list[Image]) -> None:
    store.see(three[2].id, Label("copy.jpg", "/c/copy.jpg")).result(10)
    finder = Duplicates(store)
    groups = finder.groups(finder.find(4), Rule.LARGEST)
    assert [len(group.members) for group in groups] == [2, 1]
    assert [file.source for file in groups[1].members[0].files] == ["/a/alone.jpg", "/c/copy.jpg"]


def test_a_part_of_the_store_is_named_and_what_is_hidden_is_left_out(
    store: Store, three: list[Image]
) -> None:
    finder = Duplicates(store)
    assert len(finder.find(4, "/a/")) == 0
    assert len(finder.find(4, ".jpg")) == 1
    store.add_tombstone(hide_image(three[0])).result(10)
    assert len(finder.find(4)) == 0


def test_deciding_a_group_decides_its_waiting_pairs_and_nothing_else(
    store: Store, three: list[Image]
) -> None:
    fourth = store.add_image(picture("fourth", 0x00FD), review(three[1])).result(10)
    elsewhere = queued(store, "fifth", three[0])
    finder = Duplicates(store)
    (group,) = finder.groups(finder.find(4), Rule.LARGEST)
    ids = [member.image.id for member in group.members]
    assert finder.decide(ids, ids[0], Verdict.SAME, "ada", "by hand") == 1
    assert [lookup.id for lookup in store.queue.page().lookups] == [elsewhere]
    (judged,) = store.verdicts.about(fourth.lookup)
    assert (judged.decision.reviewer, judged.decision.verdict) == ("ada", Verdict.SAME)
    (decided,) = finder.groups(finder.find(4), Rule.LARGEST)
    assert (decided.decision.kept, decided.decision.verdict) == (ids[0], Verdict.SAME)
    finder.decide(ids, None, Verdict.DIFFERENT, "bob", "")
    (again,) = finder.groups(finder.find(4), Rule.LARGEST)
    assert again.decision.verdict is Verdict.DIFFERENT


def test_what_is_no_group_is_refused(store: Store, three: list[Image]) -> None:
    finder = Duplicates(store)
    for members, kept in (([three[0].id], None), ([three[0].id, three[1].id], three[2].id)):
        with pytest.raises(BadRequestError):
            finder.decide(members, kept, Verdict.SAME, "ada", "")


@pytest.fixture
def output(
    store_url: str, open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    store = open_store()
    keep(store, "small", 0x00FF, 100, "/a/<small>.jpg")
    keep(store, "large", 0x00FE, 900, "/b/large.jpg")
    monkeypatch.setenv("DHASH_STORE", store_url)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["duplicates", *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_groups_are_exported_for_programs_and_people(output: Callable[..., str]) -> None:
    (group,) = [json.loads(line) for line in output("--json").splitlines()]
    assert [(file["source"], file["keep"]) for file in group["files"]] == [
        ("/b/large.jpg", True),
        ("/a/<small>.jpg", False),
    ]
    rows = list(csv.DictReader(io.StringIO(output("--csv"))))
    assert [(row["source"], row["keep"], row["distance"]) for row in rows] == [
        ("/b/large.jpg", "True", "0"),
        ("/a/<small>.jpg", "False", "1"),
    ]
    page = output("--html")
    assert "/a/&lt;small&gt;.jpg" in page
    assert "<small>" not in page
    assert "keep  900×480  /b/large.jpg" in output()


def test_no_spreadsheet_takes_a_name_for_a_formula(
    output: Callable[..., str], open_store: Callable[..., Store]
) -> None:
    formula = '=HYPERLINK("http://far";"a")'
    store = open_store()
    for name, value, size, source in (
        ("equals", 0xFF00FF00, 100, formula),
        ("minus", 0xFF00FF01, 90, "-1.jpg"),
    ):
        keep(store, name, value, size, source)
    listed = {row["source"] for row in csv.DictReader(io.StringIO(output("--csv")))}
    assert {"'-1.jpg", f"'{formula}", "/b/large.jpg"} < listed
    files = [file["source"] for line in output("--json").splitlines() for file in json.loads(line)["files"]]
    assert {"-1.jpg", formula} < set(files)
