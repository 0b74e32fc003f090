"""What a run came to, in words and as JSON."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chaos.plan import Store, Story

FILE = "verdict.json"


@dataclass(slots=True)
class Verdict:
    """`violations` are sentences; a run without any held."""

    seed: int
    plan: str
    families: list[str]
    struck: list[str] = field(default_factory=list)
    outcome: str = ""
    reason: str = ""  # of the outcome, where there is one
    requests: int = 0
    failed: int = 0
    excused: list[str] = field(default_factory=list)
    acknowledged: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return not self.violations

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> "Verdict":
        return cls(**json.loads((folder / FILE).read_text()))

    def lines(self) -> list[str]:
        mark = "held  " if self.held else "BROKEN"
        cost = f"{self.requests} requests, {self.failed} failed as allowed" if self.held else "see below"
        why = f" ({self.reason[:200]})" if self.reason else ""
        head = f"{mark} seed {self.seed}: {self.plan} → {self.outcome}{why}; {cost}; {self.seconds:.0f} s"
        return [head, *(f"         {violation}" for violation in self.violations)]


def missing(verdicts: Sequence[Verdict]) -> set[str]:
    """What was meant to strike, and whose moment never came."""
    meant = {family for one in verdicts for family in one.families}
    return meant - {Store.POSTGRESQL, Story.ROLL_BACK} - {family for one in verdicts for family in one.struck}


def summary(verdicts: Sequence[Verdict], seconds: float) -> list[str]:
    """The campaign at a glance."""
    broken = [one for one in verdicts if not one.held]
    covered = Counter(family for one in verdicts for family in one.struck)
    missed = sorted(missing(verdicts))
    lines = [
        "",
        f"{len(verdicts)} runs in {seconds:.0f} s: {len(verdicts) - len(broken)} held, {len(broken)} broken.",
        f"{sum(one.requests for one in verdicts):,} requests, {sum(one.failed for one in verdicts)} failed; "
        f"{sum(one.acknowledged for one in verdicts):,} writes acknowledged, and looked for.",
        f"{sum(covered.values())} faults struck: "
        + ", ".join(f"{family} {count}" for family, count in sorted(covered.items())),
        "ends: " + ", ".join(f"{end} {count}" for end, count in Counter(v.outcome for v in verdicts).items()),
    ]
    lines += [f"meant to strike, and its moment never came: {', '.join(missed)}"] * bool(missed)
    lines += [f"repeat it: make chaos RUNS=1 SEED={one.seed}" for one in broken]
    return lines
