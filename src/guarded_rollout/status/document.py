"""The status for programs: numbers, times and enumerations. schemas/status.schema.json describes it. Pure."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from guarded_rollout.backup.copies import CopyRecord
from guarded_rollout.host.processes import PROXY
from guarded_rollout.host.slots import Slot
from guarded_rollout.status.facts import NOBODY, Asked
from guarded_rollout.status.headline import next_command
from guarded_rollout.status.snapshot import SUPERVISOR, Phase, Snapshot, Standing

VERSION: Literal[1] = 1
"""Raised when a field is removed or means something else; new fields may come at any time."""


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """A slot. `pid` is null where nothing runs; `healthy` is null where it was not asked."""

    slot: Slot
    release: str | None
    percent: int
    pid: int | None
    healthy: bool | None


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """The open rollout."""

    id: str
    command: str
    operator: str
    source: str | None
    target: str | None
    why: str
    started_at: datetime
    step: str | None
    is_rollback: bool
    undoing: bool


@dataclass(frozen=True, slots=True)
class WindowStatus:
    """The monitoring window of the open rollout. `closes_at` is null while its clock stands still."""

    opened_at: datetime
    seconds: float
    seconds_left: float
    paused: bool
    closes_at: datetime | None


@dataclass(frozen=True, slots=True)
class WatcherStatus:
    """The process that watches the window."""

    pid: int
    log: str
    beat_at: datetime


@dataclass(frozen=True, slots=True)
class OwnerStatus:
    """The command that has the environment's lock."""

    command: str
    pid: int
    host: str
    since: str


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """A backup. `sha256` is null if none was recorded."""

    file: str
    bytes: int
    sha256: str | None
    signed: bool


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """The last attempt to copy a backup to a target. `problem` is null for one that is there."""

    target: str
    source: str
    at: datetime
    reference: str | None
    bytes_added: int
    seconds: float
    problem: str | None


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """The stream of the store. `lag_seconds` is null where it does not say; `problem` says why."""

    lag_seconds: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class UnreadableStatus:
    """A source that cannot be read, and since when."""

    what: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class StatusDocument:
    """An environment. Times are ISO 8601 in UTC; `gates` are the newest verdicts as the monitoring log has
    them; `next_command` is what an operator would type next. `copies` and `stream` are null where they were
    not asked, as while watching; `stream` also where nothing is streamed."""

    version: Literal[1]
    environment: str
    port: int
    url: str
    read_at: datetime
    phase: Phase
    next_command: str | None
    serving: str | None
    stable: str | None
    candidate: str | None
    slots: tuple[SlotStatus, ...]
    rollout: RolloutStatus | None
    step: str | None
    window: WindowStatus | None
    watched_by: WatcherStatus | None
    unwatched_seconds: float
    at_work: OwnerStatus | None
    last_backup: BackupStatus | None
    copies: tuple[CopyStatus, ...] | None
    stream: StreamStatus | None
    schema_revision: str | None
    supervisor_running: bool
    proxy_running: bool
    messages_pending: int
    incidents_open: int
    gates: tuple[dict[str, Any], ...]
    unreadable: tuple[UnreadableStatus, ...]


def as_json(seen: Snapshot, asked: Asked = NOBODY) -> dict[str, Any]:
    """Return a snapshot for programs, as `json.dumps` takes it."""
    made: dict[str, Any] = _plain(asdict(document(seen, asked)))
    return made


def document(seen: Snapshot, asked: Asked = NOBODY) -> StatusDocument:
    """Return a snapshot, and what the running programs answered, for programs."""
    judged = seen.session.judged if seen.session else ()
    beat = seen.beat if seen.window is not None and not seen.unwatched_seconds else None
    work, backup = seen.at_work, next(iter(seen.backups), None)
    return StatusDocument(
        version=VERSION,
        environment=seen.environment.name,
        port=seen.environment.port,
        url=seen.environment.url,
        read_at=_moment(seen.read_at),
        phase=seen.phase,
        next_command=next_command(seen),
        serving=seen.serving,
        stable=seen.stable,
        candidate=seen.candidate,
        slots=tuple(_slot(one, asked) for one in seen.slots),
        rollout=_rollout(seen),
        step=seen.step,
        window=_window(seen),
        watched_by=WatcherStatus(beat.pid, beat.log, _moment(beat.at)) if beat else None,
        unwatched_seconds=round(seen.unwatched_seconds, 1),
        at_work=OwnerStatus(work.command, work.pid, work.host, work.since) if work else None,
        last_backup=BackupStatus(str(backup.entry.path), backup.size, backup.checksum or None, backup.signed)
        if backup
        else None,
        copies=None if asked.copies is None else tuple(map(_copy, asked.copies)),
        stream=StreamStatus(asked.stream.lag_seconds, asked.stream.problem or None) if asked.stream else None,
        schema_revision=asked.revision or (seen.schema[0] if seen.schema else None),
        supervisor_running=bool(seen.processes.get(SUPERVISOR)),
        proxy_running=bool(seen.processes.get(PROXY)),
        messages_pending=seen.deliveries.pending,
        incidents_open=sum(not one.acknowledged for one in seen.deliveries.incidents),
        gates=tuple({**one.verdict.as_json(), "failing": one.failing} for one in judged),
        unreadable=tuple(
            UnreadableStatus(one.what, one.reason, _moment(one.since)) for one in seen.unreadable
        ),
    )


def _slot(standing: Standing, asked: Asked) -> SlotStatus:
    healthy = asked.healthy.get(standing.slot) if asked.healthy is not None else None
    return SlotStatus(standing.slot, standing.release, standing.percent, standing.pid or None, healthy)


def _copy(record: CopyRecord) -> CopyStatus:
    return CopyStatus(
        target=record.target,
        source=record.source,
        at=datetime.fromisoformat(record.at),
        reference=f"restic:{record.snapshot}" if record.snapshot else None,
        bytes_added=record.added,
        seconds=record.seconds,
        problem=record.problem or None,
    )


def _rollout(seen: Snapshot) -> RolloutStatus | None:
    one = seen.rollout
    if one is None:
        return None
    return RolloutStatus(
        id=str(one.id),
        command=one.command,
        operator=one.operator,
        source=one.source,
        target=one.target,
        why=one.why,
        started_at=one.started_at,
        step=seen.step,
        is_rollback=one.is_rollback,
        undoing=one.undoing,
    )


def _window(seen: Snapshot) -> WindowStatus | None:
    found = seen.window
    if found is None:
        return None
    left = round(seen.window_left, 1)
    closes = None if found.paused else _moment(seen.read_at) + timedelta(seconds=left)
    return WindowStatus(found.opened.at, found.seconds, left, found.paused, closes)


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _plain(value: Any) -> Any:
    """Replace times by ISO 8601, to the millisecond."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds")
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
