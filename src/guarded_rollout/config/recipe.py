"""The recipe of a release: how it is built and run, as rollout.toml says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class BuildKind(StrEnum):
    """The ways to build a release."""

    WHEEL = "wheel"  # a Python package with locked requirements, in a virtual environment
    DIRECTORY = "directory"  # the files of a checkout
    COMMAND = "command"  # the files that a command of yours makes


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that rollout.toml says about building and running a release.

    `lock` is the requirements' path inside the source (empty: there are none). `python` is an interpreter's
    path or version; a version is looked up on the machine and never downloaded; empty is the one that runs
    `rollout`. `command` fills the folder `{out}`.
    """

    kind: BuildKind = BuildKind.WHEEL
    lock: str = ""
    python: str = ""
    prepare: tuple[tuple[str, ...], ...] = ()
    command: tuple[str, ...] = ()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
