"""The headline of an environment: what is happening, how that is known, and what to do. Pure."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guarded_rollout.clock import duration
from guarded_rollout.gates.verdict import GateOutcome
from guarded_rollout.host.processes import PROXY
from guarded_rollout.journal.model import UNDOING
from guarded_rollout.rollout.draining import ASKED, DRAINING
from guarded_rollout.status.rows import shaky
from guarded_rollout.status.session_log import Judged
from guarded_rollout.status.snapshot import SUPERVISOR, Phase, Snapshot

if TYPE_CHECKING:
    from guarded_rollout.config.gates import EnvironmentGates

UNWATCHED_SECONDS = 20.0  # a monitor that starts takes some


@dataclass(frozen=True, slots=True)
class Headline:
    """The situation, how it is known, and what to do. `more` is the rollout whose page explains it,
    `cautions` are further problems, `next_at` is when the next share of the traffic comes (unix time)."""

    tone: str
    title: str
    detail: str = ""
    todo: str = ""
    more: str = ""
    cautions: tuple[str, ...] = ()
    next_at: float = 0.0

    def sentence(self, now: float) -> str:
        """The title, with the time that is left to the next step."""
        left = self.next_at - now
        return f"{self.title}, next step in {duration(left)}" if left > 0 else self.title


def unwatched(seen: Snapshot) -> bool:
    """Return True if a window is open that nobody watches."""
    return seen.unwatched_seconds > UNWATCHED_SECONDS and not (seen.back or seen.undoing)


def failing(seen: Snapshot) -> tuple[Judged, ...]:
    """The gates in breach."""
    return tuple(one for one in seen.session.judged if one.failing) if seen.session else ()


def headline(seen: Snapshot, config: "EnvironmentGates | None") -> Headline:
    """Say in one sentence what is happening, with cautions."""
    found = _headline(seen, config)
    return replace(found, cautions=cautions(seen))


def _headline(seen: Snapshot, config: "EnvironmentGates | None") -> Headline:
    if unknown(seen) and not seen.history:
        return Headline(
            "bad",
            "The journal cannot be read",
            "What follows is all that can be seen without it.",
            "Move it aside, as docs/troubleshooting.md says; what serves keeps serving.",
        )
    match seen.phase:
        case Phase.EMPTY:
            if any(one.outcome == "failed" for one in seen.history[:1]):
                return _steady(seen)
            return Headline("", f"Nothing serves in {seen.environment.name} yet", "", "Roll out a release.")
        case Phase.STEADY | Phase.KILLED | Phase.DEGRADED:
            return _outage(seen) or _steady(seen)
        case Phase.STOPPED:
            start = f"`rollout start --env {seen.environment.name}` starts it."
            return Headline("warn", f"{seen.serving} is stopped", "It was stopped on purpose.", start)
        case Phase.ROLLING_OUT:
            return _rolling_out(seen)
        case Phase.TAKING_BACK:
            title = f"{seen.candidate or 'What serves'} is being taken back"
            to = f"{seen.stable} gets its traffic." if seen.stable else "Nothing served before it."
            return Headline("warn", title, f"{_cause(seen)} {to}".strip(), "Nothing: watch the steps below.")
        case Phase.INTERRUPTED:
            title = f"Interrupted at {seen.step or 'the start'}, and nobody is at work on it"
            way = "" if seen.back else ", Abort takes it back"
            return Headline("bad", title, _cause(seen), f"Resume continues it{way}.")
    return _outage(seen) or _watching(seen, config)


def unknown(seen: Snapshot) -> bool:
    """Return True if the journal cannot be read."""
    return any(one.what == "the journal" for one in seen.unreadable)


def _outage(seen: Snapshot) -> Headline | None:
    """Report a release or proxy that has traffic and does not run; it overrides gates and journal."""
    if seen.at_work is not None:
        return None
    start = f"`rollout start --env {seen.environment.name}` starts what should run."
    dead = [one for one in seen.slots if one.release and one.percent and not one.pid]
    if dead:
        shares = " and ".join(f"{one.percent} %" for one in dead)
        title = f"{' and '.join(str(one.release) for one in dead)} does not run"
        return Headline("bad", title, f"It has {shares} of the traffic.", start)
    if seen.serving and not seen.processes.get(PROXY):
        port = seen.environment.port
        return Headline("bad", "The proxy does not run", f"Nobody reaches port {port}.", start)
    return None


def cautions(seen: Snapshot) -> tuple[str, ...]:
    """List what else is wrong, beside the headline."""
    if seen.serving is None or seen.at_work is not None:
        return ()
    found = []
    if not seen.processes.get(SUPERVISOR):
        found.append("The supervisor does not run: nothing restarts what dies.")
    stable = next((one for one in seen.slots if one.release == seen.stable), None)
    if seen.rollout is not None and seen.stable and not (stable and stable.pid):
        found.append(f"{seen.stable} is not warm: going back starts it first.")
    return tuple(found)


def next_command(seen: Snapshot) -> str | None:
    """Return the command that an operator would type next; None while somebody is at work."""
    env = f"--env {seen.environment.name}"
    if seen.at_work is not None:
        return None
    match seen.phase:
        case Phase.EMPTY | Phase.STEADY:
            return f"rollout up {env}"
        case Phase.STOPPED | Phase.KILLED | Phase.DEGRADED:
            return f"rollout start {env}"
        case Phase.INTERRUPTED | Phase.PAUSED:
            return f"rollout resume {env}"
    if _outage(seen):
        return f"rollout start {env}"
    if failing(seen):
        return f"rollout abort {env}"
    return f"rollout monitor {env}" if unwatched(seen) else f"rollout status --watch {env}"


def _steady(seen: Snapshot) -> Headline:
    newest = next((one for one in seen.history if one.target), None)
    serves = f"{seen.serving} serves all of the traffic"
    if newest is None or newest.outcome is None:
        return Headline("good", serves)
    if newest.is_rollback:
        bad = next(
            (one for one in seen.history if one.target == newest.source and not one.is_rollback), newest
        )
        if newest.outcome == "failed":
            command = f"rollout rollback --to {newest.target} --env {seen.environment.name} --force"
            return Headline(
                "bad", f"The rollback to {newest.target} FAILED", newest.reason, f"`{command}`", str(bad.id)
            )
        title = f"{newest.source or 'What served'} was rolled back"
        return Headline("warn", title, f"{_sentence(newest.why)}{serves}.", "", str(bad.id))
    if newest.outcome == "completed":
        return Headline("good", serves, "Nothing is being rolled out.")
    ended = "was taken back" if newest.outcome == "rolled_back" else "could not be rolled out"
    tone = "warn" if newest.outcome == "rolled_back" else "bad"
    serves = serves if seen.serving else "Nothing serves"
    return Headline(
        tone, f"{newest.target} {ended}", f"{_sentence(newest.reason)}{serves}.", "", str(newest.id)
    )


def _sentence(words: str) -> str:
    """Words as a sentence that others may follow."""
    return f"{words.rstrip('.')}. " if words else ""


def _rolling_out(seen: Snapshot) -> Headline:
    note = seen.rollout.note("gate") if seen.rollout else None
    stays = f"{seen.stable} serves until it has earned its place." if seen.stable else ""
    title, next_at = _progress(seen)
    if note is not None and note.data.get("news") in ("failed", "silent"):
        words = f"Quality gate {note.data.get('news')}: {note.data.get('gate')}: {note.data.get('reason')}"
        todo = "The engine takes it back, or holds the share where it asks."
        return Headline("bad", title, words, todo, next_at=next_at)
    todo = "Nothing: it is taken back if a step fails."
    return Headline("accent", title, stays, todo, next_at=next_at)


def _progress(seen: Snapshot) -> tuple[str, float]:
    """Say which step is being done; of shifting traffic the share, and when the next one comes (or 0)."""
    note = seen.rollout.note("share") if seen.rollout and seen.step == "shift" else None
    if note is None:
        return f"Rolling out {seen.candidate}{f': {seen.step}' if seen.step else ''}", 0.0
    percent = int(str(note.data.get("percent", 0)))
    hold = next((one.hold_seconds for one in seen.environment.traffic if one.percent == percent), 0.0)
    next_at = note.at.timestamp() + hold if hold else 0.0
    return f"Shifting traffic to {seen.candidate}: {percent} %", next_at


def _watching(seen: Snapshot, config: "EnvironmentGates | None") -> Headline:
    broken = failing(seen)
    if broken:
        by_itself = config is not None and config.auto_rollback.enabled and _rolls_back(broken, config)
        todo = "The monitor takes it back by itself." if by_itself else "Abort takes it back at once."
        if by_itself and config is not None and config.auto_rollback.confirmation_required:
            todo = "The monitor asks for a confirmation: Abort takes it back at once."
        if unwatched(seen):
            todo = "Nobody watches: Abort takes it back at once."
        names = ", ".join(one.verdict.gate for one in broken)
        why = (broken[0].broke or broken[0].verdict).reason
        return Headline("bad", f"Quality gate failed: {names}", why, todo)
    if unwatched(seen):
        command = f"rollout monitor --env {seen.environment.name}"
        return Headline(
            "bad",
            f"Nobody watches {seen.candidate}",
            f"Its window is open, and no gate has been asked for {duration(seen.unwatched_seconds)} and more."
            if seen.unwatched_seconds < 60
            else "Its window is open, and no gate is asked.",
            f"`{command}` in a terminal, or Abort.",
        )
    judged = seen.session.judged if seen.session else ()
    silent = [one.verdict.gate for one in judged if one.verdict.outcome is GateOutcome.NO_DATA]
    if seen.phase is Phase.PAUSED:
        left = duration(seen.window_left)
        return Headline("warn", f"The window of {seen.candidate} is paused", f"{left} are left.", "Resume.")
    if silent:
        return Headline("warn", f"{seen.candidate} is being watched, with no data for {', '.join(silent)}")
    if seen.phase is Phase.CLOSING:
        return _closing(seen)
    if unwell := [one.verdict for one in judged if shaky(one.verdict)]:
        said = "; ".join(one.reason for one in unwell)
        return Headline("warn", f"{seen.candidate} is unwell", f"{said}.", "Look at its log, or Abort.")
    passing = sum(one.verdict.outcome is GateOutcome.PASS for one in judged)
    waiting = len(judged) - passing
    words = f"{passing} {'gate passes' if passing == 1 else 'gates pass'}"
    words += f", {waiting} wait for more samples." if waiting else "."
    return Headline("good", f"{seen.candidate} is being watched", words if judged else "", "Nothing.")


def _closing(seen: Snapshot) -> Headline:
    """The window is over. The old release may take some time to end what it was answering."""
    note = seen.rollout.note(DRAINING) if seen.rollout else None
    if note is None or seen.rollout is None:
        return Headline("accent", f"The window of {seen.candidate} is over", "It is being accepted.")
    asked = seen.rollout.note(ASKED)
    left = float(str(note.data["seconds"])) - (seen.read_at - note.at.timestamp())
    until = "it was asked to stop" if asked else f"it is stopped then, or in {duration(max(0.0, left))}"
    in_flight = (asked or note).data["in_flight"]
    detail = f"{seen.stable} was still answering {in_flight}: {until}."
    return Headline("good", f"{seen.candidate} was accepted", detail, "Nothing.")


def _rolls_back(broken: tuple[Judged, ...], config: "EnvironmentGates") -> bool:
    from guarded_rollout.config.terms import Action

    gates = dict(config.quality_gates.enabled())
    return any(
        Action.AUTO_ROLLBACK in gates[one.verdict.gate].actions for one in broken if one.verdict.gate in gates
    )


def _cause(seen: Snapshot) -> str:
    if seen.rollout is None:
        return ""
    note = seen.rollout.note(UNDOING)
    return _sentence(str(note.data.get("cause", "")) if note else seen.rollout.why).rstrip()
