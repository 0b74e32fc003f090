"""The same questions of both releases: what differs is told, what differs by nature is not."""

import json
import random
import re
from collections.abc import Iterator
from itertools import count, cycle, pairwise
from pathlib import Path

import pytest

from dhash_service.pictures.samples import NEWEST, Samples
from guarded_rollout.config.environments import load
from guarded_rollout.config.service import DeclaredQuestion
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.monitor.answers import DOUBTFUL_POLLS, IN_DOUBT, PER_POLL, AnswersSource, values_at
from tests.guarded_rollout.webkit import Answer, Web, web

ROOT = Path(__file__).parents[2]
ITEM = {"hash": "00ff", "at": "noon", "results": [{"id": 1, "distance": 0}, {"id": 2, "distance": 3}]}
EMPTY = {**ITEM, "results": []}
QUESTIONS = (
    DeclaredQuestion("POST", "/find", ("/hash", "/results/*/id")),
    DeclaredQuestion("GET", "/find?hash={/hash}", ("/results/*/distance",)),
    DeclaredQuestion("GET", "/items/{id}", ("/hash",)),
)
ASKED = ("/find", "/find?hash=00ff", "/items/7")


def body(document: object) -> Answer:
    return Answer(body=json.dumps(document).encode())


@pytest.fixture
def sides() -> Iterator[tuple[Web, Web]]:
    with web({}) as candidate, web({}) as stable:
        for one in (candidate, stable):
            one.answers.update({path: body(ITEM) for path in ASKED})
        yield candidate, stable


def source(tmp_path: Path, sides: tuple[Web, Web]) -> AnswersSource:
    originals = tmp_path / "originals"
    for digest in ("aa11", "aa22", "bb33"):
        path = originals / digest[:2] / digest[2:4] / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a picture")
    lines = [
        {"status": status, "request": {"method": method, "uri": uri}}
        for method, uri, status in (("GET", "/items/7", 200), ("POST", "/items/7", 200), ("GET", "/x", 404))
    ]
    log = tmp_path / "edge.log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + "torn {")
    candidate, stable = (Endpoint(side.url) for side in sides)
    return AnswersSource(
        candidate, stable, QUESTIONS, log, (tmp_path / "samples", originals), chance=random.Random(1)
    )


def test_what_clients_asked_is_asked_of_both(tmp_path: Path, sides: tuple[Web, Web]) -> None:
    found = source(tmp_path, sides).sample().counters
    assert (found["questions_total"], found["differences_total"]) == (7, 0)
    for side in sides:
        assert {path for path, _ in side.asked} == set(ASKED)
    candidate, stable = sides
    assert len(stable.asked) == 2 * len(candidate.asked), "stable is asked twice"


def test_newly_submitted_files_are_asked_first_and_the_service_is_told_to_leave_some(
    tmp_path: Path, sides: tuple[Web, Web]
) -> None:
    one = source(tmp_path, sides)
    one.sample()
    (tmp_path / "samples" / "cc44").write_bytes(b"newer")
    one.sample()
    assert "cc44" in one._recent


def test_a_random_search_is_asked_as_well(tmp_path: Path, sides: tuple[Web, Web]) -> None:
    one = source(tmp_path, sides)
    one.questions = (DeclaredQuestion("GET", "/find?hash={random}", ("/hash",)),)
    one.sample()
    assert any(re.fullmatch("/find[?]hash=[0-9a-f]{16}", path) for path, _ in sides[0].asked)


def test_what_is_stored_is_held_against_what_stable_makes_of_the_file_again(
    tmp_path: Path, sides: tuple[Web, Web]
) -> None:
    candidate, stable = sides
    one = source(tmp_path, sides)
    one.questions = (DeclaredQuestion("POST", "/stored", ("/hash",), "/find"),)
    candidate.answers["/stored"] = body(ITEM)
    assert one.sample().counters["differences_total"] == 0
    assert {path for path, _ in candidate.asked} == {"/stored"}
    assert {path for path, _ in stable.asked} == {"/find"}
    (tmp_path / "samples" / "dd55").write_bytes(b"stored wrongly")
    candidate.answers["/stored"] = body({**ITEM, "hash": "wrong"})
    assert one.sample().counters["differences_total"] == 1


def test_after_a_difference_more_is_asked_for_some_polls(tmp_path: Path, sides: tuple[Web, Web]) -> None:
    candidate, _ = sides
    one = source(tmp_path, sides)
    one.questions = (DeclaredQuestion("POST", "/find", ("/hash",)),)
    (tmp_path / "samples").mkdir()
    for number in range(120):
        (tmp_path / "samples" / f"{number:04x}").write_bytes(b"a picture")
    asked = [one.sample().counters["questions_total"]]
    candidate.answers["/find"] = body({**ITEM, "hash": "wrong"})
    asked.append(one.sample().counters["questions_total"])
    candidate.answers["/find"] = body(ITEM)
    asked += [one.sample().counters["questions_total"] for _ in range(DOUBTFUL_POLLS + 1)]
    each = [now - before for before, now in pairwise([0.0, *asked])]
    assert each == [PER_POLL, PER_POLL, *[IN_DOUBT] * DOUBTFUL_POLLS, PER_POLL]


def test_a_field_that_is_not_declared_may_differ(tmp_path: Path, sides: tuple[Web, Web]) -> None:
    sides[0].answers["/find"] = body({**ITEM, "at": "midnight"})
    assert source(tmp_path, sides).sample().counters["differences_total"] == 0


@pytest.mark.parametrize("wrong", [body(EMPTY), Answer(500)])
def test_an_answer_that_differs_is_counted_and_told(
    tmp_path: Path, sides: tuple[Web, Web], wrong: Answer
) -> None:
    sides[0].answers["/find"] = wrong
    found = source(tmp_path, sides).sample()
    assert found.counters["differences_total"] == 3
    assert found.example.startswith("POST /find: ")


def test_where_stable_does_not_agree_with_itself_nothing_is_counted(
    tmp_path: Path, sides: tuple[Web, Web]
) -> None:
    moods = cycle([body({**ITEM, "hash": "1"}), body({**ITEM, "hash": "2"})])
    sides[1].answers["/items/7"] = lambda: next(moods)
    found = source(tmp_path, sides).sample().counters
    assert found["undecidable_total"] == 1
    assert found["differences_total"] == 0


def test_what_the_other_side_knows_a_moment_later_is_no_difference(
    tmp_path: Path, sides: tuple[Web, Web]
) -> None:
    late = iter([body(EMPTY)])
    sides[0].answers["/find"] = lambda: next(late, body(ITEM))
    assert source(tmp_path, sides).sample().counters["differences_total"] == 0


def test_an_answer_that_is_wrong_now_and_then_is_a_difference(tmp_path: Path, sides: tuple[Web, Web]) -> None:
    moods = cycle([body({**ITEM, "hash": "wrong"}), *[body(ITEM)] * 4])
    sides[0].answers["/items/7"] = lambda: next(moods)
    assert source(tmp_path, sides).sample().counters["differences_total"] == 1


def test_what_is_written_between_two_questions_is_no_difference(
    tmp_path: Path, sides: tuple[Web, Web]
) -> None:
    """Each answer counts what was written before it, on either side."""
    written = count()
    one = source(tmp_path, sides)
    one.questions = (DeclaredQuestion("GET", "/items/{id}", ("/hash",)),)
    settled = iter([body(ITEM)] * 2)  # only while stable is asked at first
    for side in sides:
        side.answers["/items/7"] = lambda: body({**ITEM, "hash": str(next(written))})
    sides[1].answers["/items/7"] = lambda: next(settled, body({**ITEM, "hash": str(next(written))}))
    assert one.sample().counters["differences_total"] == 0


def test_a_release_that_is_silent_is_for_other_gates(tmp_path: Path, sides: tuple[Web, Web]) -> None:
    one = source(tmp_path, sides)
    one.candidate = Endpoint(tmp_path / "nobody.sock")
    assert one.sample().counters["questions_total"] == 0


@pytest.mark.parametrize(
    ("pointer", "values"),
    [
        ("/results/*/id", [1, 2]),
        ("/results/1/distance", [3]),
        ("/results/9", []),
        ("/no/thing", []),
        ("", [ITEM]),
    ],
)
def test_a_pointer_finds_every_item(pointer: str, values: list[object]) -> None:
    assert values_at(ITEM, pointer) == values


def test_the_services_own_questions_change_nothing() -> None:
    questions = load(ROOT / "rollout.toml").environment("production").service.questions
    assert [one.path for one in questions if one.method == "POST"] == [
        "/api/dhash/search",
        "/api/dhash?register=false",
    ]


def test_submitted_files_are_left_only_where_somebody_made_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    Samples(folder).offer(b"nobody compares")
    assert not folder.exists()
    folder.mkdir()
    for number in range(NEWEST + 5):
        Samples(folder).offer(str(number).encode())
    assert len(list(folder.iterdir())) == NEWEST
    one = Samples(folder)
    one.offer(b"now")
    one.offer(b"at once again")
    kept = {path.read_bytes() for path in folder.iterdir()}
    assert b"now" in kept
    assert b"at once again" not in kept, "a few a second"
