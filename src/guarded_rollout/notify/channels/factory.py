"""The factory: makes a channel from its name and the settings."""

from collections.abc import Callable

from guarded_rollout.notify.channels import Channel, NotConfigured
from guarded_rollout.notify.channels.apprise import Apprise
from guarded_rollout.notify.channels.console import Console
from guarded_rollout.notify.channels.discord import Discord
from guarded_rollout.notify.channels.email import Email
from guarded_rollout.notify.channels.pager import Pager
from guarded_rollout.notify.channels.slack import Slack
from guarded_rollout.notify.channels.teams import Teams
from guarded_rollout.notify.settings import Settings

BUILDERS: dict[str, tuple[str, Callable[[Settings], Channel]]] = {
    "slack": ("SLACK_WEBHOOK_URL", Slack),
    "teams": ("TEAMS_WEBHOOK_URL", Teams),
    "discord": ("DISCORD_WEBHOOK_URL", Discord),
    "email": ("SMTP_HOST", Email),
    "pager": ("PAGER_ROUTING_KEY", Pager),
    "apprise": ("APPRISE_URLS", Apprise),
    "console": ("", lambda settings: Console()),
}
"""By name, the setting that switches a channel on, and its class."""


def configured(settings: Settings) -> tuple[str, ...]:
    """Return the channels that the settings switch on; the console, always there, is not counted."""
    return tuple(name for name, (setting, _) in BUILDERS.items() if setting and settings.text(setting))


def build(name: str, settings: Settings) -> Channel:
    """Make a channel. Raises `NotConfigured` if it is off, `NotificationSettingsError` if wrongly set."""
    setting, builder = BUILDERS[name]
    if setting and not settings.text(setting):
        raise NotConfigured(f"not configured ({setting} is not set)")
    return builder(settings)
