"""`rollout history`: a line for each rollout."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from guarded_rollout.cli.history import lines
from guarded_rollout.host import release
from guarded_rollout.host.release import resolve, short
from guarded_rollout.journal.model import Rollout, RolloutOutcome

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
OLD, NEW = "1.0.0-0123abcd-00000000", "1.1.0-f7a389c4-dirty-ab12cd34"


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        (OLD, "0123abc"),
        (NEW, "f7a389c+ab12"),
        ("1.0.0rc1-wheel-ab12cd34", "1.0.0rc1+ab12"),
        ("2.0-files-ab12cd34", "2.0+ab12"),
        ("by-hand", "by-hand"),
    ],
)
def test_a_release_is_named_for_people_by_its_commit(identity: str, name: str) -> None:
    assert short(identity) == name


def test_a_short_name_means_a_release_while_it_means_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Named:
        def __init__(self, identity: str) -> None:
            self.id = identity

    monkeypatch.setattr(release, "releases", lambda folder: [Named(OLD), Named(NEW)])
    assert resolve(tmp_path, "0123abc") == OLD
    assert resolve(tmp_path, "1.1.0") == NEW
    assert resolve(tmp_path, "1.") == "1.", "two begin so"
    assert resolve(tmp_path, "") == ""


def test_a_rollout_is_one_line_and_verbose_has_whole_ids() -> None:
    rollout = Rollout(
        uuid4(), "production", "deploy", "alice@ops", OLD, NEW, "new colours", AT,
        ended_at=AT + timedelta(seconds=64), outcome=RolloutOutcome.ROLLED_BACK, reason="health failed.",
    )  # fmt: skip
    [line] = lines([rollout], verbose=False)
    assert line == (
        "01-02 03:04 ↶ deploy   0123abc → f7a389c+ab12  rolled_back  1 min 4 s  alice@ops"
        "  new colours; health failed."
    )
    [line] = lines([rollout], verbose=True)
    assert f"{OLD} → {NEW}" in line
