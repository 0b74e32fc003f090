"""The status for programs is data, and its schema is published."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from guarded_rollout.backup.copies import CopyRecord
from guarded_rollout.host.processes import PROXY
from guarded_rollout.host.stream import StreamState
from guarded_rollout.status.document import StatusDocument, as_json
from guarded_rollout.status.facts import Asked, rows
from guarded_rollout.status.snapshot import Phase, read
from tests.guarded_rollout.manual_clock import ManualClock
from tests.guarded_rollout.ui.uikit import NEW, OLD, Place

SCHEMA = Path(__file__).parents[2] / "schemas" / "status.schema.json"
DIALECT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, ManualClock())
    yield made
    made.close()


def test_the_published_schema_is_that_of_the_code() -> None:
    schema = TypeAdapter(StatusDocument).json_schema(mode="serialization")
    assert json.loads(SCHEMA.read_text()) == DIALECT | schema


def test_numbers_are_numbers_and_times_are_times(place: Place) -> None:
    place.watched()
    made = json.loads(json.dumps(as_json(read(place.environment, place.clock))))
    TypeAdapter(StatusDocument).validate_python(made)
    assert (made["version"], made["phase"], made["stable"], made["candidate"]) == (1, "watching", OLD, NEW)
    assert made["window"]["seconds_left"] == 3600.0
    closes, read_at = (datetime.fromisoformat(one) for one in (made["window"]["closes_at"], made["read_at"]))
    assert (closes - read_at).total_seconds() == 3600.0
    assert {one["slot"]: one["percent"] for one in made["slots"]} == {"blue": 0, "green": 100}


def test_what_is_kept_elsewhere_is_data_where_it_was_asked_and_null_elsewhere(place: Place) -> None:
    seen = read(place.environment, place.clock)
    assert (as_json(seen)["copies"], as_json(seen)["stream"]) == (None, None)
    kept = CopyRecord("disk", "a.zip", "2026-06-01T12:00:00+00:00", "1234abcd", 99, 0.5)
    failed = CopyRecord("far", "a.zip", "2026-06-01T12:00:00+00:00", problem="no route")
    asked = Asked(copies=(kept, failed), stream=StreamState(2.5))
    made = json.loads(json.dumps(as_json(seen, asked)))
    TypeAdapter(StatusDocument).validate_python(made)
    assert [(one["reference"], one["problem"]) for one in made["copies"]] == [
        ("restic:1234abcd", None),
        (None, "no route"),
    ]
    assert made["stream"] == {"lag_seconds": 2.5, "problem": None}
    found = {name: fact.text for name, fact in rows(seen, asked).items() if fact is not None}
    assert found["stream"] == "2.5 s behind"
    assert found["last_copies"] == "disk: a.zip, 2026-06-01T12:00:00; far: no route"
    silent = as_json(seen, Asked(stream=StreamState(None, "it is silent")))
    assert silent["stream"] == {"lag_seconds": None, "problem": "it is silent"}


def test_stopped_on_purpose_killed_degraded_and_steady_are_four_words(place: Place) -> None:
    place.release(OLD, "blue")

    def seen() -> tuple[Phase, str]:
        found = read(place.environment, place.clock)
        fact = rows(found)["next"]
        return found.phase, fact.text if fact else ""

    start = "rollout start --env production"
    assert seen() == (Phase.STOPPED, start), "nobody wants it to run"
    folder = place.environment.root / "supervisor"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blue.json").write_text("{}")
    assert seen() == (Phase.KILLED, start), "it should run, and does not"
    place.running()
    assert seen() == (Phase.STEADY, "rollout up --env production")
    (folder / f"{PROXY}.lock").write_text("")
    assert seen() == (Phase.DEGRADED, start)
