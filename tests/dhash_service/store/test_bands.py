"""Search in PostgreSQL by bands: what the index in memory finds, with nothing in memory."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.dialects import postgresql
from typer.testing import CliRunner

from dhash_service.cli import db, serve
from dhash_service.cli.app import app
from dhash_service.errors import SettingError, StoreSchemaError
from dhash_service.facts import UNLABELLED, Match, Role
from dhash_service.matcher import Matcher
from dhash_service.search.index import HammingIndex
from dhash_service.search.probes import WIDEST, probes
from dhash_service.search.segment import BANDS as NUMBER
from dhash_service.settings import Settings
from dhash_service.store import bands, check
from dhash_service.store.engine import connect, reading
from dhash_service.store.loading import Loaded
from dhash_service.store.recorder import Candidate
from dhash_service.store.store import Store
from tests.dhash_service.serving import dhash, serving
from tests.dhash_service.store.databases import sqlite_file
from tests.dhash_service.store.facts import FAST, NEW, NOON, hide_image, picture, quarantine
from tests.pictures import jpeg

assert db
assert serve

COUNT = 3_000


def values() -> list[int]:
    """Fingerprints of which many are near each other, some the same, and some differ in the highest bit."""
    chance = random.Random(7)
    centres = [chance.getrandbits(64) for _ in range(COUNT // 20)]
    found = [flipped(centre, chance.randrange(14), chance) for centre in centres for _ in range(19)]
    return found + centres


def flipped(value: int, bits: int, chance: random.Random) -> int:
    return value ^ sum(1 << bit for bit in chance.sample(range(64), bits))


@pytest.fixture
def large(postgres_url: str) -> Iterator[Store]:
    """A store with fingerprints that are hidden, erased and of a hidden release, too; and the indexes."""
    with Store.open(postgres_url, release="r1", algorithm=FAST) as store:
        made = [picture(number, value) for number, value in enumerate(values())]
        store.loader.load([Loaded(each, UNLABELLED) for each in made[:-200]]).result(30)
        with Store.open(postgres_url, release="bad", algorithm=FAST) as other:
            other.loader.load([Loaded(each, UNLABELLED) for each in made[-200:]]).result(30)
        for each in made[:2000:40]:
            image = store.image(each.id)
            assert image
            store.add_tombstone(hide_image(image)).result(30)
        store.erase([each.id for each in made[1:2000:40]], "asked for", "ada", NOON)
        store.add_tombstone(quarantine("bad")).result(30)
        assert len(bands.create(postgres_url, lambda name: None)) == NUMBER
        yield store


def in_memory(store: Store) -> HammingIndex:
    index, changes = HammingIndex(), store.feed.changes(None)
    index.append(changes.keys, changes.values)
    return index


def test_it_finds_what_the_index_in_memory_finds(large: Store) -> None:
    memory, chance = in_memory(large), random.Random(1)
    index = bands.StoreIndex(large.engine, large.count())
    assert len(index) == len(memory) < COUNT - 250
    for radius in (*range(WIDEST + 2), 24, 64):
        known = chance.choices(memory.contents()[1].tolist(), k=4)
        asked = [flipped(value, chance.randrange(4), chance) for value in known]
        found = index.search_many(asked, radius, 20)
        assert found == memory.search_many(asked, radius, 20)
        assert radius < 4 or any(each.hits for each in found)
    for value in chance.choices(memory.contents()[1].tolist(), k=10):
        assert index.nearest(value, 15).hits == memory.nearest(value, 15).hits


def test_a_crowd_is_told(postgres_url: str) -> None:
    with Store.open(postgres_url, release="r1", algorithm=FAST) as store:
        made = [picture(number, 1 << 63 | number % 3 // 2) for number in range(3_010)]
        store.loader.load([Loaded(each, UNLABELLED) for each in made]).result(30)
        memory, index = in_memory(store), bands.StoreIndex(store.engine, store.count())
        for value in (1 << 63, 1 << 63 | 1, 1 << 63 | 3):
            for radius in (1, 4, 20):
                assert index.search(value, radius, 5) == memory.search(value, radius, 5)
        assert index.search(1 << 63, 2, 5).crowded


@pytest.mark.parametrize("radius", range(WIDEST + 1))
def test_probes_miss_nothing(radius: int) -> None:
    chance = random.Random(radius)
    for _ in range(200):
        value = chance.getrandbits(64)
        other = flipped(value, radius, chance)
        met = [
            other >> shift & 0xFFFF in codes
            for shift, codes in zip((48, 32, 16, 0), probes(value, radius), strict=True)
        ]
        assert any(met)


def test_the_indexes_are_what_is_searched_by(large: Store) -> None:
    spelled = bands.NEAR.compile(dialect=postgresql.dialect(), compile_kwargs={"render_postcompile": True})
    asked: dict[str, object] = {"value": 5, "radius": 4, "limit": 9}
    asked |= {f"band{shift}": codes for shift, codes in zip((48, 32, 16, 0), probes(5, 4), strict=True)}
    with large.engine.connect() as connection:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # which is faster for so few
        plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {spelled}", asked))
    assert all(name in plan for name in bands.BANDS), plan


def test_missing_and_half_made_indexes_are_told_and_made(postgres_url: str) -> None:
    engine = connect(postgres_url)
    with pytest.raises(StoreSchemaError, match=r"band48, .*band0\.") as told:
        bands.require(engine)
    assert "dhash db search-index" in told.value.hint
    bands.create(postgres_url, lambda name: None)
    with psycopg.connect(postgres_url, autocommit=True) as connection:  # as one that was interrupted
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_fingerprints_band16'::regclass"
        )
    with pytest.raises(StoreSchemaError, match="band16"):
        bands.require(engine)
    assert bands.create(postgres_url, lambda name: None) == ["ix_fingerprints_band16"]
    bands.require(engine)
    bands.drop(postgres_url)
    with pytest.raises(StoreSchemaError):
        bands.require(engine)
    engine.dispose()


def test_on_sqlite_it_is_told_that_postgresql_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DHASH_STORE", sqlite_file(tmp_path / "dhash.db"))
    monkeypatch.setenv("DHASH_INDEX", "store")
    for command in (["serve", "--port", "0"], ["db", "search-index"], ["db", "check", "--index"]):
        failed = CliRunner().invoke(app, command).exception
        assert isinstance(failed, SettingError), (command, failed)
        assert "needs PostgreSQL" in failed.detail
        assert "DHASH_INDEX=memory" in failed.hint


def test_a_matcher_finds_what_was_kept_at_once_and_no_longer_what_was_hidden(large: Store) -> None:
    settings = Settings.load(index="store", store=large.engine.url.render_as_string(hide_password=False))
    with Matcher(large, settings) as matcher:
        before = len(matcher.index)
        new = picture("new", values()[5] ^ 1)
        image = large.add_image(new, NEW).result(30).image
        matcher.require_current()
        found = matcher.neighbours(new.fingerprint.value, 0, 5).neighbours
        assert [each.image for each in found] == [image]
        assert len(matcher.index) == before + 1
        large.add_tombstone(hide_image(image)).result(30)
        matcher.require_current()
        assert matcher.neighbours(new.fingerprint.value, 0, 5).total == 0
        assert len(matcher.index) == before
        assert matcher.match(new.fingerprint).nearest is not None


def test_what_a_replica_kept_a_moment_ago_is_matched_once(large: Store, postgres_url: str) -> None:
    """The search has it, and the writer says it too: standing there twice, it would be its own rival."""
    told: list[int] = []
    value = 0x0123_4567_89AB_CDEF
    with Matcher(large, Settings.load(index="store", store=postgres_url)) as matcher:
        matcher.follower.stop()  # as if a quarter of a second were long
        after = matcher.follower.position
        with Store.open(postgres_url, release="r1", algorithm=FAST) as other:
            first = other.add_image(picture("first", value), NEW).result(30).image
        second = picture("second", value ^ 1)

        (found,) = matcher.search_all([second.fingerprint])

        def judge(newer: Sequence[Candidate]) -> Match:
            told.append(len(newer))
            (judged,) = matcher.judge_all([second.fingerprint], [found], newer)
            return judged

        kept = large.add_image(second, NEW, unseen=matcher.unseen(after, judge)).result(30).match
    assert (told, kept.runner_up) == ([1], None)
    assert kept.nearest
    assert kept.nearest.image.id == first.id


def test_both_ways_are_compared_by_the_check(
    large: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DHASH_STORE", postgres_url)
    said = CliRunner().invoke(app, ["db", "check", "--index", "--json"])
    assert said.exit_code == 0, said.output
    told = [json.loads(line) for line in said.stdout.splitlines()]
    assert {each["check"]: each["ok"] for each in told}["index"]

    class Forgetful(HammingIndex):
        """An index in memory that misses what comes last."""

        def append(self, keys, values) -> None:  # type: ignore[no-untyped-def]
            super().append(keys[:-500], values[:-500])

    monkeypatch.setattr(check, "HammingIndex", Forgetful)
    with reading(large.engine) as connection:
        wrong = check.index_agrees(connection, 10)
    assert wrong
    assert "memory has" in wrong
    assert check.check_index(large.engine, 10).ok is False


@pytest.mark.system
def test_a_service_with_nothing_in_memory_serves(postgres_url: str, tmp_path: Path) -> None:
    assert "search-index" in dhash("serve", env={"DHASH_STORE": postgres_url, "DHASH_INDEX": "store"}).stderr
    bands.create(postgres_url, lambda name: None)
    with (
        serving(tmp_path, store=postgres_url, index="store") as one,
        serving(tmp_path, store=postgres_url) as two,
    ):
        for number in range(20):
            first, second = (one, two) if number % 2 else (two, one)
            sent = first.client.post(
                "/api/dhash", content=jpeg(320, 240, number), headers={"Content-Type": "image/jpeg"}
            ).json()
            asked = {"hash": sent["hash"], "radius": 10}
            answers = [each.client.get("/api/dhash/search", params=asked).json() for each in (second, first)]
            assert answers[0]["results"] == answers[1]["results"]
            assert answers[0]["results"][0]["id"] == sent["id"]
            again = second.client.post(
                "/api/dhash",
                content=jpeg(320, 240, number, quality=60),
                headers={"Content-Type": "image/jpeg"},
            ).json()
            assert again["status"] != "new"
        admin = one.token("ada", Role.ADMIN)
        assert one.client.delete(f"/api/dhash/{sent['id']}?reason=asked", headers=admin).is_success
        results = one.client.get("/api/dhash/search", params=asked).json()["results"]
        assert sent["id"] not in [each["id"] for each in results]
        assert one.client.get("/health").status_code == 200
