"""One environment as its files describe it, for the terminal and the dashboard.

The service, the engine and the supervisor are not asked, so a snapshot is right when they are down. What
cannot be read is named with the time since when, and its last value stays.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from guarded_rollout.backup import catalog
from guarded_rollout.backup.catalog import BackupEntry
from guarded_rollout.clock import Clock, Instant, SystemClock
from guarded_rollout.config.environments import Environment
from guarded_rollout.host import launcher
from guarded_rollout.host.processes import PROGRAMS, PROXY, WATCHER
from guarded_rollout.host.release import Release, releases
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import SLOTS, Slot
from guarded_rollout.journal.model import Rollout
from guarded_rollout.journal.record import returnable
from guarded_rollout.journal.store import Journal
from guarded_rollout.lock import Owner, owner
from guarded_rollout.logs import open_log
from guarded_rollout.monitor import heartbeat
from guarded_rollout.monitor.heartbeat import Heartbeat
from guarded_rollout.monitor.ports import OpenWindow
from guarded_rollout.monitor.threshold_review import newest_sessions
from guarded_rollout.notify.outbox import DeliveryLog, Outbox
from guarded_rollout.rollout.window import Window, accepted, window
from guarded_rollout.status.cache import Cached, KeptOpen, stamp
from guarded_rollout.status.cache import Unreadable as Unreadable
from guarded_rollout.status.session_log import SessionFacts, SessionReader

HISTORY = 30  # rollouts, the newest
SUPERVISOR = "supervisor"


class Phase(StrEnum):
    """The state of an environment in one word."""

    EMPTY = "empty"  # nothing serves yet
    STEADY = "steady"  # no rollout is open, and all that should run runs
    STOPPED = "stopped"  # on purpose: `rollout down`
    KILLED = "killed"  # what has the traffic should run, and does not
    DEGRADED = "degraded"  # it serves, but the proxy or the supervisor does not run
    ROLLING_OUT = "rolling out"  # steps are being done, by somebody who is at work
    WATCHING = "watching"  # the window is open
    PAUSED = "paused"  # its clock stands still
    CLOSING = "closing"  # it is over: what is left is to finish
    TAKING_BACK = "taking back"
    INTERRUPTED = "interrupted"  # nobody is at work on what is half done


@dataclass(frozen=True, slots=True)
class Standing:
    """A slot: the release in it (None: empty), its percent of the traffic, its process (0: none runs)."""

    slot: Slot
    release: str | None
    percent: int
    pid: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A backup's name, size and recorded SHA-256; the archive itself is not read."""

    entry: BackupEntry
    size: int
    checksum: str
    signed: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One environment at `read_at`. Times are unix time, `window_left` in seconds.

    `processes` has the pid of each program that should run by its name (`supervisor`, `proxy`, `blue`,
    `green`, `watcher`), 0 where it does not run. `unwatched_seconds` is how long nobody has watched an open
    window. `session` is the monitoring log of the open rollout.
    """

    environment: Environment
    read_at: float
    unreadable: tuple[Unreadable, ...]
    slots: tuple[Standing, ...]
    processes: dict[str, int]
    releases: tuple[Release, ...]  # oldest first
    backups: tuple[Archive, ...]  # newest first
    history: tuple[Rollout, ...]  # newest first
    rollout: Rollout | None  # the open one
    previous: str | None  # the release that `rollback --to previous` goes to
    window: Window | None
    window_left: float
    at_work: Owner | None
    beat: Heartbeat | None
    unwatched_seconds: float
    session: SessionFacts | None
    deliveries: DeliveryLog
    wanted: frozenset[str] = frozenset()  # the programs that should run

    @property
    def serving(self) -> str | None:
        """The release with most of the traffic."""
        standing = [one for one in self.slots if one.release]
        return max(standing, key=lambda one: one.percent).release if standing else None

    @property
    def back(self) -> bool:
        """True if the open rollout is itself a rollback."""
        return self.rollout is not None and self.rollout.is_rollback

    @property
    def undoing(self) -> bool:
        """True if the open rollout is being taken back."""
        return self.rollout is not None and self.rollout.undoing

    @property
    def stable(self) -> str | None:
        """The release to return to; without an open rollout, the one that serves."""
        if self.rollout is None:
            return self.serving
        return self.rollout.target if self.back else self.rollout.source

    @property
    def candidate(self) -> str | None:
        """The release that is being rolled out, or taken away."""
        if self.rollout is None:
            return None
        return self.rollout.source if self.back else self.rollout.target

    @property
    def step(self) -> str | None:
        """The step that is being done, or was the last to begin."""
        if self.rollout is None or not self.rollout.steps:
            return None
        return (self.rollout.unfinished or self.rollout.steps[-1]).name

    @property
    def phase(self) -> Phase:
        if self.rollout is None:
            return self._phase_without_rollout
        if self.back or self.undoing:
            return Phase.TAKING_BACK if self.at_work else Phase.INTERRUPTED
        if self.window is None:
            return Phase.ROLLING_OUT if self.at_work else Phase.INTERRUPTED
        if self.window.paused:
            return Phase.PAUSED
        return Phase.WATCHING if self.window_left > 0 else Phase.CLOSING

    @property
    def _phase_without_rollout(self) -> Phase:
        serving = [one for one in self.slots if one.release and one.percent]
        if not serving:
            return Phase.EMPTY
        if not all(one.pid for one in serving):
            return Phase.KILLED if self.wanted & {one.slot for one in serving} else Phase.STOPPED
        whole = self.processes.get(PROXY) and self.processes.get(SUPERVISOR)
        return Phase.STEADY if whole else Phase.DEGRADED

    @property
    def planned_steps(self) -> tuple[str, ...]:
        """All steps of the open rollout, as planned."""
        return tuple(self.rollout.plan.get("steps", ())) if self.rollout else ()

    def release(self, identity: str | None) -> Release | None:
        """A release that is built here, by its id."""
        return next((one for one in self.releases if one.id == identity), None)

    @property
    def schema(self) -> tuple[str, float] | None:
        """The schema revision that the journal last recorded, and when."""
        for rollout in self.history:
            for step in reversed(rollout.steps):
                found = step.evidence or {}
                moved = found.get("contracted") or found.get("applied")
                revision = found.get("to") or (moved[-1] if isinstance(moved, list) and moved else None)
                down = rollout.command == "migrate down"
                if step.name in ("migrate", "finish") and revision and step.ended_at and not down:
                    return str(revision), step.ended_at.timestamp()
        return None


def read(environment: Environment, clock: Clock | None = None) -> Snapshot:
    """Look once."""
    reader = Reader(environment, clock)
    try:
        return reader.read()
    finally:
        reader.close()


class Reader:
    """Looks again and again; what has not changed is not read again. One thread at a time."""

    def __init__(self, environment: Environment, clock: Clock | None = None) -> None:
        self.environment = environment
        self._clock = clock or SystemClock()
        self._site = Site(environment)
        self._journal: KeptOpen[Journal] = KeptOpen(environment.journal, Journal.look)
        self._outbox: KeptOpen[Outbox] = KeptOpen(environment.root / "notifications.db", Outbox.look)
        self._history: Cached[tuple[Rollout, ...]] = Cached("the journal", ())
        self._open: Rollout | None = None
        self._previous: str | None = None
        self._deliveries: Cached[DeliveryLog] = Cached("the outbox", DeliveryLog())
        self._share: Cached[dict[Slot, int]] = Cached("the traffic's share", {})
        self._releases: Cached[tuple[Release, ...]] = Cached("the releases", ())
        self._backups: Cached[tuple[Archive, ...]] = Cached("the backups", ())
        self._session: Cached[SessionFacts | None] = Cached("the monitoring log", None)
        self._session_reader: tuple[Path, SessionReader] | None = None
        self._found_logs: tuple[str, int, Path | None] = ("", 0, None)

    def close(self) -> None:
        self._journal.close()
        self._outbox.close()

    def read(self) -> Snapshot:
        """Never raises: what cannot be read is in `unreadable`."""
        environment, now = self.environment, self._clock.instant()
        at = now.at.timestamp()
        # Who ends a rollout gives up the lock thereafter, and who begins one takes it before: whoever held it
        # before the journal was read, or holds it now, is at work on what stands open there.
        at_work = owner(environment.lock)
        history = self._history.get(self._journal.mark, self._read_journal, at)
        share = self._share.get(lambda: stamp(self._site.traffic.share_file), self._site.traffic.share, at)
        built = self._releases.get(
            lambda: stamp(environment.releases), lambda: tuple(releases(environment.releases)), at
        )
        backups = self._backups.get(lambda: stamp(environment.backups), self._read_backups, at)
        deliveries = self._deliveries.get(self._outbox.mark, self._read_outbox, at)
        rollout = self._open
        found = window(rollout) if rollout else None
        left = found.left(now) if found else 0.0
        beat = heartbeat.last(environment)
        session = self._session.get(lambda: object(), lambda: self._read_session(rollout, beat), at)
        processes = self._processes()
        kept = (self._history, self._share, self._releases, self._backups, self._deliveries, self._session)
        return Snapshot(
            environment=environment,
            read_at=at,
            unreadable=tuple(one.unreadable for one in kept if one.unreadable),
            slots=tuple(
                Standing(slot, self._standing(slot), share.get(slot, 0), processes.get(slot, 0))
                for slot in SLOTS
            ),
            processes=processes,
            releases=built,
            backups=backups,
            history=history,
            rollout=rollout,
            previous=self._previous,
            window=found,
            window_left=left,
            at_work=at_work or owner(environment.lock),
            beat=beat,
            unwatched_seconds=_unwatched(rollout, found, beat, now),
            session=session,
            deliveries=deliveries,
            wanted=frozenset(name for name in PROGRAMS if self._site.processes.wanted(name)),
        )

    # ---- its sources

    def _read_journal(self) -> tuple[Rollout, ...]:
        journal = self._journal.open()
        self._previous = next(returnable(journal.deployments(self.environment.name)), None)
        history = tuple(journal.history(self.environment.name, limit=HISTORY))
        self._open = journal.open_rollout(self.environment.name)
        return history

    def _read_outbox(self) -> DeliveryLog:
        return self._outbox.open().log() if self._outbox.path.exists() else DeliveryLog()

    def _read_backups(self) -> tuple[Archive, ...]:
        return tuple(
            map(
                _archive,
                catalog.find(self.environment.backups, self.environment.name, self.environment.service.name),
            )
        )

    def _read_session(self, rollout: Rollout | None, beat: Heartbeat | None) -> SessionFacts | None:
        path = self._session_path(rollout, beat)
        if path is None:
            self._session_reader = None
            return None
        if self._session_reader is None or self._session_reader[0] != path:
            self._session_reader = path, SessionReader(path)
        return self._session_reader[1].read()

    def _session_path(self, rollout: Rollout | None, beat: Heartbeat | None) -> Path | None:
        """Find the open rollout's log: by the heartbeat, else by search."""
        if rollout is None:
            return None
        if rollout.is_rollback:  # what is shown is why: the session of the rollout that it closed
            closed = (one for one in self._history.value if one.target == rollout.source)
            rollout = next(closed, rollout)
        if beat is not None and beat.rollout == str(rollout.id) and Path(beat.log).exists():
            return Path(beat.log)
        return self.log_of(rollout)

    def log_of(self, rollout: Rollout) -> Path | None:
        """Find a rollout's newest monitoring log; searched again when the folder changes."""
        mark = stamp(self.environment.logs)
        wanted = str(rollout.id)
        if self._found_logs[:2] != (wanted, mark):
            self._found_logs = (wanted, mark, log_of(self.environment, rollout))
        return self._found_logs[2]

    def _standing(self, slot: Slot) -> str | None:
        link = self.environment.root / "slots" / slot
        with suppress(OSError):
            return Path(os.readlink(link)).name
        return None

    def _processes(self) -> dict[str, int]:
        folder = self.environment.root / "supervisor"
        files = {SUPERVISOR: folder / "supervisord.pid"}
        files |= {name: folder / f"{name}.lock" for name in (PROXY, *SLOTS, WATCHER)}
        return {name: _running(path) for name, path in files.items()}


def log_of(environment: Environment, rollout: Rollout) -> Path | None:
    """Find the newest monitoring log of a rollout by its first lines, compressed ones included."""
    for path in reversed(
        newest_sessions(environment.logs, environment.service.name, environment.name, HISTORY)
    ):
        with suppress(OSError, EOFError), open_log(path) as file:
            if any(str(rollout.id) in file.readline() for _ in range(3)):
                return path
    return None


def _unwatched(rollout: Rollout | None, found: Window | None, beat: Heartbeat | None, now: Instant) -> float:
    if rollout is None or found is None or accepted(rollout):
        return 0.0
    opened_at = found.opened_at(now).timestamp()
    opened = OpenWindow(str(rollout.id), rollout.target or "", rollout.source or "", opened_at, 0.0, 0.0)
    return heartbeat.unwatched_seconds(beat, opened, now)


def _archive(entry: BackupEntry) -> Archive:
    checksum = ""
    with suppress(OSError, IndexError, UnicodeDecodeError):
        checksum = entry.checksum.read_text().split()[0]
    return Archive(entry, entry.path.stat().st_size, checksum, entry.signature.exists())


def _running(path: Path) -> int:
    """Return the pid in this file if it runs, else 0."""
    try:
        written = path.read_text().strip()
        return int(written) if written.isdigit() and launcher.alive(int(written)) else 0
    except (OSError, UnicodeDecodeError):
        return 0
