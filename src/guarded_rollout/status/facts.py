"""The facts of an environment: as named rows, as JSON, and as lines for what changed. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from guarded_rollout.clock import ago, duration
from guarded_rollout.host.processes import WATCHER
from guarded_rollout.host.slots import Slot
from guarded_rollout.host.stream import StreamState
from guarded_rollout.status.headline import UNWATCHED_SECONDS, headline, next_command
from guarded_rollout.status.rows import gate_rows
from guarded_rollout.status.snapshot import SUPERVISOR, Phase, Snapshot, Standing

if TYPE_CHECKING:
    from guarded_rollout.backup.copies import CopyRecord
    from guarded_rollout.config.gates import EnvironmentGates


@dataclass(frozen=True, slots=True)
class Fact:
    """A text, and the part of it whose change is news; running time is not."""

    text: str
    mark: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Answers of the running programs: `healthy` by slot; None where they were not asked."""

    healthy: Mapping[Slot, bool] | None = None
    schema: str | None = None  # for people: it may say why nobody knows
    revision: str | None = None
    copies: "tuple[CopyRecord, ...] | None" = None
    stream: StreamState | None = None


NOBODY = Asked()
PHASES = {
    Phase.STOPPED: "stopped on purpose",
    Phase.KILLED: "killed: what serves should run, and does not",
    Phase.DEGRADED: "degraded: the proxy or the supervisor does not run",
}
"""The phases that a word alone does not explain."""


def rows(seen: Snapshot, asked: Asked = NOBODY) -> dict[str, Fact | None]:
    """Return the facts by name, in display order; None where there is nothing to say."""
    return {
        "environment": _plain(f"{seen.environment.name}, {seen.environment.url}"),
        "phase": _plain(PHASES.get(seen.phase, seen.phase.value)),
        "next": _plain(next_command(seen)),
        "stable": _release(seen, seen.stable) or _plain("nothing serves yet"),
        "candidate": _release(seen, seen.candidate),
        **{one.slot: _slot(one, asked) for one in seen.slots},
        "step": _plain(_step(seen)),
        "window_left": _window(seen),
        "watched_by": _watched_by(seen),
        "at_work": _plain(str(seen.at_work) if seen.at_work else None),
        "last_backup": _last_backup(seen),
        "last_copies": _plain("; ".join(map(_copy, asked.copies or ())) or None),
        "stream": _plain(_stream(asked.stream)),
        "schema": _plain(asked.schema or (seen.schema[0] if seen.schema else None)),
        "supervisor": _plain("running" if seen.processes.get(SUPERVISOR) else "not running"),
        "notifications": _notifications(seen),
    }


def gates(seen: Snapshot, config: "EnvironmentGates | None") -> dict[str, Fact]:
    """Each gate's newest verdict, while a window is open."""
    if seen.session is None:
        return {}
    return {
        f"gate {row.name}": Fact(f"{row.outcome}: {row.measured}; {row.reason}".rstrip(" ;:"), row.outcome)
        for row in gate_rows(seen, config, {})
    }


class Changes:
    """The facts that changed since the previous snapshot, as lines; all of them for the first."""

    def __init__(self, config: "EnvironmentGates | None") -> None:
        self._config = config
        self._known: dict[str, str] = {}

    def since(self, seen: Snapshot) -> list[str]:
        """Return one line for each fact that changed."""
        now = headline(seen, self._config)
        said = Fact(" ".join(filter(None, (f"{now.title}.", now.detail))), now.title)
        unreadable = {f"unreadable: {one.what}": _plain(one.reason) for one in seen.unreadable}
        facts = {"now": said, **rows(seen), **gates(seen, self._config), **unreadable}
        known = {name: fact for name, fact in facts.items() if fact is not None and name != "next"}
        lines = list(self._lines(known, datetime.fromtimestamp(seen.read_at, UTC)))
        self._known = {name: fact.mark for name, fact in known.items()}
        return lines

    def _lines(self, now: Mapping[str, Fact], at: datetime) -> Iterator[str]:
        for name, fact in now.items():
            if self._known.get(name) != fact.mark:
                yield f"{at:%H:%M:%S} {name.replace('_', ' ')}: {fact.text}"
        for name in self._known.keys() - now.keys():
            yield f"{at:%H:%M:%S} {name.replace('_', ' ')}: no more"


def _plain(text: str | None) -> Fact | None:
    return None if text is None else Fact(text, text)


def _copy(record: "CopyRecord") -> str:
    return f"{record.target}: {record.problem or f'{record.source}, {record.at[:19]}'}"


def _stream(state: StreamState | None) -> str | None:
    if state is None:
        return None
    return state.problem if state.lag_seconds is None else f"{state.lag_seconds:g} s behind"


def _release(seen: Snapshot, identity: str | None) -> Fact | None:
    """Name a release, with what its commit says."""
    built = seen.release(identity)
    return Fact(built.title, built.id) if built else _plain(identity)


def _last_backup(seen: Snapshot) -> Fact:
    """Name the newest backup and its age, which is no news."""
    if not seen.backups:
        return Fact("none", "none")
    entry = seen.backups[0].entry
    return Fact(f"{entry.name}, {ago(seen.read_at - entry.taken_at.timestamp())}", entry.name)


def _slot(standing: Standing, asked: Asked) -> Fact | None:
    if standing.release is None:
        return None
    runs = f"running, pid {standing.pid}" if standing.pid else "not running"
    words = [standing.release, f"{standing.percent} % of the traffic", runs]
    if asked.healthy is not None:
        words.append("healthy" if asked.healthy.get(standing.slot) else "not healthy")
    return _plain(", ".join(words))


def _step(seen: Snapshot) -> str | None:
    if seen.rollout is None:
        return None
    if seen.phase in (Phase.WATCHING, Phase.PAUSED, Phase.CLOSING):
        return "watch"
    begun = seen.step or "the start"
    if seen.phase is Phase.INTERRUPTED:
        return f"interrupted at {begun}: `rollout resume` continues it, `rollout abort` takes it back"
    return begun


def _window(seen: Snapshot) -> Fact | None:
    if seen.window is None:
        return None
    paused = " paused" * seen.window.paused
    return Fact(duration(seen.window_left) + paused, f"{seen.phase}{paused}")


def _watched_by(seen: Snapshot) -> Fact | None:
    """Say who watches the open window. A process without a heartbeat watches nothing."""
    if seen.window is None or seen.rollout is None:
        return None
    if seen.beat is not None and not seen.unwatched_seconds:
        return _plain(f"process {seen.beat.pid}, its log is {seen.beat.log}")
    if (starting := seen.processes.get(WATCHER)) and seen.unwatched_seconds < UNWATCHED_SECONDS:
        return Fact(f"process {starting}, which is starting", "starting")
    command = f"rollout monitor --env {seen.environment.name}"
    return Fact(f"nobody, for {duration(seen.unwatched_seconds)}: run `{command}`", "nobody")


def _notifications(seen: Snapshot) -> Fact | None:
    log = seen.deliveries
    open_ = sum(not incident.acknowledged for incident in log.incidents)
    parts = [f"{log.pending} to be delivered"] * bool(log.pending) + [f"{open_} not acknowledged"] * bool(
        open_
    )
    return _plain(", ".join(parts)) if parts else None
