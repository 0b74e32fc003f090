"""Two approvals of what is deployed, one of them by ops; dismissed and outdated ones do not count."""

import json
from pathlib import Path
from typing import Any

import pytest

from guarded_rollout.checks.reviews import judge, read
from guarded_rollout.errors import ReviewsError

HEAD, OLD = "a" * 40, "b" * 40
OPS = ("Olga",)


def review(author: str, state: str = "APPROVED", minute: int = 0, commit: str = HEAD) -> dict[str, Any]:
    """As `gh pr view --json reviews` prints one."""
    return {
        "id": f"R_{author}_{minute}",
        "author": {"login": author},
        "authorAssociation": "MEMBER",
        "body": "",
        "submittedAt": f"2026-01-01T10:{minute:02}:00Z",
        "includesCreatedEdit": False,
        "reactionGroups": [],
        "state": state,
        "commit": {"oid": commit},
    }


def problems(tmp_path: Path, *reviews: dict[str, Any], ops: tuple[str, ...] = OPS) -> list[str]:
    path = tmp_path / "reviews.json"
    path.write_text(json.dumps({"reviews": reviews, "headRefOid": HEAD}))
    found, head = read(path)
    return judge(found, head).problems(2, ops)


@pytest.mark.parametrize(
    ("reviews", "said"),
    [
        ([review("olga"), review("max")], ""),
        ([review("olga")], "2 approvals are needed and 1 there: olga"),
        ([], "2 approvals are needed and 0 there: nobody"),
        ([review("ann"), review("max")], "nobody of ops has approved (Olga)"),
        ([review("olga"), review("olga", minute=1)], "2 approvals are needed and 1 there"),
        ([review("olga"), review("max", "DISMISSED")], "2 approvals are needed and 1 there"),
        ([review("olga"), review("max"), review("max", "DISMISSED", 5)], "1 there: olga"),
        ([review("olga"), review("max", commit=OLD)], "1 there: olga (max approved an older commit)"),
        ([review("olga"), review("max", commit=OLD), review("max", minute=9)], ""),
        ([review("olga"), review("max"), review("ann", "CHANGES_REQUESTED")], "ann asks for changes"),
        ([review("olga"), review("max", "CHANGES_REQUESTED"), review("max", minute=9)], ""),
        ([review("olga"), review("max"), review("max", "CHANGES_REQUESTED", 9)], "max asks for changes"),
        ([review("olga"), review("max"), review("max", "COMMENTED", 9)], ""),
        ([review("max", minute=9), review("olga"), review("max", "DISMISSED", 3)], ""),
        ([review("olga"), review("max") | {"commit": None}], "1 there: olga"),
        ([review("olga"), review("max") | {"author": None}], ""),
        ([review("olga"), review("max") | {"submittedAt": None, "state": "PENDING"}], "1 there: olga"),
    ],
)
def test_only_the_newest_opinion_about_this_commit_counts(
    tmp_path: Path, reviews: list[dict[str, Any]], said: str
) -> None:
    found = "; ".join(problems(tmp_path, *reviews))
    assert found == "" if not said else said in found


def test_an_ops_team_that_is_not_configured_is_a_problem(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, review("olga"), review("max"), ops=())
    assert "review.ops" in problem


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"reviews": 3}', '{"reviews": [{"state": "APPROVED", "submittedAt": "noon"}]}']
)
def test_a_file_that_is_no_list_of_reviews_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "reviews.json").write_text(text)
    with pytest.raises(ReviewsError, match="gh pr view"):
        read(tmp_path / "reviews.json")
    with pytest.raises(ReviewsError):
        read(tmp_path / "missing.json")
