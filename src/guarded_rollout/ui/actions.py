"""The actions that are possible now, the questions before them, and the commands that perform them. Pure.

The dashboard runs the command line itself, so it can do nothing that an operator could not type.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace

from guarded_rollout.errors import ActionRefusedError
from guarded_rollout.rollout.stopping import stoppable
from guarded_rollout.status.headline import failing, unknown, unwatched
from guarded_rollout.status.rows import shaky
from guarded_rollout.status.snapshot import Phase, Snapshot
from guarded_rollout.ui import effects

LONGEST = 500  # characters of a reason or a source


@dataclass(frozen=True, slots=True)
class Offer:
    """An action as it stands now; `why_not` says why it is not possible, and is empty if it is."""

    name: str
    label: str
    tone: str
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice of a form: its value and its label."""

    value: str
    words: str


@dataclass(frozen=True, slots=True)
class Question:
    """A confirmation: what will happen, sentence by sentence, and what must be typed for it to."""

    action: str
    title: str
    button: str
    tone: str
    will: tuple[str, ...]
    command: str
    typed: str = ""
    asks_why: bool = False
    asks_source: bool = False
    releases: tuple[Choice, ...] = ()
    backups: tuple[Choice, ...] = ()


CHECKS = ("verify", "plan")
"""Questions that change nothing: they run a command all the same, so they are asked the same way."""

LABELS = {
    "start": ("Start", ""),
    "resume": ("Resume", ""),
    "promote": ("Promote", ""),
    "pause": ("Pause", ""),
    "abort": ("Abort", "danger"),
    "up": ("Roll out…", ""),
    "rollback": ("Roll back…", "danger"),
}

WAY_ON = ("start", "resume", "promote", "up")
"""The first of these that is possible is the primary action, unless something is wrong."""


def offers(seen: Snapshot) -> tuple[Offer, ...]:
    """The actions that are possible. One stands out: the way back where something is wrong, else the way on.

    While somebody is at work, or the journal cannot be read, the others are there too and say why not.
    """
    why = {name: why_not(name, seen) for name in LABELS}
    back = alarming(seen) and not why["abort"]
    on = next((name for name in WAY_ON if not why[name]), "")
    outstanding = {"abort": "alarm"} if back else {on: "primary"}
    waits = seen.at_work is not None or unknown(seen)
    return tuple(
        Offer(name, label, outstanding.get(name, tone), why[name])
        for name, (label, tone) in LABELS.items()
        if not why[name] or (waits and name != "start")
    )


def reasons(found: tuple[Offer, ...]) -> dict[str, list[Offer]]:
    """Each reason once, with the actions that are not possible for it."""
    grouped: dict[str, list[Offer]] = {}
    for offer in found:
        if offer.why_not:
            grouped.setdefault(offer.why_not, []).append(offer)
    return grouped


def alarming(seen: Snapshot) -> bool:
    """Return True if an operator should consider rolling back."""
    unwell = any(shaky(one.verdict) for one in seen.session.judged) if seen.session else False
    return unwell or bool(failing(seen)) or unwatched(seen) or seen.phase is Phase.INTERRUPTED


def why_not(action: str, seen: Snapshot) -> str:
    """Say in a sentence why an action is not possible now; empty if it is."""
    if unknown(seen):
        return "The journal cannot be read."
    if seen.at_work is not None and not (action == "abort" and stoppable(seen.at_work, seen.rollout)):
        return f"`{seen.at_work.command}` is at work (process {seen.at_work.pid}): wait until it has ended."
    match action:
        case "promote" | "pause":
            return _why_no_window(seen, action)
        case "resume":
            if seen.rollout is None:
                return "No rollout is open."
            return "It is being watched, and its clock runs." if seen.phase is Phase.WATCHING else ""
        case "abort":
            if seen.rollout is None:  # whoever is at work may have begun none yet
                return "" if seen.at_work else "No rollout is open."
            return "It is a rollback already: resume continues it." if seen.back else ""
        case "rollback":
            return "" if _targets(seen) or seen.backups else "There is no release or backup to return to."
        case "up":
            if seen.rollout is not None:
                return f"{seen.candidate or seen.stable} is open: promote or abort it first."
            return ""
        case "start":
            down = seen.phase in (Phase.STOPPED, Phase.KILLED, Phase.DEGRADED)
            return "" if down else "All that should run does."
    return f"There is no action {action!r}."


def _why_no_window(seen: Snapshot, action: str) -> str:
    if seen.rollout is None:
        return "No rollout is open."
    if seen.phase in (Phase.TAKING_BACK, Phase.INTERRUPTED) and (seen.window is None or seen.undoing):
        return "It is not being watched: resume continues it, abort takes it back."
    if seen.window is None:
        return "Its window has not opened yet."
    if action == "pause" and seen.phase is Phase.PAUSED:
        return "It is paused already."
    if action == "pause" and seen.phase is Phase.CLOSING:
        return "Its window is over."
    return ""


def question(action: str, seen: Snapshot) -> Question:
    """The confirmation of an action. Raises `ActionRefusedError` if it is not possible now."""
    if reason := why_not(action, seen):
        raise ActionRefusedError(detail=reason)
    name = seen.environment.name
    label, tone = LABELS[action][0], LABELS[action][1] or "primary"
    command = f"rollout {action} --env {name}"
    match action:
        case "promote":
            title, will = f"Accept {seen.candidate}?", effects.promote(seen)
        case "pause":
            title, will = f"Pause the window of {seen.candidate}?", effects.pause(seen)
        case "resume":
            title, will = effects.resume(seen)
        case "abort":
            title, will = effects.abort_title(seen), effects.abort(seen)
        case "start":
            title, will = f"Start {name}?", effects.start(seen)
        case "rollback":
            return Question(
                action,
                f"Roll {name} back?",
                "Roll back",
                tone,
                effects.rollback(seen),
                f"{command} --to RELEASE --force",
                typed="ROLLBACK",
                asks_why=True,
                releases=_targets(seen),
                backups=tuple(
                    Choice(one.entry.name, f"{one.entry.name} ({one.size / 1e6:.1f} MB)")
                    for one in seen.backups
                    if one.checksum
                ),
            )
        case _:
            return Question(
                action,
                f"Roll out a new release in {name}?",
                "Roll out",
                "primary",
                effects.roll_out(seen),
                command,
                typed=name if seen.environment.confirm else "",
                asks_why=True,
                asks_source=True,
            )
    return Question(action, title, label, tone, will, command, asks_why=action == "abort")


def check(name: str, seen: Snapshot, backup: str) -> tuple[Question, list[str]]:
    """The confirmation and the command line of a check. Raises `ActionRefusedError` for one there is not."""
    env = seen.environment.name
    if name == "plan":
        will = (
            "A release is built aside from the configured source and asked what it would do to the schema.",
            "Nothing is changed: it is a dry run.",
        )
        line = ["migrate", "--env", env, "--dry-run", "--verbose"]
        asked = Question(name, f"What would be migrated in {env}?", "Ask", "primary", will, "")
    elif any(one.entry.name == backup and one.checksum for one in seen.backups):
        will = (
            f"All of {backup} is read: its checksum, every file, the snapshot.",
            "Nothing is restored or changed.",
        )
        line = ["verify", str(seen.environment.backups / backup), "--env", env, "--verbose"]
        asked = Question(name, "Verify this backup?", "Verify", "primary", will, "")
    else:
        raise ActionRefusedError(detail=f"There is no backup {backup!r} with a checksum here.")
    return replace(asked, command=shlex.join(["rollout", *line])), line


def words(action: str, seen: Snapshot, form: Mapping[str, str]) -> list[str]:
    """The command line that an answered confirmation stands for, without `rollout`.

    Raises `ActionRefusedError` where it is not possible, not confirmed, or not of what the operator saw.
    """
    asked = question(action, seen)
    if form.get("rollout", "") != standing(seen):
        raise ActionRefusedError(detail="Meanwhile another rollout stands here: nothing was done.")
    if asked.typed and form.get("typed", "").strip() != asked.typed:
        raise ActionRefusedError(detail=f"Not confirmed: type {asked.typed} to continue. Nothing was done.")
    why, source = form.get("why", "").strip(), form.get("source", "").strip()
    if len(why) > LONGEST or len(source) > LONGEST or "\0" in why + source:
        raise ActionRefusedError(detail=f"A reason or source has at most {LONGEST} characters.")
    line = [action, "--env", seen.environment.name]
    if action == "rollback":
        line += [*_where(asked, seen, form), "--force"]
    if source and asked.asks_source:
        line.append(f"--from={source}")
    if why and asked.asks_why:
        line.append(f"--why={why}")
    return line


def standing(seen: Snapshot) -> str:
    """Return what a confirmation refers to; if that has changed since, the confirmation is void."""
    return str(seen.rollout.id) if seen.rollout else f"none:{seen.serving or ''}"


def _where(asked: Question, seen: Snapshot, form: Mapping[str, str]) -> list[str]:
    target = form.get("target", "")
    kind, _, value = target.partition(":")
    if kind == "release" and any(one.value == value for one in asked.releases):
        return [f"--to={value}"]
    if kind == "backup" and any(one.value == value for one in asked.backups):
        without = ["--data=none"] if form.get("data") == "none" else []
        return [f"--backup={seen.environment.backups / value}", *without]
    raise ActionRefusedError(detail="Say where to return to: nothing was done.")


def _targets(seen: Snapshot) -> tuple[Choice, ...]:
    """The releases to return to, the previous one first."""
    first = seen.previous
    leave = seen.candidate or seen.serving
    built = [one for one in reversed(seen.releases) if one.id != leave]
    built.sort(key=lambda one: one.id != first)
    return tuple(
        Choice(
            one.id,
            f"{one.id}{' (the last good one)' if one.id == first else ''}, built {one.built_at:%F %H:%M}",
        )
        for one in built
    )
