"""A rollout that is in the journal, with what its monitoring log kept: for its own page."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from guarded_rollout.clock import SystemClock
from guarded_rollout.config import gates
from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import NotALogError, RolloutError, UnknownRolloutError
from guarded_rollout.gates.samples import Recording
from guarded_rollout.host.git import git
from guarded_rollout.host.release import releases
from guarded_rollout.journal.model import Rollout
from guarded_rollout.journal.store import Journal
from guarded_rollout.lock import owner
from guarded_rollout.status import rows
from guarded_rollout.status.session_log import Judged, SessionReader
from guarded_rollout.status.snapshot import log_of
from guarded_rollout.ui import postmortem, replaying
from guarded_rollout.ui.charts import Charts

COMMITS = 30  # listed of those between two releases


class PastRollouts:
    """Reads rollouts of one environment; one at a time, for a replay takes a second of a core."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._turn = threading.Lock()
        self._charts: tuple[object, Charts] | None = None

    def show(self, identity: UUID, asked: Mapping[str, str]) -> dict[str, Any]:
        """Return the page's values. Raises `UnknownRolloutError` and the journal's errors."""
        with self._turn:
            rollout = self._rollout(identity)
            log = log_of(self._environment, rollout)
            return {
                "rollout": rollout,
                "steps": rows.timeline(rollout, owner(self._environment.lock) is not None),
                "told": self._told(rollout, log),
                "log": log,
                "no_log": "No monitoring log belongs to this rollout: nothing can be judged again.",
                "now": SystemClock().now().timestamp(),
                "gates": self._gates(rollout, log),
                **self._replay(log, asked),
            }

    def report(self, identity: UUID) -> str:
        """Return the rollout's story as Markdown."""
        with self._turn:
            rollout = self._rollout(identity)
            log = log_of(self._environment, rollout)
            return self._told(rollout, log).markdown(rollout, self._gates(rollout, log))

    def _told(self, rollout: Rollout, log: Path | None) -> postmortem.Postmortem:
        charts = self._charts_of(rollout, log)
        return postmortem.tell(rollout, charts.edge.totals if charts else {}, self._commits(rollout))

    def _commits(self, rollout: Rollout) -> list[str]:
        """The commits that the target has and the source has not, newest first; none where git knows none."""
        known = {one.id: one.commit for one in releases(self._environment.releases)}
        before, after = known.get(rollout.source or ""), known.get(rollout.target or "")
        if not before or not after or before == after:
            return []
        source = self._environment.service.source
        return git(
            source, "log", "--oneline", f"--max-count={COMMITS}", f"{before}..{after}", "--"
        ).splitlines()

    def series(self, identity: UUID) -> dict[str, Any]:
        """The lines of its charts."""
        with self._turn:
            rollout = self._rollout(identity)
            charts = self._charts_of(rollout, log_of(self._environment, rollout))
            return charts.whole() if charts else {"cursor": "", "gates": {}}

    def _rollout(self, identity: UUID) -> Rollout:
        with Journal.look(self._environment.journal) as journal:
            rollout = journal.rollout(identity)
        if rollout.environment != self._environment.name:
            raise UnknownRolloutError(id=identity)
        return rollout

    def _gates(self, rollout: Rollout, log: Path | None) -> list[rows.GateRow]:
        """The gates as they stood when it ended, those that fail first."""
        charts = self._charts_of(rollout, log)
        if log is None or charts is None:
            return []
        judged = _judged(log, postmortem.left_at(rollout))
        config = dict(charts.gates.quality_gates.enabled())
        found = (
            rows.gate_row(name, config.get(name), judged.get(name), charts.lines.get(name, {}))
            for name in dict.fromkeys([*charts.lines, *judged])
        )
        return sorted(found, key=lambda row: row.urgency)

    def _charts_of(self, rollout: Rollout, log: Path | None) -> Charts | None:
        """Return a log's charts. The newest are cached: a page and its charts request the same log."""
        if log is None:
            return None
        try:
            wanted = log, log.stat().st_mtime, rollout.ended_at
            if self._charts is None or self._charts[0] != wanted:
                config = gates.gates_of(self._environment)
                began_at = replaying.recorded(log).began_at or 0.0
                charts = Charts(log, config, began_at, postmortem.left_at(rollout))
                charts.read_whole()
                self._charts = wanted, charts
            return self._charts[1]
        except (OSError, EOFError, RolloutError):
            return None

    def _replay(self, log: Path | None, asked: Mapping[str, str]) -> dict[str, Any]:
        """Return the form, and the replay's result if it was submitted."""
        found: dict[str, Any] = {"fields": [], "problems": (), "answer": None}
        if log is None:
            return found
        name, file = self._environment.name, self._environment.gates
        try:
            standing = gates.load(file).environment(name)
            fields = found["fields"] = replaying.fields(file, name, asked)
            if not any(one.name in asked for one in fields):
                return found
            wanted, problems = replaying.changed_gates(file, name, fields)
            if wanted is None:
                return found | {"problems": problems}
            return found | {"answer": replaying.answer(standing, wanted, _recorded(log))}
        except RolloutError as error:
            return found | {"problems": (error.sentence,)}


def _recorded(log: Path) -> Recording:
    try:
        return replaying.recorded(log)
    except (OSError, EOFError) as error:
        raise NotALogError(path=log, reason=error) from None


def _judged(log: Path, until: float) -> dict[str, Judged]:
    with suppress(OSError, EOFError):
        return {one.verdict.gate: one for one in SessionReader(log).read_whole(until).judged}
    return {}
