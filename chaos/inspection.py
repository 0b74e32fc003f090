"""What must hold after a run, looked at from outside. Each look yields sentences about what does not hold."""

import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from chaos.clients import Connection, Entry
from chaos.eraser import Wish
from chaos.operating import HURT, Operator, health
from chaos.plan import Target
from chaos.receiver import Receiver
from chaos.stack import Stack, wait_until
from guarded_rollout.journal.store import Journal
from guarded_rollout.notify.events import Kind
from guarded_rollout.rollout.announce import events_of

PROBES = 20
STREAM_SECONDS = 40.0
"""In which a stream has caught up with its store, once its place is back."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at. `acceptable` says whether the candidate may be what serves in the end."""

    stack: Stack
    operator: Operator
    receiver: Receiver
    stable: str
    candidate: str
    acceptable: bool


# ---- while it serves


def serving(subject: Subject) -> Iterator[str]:
    """Exactly one release serves, healthy, and it is the one that the journal says."""
    stack = subject.stack
    seen = Counter(health(stack.port) for _ in range(PROBES))
    statuses = {status for status, _ in seen}
    if statuses != {200}:
        yield f"the public health check answers {dict(Counter(status for status, _ in seen.elements()))}"
        return
    releases = {str(json.loads(body)["release"]) for _, body in seen}
    if len(releases) != 1:
        yield f"more than one release serves: {sorted(releases)}"
        return
    (release,) = releases
    if release not in (subject.stable, subject.candidate):
        yield f"{release} serves, which nobody rolled out"
    if release == subject.candidate and not subject.acceptable:
        yield f"{release} serves, which is faulty and was never to be accepted"
    expected = serving_by_journal(stack)
    if release != expected:
        yield f"{release} serves, and by the journal it is {expected}"
    standing = [
        slot for slot in ("blue", "green") if (pid := stack.written(f"{slot}.lock")) is not None and pid
    ]
    if len(standing) != 1:
        yield f"{len(standing)} slots have a running release: {standing}"


def serving_by_journal(stack: Stack) -> str | None:
    """The release that must serve if the journal tells the truth."""
    current: str | None = None
    for rollout in stack.rollouts():
        if rollout.outcome == "completed":
            current = rollout.target
        elif rollout.outcome == "rolled_back" and rollout.source:
            current = rollout.source
    return current


def journal(subject: Subject) -> Iterator[str]:
    """Closed, whole, and each step that was begun has an end."""
    stack = subject.stack
    if (opened := stack.open_rollout()) is not None:
        yield f"the rollout of {opened.target} is still open"
    for rollout in stack.rollouts():
        if rollout.outcome == "failed":
            yield f"the rollout of {rollout.target} has failed: {rollout.reason}"
    with closing(sqlite3.connect(stack.journal)) as file:
        (problem,) = file.execute("PRAGMA integrity_check").fetchone()
        if problem != "ok":
            yield f"the journal is damaged: {problem}"


def commands(subject: Subject) -> Iterator[str]:
    """Each command ended in time, by itself (unless it was killed), in sentences."""
    for typed in subject.operator.typed:
        if typed.code is None:
            yield f"{typed}: it hung"
        elif HURT.search(typed.output):
            yield f"{typed}: it ended in a traceback: {typed.output.strip().splitlines()[-1]}"


def writes(subject: Subject, entries: Iterable[Entry], wishes: Iterable[Wish]) -> Iterator[str]:
    """Every acknowledged write is there, with its right fingerprint, and what was acknowledged was right.

    What was to be erased is not.
    """
    unwanted = {wish.picture.id: wish for wish in wishes}
    acknowledged = [entry for entry in entries if entry.acknowledged and entry.id not in unwanted]
    for entry in acknowledged:
        if entry.hash != entry.expected:
            yield (
                f"picture {entry.number} was acknowledged by {entry.release} with {entry.hash},"
                f" right is {entry.expected}"
            )
    kept = fingerprints(subject.stack.store or subject.stack.root / "data" / "dhash.db")
    for wish in unwanted.values():
        if wish.granted is None:
            yield f"picture {wish.picture.number} was to be erased, and nobody did it"
        elif UUID(wish.picture.id) in kept:
            age = time.time() - wish.granted
            yield f"picture {wish.picture.number} was erased {age:.1f} s ago, and is stored"
    lost = [entry for entry in acknowledged if UUID(entry.id) not in kept]
    wrong = [
        entry
        for entry in acknowledged
        if UUID(entry.id) in kept and kept[UUID(entry.id)] != {int(entry.expected, 16)}
    ]
    for entry in lost[:5]:
        age = time.time() - entry.ended
        yield f"picture {entry.number}, acknowledged {age:.1f} s ago by {entry.release}, is lost ({entry.id})"
    for entry in wrong[:5]:
        stored = [f"{value:016x}" for value in kept[UUID(entry.id)]]
        yield f"picture {entry.number} is stored with {stored}, right is {entry.expected}"
    if len(lost) > 5 or len(wrong) > 5:
        yield f"{len(lost)} lost and {len(wrong)} wrong in all"


def fingerprints(store: str | Path) -> dict[UUID, set[int]]:
    """Every fingerprint of a store (PostgreSQL's URL, or a file) by its image, read without the service."""
    statement = "SELECT image_id, value FROM fingerprints"
    rows: list[tuple[object, int]]
    if isinstance(store, str):
        import psycopg

        with psycopg.connect(store) as connection:
            rows = connection.execute(statement).fetchall()
    else:
        with closing(sqlite3.connect(store)) as file:
            rows = file.execute(statement).fetchall()
    found: dict[UUID, set[int]] = {}
    for image, value in rows:
        name = image if isinstance(image, UUID) else UUID(bytes=bytes(image))  # type: ignore[call-overload]
        found.setdefault(name, set()).add(value & (2**64 - 1))
    return found


def places(
    subject: Subject, entries: Iterable[Entry], wishes: Iterable[Wish], *, exchanged: bool
) -> Iterator[str]:
    """Where copies and the stream go has all again, now that it is back: each brings everything.

    A stream whose place was `exchanged` for another lacks what it had sent there: that is said.
    """
    stack, operator = subject.stack, subject.operator
    if Target.COPIES in stack.places:
        for words in (("backup",), ("copies", "send"), ("verify", "restic:latest")):
            if (typed := operator.type(*words)).code != 0:
                yield f"{typed}: {typed.output.strip()[-500:]}"
    if Target.STREAM not in stack.places:
        return
    back = stack.scratch / "back.db"
    if not wait_until(lambda: _lag(operator) == 0, STREAM_SECONDS):
        yield f"the stream says that it is {_lag(operator)} s behind"
    elif (typed := operator.type("restore", "--into", str(back))).code != 0:
        looked = operator.type("preflight", "--from", str(stack.shop.first.wheel)) if exchanged else typed
        if "cannot be brought back" not in looked.output:
            yield f"{typed}: {typed.output.strip()[-500:]}"
    else:
        unwanted = {wish.picture.id for wish in wishes}
        kept = fingerprints(back)
        lost = [one for one in entries if one.acknowledged and UUID(one.id) not in kept]
        lost = [one for one in lost if one.id not in unwanted]
        if lost:
            yield f"{len(lost)} acknowledged pictures are not in the stream that says it has all"
    back.unlink(missing_ok=True)


def _lag(operator: Operator) -> float | None:
    """What `rollout status` says of the stream, in seconds."""
    with suppress(ValueError, LookupError, TypeError):
        told = operator.type("status", "--json").output
        return float(json.loads(told[told.index("{") :])["stream"]["lag_seconds"])
    return None


def events(subject: Subject) -> Iterator[str]:
    """Everything that happened to a rollout was told, waits in the outbox, or is in the fallback file."""
    stack = subject.stack
    known = set(subject.receiver.accepted)
    kinds: dict[str, str] = {}
    outbox = stack.root / "notifications.db"
    if outbox.exists():
        with closing(sqlite3.connect(outbox, timeout=5)) as file:
            waiting = "SELECT id FROM event JOIN delivery ON event = sequence WHERE state = 'pending'"
            known |= {id_ for (id_,) in file.execute(waiting)}
            known |= {id_ for (id_,) in file.execute("SELECT id FROM event WHERE quiet")}
            kinds = {
                id_: json.loads(body)["kind"] for id_, body in file.execute("SELECT id, body FROM event")
            }
    fallback = stack.logs / "notification_fallback.jsonl"
    if fallback.exists():
        fallen = [json.loads(line)["event"] for line in fallback.read_text().splitlines()]
        kinds |= {event["id"]: event["kind"] for event in fallen}
        known |= {event["id"] for event in fallen}
    told = {kinds[id_] for id_ in known if id_ in kinds}
    with Journal.open(stack.journal, create=False) as found:
        for rollout in found.history("production", limit=1000):
            by_itself = rollout.operator == "the monitor"  # which tells of it in words of its own
            for event in events_of(rollout):
                otherwise = by_itself and {event.kind, Kind.AUTO_ROLLBACK} & told
                if event.id not in known and not otherwise:
                    yield f"nobody was ever told of {event.kind} {event.message!r} of {rollout.target}"


# ---- after `rollout down`


def leftovers(subject: Subject, *, killed: bool = False) -> Iterator[str]:
    """Nothing runs, and nothing lies about.

    `killed`: a release had to be, with all its processes at once. What they counted in is left then.
    """
    stack = subject.stack
    down = subject.operator.type("down", "--force")
    if down.code != 0:
        yield f"{down}: {down.output.strip()}"
    wait_until(lambda: not stack.processes(), 10)
    for process in stack.processes():
        yield f"still runs: {process.pid} {' '.join(process.cmdline())[:200]}"
    sockets = [path.name for path in stack.project.rglob("*") if path.is_socket()]
    if sockets:
        yield f"sockets left: {sorted(sockets)}"
    yield from lying_about(stack, COUNTED if killed else None)
    if (stack.root / "lock").read_text().strip():
        yield "the lock still names an owner"


TEMPORARY = re.compile(r"\.part$|^\.taking-|^restore-|^rollout-verify-|^rollback-|\.new$|^\.building-")


COUNTED = "dhash-metrics-*"


def lying_about(stack: Stack, excused: str | None = None) -> Iterator[str]:
    """Temporary files of the product, in the project and in the folder for temporary files."""
    mine = [path for path in stack.project.rglob("*") if TEMPORARY.search(path.name)]
    mine += [path for path in stack.scratch.iterdir() if not excused or not path.match(excused)]
    if mine:
        yield f"temporary files left: {sorted(str(path.relative_to(stack.folder)) for path in mine)}"


def backups(stack: Stack, operator: Operator, damaged: Iterable[Path]) -> Iterator[str]:
    """Each archive that looks like a backup is one, and each one that was damaged is refused by its name."""
    spoilt = set(damaged)
    for archive in sorted(stack.backups.glob("dhash_*.zip")):
        typed = operator.type("verify", str(archive.relative_to(stack.project)))
        if archive not in spoilt and typed.code != 0:
            yield f"{archive.name} looks like a backup and is none: {typed.output.strip()}"
        if archive in spoilt and (typed.code == 0 or archive.name not in typed.output):
            yield f"{archive.name} was damaged, and {typed} said: {typed.output.strip()}"


def refusals(subject: Subject, damaged: Iterable[Path]) -> Iterator[str]:
    """A rollback to a damaged backup is refused with the file's name, and touches nothing."""
    stack = subject.stack
    for archive in damaged:
        before = health(stack.port), stack.last_sequence()
        typed = subject.operator.type(
            "rollback", "--backup", str(archive.relative_to(stack.project)), "--force"
        )
        if typed.code != 1 or archive.name not in typed.output:
            yield f"{typed} to a damaged backup said: {typed.output.strip()}"
        after = health(stack.port), stack.last_sequence()
        if before[1] != after[1] or after[0][0] != 200:
            yield f"{typed} was refused and changed something: {before} → {after}"


async def read_back(port: int, entries: list[Entry]) -> list[str]:
    """Ask the service itself for a sample of what it acknowledged."""
    connection = Connection(port)
    wrong = []
    for entry in entries:
        status, content = await connection.ask("GET", f"/api/dhash/{entry.id}")
        if status != 200 or json.loads(content).get("hash") != entry.expected:
            wrong.append(f"picture {entry.number} is answered {status} {content[:200].decode()}")
    connection.close()
    return wrong
