"""The parts of a page that change by themselves, as HTML. Everything is escaped by the templates."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment as Jinja
from jinja2 import FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from guarded_rollout.clock import duration
from guarded_rollout.host.release import IN_PROSE, short, shorten
from guarded_rollout.status import rows
from guarded_rollout.status.headline import headline, unknown
from guarded_rollout.ui import view
from guarded_rollout.ui.actions import offers, reasons
from guarded_rollout.ui.edge_trend import drawn
from guarded_rollout.ui.identity import ReleaseName
from guarded_rollout.ui.jobs import Job, Jobs
from guarded_rollout.ui.live import Reading
from web_assets import icon

TEMPLATES = Path(__file__).parent / "templates"
TABS = {
    "history": (("history", "History"),),
    "releases": (("releases", "Releases"), ("schema", "Migrations")),
    "backups": (("backups", "Backups"),),
    "copies": (("copies", "Copies elsewhere"),),
    "system": (("processes", "Processes"),),
}
"""The sections of an environment's page of which one group is shown at a time."""

SHOWN_JOBS = 3
FRESH_SECONDS = 3600.0  # what ended longer ago is in the history


def templates(asset: Callable[[str], str], name: Callable[[str], ReleaseName]) -> Jinja:
    """The templates with their filters; `name` names a release by its id."""
    made = Jinja(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"asset": asset, "icon": icon, "named": name}
    made.filters |= {"iso": iso, "stamp": stamp, "took": duration, "left": duration}
    made.filters |= {"prose": prose, "short": shorten, "unix": unix}
    return made


def iso(seconds: float) -> str:
    """Unix time for machines."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def unix(moment: str) -> float:
    """The unix time of a moment in ISO 8601."""
    return datetime.fromisoformat(moment).timestamp()


def stamp(seconds: float) -> str:
    """Unix time for people; a page's script turns it into how long ago that was."""
    return f"{datetime.fromtimestamp(seconds, UTC):%F %T} UTC"


def prose(words: str) -> Markup:
    """Words in which `commands` stand between backticks, and releases by their ids: shown by their short
    names, the whole id on hover."""
    parts, at = [], 0
    for found in IN_PROSE.finditer(words):
        said = found[0]
        parts.append(escape(words[at : found.start()]))
        if said.startswith("`"):
            parts.append(Markup("<code>{}</code>").format(said[1:-1]))
        else:
            parts.append(Markup('<abbr title="{}">{}</abbr>').format(said, short(said)))
        at = found.end()
    return Markup("").join([*parts, escape(words[at:])])


class Renderer:
    """Renders the sections of one reading."""

    def __init__(self, jinja: Jinja, jobs: Jobs) -> None:
        self._parts: Any = jinja.get_template("sections.html").module
        self._macros: Any = jinja.get_template("macros.html").module
        self._jobs = jobs

    def environment(self, reading: Reading) -> dict[str, str]:
        """All sections of an environment's page, by name."""
        seen, parts = reading.seen, self._parts
        recent = self._jobs.recent(seen.environment.name, limit=30)
        shown = [job for job in recent if job.action != "verify" and _fresh(job, seen.read_at)]
        shown = shown[:SHOWN_JOBS]
        newest = next((one for one in seen.history if one.target), None)
        rollout = seen.rollout or newest
        steps = rows.timeline(rollout, seen.at_work is not None) if rollout else ()
        made: dict[str, Markup] = {
            "unreadable": parts.unreadable(seen),
            "headline": parts.headline(seen, headline(seen, reading.config), unknown(seen)),
            "actions": parts.actions(seen, offers(seen), reasons(offers(seen))),
            "jobs": parts.jobs(seen, shown, {job.id: self._jobs.output(job) for job in shown}),
            "steps": parts.steps(seen, rollout, steps, view.share(seen)),
            **self._measured(reading),
            "traffic": parts.traffic(seen),
            "moves": parts.moves(seen, view.shares(seen.rollout) if seen.rollout else ()),
            "deliveries": parts.deliveries(seen, view.channel_problems(seen.deliveries)),
            "processes": parts.processes(seen),
            "releases": parts.releases(seen),
            "backups": parts.backups(seen, verifications(recent)),
            "copies": parts.copies(seen.environment, reading.copies),
            "schema": parts.schema(seen, view.schema(seen)),
            "history": parts.history(seen),
        }
        for row in self.gates(reading):
            made[f"gate-{row.name}"] = self._macros.gate_facts(row)
            made[f"values-{row.name}"] = self._macros.gate_table(row)
        return {name: Markup(html) for name, html in made.items()}

    def _measured(self, reading: Reading) -> dict[str, Markup]:
        """The gates of a rollout that is watched; else what clients got by the edge's log alone."""
        if reading.seen.session:
            return {"gates": self._macros.gate_list(self.gates(reading))}
        return {"trend": self._macros.trend(drawn(reading.trend))}

    def gates(self, reading: Reading) -> tuple[rows.GateRow, ...]:
        """The gates of an open rollout's window."""
        return rows.gate_rows(reading.seen, reading.config, reading.lines) if reading.seen.session else ()

    def card(self, reading: Reading) -> str:
        """An environment on the page of all."""
        return Markup(
            self._parts.card(
                reading.seen,
                headline(reading.seen, reading.config),
                unknown(reading.seen),
                drawn(reading.trend),
                view.serving_since(reading.seen),
            )
        )


def _fresh(job: Job, now: float) -> bool:
    return job.running or now - (job.ended_at or job.started_at) < FRESH_SECONDS


def verifications(jobs: list[Job]) -> Mapping[str, Job]:
    """The newest verification of each backup, by the archive's name."""
    found: dict[str, Job] = {}
    for job in jobs:
        if job.action == "verify" and len(job.words) > 2:
            found.setdefault(Path(job.words[2]).name, job)
    return found
