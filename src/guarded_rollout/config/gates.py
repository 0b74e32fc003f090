"""`quality-gates-config.json` → frozen models, which validate it and make its published JSON Schema."""

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from guarded_rollout.config.environments import Environment
from guarded_rollout.config.explain import Problem, explain
from guarded_rollout.config.kinds import (
    ClientErrorRateGate,
    ErrorRateGate,
    ExtractionFailureRateGate,
    Gate,
    HashTimeGate,
    HealthGate,
    MemoryGate,
    OwnGate,
    QueueGate,
    RegressionGate,
)
from guarded_rollout.config.terms import RETENTION_MOST, Action, Minutes, Model, Seconds
from guarded_rollout.errors import GatesFileError, UnknownGatesEnvironmentError

ALERTS_TO_ROLLBACKS = 10.0
"""A false alert costs a look, a false rollback a release."""

Delay = Annotated[float, Field(ge=0, le=10_080)]


class ChannelName(StrEnum):
    """A destination of notifications."""

    SLACK = "slack"
    TEAMS = "teams"
    DISCORD = "discord"
    EMAIL = "email"
    PAGER = "pager"
    CONSOLE = "console"


class QualityGates(Model):
    """The gates of one environment, by name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, OwnGate]

    health: HealthGate | None = None
    extraction_failure_rate: ExtractionFailureRateGate | None = None
    p95_hash_time: HashTimeGate | None = None
    low_confidence_queue: QueueGate | None = None
    memory_usage: MemoryGate | None = None
    error_rate: ErrorRateGate | None = None
    client_error_rate: ClientErrorRateGate | None = None

    def enabled(self) -> Iterator[tuple[str, Gate]]:
        """Yield each gate that is switched on, with its name."""
        presets = ((name, getattr(self, name)) for name in type(self).model_fields)
        for name, gate in (*presets, *self.__pydantic_extra__.items()):
            if gate is not None and gate.enabled:
                yield name, gate


# ---- the rest of an environment


class PollIntervals(Model):
    initial_minutes: Delay = 5
    initial_interval_seconds: Seconds = 30
    normal_interval_seconds: Seconds = 120

    def at(self, elapsed: float) -> float:
        """Return the seconds between polls, `elapsed` seconds into the window."""
        early = elapsed < self.initial_minutes * 60
        return self.initial_interval_seconds if early else self.normal_interval_seconds


class OnUndecided(StrEnum):
    """The end of a window in which gates never had enough to tell."""

    ACCEPT = "accept"  # and say so
    ALERT = "alert"  # accept, and tell whoever is told of gates
    HOLD = "hold"  # keep it open until they have, or somebody promotes the release


class Monitoring(Model):
    window_minutes: Minutes = 60
    poll_intervals: PollIntervals = PollIntervals()
    slow_after_seconds: Seconds = Field(
        default=2, description="metrics that come later are none: their source is silent"
    )
    on_undecided: OnUndecided = Field(
        default=OnUndecided.ACCEPT, description="at the end, for gates that never had enough samples"
    )
    counter_interval_seconds: Seconds = Field(
        default=5, description="between readings of counters while a gate may decide early"
    )


class EscalationLevel(Model):
    delay_minutes: Delay
    channels: tuple[ChannelName, ...] = ()
    recipients: tuple[str, ...] = ()


class Escalation(Model):
    initial_delay_minutes: Delay = 0
    escalation_levels: tuple[EscalationLevel, ...] = ()


class Notifications(Model):
    channels: tuple[ChannelName, ...] = (ChannelName.CONSOLE,)
    escalation: Escalation = Escalation()


class AutoRollbackSettings(Model):
    enabled: bool = False
    confirmation_required: bool = False
    backup_retention_hours: float = Field(default=24, ge=0, le=RETENTION_MOST)
    rollback_timeout_minutes: Minutes = 10
    false_rollback_chance: float = Field(
        default=0.001,
        gt=0,
        lt=0.5,
        description="of a whole window, that any of its comparisons takes back a healthy release; "
        "alerts may be wrong ten times as often",
    )


class EnvironmentGates(Model):
    """All that is configured for one environment."""

    monitoring: Monitoring = Monitoring()
    quality_gates: QualityGates
    notifications: Notifications = Notifications()
    auto_rollback: AutoRollbackSettings = AutoRollbackSettings()

    @property
    def alphas(self) -> Mapping[Action, float]:
        """Each comparison's part of the chance to be wrong, by action."""
        asked = sum(isinstance(gate, RegressionGate) for _, gate in self.quality_gates.enabled())
        chance = self.auto_rollback.false_rollback_chance / max(1, asked)
        return {Action.ALERT: min(0.1, ALERTS_TO_ROLLBACKS * chance), Action.AUTO_ROLLBACK: chance}


class GlobalSettings(Model):
    health_check_endpoint: str = Field(
        default="",
        pattern=r"^((/|https?://)\S*)?$",
        description="empty: as [service.health] in rollout.toml says",
    )
    metrics_endpoint: str = Field(default="/metrics", pattern=r"^(/|https?://)\S*$")
    timeout_seconds: Seconds = 30
    user_agent: str = Field(
        default="", pattern=r"^[\x20-\x7e]*$", description="empty: the service's name and -monitor/1.0.0"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class GatesFile(Model):
    """A whole file."""

    model_config = ConfigDict(title="Quality gates")

    schema_: str = Field("", alias="$schema")
    title: str = ""
    description: str = ""
    version: str = ""
    environments: Mapping[str, EnvironmentGates] = Field(min_length=1)
    default_environment: str = ""
    global_settings: GlobalSettings = GlobalSettings()

    def environment(self, name: str) -> EnvironmentGates:
        """Return the gates of an environment. Raises `UnknownGatesEnvironmentError`."""
        try:
            return self.environments[name]
        except KeyError:
            raise UnknownGatesEnvironmentError(name=name, known=", ".join(self.environments)) from None

    @model_validator(mode="after")
    def _default_is_known(self) -> Self:
        if self.default_environment and self.default_environment not in self.environments:
            known = ", ".join(self.environments)
            raise ValueError(f"default_environment {self.default_environment!r} is none of {known}")
        return self


@cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a file, as published in schemas/."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **GatesFile.model_json_schema()}


def load(path: Path) -> GatesFile:
    """Read a gates file. Raises `GatesFileError` naming every problem with its path."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise GatesFileError(path=path, problems="there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise GatesFileError(path=path, problems=f"it cannot be read: {error}") from None
    gates, problems = parse(text)
    if gates is None:
        raise GatesFileError(
            path=path, problems="; ".join(f"{problem.where}: {problem.sentence}" for problem in problems)
        )
    return gates


def gates_of(environment: Environment) -> EnvironmentGates:
    """The gates of an environment. Raises `GatesFileError`, `UnknownGatesEnvironmentError`."""
    return load(environment.gates).environment(environment.name)


def parse(text: str) -> tuple[GatesFile | None, tuple[Problem, ...]]:
    """Return the file that this JSON means, or all that is wrong with it."""
    try:
        document = json.loads(text, object_pairs_hook=_no_key_twice, parse_float=_number)
        plain = json.dumps(document)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        return None, (Problem(where, f"not JSON: {error.msg}"),)
    except _KeyTwiceError as error:
        return None, (Problem("the file", f"the key {error} stands twice in one object"),)
    except RecursionError:
        return None, (Problem("the file", "nested too deeply"),)
    try:
        return GatesFile.model_validate_json(plain), ()
    except ValidationError as error:
        return None, explain(error.errors(include_url=False), document, schema())


def _number(digits: str) -> int | float:
    """A number of JSON with a point or an exponent: 1.0 is whole (JSON Schema, 6.1.1)."""
    value = float(digits)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


class _KeyTwiceError(ValueError):
    pass


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _KeyTwiceError(next(name for name in names if names.count(name) > 1))
    return found
