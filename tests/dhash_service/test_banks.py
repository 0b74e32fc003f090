"""Banks: lists in and out, what matches, and when, on both databases."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhash_service.banks import BankMatcher, exported, lines, strictest
from dhash_service.errors import BadRequestError, NotFoundError
from dhash_service.facts import BankAction, PictureBank
from dhash_service.store.merge import merge
from dhash_service.store.snapshot import take
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import FAST

NOW = datetime(2026, 5, 1, tzinfo=UTC)
LIST = """kind,value,label,severity,note,expires_at
dhash,00000000000000FF,Acme,3,"a, b",
MD5,d41d8cd98f00b204e9800998ecf8427e,,,,2026-06-01T00:00:00Z
sha-256,e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855,empty,10,,
"""
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def matcher(store: Store) -> BankMatcher:
    return BankMatcher(store.banks, FAST.name)


@pytest.fixture
def banks(store: Store) -> BankMatcher:
    """A bank with one hash of each kind."""
    made = matcher(store)
    made.set(PictureBank("logos", BankAction.QUEUED, 2, "ours"))
    assert made.load("logos", LIST).changed == 3
    return made


def labels(banks: BankMatcher, value: int | None = None, now: datetime = NOW, **digests: str) -> list[str]:
    return [match.entry.kind for match in banks.matches(value, digests, now)]


def test_a_fingerprint_matches_within_the_banks_radius_and_a_digest_exactly(banks: BankMatcher) -> None:
    assert labels(banks, 0xFF) == labels(banks, 0xFC) == ["dhash-64-fast"]
    assert labels(banks, 0xF8) == []
    assert labels(banks, sha256=EMPTY) == ["sha256"]
    assert labels(banks, 0xFF, sha256=EMPTY) == ["sha256", "dhash-64-fast"]
    assert banks.wants_md5()
    (found,) = banks.matches(0xFE, {}, NOW)
    assert (found.bank.name, found.entry.label, found.entry.severity, found.distance) == (
        "logos",
        "Acme",
        3,
        1,
    )


def test_an_entry_ends_at_its_time_and_one_that_is_taken_out_at_once(banks: BankMatcher) -> None:
    md5 = {"md5": "d41d8cd98f00b204e9800998ecf8427e"}
    assert labels(banks, **md5) == ["md5"]
    assert labels(banks, now=NOW + timedelta(days=31), **md5) == []
    assert banks.load("logos", LIST, removed=True).changed == 3
    assert labels(banks, 0xFF, **md5) == []
    assert not banks.wants_md5()
    assert banks.load("logos", LIST).changed == 3
    assert labels(banks, 0xFF) == ["dhash-64-fast"]


def test_a_list_loaded_twice_changes_nothing_and_a_new_word_holds(banks: BankMatcher) -> None:
    assert banks.load("logos", LIST).changed == 0
    assert banks.load("logos", LIST.replace("Acme", "Emca")).changed == 1
    assert [entry.label for entry in banks.entries("logos")] == ["Emca", "", "empty"]


@pytest.mark.parametrize("as_json", [False, True])
def test_an_exported_list_can_be_loaded_again(banks: BankMatcher, as_json: bool) -> None:
    text = "".join(exported(banks.entries("logos"), as_json=as_json))
    banks.set(PictureBank("copy", BankAction.TOLD, 0, ""))
    assert banks.load("copy", text).changed == 3
    own = [(entry.kind, entry.value, entry.note, entry.expires_at) for entry in banks.entries("logos")]
    assert [(entry.kind, entry.value, entry.note, entry.expires_at) for entry in banks.entries("copy")] == own


def test_what_is_no_entry_is_reported_by_line_and_the_rest_is_taken(banks: BankMatcher) -> None:
    bad = [
        {"kind": "pdq", "value": "00"},
        {"kind": "md5", "value": "xyz"},
        {"kind": "dhash-64", "value": "0" * 16},
        {"kind": "dhash", "value": "0" * 16, "severity": 11},
        {"kind": "dhash", "value": "0" * 16, "expires_at": "soon"},
        {"kind": "dhash", "value": "0" * 16, "label": "a\x00"},
        {"kind": "dhash", "value": "0" * 16, "color": "red"},
    ]
    good = json.dumps({"kind": "dhash", "value": "0" * 16})
    report = banks.load("logos", "\n".join([*map(json.dumps, bad), "{no", good]))
    assert (report.read, report.changed, report.refused) == (9, 1, 8)
    assert [line for line, _ in report.faults] == list(range(1, 9))
    assert "this store takes dhash-64-fast" in report.faults[2][1]


@given(st.text())
def test_any_text_is_a_list_or_is_refused_line_by_line(text: str) -> None:
    for _, row in lines(text):
        assert row is not None


def test_banks_that_are_not_there_and_names_that_are_none_are_said(banks: BankMatcher) -> None:
    with pytest.raises(NotFoundError):
        banks.load("nobody", LIST)
    for name in (" ", "a/b", "/", "."):  # addresses of the API hold it
        with pytest.raises(BadRequestError):
            banks.set(PictureBank(name, BankAction.TOLD, 0, ""))


def test_another_process_sees_what_was_loaded(banks: BankMatcher, open_store: Callable[..., Store]) -> None:
    other = matcher(open_store("r2"))
    assert labels(other, 0xFF) == ["dhash-64-fast"]
    other.set(PictureBank("logos", BankAction.REFUSED, 0, ""))
    ((bank, entries),) = banks.all()
    assert (bank.action, bank.radius, entries) == (BankAction.REFUSED, 0, 3)
    assert strictest(banks.matches(0xFF, {}, NOW)) is BankAction.REFUSED


def test_a_merge_brings_banks_and_the_newer_word_holds(banks: BankMatcher, store: Store, tmp_path) -> None:  # type: ignore[no-untyped-def]
    take(store.engine, tmp_path / "copy.db")
    url = f"sqlite:///{tmp_path / 'other.db'}"
    with Store.open(url, release="r9", algorithm=FAST, migrate=True) as other:
        merge(other.engine, tmp_path / "copy.db", algorithm=FAST)
        assert labels(matcher(other), 0xFF) == ["dhash-64-fast"]
        matcher(other).load("logos", LIST, removed=True)
        merge(other.engine, tmp_path / "copy.db", algorithm=FAST)
        assert labels(matcher(other), 0xFF) == []


def test_a_line_that_is_no_csv_costs_itself_alone_and_any_line_end_is_one(banks: BankMatcher) -> None:
    good = "md5,d41d8cd98f00b204e9800998ecf8427f,"
    done = banks.load("logos", f"kind,value,label\n{good}{'x' * 200_000}\n{good}Acme\n")
    assert (done.read, done.changed, [line for line, _ in done.faults]) == (2, 1, [2])
    assert banks.load("logos", f"kind,value,label\r{good}other\r").changed == 1
    line = json.dumps({"kind": "md5", "value": "0" * 32, "label": "a\u2028b"}, ensure_ascii=False)
    assert banks.load("logos", f"{line}\r\n").changed == 1


def test_a_bank_that_refuses_does_so_however_many_others_are_nearer(store: Store) -> None:
    banks = matcher(store)
    banks.set(PictureBank("frames", BankAction.TOLD, 4, ""))
    banks.set(PictureBank("never", BankAction.REFUSED, 4, ""))
    banks.load("frames", "kind,value\n" + "".join(f"dhash,{1 << bit:016x}\n" for bit in range(40)))
    banks.load("never", "kind,value\ndhash,000000000000000f\n")
    found = banks.matches(0, {}, NOW)
    assert strictest(found) is BankAction.REFUSED
    assert [each.distance for each in found] == [1] * 15 + [4]


@pytest.mark.parametrize("removed", [False, True])
def test_thousands_of_nearer_entries_hide_no_stricter_bank(banks: BankMatcher, removed: bool) -> None:
    near = [1 << a | 1 << b for a in range(46) for b in range(a + 1)]
    crowd = "kind,value\n" + "".join(f"dhash,{value:016x}\n" for value in near)
    for name, action in (("crowd", BankAction.TOLD), ("strict", BankAction.REFUSED)):
        banks.set(PictureBank(name, action, 4, ""))
    assert banks.load("crowd", crowd).changed == 1_081
    if removed:  # the index keeps what was taken out
        banks.load("crowd", crowd, removed=True)
    banks.load("strict", "kind,value\ndhash,0000000000000f00\n")
    assert strictest(banks.matches(0, {}, NOW)) is BankAction.REFUSED
