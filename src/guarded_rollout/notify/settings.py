"""Notification settings: environment variables or `.env.notifications`; the environment wins.

A variable that is set but empty switches its channel off, whatever the file says.
"""

import io
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dotenv.parser import parse_stream

from guarded_rollout.config.environments import CHANNELS_FILE
from guarded_rollout.errors import NotificationSettingsError
from guarded_rollout.files import write_atomic
from guarded_rollout.secret import Secret

FILE = CHANNELS_FILE


@dataclass(frozen=True, slots=True)
class Setting:
    """An environment variable."""

    name: str
    default: str
    help: str
    secret: bool = False


SETTINGS = (
    Setting("SLACK_WEBHOOK_URL", "", "incoming webhook of a Slack app", secret=True),
    Setting("SLACK_CHANNEL", "", "another channel than the webhook's own"),
    Setting("SLACK_USERNAME", "", "shown as the sender"),
    Setting("SLACK_ICON", "", "the sender's emoji, such as :shield:, or the address of an image"),
    Setting("TEAMS_WEBHOOK_URL", "", "workflow or old connector address of a Teams channel", secret=True),
    Setting("DISCORD_WEBHOOK_URL", "", "webhook of a Discord channel", secret=True),
    Setting("DISCORD_USERNAME", "", "shown as the sender"),
    Setting("SMTP_HOST", "", "mail server"),
    Setting("SMTP_PORT", "587", "465 is TLS from the start"),
    Setting("SMTP_SECURITY", "auto", "auto, starttls, tls or none; auto takes what the server offers"),
    Setting("SMTP_CA_FILE", "", "certificates to trust, for a private authority"),
    Setting("SMTP_USER", "", "login; never sent without TLS unless SMTP_SECURITY is none"),
    Setting("SMTP_PASS", "", "its password", secret=True),
    Setting("EMAIL_FROM", "", "sender address"),
    Setting("EMAIL_TO", "", "recipients, separated by commas"),
    Setting("PAGER_ROUTING_KEY", "", "integration key of a PagerDuty service (Events API v2)", secret=True),
    Setting("PAGER_URL", "https://events.pagerduty.com/v2/enqueue", "the Events API v2 of another product"),
    Setting(
        "APPRISE_URLS", "", "addresses for Apprise, separated by spaces; they get every event", secret=True
    ),
    Setting("NOTIFICATION_RECIPIENTS", "", "who an escalation's names are: @ops=ops@example.org,@on-call=…"),
    Setting(
        "NOTIFICATION_TEMPLATES", "notification_templates", "folder of templates that replace the shipped"
    ),
    Setting("NOTIFICATION_TIMEOUT", "10", "seconds that one attempt may take"),
)
"""Every setting, in the order of `.env.notifications.example`."""


@dataclass(frozen=True)
class Settings:
    """The values in force."""

    values: Mapping[str, str] = field(repr=False)
    folder: Path
    unknown: tuple[str, ...] = ()  # names in the file that mean nothing
    problem: str = ""  # why the file was not read

    def text(self, name: str) -> str:
        return self.values[name]

    def secret(self, name: str) -> Secret:
        return Secret(self.values[name])

    def seconds(self, name: str) -> float:
        """Parse a time limit, in seconds. Raises `NotificationSettingsError`."""
        try:
            value = float(self.values[name])
        except ValueError:
            value = 0.0
        if not 0 < value <= 300:
            self.reject(name, f"is {self.values[name]!r}; seconds from 1 to 300 are meant")
        return value

    def port(self, name: str) -> int:
        """Parse a port. Raises `NotificationSettingsError`."""
        value = self.values[name]
        if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 65535):
            self.reject(name, f"is {value!r}; a port from 1 to 65535 is meant")
        return int(value)

    def reject(self, name: str, problem: str) -> None:
        """Raise `NotificationSettingsError` for a setting."""
        raise NotificationSettingsError(path=name, problem=problem)

    @property
    def templates(self) -> Path:
        return self.folder / self.values["NOTIFICATION_TEMPLATES"]

    def redact(self, text: str) -> str:
        """Replace every secret of these settings by `***`, for logs and errors."""
        secrets = (self.values[setting.name] for setting in SETTINGS if setting.secret)
        for hidden in sorted({part for value in secrets for part in _parts(value)}, key=len, reverse=True):
            text = text.replace(hidden, "***")
        return text


def load(folder: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Load the settings of a project folder. Raises `NotificationSettingsError` with file and line."""
    return _settings(folder, dict(read(folder / FILE)), environ)


def load_what_can_be(folder: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Load the settings, without a file that is wrong: a rollout must not end for it."""
    try:
        return load(folder, environ)
    except NotificationSettingsError as error:
        return replace(_settings(folder, {}, environ), problem=error.sentence)


def _settings(folder: Path, written: Mapping[str, str], environ: Mapping[str, str] | None) -> Settings:
    names = {setting.name for setting in SETTINGS}
    values = {setting.name: setting.default for setting in SETTINGS}
    for source in (written, os.environ if environ is None else environ):
        values.update((name, value.strip()) for name, value in source.items() if name in names)
    for setting in SETTINGS:  # only an address can be switched off; a number cannot be empty
        if setting.default and not values[setting.name]:
            values[setting.name] = setting.default
    return Settings(values, folder, tuple(sorted(written.keys() - names)))


def readable_by_others(folder: Path) -> int | None:
    """Return the mode of the settings' file if other users can read it, which has secrets; else None."""
    try:
        mode = stat.S_IMODE((folder / FILE).stat().st_mode)
    except OSError:
        return None
    return mode if mode & 0o077 else None


def write(folder: Path, changed: Mapping[str, str]) -> Path:
    """Write these settings into the file, which only this user can read; its other lines stay.

    Raises `NotificationSettingsError` for a name that is none, `OSError`.
    """
    for name in changed.keys() - {setting.name for setting in SETTINGS}:
        raise NotificationSettingsError(path=name, problem="there is no such setting")
    path = folder / FILE
    kept = [
        binding.original.string
        for binding in (parse_stream(io.StringIO(path.read_text())) if path.exists() else ())
        if binding.key not in changed
    ]
    lines = [f"{name}={_quoted(value)}\n" for name, value in changed.items()]
    before = "".join(kept)
    separator = "" if not before or before.endswith("\n") else "\n"
    write_atomic(path, before + separator + "".join(lines), mode=0o600)
    return path


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def read(path: Path) -> Iterable[tuple[str, str]]:
    """Yield the name and value of each line; a missing file has none."""
    try:
        with path.open(encoding="utf-8") as file:
            bindings = list(parse_stream(file))
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise NotificationSettingsError(path=path, problem=f"it cannot be read: {error}") from None
    for binding in bindings:
        if binding.error or (binding.key and binding.value is None):
            where, what = f"line {binding.original.line}", "NAME=value is meant, in quotes if it has spaces"
            raise NotificationSettingsError(path=path, problem=f"{where} is not a setting: {what}")
        if binding.key:
            yield binding.key, binding.value or ""


def _parts(value: str) -> Iterable[str]:
    """Yield what must not show: the whole secret, and of an address its path and what in it looks random."""
    for piece in value.split():
        yield piece
        path, _, query = piece.partition("://")[2].partition("/")[2].partition("?")
        yield from (part for part in (path, query) if len(part) >= 8)
        words = re.split(r"[/&=?]", f"{path}/{query}")
        yield from (word for word in words if len(word) >= 12 and not word.isalpha())
