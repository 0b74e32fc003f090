"""Messages: an event as a title, sentences and labelled facts, from a template that operators may replace.

A template is a text file named after the event's kind. Its first line is the title; a line `Label: $name`
becomes a fact; a line with a placeholder that the event has no value for is left out.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template

from guarded_rollout.clock import duration
from guarded_rollout.errors import NotificationTemplateError
from guarded_rollout.host.release import shorten as short_names
from guarded_rollout.logs import ModuleLog
from guarded_rollout.notify.events import Event, Facts, Kind, Level

log = ModuleLog()

LABELLED = re.compile(r"(?P<label>[A-Z][\w -]{0,40}): (?P<value>.+)")
NAMES = (*Facts.__annotations__, "service", "environment", "level", "kind", "time", "message", "id")
"""The placeholders of a template."""
COMMANDS = ("next_command", "manual_command")

NEXT: Mapping[Kind, str] = {
    **dict.fromkeys(Kind, "rollout status --env {environment}"),
    Kind.DEPLOYMENT_FAILED: "rollout history --env {environment}",
    Kind.GATE_ALERT: "rollout status --env {environment}; rollout ack --env {environment}",
    Kind.ROLLBACK_SUCCEEDED: "rollout smoke --env {environment} --quick",
    Kind.ROLLBACK_FAILED: "rollout rollback --to previous --env {environment} --force",
    Kind.INTERRUPTED: "rollout resume --env {environment}",
    Kind.UNWATCHED: "rollout monitor --env {environment}",
    Kind.ESCALATED: "rollout ack --env {environment}",
}
"""The next command, where the event names none."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message for a channel. `incidents` are the keys that the event opens, concerns or ends; `service` is
    the name of what it is about, which whoever has several must read first."""

    event: Event
    title: str
    text: str
    facts: tuple[tuple[str, str], ...]
    incidents: tuple[str, ...] = ()
    service: str = ""

    @property
    def level(self) -> Level:
        return self.event.level

    def plain(self) -> str:
        """Return all of it as text."""
        labelled = (f"{label}: {value}" for label, value in self.facts)
        return "\n".join(filter(None, [self.title, "", self.text, *labelled, f"Event: {self.event.id}"]))


def compose(event: Event, folder: Path, incidents: tuple[str, ...] = (), service: str = "") -> Message:
    """Render with the operator's template; one that is wrong is logged and the shipped one used."""
    try:
        template = template_for(event.kind, folder)
    except NotificationTemplateError as error:
        log.error(error.sentence)
        template = shipped(event.kind)
    return render(event, template, incidents, service)


def render(event: Event, template: str, incidents: tuple[str, ...] = (), service: str = "") -> Message:
    """Render an event with a template; a title that does not name the service begins with it.

    Releases have their short names in sentences, and the whole id as a fact of its own and in commands.
    """
    values_given = {**_values(event), "service": service}
    shown = {name: printable(value) for name, value in values_given.items()}
    values = {name: value for name, value in shown.items() if value.strip()}
    told = {name: value if name in COMMANDS else short_names(value) for name, value in values.items()}
    title, *rest = template.strip().splitlines()
    sentences: list[str] = []
    facts: list[tuple[str, str]] = []
    for line in rest:
        needed = Template(line).get_identifiers()
        if any(name not in values for name in needed):
            continue
        labelled = LABELLED.fullmatch(line)
        if labelled:
            whole = told | {name: values[name] for name in ("release",) if name in values}
            facts.append((labelled["label"], Template(labelled["value"]).substitute(whole)))
        else:
            sentences.append(Template(line).substitute(told))
    known = {name: told.get(name, "unknown") for name in NAMES}
    heading = " ".join(Template(title).substitute(known).split())
    if service and "service" not in Template(title).get_identifiers():
        heading = f"{printable(service)}: {heading}"
    return Message(event, heading, "\n".join(sentences).strip(), tuple(facts), incidents, service)


def template_for(kind: Kind, folder: Path) -> str:
    """Return the operator's template of a kind, or the shipped one. Raises `NotificationTemplateError`."""
    path = folder / f"{kind}.txt"
    try:
        return checked(path.read_text(), path)
    except (FileNotFoundError, NotADirectoryError):
        return shipped(kind)
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, f"it cannot be read: {error}") from None


@cache
def shipped(kind: Kind) -> str:
    """Return the template that comes with the package."""
    return files("guarded_rollout.notify").joinpath("templates", f"{kind}.txt").read_text()


def checked(text: str, path: Path) -> str:
    """Return a template without control characters. Raises `NotificationTemplateError` if it is wrong."""
    text = printable(text)
    if not text.strip():
        raise _wrong(path, "it is empty")
    for number, line in enumerate(text.strip().splitlines(), start=1):
        template = Template(line)
        if not template.is_valid():
            raise _wrong(path, f"line {number} has a lone $ (write $$ for a dollar sign)")
        unknown = [name for name in template.get_identifiers() if name not in NAMES]
        if unknown:
            raise _wrong(path, f"line {number} names ${unknown[0]}, which no event has")
    return text


def shorten(text: str, limit: int) -> str:
    """Cut to at most `limit` characters; a string that was cut says so, and how long it was."""
    if len(text) <= limit:
        return text
    notice = f" … (shortened: {len(text):,} characters)"
    return text[: max(0, limit - len(notice))] + notice


def fit(text: str, limit: int, escape: Callable[[str], str]) -> str:
    """Shorten and escape, so that the result is within the limit although escaping makes it longer."""
    room = limit
    while len(escaped := escape(shorten(text, room))) > limit:
        room -= max(1, (len(escaped) - limit) // 4)
    return escaped


def printable(text: str) -> str:
    """Remove control characters, which terminals, headers and JSON receivers take for more than text."""
    text = text.replace("\r\n", "\n")
    kept = (c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    return "".join(kept)


def _values(event: Event) -> dict[str, str]:
    values = {name: _text(name, value) for name, value in event.facts.items()}
    following = NEXT[event.kind].format(environment=event.environment)
    return {
        "next_command": following,
        **{name: value for name, value in values.items() if value},
        "environment": event.environment,
        "level": event.level.upper(),
        "kind": event.kind.replace("_", " "),
        "time": f"{event.at:%Y-%m-%d %H:%M:%S} UTC",
        "message": event.message,
        "id": event.id,
    }


def _text(name: str, value: object) -> str:
    if name == "duration_seconds" and isinstance(value, int | float):
        return duration(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    if isinstance(value, tuple | list):
        return " ".join(map(str, value)) if name == "recipients" else ", ".join(map(str, value))
    return str(value)


def _wrong(path: Path, problem: str) -> NotificationTemplateError:
    return NotificationTemplateError(
        path=path, problem=problem, known=", ".join(f"${name}" for name in NAMES)
    )
