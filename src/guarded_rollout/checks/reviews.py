"""Judges the reviews of a pull request: enough approvals, one of them by ops, of what is deployed. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from guarded_rollout.errors import ReviewsError

OPINIONS = ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")


@dataclass(frozen=True, slots=True)
class Review:
    """A review by one person. `commit` is the one they reviewed."""

    author: str
    state: str
    at: datetime
    commit: str


@dataclass(frozen=True, slots=True)
class Approval:
    """The reviewers by their newest opinion."""

    approved: tuple[str, ...]
    outdated: tuple[str, ...]
    against: tuple[str, ...]

    def problems(self, needed: int, ops: Sequence[str]) -> list[str]:
        """List what is missing, in sentences; empty if all is well."""
        found = [f"{name} asks for changes" for name in self.against]
        if len(self.approved) < needed:
            who = ", ".join(self.approved) or "nobody"
            late = f" ({', '.join(self.outdated)} approved an older commit)" if self.outdated else ""
            found.append(f"{needed} approvals are needed and {len(self.approved)} there: {who}{late}")
        if not ops:
            found.append("who belongs to ops is not configured (review.ops in rollout.toml)")
        elif not {name.casefold() for name in self.approved} & {name.casefold() for name in ops}:
            found.append(f"nobody of ops has approved ({', '.join(ops)})")
        return found


def read(path: Path) -> tuple[list[Review], str]:
    """The reviews of `gh pr view --json reviews,headRefOid` and the head, empty if not asked for.

    Raises `ReviewsError`.
    """
    try:
        found: Mapping[str, Any] = json.loads(path.read_text())
        reviews = [
            Review(
                author=str((each.get("author") or {}).get("login") or "ghost"),
                state=str(each["state"]),
                at=datetime.fromisoformat(each["submittedAt"]),
                commit=str((each.get("commit") or {}).get("oid") or ""),
            )
            for each in found["reviews"]
            if each.get("submittedAt")  # one that is still being written has none
        ]
        return reviews, str(found.get("headRefOid") or "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReviewsError(path=path, problem=repr(error)) from None


def judge(reviews: Sequence[Review], head: str) -> Approval:
    """Each person's newest opinion counts; one about another commit than `head` is outdated."""
    newest: dict[str, Review] = {}
    for review in sorted(reviews, key=lambda review: review.at):
        if review.state in OPINIONS:  # a mere comment changes no opinion
            newest[review.author] = review
    approvals = [review for review in newest.values() if review.state == "APPROVED"]
    return Approval(
        approved=tuple(review.author for review in approvals if review.commit == head),
        outdated=tuple(review.author for review in approvals if review.commit != head),
        against=tuple(review.author for review in newest.values() if review.state == "CHANGES_REQUESTED"),
    )
