"""The command `rollout`: one thin file per command, imported when it is called."""

from guarded_rollout.cli.app import run as main

__all__ = ["main"]
