"""Releases that say they are well and are worse than the one before: each is taken back while it shifts.

Built from the real source, under the shipped gates that compare and some 15 requests/s. What is wrong begins
when clients reach the release, and the seconds are those from then on.
"""

import io
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from dhash_service.checks.drawing import picture as draw
from guarded_rollout.errors import RolledBackError
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.notify.publisher import NullPublisher
from guarded_rollout.rollout.engine import Request
from guarded_rollout.rollout.gate_guard import guard_of
from tests.guarded_rollout.gatekit import SHIPPED
from tests.guarded_rollout.rolloutkit import last
from tests.guarded_rollout.sandbox import Sandbox
from tests.guarded_rollout.servicekit import SERVICE

pytestmark = [pytest.mark.system, pytest.mark.timeout(500)]

HELD_SECONDS = 170.0
LATER = "import os, random, time\n"
BEGUN = "os.path.exists('@BEGUN@')"  # a file that the test makes


def begun(dhash: Sandbox) -> Path:
    """The file with which what is wrong begins."""
    return dhash.folder / "begun"


def spoiled(name: str, old: str, new: str) -> Callable[[Sandbox], None]:
    """Replace some code of the service, which may ask for `BEGUN`."""

    def spoil(dhash: Sandbox) -> None:
        faulty = new.replace("@BEGUN@", str(begun(dhash)))

        def change(text: str) -> str:
            assert old in text
            return text.replace(old, faulty, 1).replace("\nimport ", f"\n{LATER}import ", 1)

        dhash.edit(f"{SERVICE}/{name}", change)

    return spoil


SEARCH = "        (found,) = await self.search_many([value], radius, limit, skip)\n"
LOOKED = "        fingerprints = [picture.fingerprint for picture in pictures]\n"
SPOILT = """        if @BEGUN@:
            pictures = [
                replace(one, fingerprint=replace(one.fingerprint, value=one.fingerprint.value ^ 0xFF00))
                if one.format == "JPEG" and one.fingerprint.width > 2400
                else one
                for one in pictures
            ]
"""
ASKED = "        request_id = given_id(scope) or new_id().hex\n"
FAILS = f"""        if scope["path"].startswith("/api") and {BEGUN} and random.random() < 0.1:
            await send({{"type": "http.response.start", "status": 500, "headers": []}})
            await send({{"type": "http.response.body", "body": b"{{}}"}})
            return
"""
BURNS = f"""
def _burn():
    while True:
        if {BEGUN}:
            sum(range(10_000))
        else:
            time.sleep(0.5)


__import__("threading").Thread(target=_burn, daemon=True).start()

"""


@dataclass(frozen=True)
class Worse:
    name: str
    spoil: Callable[[Sandbox], None]
    gates: tuple[str, ...]  # any of them may be first
    within: float  # seconds from when it begins
    quarantines: bool = False


WORSE = [
    Worse(
        "searches are empty three times in ten",
        spoiled(
            "service.py",
            SEARCH,
            f"{SEARCH}        if {BEGUN} and random.random() < 0.3:\n"
            "            return replace(found, neighbours=(), total=0)\n",
        ),
        ("different_answers",),
        60,
        quarantines=True,
    ),
    Worse(
        "wide JPEGs have another fingerprint",
        spoiled(
            "submitting.py",
            LOOKED,
            SPOILT.replace("@BEGUN@", BEGUN) + LOOKED,
        ),
        ("different_answers",),
        60,
        quarantines=True,
    ),
    Worse(
        "one request in ten fails",
        spoiled("api/observe.py", ASKED, FAILS + ASKED),
        ("relative_failures",),
        60,
    ),
    Worse(
        "burns a core",
        spoiled("api/observe.py", "\nclass Observe:", BURNS + "\nclass Observe:"),
        ("relative_cpu", "relative_median_time", "relative_p95_time"),
        150,
    ),
    Worse(
        "never closes a file",
        spoiled(
            "api/observe.py",
            ASKED,
            f"        if {BEGUN}:\n"
            f"            self.__dict__.setdefault('left', []).append(open('/dev/null'))\n{ASKED}",
        ),
        ("descriptor_trend", "relative_failures"),
        150,
    ),
]


@contextmanager
def clients(dhash: Sandbox) -> Iterator[None]:
    """Submit, search and read, some fifteen times a second; one picture in eight is a wide JPEG."""
    stop = threading.Event()
    endpoint = Endpoint(f"http://127.0.0.1:{dhash.port}", 10)

    def run(number: int) -> None:
        turn = 0
        while not stop.wait(0.18):
            turn += 1
            seed = uuid.uuid4().hex
            body = _wide(seed) if turn % 8 == 0 else draw(seed)
            told = endpoint.fetch("POST", "/api/dhash", body=body).json()
            if isinstance(told, dict) and "hash" in told:
                endpoint.fetch("GET", f"/api/dhash/search?hash={told['hash']}")
                endpoint.fetch("GET", f"/api/dhash/{told['id']}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        stop.set()
        for one in threads:
            one.join()


def _wide(seed: str) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(draw(seed))).resize((2500, 300)).save(out, "JPEG")
    return out.getvalue()


@contextmanager
def begins_with_its_traffic(dhash: Sandbox) -> Iterator[list[float]]:
    """Let the fault begin once clients reach the candidate; gives the time, in seconds since 1970."""
    since: list[float] = []
    over, before = threading.Event(), last(dhash).id

    def begin() -> None:
        while not over.wait(0.2):
            now = last(dhash)
            if now.id != before and any(note.name == "share" for note in now.notes):
                begun(dhash).touch()
                since.append(time.time())
                return

    thread = threading.Thread(target=begin)
    thread.start()
    try:
        yield since
    finally:
        over.set()
        thread.join()
        begun(dhash).unlink(missing_ok=True)


@pytest.mark.parametrize("worse", WORSE, ids=lambda worse: worse.name)
def test_a_release_that_is_worse_than_the_one_before_is_taken_back(dhash: Sandbox, worse: Worse) -> None:
    serving = dhash.served_by()
    dhash.configure(steps=((50, HELD_SECONDS), (100, 0.0)), start_seconds=20)
    given = json.loads(SHIPPED.read_text())
    gates = given["environments"]["production"]["quality_gates"]
    given["environments"]["production"]["quality_gates"] = {
        name: gate for name, gate in gates.items() if "kind" in gate and gate.get("source") != "probe"
    }
    dhash.environment.gates.write_text(json.dumps(given))
    worse.spoil(dhash)
    release = dhash.build()
    with (
        clients(dhash),
        dhash.engine(guard=guard_of(dhash.environment, NullPublisher())) as engine,
        begins_with_its_traffic(dhash) as since,
        pytest.raises(RolledBackError) as error,
    ):
        engine.deploy(release, Request(command="deploy", operator="test"))
    ended = last(dhash)
    (breach,) = [
        note
        for note in ended.notes
        if note.name == "gate" and note.data["gate"] in worse.gates and note.data["gate"] in str(error.value)
    ][-1:]
    seconds = breach.at.timestamp() - since[0]
    print(f"{worse.name}: back after {seconds:.1f} s: {error.value}")
    assert seconds < worse.within
    assert dhash.served_by() == serving
    if worse.quarantines:
        assert ended.note("quarantined") is not None
        assert not dhash.environment.samples.exists(), "what clients sent is kept while it is compared"
