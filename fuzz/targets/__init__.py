"""One file for each place where hostile input comes in."""

from importlib import import_module

from fuzz.engine import Target

NAMES = ("pictures", "formats", "documents", "backups", "kills", "gates", "metrics", "templates", "api")


def load(name: str) -> Target:
    """A target by its name; the others' libraries are not imported."""
    target: Target = import_module(f"fuzz.targets.{name}").TARGET
    return target
