"""Whether logging works: what the real components write in a scratch folder, and what stands in the real one.

Nothing is written to the real logs; what is tried happens in the scratch folder alone.
"""

import contextlib
import gzip
import io
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from guarded_rollout.checks.preflight import Finding, Level
from guarded_rollout.clock import SystemClock
from guarded_rollout.config import gates
from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import Channel, Notifications
from guarded_rollout.errors import RolloutError
from guarded_rollout.logs import LEVELS, LogFile, configure, parse
from guarded_rollout.monitor.log import MonitorLog, path_for
from guarded_rollout.notify import settings
from guarded_rollout.notify.events import Kind, event
from guarded_rollout.notify.fallback import Fallback
from guarded_rollout.notify.notifier import Notifier
from guarded_rollout.notify.outbox import Outbox
from guarded_rollout.notify.workers import Patience
from guarded_rollout.rotation import COMPRESSED, DAY, SESSION, carry_out, due

CONTRACT = ["timestamp", "level", "message", "environment", "data"]
FALLBACK = {
    "timestamp", "environment", "level", "message", "data", "notification_results", "fallback_reason"
}  # fmt: skip
MARKER = "validation-secret-4f1c9a7e"
MOST_BYTES = 64 * 2**20  # of real logs read, the newest first


def validate(environment: Environment, scratch: Path) -> Iterator[Finding]:
    """Every check; each is made whatever another one finds."""
    tried = replace(environment, project=scratch, root=scratch / "root", logs=scratch / "monitor_logs")
    rows: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("configuration", lambda: _configuration(environment)),
        ("format", lambda: _format(tried)),
        ("levels", lambda: _levels(tried)),
        ("rotation", lambda: _rotation(scratch / "rotation")),
        ("retention", lambda: _retention(scratch / "retention")),
        ("fallback file", lambda: _fallback(tried, environment)),
        ("secrets", lambda: _secrets(tried, environment)),
        ("permissions", lambda: _permissions(environment)),
        ("logs so far", lambda: _so_far(environment)),
    ]
    for name, look in rows:
        try:
            yield from (replace(finding, name=name) for finding in look())
        except RolloutError as error:
            yield Finding(name, Level.FAILED, error.sentence, error.hint)
        except OSError as error:
            yield Finding(name, Level.FAILED, str(error))


def _ok(detail: str) -> Finding:
    return Finding("", Level.OK, detail)


def _wrong(detail: str, advice: str = "") -> Finding:
    return Finding("", Level.FAILED, detail, advice)


def _warning(detail: str, advice: str = "") -> Finding:
    return Finding("", Level.WARNING, detail, advice)


def _configuration(environment: Environment) -> Iterator[Finding]:
    level = gates.load(environment.gates).global_settings.log_level
    found = settings.load(environment.project)
    yield _ok(f"gates file and notification settings are readable; log level {level}")
    if found.unknown:
        yield _warning(f"{settings.FILE} has {', '.join(found.unknown)}, which mean nothing")


# ---- what the components write


def written(environment: Environment) -> dict[str, list[str]]:
    """Lines that the real writers write: a command's log, the monitor's, and what modules log."""
    clock = SystemClock()
    command = LogFile.open(environment.logs, "test_logging", environment.name, clock)
    monitor = MonitorLog.open(path_for(environment.logs, environment.name, clock.now()), environment.name)
    stream = io.StringIO()
    with modules_log_to(stream, "debug", environment.name):
        for level in LEVELS:
            words = f"A line of level {level}: “quotes”, a tab\t, a line\nbreak"
            command.write(level, words, number=1)
            monitor.write(clock.now().timestamp(), level, words, number=1)
            getattr(structlog.get_logger(), level)(words, number=1)
    command.close()
    monitor.close()
    return {
        "a command's log": command.path.read_text().splitlines(),
        "the monitoring log": monitor.path.read_text().splitlines(),
        "what modules log": stream.getvalue().splitlines(),
    }


def _format(environment: Environment) -> Iterator[Finding]:
    for who, lines in written(environment).items():
        if len(lines) != len(LEVELS):
            yield _wrong(f"{who}: {len(LEVELS)} lines were written and {len(lines)} came out")
        for text in lines:
            line = parse(text)
            if line is None or list(json.loads(text)) != CONTRACT:
                yield _wrong(f"{who}: {text[:120]!r} is not a line of {' '.join(CONTRACT)}")
                break
            if line.environment != environment.name or abs(time.time() - line.at) > 3600:
                yield _wrong(f"{who}: a line has the wrong environment or time: {text[:120]}")
                break
        else:
            yield _ok(f"{who}: JSON lines with {' '.join(CONTRACT)}")


def _levels(environment: Environment) -> Iterator[Finding]:
    for who, lines in written(environment).items():
        found = [line.level for line in map(parse, lines) if line]
        if tuple(found) != LEVELS:
            yield _wrong(f"{who}: the levels {', '.join(LEVELS)} came out as {', '.join(found)}")
    stream = io.StringIO()
    with modules_log_to(stream, "warning", environment.name):
        structlog.get_logger().info("suppressed")
        structlog.get_logger().warning("shown")
    if "suppressed" in stream.getvalue() or "shown" not in stream.getvalue():
        yield _wrong("the level does not decide which lines are written")
        return
    yield _ok(f"{', '.join(LEVELS)}; lower ones are left out")


def _rotation(folder: Path) -> Iterator[Finding]:
    folder.mkdir()
    now, content = datetime.now(UTC), os.urandom(200_000)
    old, fresh = (folder / f"dhash_x_2026-01-0{day}T00-00-00-000Z.log" for day in (1, 2))
    for path, age in ((old, 1.5 * DAY), (fresh, 0.5 * DAY)):
        path.write_bytes(content)
        os.utime(path, (now.timestamp() - age, now.timestamp() - age))
    carry_out(due(folder, folder / "none", now), now)
    packed = old.with_name(old.name + ".gz")
    if not packed.exists() or gzip.decompress(packed.read_bytes()) != content:
        yield _wrong("a log of yesterday was not compressed whole")
    elif old.exists() or not fresh.exists():
        yield _wrong("rotation left the old log, or took today's")
    else:
        yield _ok("a log older than a day is compressed, whole; today's stays")


def _retention(folder: Path) -> Iterator[Finding]:
    folder.mkdir()
    now = datetime.now(UTC)
    names = {"dhash_x_2026-01-01T00-00-00-000Z.log.gz": 31, "dhash_x_2026-01-02T00-00-00-000Z.log.gz": 29}
    for name, days in (*names.items(), ("kept.txt", 400)):
        (folder / name).write_bytes(b"")
        os.utime(folder / name, (now.timestamp() - days * DAY,) * 2)
    carry_out(due(folder, folder / "none", now), now)
    left = sorted(path.name for path in folder.iterdir())
    if left != [list(names)[1], "kept.txt"]:
        yield _wrong(f"after 30 days these were left: {', '.join(left)}")
    else:
        yield _ok("compressed logs go after 30 days; other files stay")


def _fallback(tried: Environment, environment: Environment) -> Iterator[Finding]:
    notifier = _quick_notifier(tried, {})
    with modules_log_to(io.StringIO(), "critical", tried.name), notifier:
        notifier.publish(event(Kind.MESSAGE, tried.name, datetime.now(UTC), message="validation"))
    lines = notifier.fallback.path.read_text().splitlines() if notifier.fallback.path.exists() else []
    if len(lines) != 1 or not json.loads(lines[0]).keys() >= FALLBACK:
        yield _wrong("an event that no channel could deliver is not in the fallback file with its fields")
        return
    yield _ok("what no channel delivers is kept with its reason")
    entries = list(Fallback(environment.logs).entries())
    unreadable = sum(entry.event is None for entry in entries)
    waiting = sum(entry.event is not None and not entry.replayed for entry in entries)
    if unreadable:
        yield _warning(f"{unreadable} lines of the fallback file cannot be read", "They stay until removed.")
    if waiting:
        yield _warning(f"{waiting} events wait in the fallback file", "`rollout notify --replay` sends them.")


def _secrets(tried: Environment, environment: Environment) -> Iterator[Finding]:
    stream = io.StringIO()
    environ = {"SLACK_WEBHOOK_URL": f"http://127.0.0.1:9/services/{MARKER}", "NOTIFICATION_TIMEOUT": "1"}
    notifier = _quick_notifier(tried, environ)
    with modules_log_to(stream, "debug", tried.name), notifier:
        notifier.publish(event(Kind.MESSAGE, tried.name, datetime.now(UTC), message="validation"))
    said = stream.getvalue() + notifier.fallback.path.read_text()
    if MARKER in said or "Notification" not in said:
        yield _wrong("a webhook's address shows in what the notifier logs")
    hidden = settings.load_what_can_be(environment.project)
    shown = [path.name for path, text in _texts(environment) if hidden.redact(text) != text]
    if shown:
        advice = "Replace that secret where it was issued, and remove the file."
        yield _wrong(f"a secret of the notification settings stands in {', '.join(shown)}", advice)
    if not shown and MARKER not in said:
        yield _ok("secrets show neither in what is logged now nor in the logs so far")


# ---- what stands in the real folder


def _permissions(environment: Environment) -> Iterator[Finding]:
    folder = environment.logs
    if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
        yield _wrong(f"{folder} cannot be written to")
    wide = [
        path
        for path in (folder, *(folder.iterdir() if folder.is_dir() else ()))
        if path.exists() and path.stat().st_mode & stat.S_IWOTH
    ]
    for path in wide:
        yield _wrong(f"everybody may write to {path}", f"chmod o-w {path}")
    secrets = environment.project / settings.FILE
    if secrets.exists() and secrets.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield _warning(f"others may read {secrets}", f"chmod 600 {secrets}")
    if not wide:
        yield _ok("nobody else may write to the logs")


def _so_far(environment: Environment) -> Iterator[Finding]:
    counted = torn = 0
    for path, text in _texts(environment):
        if SESSION.fullmatch(path.name.removesuffix(".gz")):
            lines = [parse(line) for line in text.splitlines() if line.strip()]
            counted += len(lines)
            torn += sum(line is None for line in lines)
    if torn:
        yield _warning(f"{torn} of {counted} lines are none of ours", "A crash may have torn one.")
    overdue = due(environment.logs, environment.service_logs, datetime.now(UTC))
    if overdue:
        yield _warning(f"rotation is overdue for {len(overdue)} logs", "`rollout logs rotate` does it.")
    if not torn:
        yield _ok(f"{counted} lines read, all well-formed")


def _texts(environment: Environment) -> Iterator[tuple[Path, str]]:
    """The real logs, the newest first, up to `MOST_BYTES`."""
    if not environment.logs.is_dir():
        return
    ours = [
        path
        for path in environment.logs.iterdir()
        if path.is_file()
        and not path.is_symlink()
        and (SESSION.fullmatch(path.name) or COMPRESSED.fullmatch(path.name) or path.suffix == ".jsonl")
    ]
    left = MOST_BYTES
    for path in sorted(ours, key=lambda path: -path.stat().st_mtime):
        packed = path.suffix == ".gz"
        with gzip.open(path, "rt", errors="replace") if packed else path.open(errors="replace") as file:
            text = file.read(left)
        left -= len(text)
        yield path, text
        if left <= 0:
            return


# ---- helpers


def _quick_notifier(environment: Environment, environ: dict[str, str]) -> Notifier:
    environment.project.mkdir(exist_ok=True, parents=True)
    fallback = Fallback(environment.logs)
    fallback.path.unlink(missing_ok=True)
    return Notifier(
        Outbox.open(environment.root / f"notifications-{len(environ)}.db"),
        fallback,
        settings.load(environment.project, environ),
        Notifications(channels=(Channel.SLACK,)),
        patience=Patience(poll=0.05, retries=0.1, first_try=5),
    )


@contextlib.contextmanager
def modules_log_to(stream: io.StringIO, level: str, environment: str) -> Iterator[None]:
    """Let modules log there for a block."""
    before = structlog.get_config()
    bound = structlog.contextvars.get_contextvars()
    configure(level, environment, stream)
    try:
        yield
    finally:
        structlog.configure(**before)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**bound)
