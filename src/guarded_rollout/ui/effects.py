"""What an action will do now, sentence by sentence, for the question before it. Pure."""

from guarded_rollout.clock import duration
from guarded_rollout.status.headline import failing
from guarded_rollout.status.snapshot import Phase, Snapshot


def _shares(seen: Snapshot) -> str:
    return ", ".join(f"{one.release} {one.percent} %" for one in seen.slots if one.release) or "nobody"


def _with_left(seen: Snapshot) -> str:
    return f" with {duration(seen.window_left)} left" if seen.window_left > 0 else ""


def promote(seen: Snapshot) -> tuple[str, ...]:
    broken = [one.verdict.gate for one in failing(seen)]
    alarm = (f"Failing now: {', '.join(broken)}. You accept it all the same.",) if broken else ()
    return (
        *alarm,
        f"Traffic: {seen.candidate} gets all of it (now: {_shares(seen)}).",
        f"The window closes{_with_left(seen)}; nothing rolls back by itself any more.",
        f"{seen.stable} is drained and stopped: going back then needs a rollback, which starts it again.",
        "Data: migrations that only contract are run now; old releases and backups beyond the limits go.",
    )


def pause(seen: Snapshot) -> tuple[str, ...]:
    return (
        f"Window: its clock stands still with {duration(seen.window_left)} left, until you resume.",
        f"Traffic stays as it is: {_shares(seen)}. Data is not touched.",
        "The gates keep looking, and still roll back if one is broken.",
    )


def resume(seen: Snapshot) -> tuple[str, tuple[str, ...]]:
    """The question as well: what is resumed may be a window, a rollout or its taking back."""
    if seen.phase is Phase.PAUSED:
        return f"Resume the window of {seen.candidate}?", (
            f"Window: its clock runs again, with {duration(seen.window_left)} left.",
            f"Traffic stays as it is: {_shares(seen)}. Data is not touched.",
        )
    if seen.back or seen.undoing:
        return f"Go on taking {seen.candidate} back?", (
            f"Traffic: {seen.stable or 'nothing'} gets all of it (now: {_shares(seen)}).",
            f"The steps that are left are done: {_left(seen)}.",
        )
    return f"Go on rolling out {seen.candidate}?", (
        f"The steps that are left are done: {_left(seen)}.",
        f"Traffic then shifts to {seen.candidate} (now: {_shares(seen)}), as planned, with the gates asked.",
    )


def _left(seen: Snapshot) -> str:
    rollout = seen.rollout
    return ", ".join(one for one in seen.planned_steps if rollout and not rollout.done(one)) or "none"


def start(seen: Snapshot) -> tuple[str, ...]:
    dead = (
        ", ".join(name for name in sorted(seen.wanted) if not seen.processes.get(name)) or "what is missing"
    )
    return (
        f"Started again: {dead}.",
        f"Traffic: as before ({_shares(seen)}). Nothing is built or deployed, and data is left as it is.",
    )


def abort_title(seen: Snapshot) -> str:
    if seen.rollout is None and seen.at_work is not None:
        return f"Stop `{seen.at_work.command}`?"
    return f"Take {seen.candidate} back?"


def abort(seen: Snapshot) -> tuple[str, ...]:
    if seen.rollout is None and seen.at_work is not None:
        return (
            f"`{seen.at_work.command}` (process {seen.at_work.pid}) stops, and undoes what it began.",
            f"Traffic stays as it is: {_shares(seen)}. Data is left as it is.",
        )
    if seen.stable is None:
        return (
            "It is the first deployment: there is no release to return to.",
            f"Traffic: {seen.candidate} is stopped, and nothing serves any more.",
            "Data is left as it is.",
        )
    slot = next((one for one in seen.slots if one.release == seen.stable), None)
    warm = "at once: it is running" if slot and slot.pid else "once it is started: it does not run now"
    return (
        f"Traffic: {seen.stable} gets all of it, {warm} (now: {_shares(seen)}).",
        f"{seen.candidate} is stopped; its window closes{_with_left(seen)}.",
        "Data is left as it is: what was acknowledged stays.",
    )


def rollback(seen: Snapshot) -> tuple[str, ...]:
    first = seen.previous
    back = f", {first} if you choose nothing else" if first else ""
    opened = seen.rollout is not None
    closes = (f"The open rollout of {seen.candidate} is closed as rolled back.",) if opened else ()
    return (
        f"Traffic: the release you choose gets all of it{back} (now: {_shares(seen)}).",
        f"{seen.candidate or seen.serving or 'What serves'} is stopped after that.",
        *closes,
        f"Data: a release leaves it as it is; a backup {_fate(seen)}",
        "A safety copy of what is there is taken first.",
    )


def _fate(seen: Snapshot) -> str:
    """What becomes of the data with a backup, where nobody says so: as `rollout rollback` does it."""
    if seen.environment.service.commands.get("store_merge"):
        return "is merged into it, so nothing acknowledged is lost."
    return "replaces it, for nothing merges: what was written since leaves the store, and is kept aside."


def roll_out(seen: Snapshot) -> tuple[str, ...]:
    steps = ", ".join(
        f"{one.percent} %" + (f" for {duration(one.hold_seconds)}" if one.hold_seconds else "")
        for one in seen.environment.traffic
    )
    stable = seen.serving
    return (
        "A release is built from the source below and verified beside what serves, before it gets traffic.",
        "Data: a verified backup is taken, then migrations that only expand are run.",
        f"Traffic: the new release gets {steps} (now: {_shares(seen)}), with the gates asked at each share.",
        f"{stable} is kept warm until the window closes." if stable else "Nothing serves yet.",
    )
