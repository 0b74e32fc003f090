"""An environment at a glance: one reading of its facts as named rows, as JSON, and as what changed. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from guarded_rollout.clock import duration
from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.host.slots import Slot
from guarded_rollout.status.headline import headline
from guarded_rollout.status.rows import gate_rows
from guarded_rollout.status.snapshot import SUPERVISOR, Overview, Phase, Standing


@dataclass(frozen=True, slots=True)
class Fact:
    """What is told, and the part of it that is news when it changes: a time that runs on is none."""

    text: str
    mark: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What only the running programs can tell: `healthy` by slot; None where nobody was asked."""

    healthy: Mapping[Slot, bool] | None = None
    schema: str | None = None


NOBODY = Asked()


def rows(seen: Overview, asked: Asked = NOBODY) -> dict[str, Fact | None]:
    """The facts by name, in the order in which they are shown; None where there is nothing to tell."""
    backup = seen.backups[0].entry.path.name if seen.backups else "none"
    return {
        "environment": _plain(f"{seen.environment.name}, http://localhost:{seen.environment.port}"),
        "phase": _plain(seen.phase.value),
        "stable": _plain(seen.stable or "nothing serves yet"),
        "candidate": _plain(seen.candidate),
        **{one.slot: _slot(one, asked) for one in seen.slots},
        "step": _plain(_step(seen)),
        "window_left": _window(seen),
        "watched_by": _watched_by(seen),
        "at_work": _plain(str(seen.at_work) if seen.at_work else None),
        "last_backup": _plain(backup),
        "schema": _plain(asked.schema or (seen.schema[0] if seen.schema else None)),
        "supervisor": _plain("running" if seen.processes.get(SUPERVISOR) else "not running"),
        "notifications": _notifications(seen),
    }


def gates(seen: Overview, config: EnvironmentGates | None) -> dict[str, Fact]:
    """Each gate's newest verdict, while a window is open."""
    if seen.session is None:
        return {}
    return {
        f"gate {row.name}": Fact(f"{row.outcome}: {row.measured}; {row.reason}".rstrip(" ;:"), row.outcome)
        for row in gate_rows(seen, config, {})
    }


def as_json(seen: Overview, asked: Asked = NOBODY) -> dict[str, Any]:
    """One reading for programs."""
    judged = seen.session.judged if seen.session else ()
    return {
        **{name: fact.text if fact else None for name, fact in rows(seen, asked).items()},
        "unreadable": [{"what": one.what, "reason": one.reason, "since": one.since} for one in seen.blind],
        "gates": [{**one.verdict.as_json(), "failing": one.failing} for one in judged],
        "read_at": datetime.fromtimestamp(seen.read_at, UTC).isoformat(timespec="milliseconds"),
    }


class Changes:
    """What is new since the last look, as lines; at the first look all of it."""

    def __init__(self, config: EnvironmentGates | None) -> None:
        self._config = config
        self._known: dict[str, str] = {}

    def since(self, seen: Overview) -> list[str]:
        """One line for each fact that is another one now."""
        told = headline(seen, self._config)
        answer = Fact(" ".join(filter(None, (f"{told.title}.", told.detail))), told.title)
        unreadable = {f"unreadable: {one.what}": _plain(one.reason) for one in seen.blind}
        facts = {"now": answer, **rows(seen), **gates(seen, self._config), **unreadable}
        now = {name: fact for name, fact in facts.items() if fact is not None}
        lines = list(self._lines(now, datetime.fromtimestamp(seen.read_at, UTC)))
        self._known = {name: fact.mark for name, fact in now.items()}
        return lines

    def _lines(self, now: Mapping[str, Fact], at: datetime) -> Iterator[str]:
        for name, fact in now.items():
            if self._known.get(name) != fact.mark:
                yield f"{at:%H:%M:%S} {name.replace('_', ' ')}: {fact.text}"
        for name in self._known.keys() - now.keys():
            yield f"{at:%H:%M:%S} {name.replace('_', ' ')}: no more"


def _plain(text: str | None) -> Fact | None:
    return None if text is None else Fact(text, text)


def _slot(standing: Standing, asked: Asked) -> Fact | None:
    if standing.release is None:
        return None
    runs = f"running, pid {standing.pid}" if standing.pid else "not running"
    words = [standing.release, f"{standing.percent} % of the traffic", runs]
    if asked.healthy is not None:
        words.append("healthy" if asked.healthy.get(standing.slot) else "not healthy")
    return _plain(", ".join(words))


def _step(seen: Overview) -> str | None:
    if seen.rollout is None:
        return None
    if seen.phase in (Phase.WATCHING, Phase.PAUSED, Phase.CLOSING):
        return "watch"
    begun = seen.step or "the start"
    if seen.phase is Phase.INTERRUPTED:
        return f"interrupted at {begun}: `rollout resume` goes on, `rollout abort` takes it back"
    return begun


def _window(seen: Overview) -> Fact | None:
    if seen.window is None:
        return None
    paused = " paused" * seen.window.paused
    return Fact(duration(seen.window_left) + paused, f"{seen.phase}{paused}")


def _watched_by(seen: Overview) -> Fact | None:
    """Who watches the open window; a process that runs and does not beat watches nothing."""
    if seen.window is None or seen.rollout is None:
        return None
    if seen.beat is not None and not seen.unwatched_seconds:
        return _plain(f"process {seen.beat.pid}, its log is {seen.beat.log}")
    command = f"rollout monitor --env {seen.environment.name}"
    return Fact(f"nobody, for {duration(seen.unwatched_seconds)}: run `{command}`", "nobody")


def _notifications(seen: Overview) -> Fact | None:
    told = seen.ledger
    open_ = sum(not matter.acknowledged for matter in told.matters)
    parts = [f"{told.waiting} to be delivered"] * bool(told.waiting) + [f"{open_} not acknowledged"] * bool(
        open_
    )
    return _plain(", ".join(parts)) if parts else None
