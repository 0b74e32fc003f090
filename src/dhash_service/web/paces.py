"""The work of reviewers in numbers: how many, how fast, and how often two of them agree."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from uuid import UUID

from dhash_service.facts import Verdict
from dhash_service.reviewing import pace
from dhash_service.store.verdicts import Vote


@dataclass(frozen=True, slots=True)
class Pace:
    """One reviewer's work. `seconds` is the median between decisions, None where there are too few.

    `agreed` of `shared`: pairs that another reviewer decided too, and how many of them the same way.
    """

    reviewer: str
    made: int
    today: int
    seconds: float | None
    verdicts: dict[Verdict, int]
    taken_back: int
    agreed: int
    shared: int

    @property
    def agreement(self) -> int | None:
        """The share of the pairs in common that were decided alike, in percent."""
        return round(100 * self.agreed / self.shared) if self.shared else None


def paces(votes: Sequence[Vote], day: datetime) -> list[Pace]:
    """The work of everybody who voted, the busiest first. `day`: when today began."""
    by_reviewer: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_reviewer[vote.reviewer].append(vote)
    agreed, shared = agreements(votes)
    made = [
        Pace(
            name,
            len(own),
            sum(vote.created_at >= day for vote in own),
            pace([vote.created_at for vote in own]),
            {verdict: sum(vote.stands and vote.verdict is verdict for vote in own) for verdict in Verdict},
            sum(not vote.stands for vote in own),
            agreed[name],
            shared[name],
        )
        for name, own in by_reviewer.items()
    ]
    return sorted(made, key=lambda each: (-each.made, each.reviewer))


def agreements(votes: Sequence[Vote]) -> tuple[dict[str, int], dict[str, int]]:
    """For each reviewer: pairs decided the same as by another, and pairs that another decided too.

    The newest vote of each that stands counts; to be unsure is no opinion.
    """
    last: dict[UUID, dict[str, Verdict]] = defaultdict(dict)
    for vote in sorted(votes, key=lambda each: each.created_at):
        if vote.stands and vote.verdict is not Verdict.UNSURE:
            last[vote.lookup][vote.reviewer] = vote.verdict
    agreed: dict[str, int] = defaultdict(int)
    shared: dict[str, int] = defaultdict(int)
    for said in last.values():
        for one, two in combinations(said, 2):
            for name in (one, two):
                shared[name] += 1
                agreed[name] += said[one] == said[two]
    return agreed, shared
