"""Every command of `rollout`: its place in the help, its line there, and the module that defines it."""

from typing import NamedTuple


class Entry(NamedTuple):
    """One command, or one group of commands, as `rollout --help` lists it. Hidden where `panel` is empty."""

    panel: str
    summary: str
    modules: tuple[str, ...]
    """What must be imported before it can run, below `guarded_rollout.cli`."""


DEPLOY, OBSERVE, RECOVER, MAINTAIN = "Deploy", "Observe", "Recover", "Maintain"

COMMANDS = {
    "up": Entry(DEPLOY, "Back up, migrate, deploy, and watch in the background.", ("deploy",)),
    "deploy": Entry(DEPLOY, "Build a release, verify it, and shift the traffic to it.", ("deploy",)),
    "migrate": Entry(DEPLOY, "Run a release's migrations, or take the newest back.", ("migrate",)),
    "preflight": Entry(DEPLOY, "Check what a deployment needs. Changes nothing.", ("preflight",)),
    "premerge": Entry(DEPLOY, "Deploy the checkout aside and run every check on it.", ("premerge",)),
    "smoke": Entry(DEPLOY, "Run the smoke tests.", ("smoke",)),
    "start": Entry(DEPLOY, "Start what served before a reboot.", ("start",)),
    "down": Entry(DEPLOY, "Stop everything of an environment; its data stays.", ("down",)),
    "status": Entry(OBSERVE, "What serves, what is being rolled out, and how far it is.", ("status",)),
    "monitor": Entry(OBSERVE, "Watch a rollout and act on the quality gates.", ("monitor",)),
    "ui": Entry(OBSERVE, "Serve the dashboard.", ("ui",)),
    "history": Entry(OBSERVE, "What was done, when, by whom, why, and how it ended.", ("history",)),
    "logs": Entry(OBSERVE, "Show the logs, or rotate them.", ("logs",)),
    "gates": Entry(
        OBSERVE,
        "Check, simulate, replay, review and export quality gates.",
        ("gates", "gates_review", "gates_export"),
    ),
    "resume": Entry(RECOVER, "Continue an interrupted rollout or a paused window.", ("window",)),
    "pause": Entry(RECOVER, "Pause the window's clock.", ("window",)),
    "promote": Entry(RECOVER, "Accept the release that is being watched.", ("window",)),
    "abort": Entry(RECOVER, "Take the open rollout back.", ("window",)),
    "rollback": Entry(RECOVER, "Return to a backup, or to a release.", ("rollback",)),
    "ack": Entry(RECOVER, "Acknowledge every open alert.", ("ack",)),
    "backup": Entry(MAINTAIN, "Take a verified backup.", ("backup",)),
    "verify": Entry(MAINTAIN, "Check a backup without restoring it.", ("verify",)),
    "prune": Entry(MAINTAIN, "Remove the backups that retention no longer keeps.", ("prune",)),
    "maintenance": Entry(MAINTAIN, "Run the weekly and monthly tasks.", ("maintenance",)),
    "notify": Entry(MAINTAIN, "Send a message to every configured channel.", ("notify",)),
    "validate-logging": Entry(
        MAINTAIN, "Check format, rotation and permissions of the logs.", ("validate_logging",)
    ),
    "errors": Entry(MAINTAIN, "List every error, its exit code, and what to do.", ("errors",)),
    "reference": Entry("", "", ("reference",)),
}
