"""Whatever is raised at any seam of the service is one item's error, and every answer comes."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dhash_service.errors import DhashError
from dhash_service.facts import UNLABELLED
from dhash_service.metrics import Metrics
from dhash_service.service import Service
from dhash_service.settings import Settings
from dhash_service.submitting import Submission
from tests.dhash_service.exceptions import KINDS, made
from tests.dhash_service.store.databases import sqlite_file
from tests.pictures import jpeg

PICTURES = [jpeg(64, 48, seed) for seed in range(4)]
SEAMS = [
    "bytes",
    "documents.picture",
    "store.with_digests",
    "matcher.judge_all",
    "banks.matches",
    "store.add_image",
]
SECONDS = 30


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    url = sqlite_file(tmp_path_factory.mktemp("store") / "dhash.db")
    running = Service(Settings(store=url, release="r1", threads=1), Metrics("r1")).start()  # type: ignore[arg-type]
    yield running
    running.close()


def raising(call: Callable[..., object], error: Exception, turns: set[int]) -> Callable[..., object]:
    """The call, raising in these of its turns."""
    turn = iter(range(1_000))

    def wrapped(*arguments: object, **named: object) -> object:
        if next(turn) in turns:
            raise error
        return call(*arguments, **named)

    return wrapped


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(KINDS),
    seam=st.sampled_from(SEAMS),
    turns=st.sets(st.integers(0, 3), min_size=1),
    together=st.booleans(),
)
def test_every_item_of_a_batch_has_its_own_answer(
    service: Service, kind: type[Exception], seam: str, turns: set[int], together: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dhash_service.service.SHARES", 1 if together else 4)  # parts of four, or of one
        reads: list[Callable[[], bytes]] = [lambda data=data: data for data in PICTURES]  # type: ignore[misc]
        if seam == "bytes":
            reads = [raising(read, made(kind), {0} if n in turns else set()) for n, read in enumerate(reads)]  # type: ignore[misc]
        else:
            room, name = seam.split(".")
            owner = getattr(service, room)
            patch.setattr(owner, name, raising(getattr(owner, name), made(kind), turns))
        batch = service.submit_batch([(read, UNLABELLED) for read in reads])
        answers = asyncio.run(asyncio.wait_for(batch, SECONDS))
    assert len(answers) == len(PICTURES)
    assert all(isinstance(answer, Submission | DhashError) for answer in answers)
    failed = sum(isinstance(answer, DhashError) for answer in answers)
    assert failed <= len(turns)
    # The others are not asked about a picture that is known; what fails for all together may go well alone.
    if seam == "bytes" or (seam == "store.with_digests" and not together):
        assert failed == len(turns)
    again = asyncio.run(service.submit_batch([(lambda data=data: data, UNLABELLED) for data in PICTURES]))  # type: ignore[misc]
    assert all(isinstance(answer, Submission) for answer in again)


@pytest.mark.parametrize("kind", [StopIteration, RuntimeError, MemoryError])
def test_what_is_raised_after_the_commit_still_answers(
    service: Service, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def kept(*_: object) -> None:
        raise made(kind)

    monkeypatch.setattr(service._submitter, "kept", kept)
    with pytest.raises((kind, DhashError)):
        asyncio.run(asyncio.wait_for(service.submit(jpeg(80, 60, hash(kind.__name__) % 1000)), SECONDS))
