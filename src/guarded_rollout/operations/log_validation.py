"""Validates the logging of this machine: its configuration, its folder, its rotation, and the logs so far."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from guarded_rollout.checks.findings import Finding, examine, failed, ok, warning
from guarded_rollout.config import gates
from guarded_rollout.config.environments import Environment
from guarded_rollout.logs import LEVELS, open_log, parse
from guarded_rollout.notify import settings
from guarded_rollout.notify.channels import factory
from guarded_rollout.notify.fallback import Fallback
from guarded_rollout.rotation import (
    COMPRESS_AFTER,
    COMPRESSED,
    DAY,
    REMOVE_AFTER,
    SESSION,
    Verb,
    due,
    files_in,
)

MOST_BYTES = 64 * 2**20  # of logs read, the newest first


def validate(environment: Environment) -> Iterator[Finding]:
    """Check everything, and change nothing."""
    compressed = f"logs are compressed after {COMPRESS_AFTER / DAY:g}"
    removed = f"compressed logs are removed after {REMOVE_AFTER / DAY:g}"
    return examine(
        {
            "configuration": lambda: _configuration(environment),
            "channels": lambda: _channels(environment),
            "format": lambda: _format(environment),
            "rotation": lambda: _overdue(environment, {Verb.COMPRESS, Verb.CUT}, compressed),
            "retention": lambda: _overdue(environment, {Verb.REMOVE}, removed),
            "fallback file": lambda: _fallback(environment),
            "secrets": lambda: _secrets(environment),
            "permissions": lambda: _permissions(environment),
        }
    )


def _configuration(environment: Environment) -> Iterator[Finding]:
    level = gates.load(environment.gates).global_settings.log_level
    found = settings.load(environment.project)
    yield ok(f"gates file and notification settings are readable; log level {level}")
    if found.unknown:
        yield warning(f"{settings.FILE} has {', '.join(found.unknown)}, which mean nothing")


def _channels(environment: Environment) -> Iterator[Finding]:
    configured = factory.configured(settings.load(environment.project))
    yield ok(f"configured: {', '.join(configured) or 'the console alone'}")


def _format(environment: Environment) -> Iterator[Finding]:
    levels: Counter[str] = Counter()
    torn = 0
    for path, text in _logs(environment):
        if SESSION.fullmatch(path.name.removesuffix(".gz")):
            lines = [parse(line) for line in text.splitlines() if line.strip()]
            levels.update(line.level for line in lines if line)
            torn += lines.count(None)
    if torn:
        yield warning(
            f"{torn} of {levels.total() + torn} lines are none of ours", "A crash may have torn one."
        )
    if unknown := sorted(levels.keys() - set(LEVELS)):
        yield warning(f"there are lines of unknown levels: {', '.join(unknown)}")
    if not torn:
        yield ok(f"{levels.total()} lines read, all well-formed")


def _overdue(environment: Environment, verbs: set[Verb], well: str) -> Iterator[Finding]:
    actions = due(environment.logs, environment.service_logs, datetime.now(UTC))
    if overdue := sum(action.verb in verbs for action in actions):
        yield warning(f"rotation is overdue for {overdue} logs", "`rollout logs rotate` does it.")
    else:
        yield ok(f"{well} days; none is overdue")


def _fallback(environment: Environment) -> Iterator[Finding]:
    entries = list(Fallback(environment.logs).lines())
    unreadable = sum(entry.event is None for entry in entries)
    waiting = sum(entry.event is not None and not entry.replayed for entry in entries)
    if unreadable:
        yield warning(f"{unreadable} lines of the fallback file cannot be read", "They stay until removed.")
    if waiting:
        counted = "1 event waits" if waiting == 1 else f"{waiting} events wait"
        yield warning(f"{counted} in the fallback file", "`rollout notify --replay` sends them.")
    if not unreadable and not waiting:
        yield ok("no event waits in the fallback file")


def _secrets(environment: Environment) -> Iterator[Finding]:
    hidden = settings.load_what_can_be(environment.project)
    shown = [path.name for path, text in _logs(environment) if hidden.redact(text) != text]
    if shown:
        advice = "Replace that secret where it was issued, and remove the file."
        yield failed(f"a secret of the notification settings stands in {', '.join(shown)}", advice)
    else:
        yield ok("no secret of the notification settings shows in the logs so far")


def _permissions(environment: Environment) -> Iterator[Finding]:
    folder = environment.logs
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        yield failed(f"{existing} cannot be written to")
    paths = [folder, *folder.iterdir()] if folder.is_dir() else []
    wide = [path for path in paths if path.exists() and path.stat().st_mode & stat.S_IWOTH]
    for path in wide:
        yield failed(f"everybody may write to {path}", f"chmod o-w {path}")
    secrets = environment.project / settings.FILE
    if secrets.exists() and secrets.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield warning(f"others may read {secrets}", f"chmod 600 {secrets}")
    if not wide:
        yield ok("nobody else may write to the logs")


def _logs(environment: Environment) -> Iterator[tuple[Path, str]]:
    """The logs so far with their text, the newest first, up to `MOST_BYTES`."""
    left = MOST_BYTES
    for one in sorted(files_in(environment.logs), key=lambda one: -one.changed_at):
        name = one.path.name
        if not (SESSION.fullmatch(name) or COMPRESSED.fullmatch(name) or one.path.suffix == ".jsonl"):
            continue
        with open_log(one.path) as file:
            text = file.read(left)
        left -= len(text)
        yield one.path, text
        if left <= 0:
            return
