"""The hosts of a fleet as they say themselves, and what that makes of the fleet. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from guarded_rollout.host.release import short
from guarded_rollout.journal.model import Rollout, StepOutcome


@dataclass(frozen=True, slots=True)
class HostState:
    """One host. `candidate` is what is being rolled out there, with `percent` of its traffic; `problem` says
    why the host could not be asked, and then nothing else is known."""

    name: str
    serving: str | None = None
    source: str | None = None
    candidate: str | None = None
    percent: int = 0
    phase: str = ""
    problem: str = ""

    @classmethod
    def of_status(cls, name: str, status: Mapping[str, Any]) -> Self:
        """Read what `rollout status --json` says; what is none of that is a problem of the host."""
        try:
            candidate, rollout = status["candidate"], status["rollout"] or {}
            shares = {slot["release"]: int(slot["percent"]) for slot in status["slots"]}
            return cls(
                name=name,
                serving=status["serving"],
                source=rollout.get("source"),
                candidate=candidate,
                percent=shares.get(candidate, 0) if candidate else 0,
                phase=str(status["phase"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return cls(name, problem=f"its status is none that this version reads: {error!r}")

    @property
    def settled(self) -> str | None:
        """What it serves, wholly; None if it is on the way, serves nothing, or could not be asked."""
        return None if self.problem or self.candidate else self.serving

    @property
    def before(self) -> str | None:
        """What it served before what is open now, or serves."""
        return self.source if self.candidate else self.serving

    def __str__(self) -> str:
        if self.problem:
            return "cannot be asked"
        if self.candidate:
            return f"has {short(self.candidate)} at {self.percent} % ({self.phase})"
        return f"serves {short(self.serving)}" if self.serving else "serves nothing"

    def as_json(self) -> dict[str, object]:
        return {
            "host": self.name,
            "serving": self.serving,
            "candidate": self.candidate,
            "percent": self.percent,
            "phase": self.phase or None,
            "problem": self.problem or None,
        }


def one_release(hosts: Sequence[HostState]) -> str | None:
    """Return the release that every host serves wholly; None if the fleet is mixed."""
    found = {host.settled for host in hosts}
    return found.pop() if len(found) == 1 else None


def is_mixed(hosts: Sequence[HostState]) -> bool:
    """True unless all hosts are in the same state, and that is no rollout half done."""
    return one_release(hosts) is None and any(host.serving or host.problem for host in hosts)


def described(hosts: Sequence[HostState]) -> str:
    """Name each host's state: `h1 serves b, h2 serves a, h3 has b at 10 % (interrupted)`."""
    return ", ".join(f"{host.name} {host}" for host in hosts)


def not_ready(hosts: Sequence[HostState]) -> str:
    """Say why no rollout over these hosts can begin; empty if it can."""
    if lost := [host.name for host in hosts if host.problem]:
        return f"{', '.join(lost)} cannot be asked"
    if busy := [host for host in hosts if host.candidate]:
        return described(busy)
    return "" if hosts else "the inventory has no host"


def to_take_back(
    rollout: Rollout, hosts: Sequence[HostState], before: Mapping[str, str | None]
) -> tuple[str, ...]:
    """Name the hosts that a rollout has touched, the newest first; `hosts` are in the order of the inventory.

    A host says itself whether it differs from `before`: a driver that died may not have written down its last
    one. Of a host that cannot be reached the record says whether it was begun, and not undone since.
    """

    def touched(host: HostState) -> bool:
        if host.problem:
            last = rollout.last(host.name)
            return last is not None and last.outcome is not StepOutcome.UNDONE
        return host.candidate is not None or host.serving != before.get(host.name)

    return tuple(host.name for host in reversed(hosts) if host.name in before and touched(host))
