"""Every command of `rollout`: its place in the help, its line there, and the module that defines it."""

from typing import NamedTuple


class Listing(NamedTuple):
    """A command or a group of commands, as `rollout --help` lists it. Hidden where `panel` is empty."""

    panel: str
    summary: str
    modules: tuple[str, ...]
    """What must be imported before it can run, below `guarded_rollout.cli`."""


DEPLOY, OBSERVE, RECOVER, MAINTAIN = "Deploy", "Observe", "Recover", "Maintain"

COMMANDS = {
    "init": Listing(DEPLOY, "Begin to guard the service in this folder.", ("init",)),
    "up": Listing(DEPLOY, "Back up, migrate, deploy, and watch in the background.", ("deploy",)),
    "deploy": Listing(DEPLOY, "Build a release, verify it, and shift the traffic to it.", ("deploy",)),
    "migrate": Listing(DEPLOY, "Run a release's migrations, or take the newest back.", ("migrate",)),
    "preflight": Listing(DEPLOY, "Check what a deployment needs. Changes nothing.", ("preflight",)),
    "premerge": Listing(DEPLOY, "Deploy the checkout aside and run every check on it.", ("premerge",)),
    "smoke": Listing(DEPLOY, "Run the smoke tests.", ("smoke",)),
    "try": Listing(DEPLOY, "Ask for the candidate while traffic is shared.", ("try_candidate",)),
    "start": Listing(DEPLOY, "Start what served before a reboot.", ("start",)),
    "down": Listing(DEPLOY, "Stop everything of an environment; its data stays.", ("down",)),
    "status": Listing(OBSERVE, "What serves, what is being rolled out, and how far it is.", ("status",)),
    "releases": Listing(OBSERVE, "Which serve, which can be returned to, and which were bad.", ("releases",)),
    "wait": Listing(OBSERVE, "Wait until the open rollout has ended; say how by the exit code.", ("wait",)),
    "monitor": Listing(OBSERVE, "Watch a rollout and act on the quality gates.", ("monitor",)),
    "ui": Listing(OBSERVE, "Serve the dashboard.", ("ui",)),
    "history": Listing(OBSERVE, "What was done, when, by whom, why, and how it ended.", ("history",)),
    "logs": Listing(OBSERVE, "Show the logs, or rotate them.", ("logs",)),
    "gates": Listing(
        OBSERVE,
        "Check, simulate, replay, review and export quality gates.",
        ("gates", "gates_simulate", "gates_review", "gates_export"),
    ),
    "export": Listing(
        DEPLOY, "Write the release and its gates for Kubernetes, Argo Rollouts and Flagger.", ("export",)
    ),
    "fleet": Listing(DEPLOY, "Roll out over many hosts, by Ansible; heal or take back.", ("fleet",)),
    "resume": Listing(RECOVER, "Continue an interrupted rollout or a paused window.", ("window",)),
    "pause": Listing(RECOVER, "Pause the window's clock.", ("window",)),
    "promote": Listing(RECOVER, "Accept the release that is being watched.", ("window",)),
    "abort": Listing(RECOVER, "Take the open rollout back.", ("window",)),
    "rollback": Listing(RECOVER, "Return to a backup, or to a release.", ("rollback",)),
    "restore": Listing(RECOVER, "Bring the store back from its stream, as it was at a time.", ("restore",)),
    "ack": Listing(RECOVER, "Acknowledge every open incident.", ("ack",)),
    "backup": Listing(MAINTAIN, "Take a verified backup.", ("backup",)),
    "copies": Listing(MAINTAIN, "Send backups to other machines, and list what is there.", ("copies",)),
    "verify": Listing(MAINTAIN, "Check a backup without restoring it.", ("verify",)),
    "prune": Listing(MAINTAIN, "Remove the backups that retention no longer keeps.", ("prune",)),
    "maintenance": Listing(MAINTAIN, "Run the weekly and monthly tasks.", ("maintenance",)),
    "notify": Listing(MAINTAIN, "Send a message to every configured channel.", ("notify",)),
    "validate-logging": Listing(
        MAINTAIN, "Check format, rotation and permissions of the logs.", ("validate_logging",)
    ),
    "install": Listing(MAINTAIN, "Have systemd start it after a reboot, and back it up.", ("install",)),
    "errors": Listing(MAINTAIN, "List every error, its exit code, and what to do.", ("errors",)),
    "reference": Listing("", "", ("reference",)),
}

INTERRUPTED = 130
EXIT_CODES: dict[str, dict[int, str]] = {
    "": {
        0: "done, or there was nothing to do",
        1: "refused, failed or taken back, with the reason on standard error; also a wrong usage",
        INTERRUPTED: "interrupted by Ctrl-C, SIGTERM or `rollout abort`",
    },
    "monitor": {
        0: "the window closed without an alert",
        1: "alerts were sent",
        2: "rolled back",
        3: "the monitor itself failed; also a wrong usage",
    },
    "wait": {
        0: "the release was accepted, or no rollout was open",
        1: "it was interrupted or nobody watches, or the time is over; also a wrong usage",
        2: "rolled back",
    },
    "fleet": {
        0: "every host serves the release, or was taken back by `abort`",
        1: "refused, and nothing was changed; also a wrong usage",
        2: "taken back on every host that was touched",
        3: "the fleet is mixed: `resume` or `abort`",
    },
    "validate-logging": {
        0: "all is well",
        1: "a check failed",
        2: "warnings only",
        3: "it could not check; also a wrong usage",
    },
    "maintenance": {
        0: "all is well; of a dry run, as of the other",
        1: "a task failed; also a wrong usage",
        2: "something wants attention, marked `<- look at this`",
    },
    "notify": {
        0: "at least one channel has delivered it",
        1: "no channel has: it is in the fallback file; also a wrong usage",
        2: "notify itself failed",
    },
}
"""What each exit code says: of every command, and of those that differ."""


def usage_code(name: str) -> int:
    """Return the exit code of a command that was called wrongly."""
    codes = EXIT_CODES.get(name, EXIT_CODES[""])
    return next(code for code, meaning in codes.items() if "a wrong usage" in meaning)
