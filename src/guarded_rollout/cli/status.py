"""`rollout status`: what serves, what is being rolled out, and how far it is, at a glance."""

from rich.console import Console
from rich.table import Table

from guarded_rollout.backup.catalog import latest
from guarded_rollout.checks.schema import revision_of
from guarded_rollout.cli.app import AsJson, Env, Session, app, session
from guarded_rollout.errors import RolloutError
from guarded_rollout.gates.verdict import span
from guarded_rollout.host.slots import SLOTS, Slot
from guarded_rollout.lock import owner
from guarded_rollout.rollout import in_words
from guarded_rollout.steps.watch import window
from guarded_rollout.watch import heartbeat
from guarded_rollout.watching import EngineRollouts


@app.command(epilog="Example: rollout status --env staging --json")
def status(env: Env = "production", as_json: AsJson = False) -> None:
    """Environment, releases, traffic, step, window, last backup and schema. Changes nothing."""
    with session(env, "status", as_json=as_json, exclusive=False) as work:
        found = look(work)
        if as_json:
            work.out.result(**found)
            return
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in found.items():
            if value not in (None, "", []):
                table.add_row(name.replace("_", " "), str(value))
        Console().print(table)


def look(work: Session) -> dict[str, object]:
    """Every row of the answer."""
    site, environment = work.site, work.environment
    running = site.processes.states() if site.processes.up() else {}
    share = site.traffic.share()
    serving = site.serving()
    rollout = work.journal.open_rollout(environment.name)
    opened = window(rollout) if rollout else None
    holder = owner(environment.lock)
    backup = latest(environment.backups, environment.name)

    def slot_row(slot: Slot) -> str | None:
        release = site.slots.release(slot)
        if release is None:
            return None
        state = running.get(slot)
        runs = f"{state.description.lower()}, pid {state.pid}" if state and state.running else "not running"
        health = "healthy" if site.answers(slot) else "not healthy"
        return f"{release.id}, {share[slot]} % of the traffic, {runs}, {health}"

    return {
        "environment": f"{environment.name}, http://localhost:{environment.port}",
        "stable": rollout.source if rollout else (serving.id if serving else "nothing serves yet"),
        "candidate": rollout.target if rollout else None,
        **{slot: slot_row(slot) for slot in SLOTS},
        "step": _step(work),
        "window_left": None
        if opened is None
        else in_words(opened.left(site.clock.now())) + " paused" * opened.paused,
        "watched_by": _watched_by(work),
        "at_work": str(holder) if holder else None,
        "last_backup": backup.name if backup else "none",
        "schema": _schema(work),
        "supervisor": "running" if running else "not running",
    }


def _step(work: Session) -> str | None:
    rollout = work.journal.open_rollout(work.environment.name)
    if rollout is None:
        return None
    begun = rollout.steps[-1].name if rollout.steps else "the start"
    if window(rollout) is not None and rollout.unfinished and rollout.unfinished.name == "watch":
        return "watch"
    if owner(work.environment.lock) is None:
        return f"interrupted at {begun}: `rollout resume` goes on, `rollout abort` takes it back"
    return begun


def _watched_by(work: Session) -> str | None:
    """Who watches the open window; a process that runs and does not beat watches nothing."""
    rollouts = EngineRollouts(work.environment, work.site.clock, lambda line: None)
    opened = rollouts.open_window()
    rollouts.close()
    if opened is None:
        return None
    beat = heartbeat.last(work.environment)
    silent = heartbeat.unwatched_seconds(beat, opened, work.site.clock.now().timestamp())
    if beat is not None and not silent:
        return f"process {beat.pid}, its log is {beat.log}"
    return f"nobody, for {span(silent)}: run `rollout monitor --env {work.environment.name}`"


def _schema(work: Session) -> str | None:
    serving = work.site.serving()
    if serving is None:
        return None
    try:
        return revision_of(work.site, serving)
    except RolloutError as error:
        return f"unknown: {error.sentence}"
