"""`rollout history`: a line for each rollout."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from guarded_rollout.cli.history import lines
from guarded_rollout.clock import ago
from guarded_rollout.host import release
from guarded_rollout.host.release import resolve, short, shorten
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
    [line] = lines([rollout], AT + timedelta(hours=3), verbose=False)
    assert line == (
        "3 h ago     ↶ deploy   0123abc → f7a389c+ab12  rolled_back  1 min 4 s  alice@ops"
        "  new colours; health failed."
    )
    [line] = lines([rollout], AT, verbose=True)
    assert line.startswith("2026-01-02 03:04:00 UTC ↶ deploy")
    assert f"{OLD} → {NEW}" in line


def test_people_read_short_names_and_paths_and_commands_keep_whole_ones() -> None:
    for text, said in (
        (f"{OLD} serves; {NEW} was taken back.", "0123abc serves; f7a389c+ab12 was taken back."),
        (f"({OLD}), /p/releases/{OLD}/venv", f"(0123abc), /p/releases/{OLD}/venv"),
        (f"Run `rollout rollback --to {OLD} --force`.", f"Run `rollout rollback --to {OLD} --force`."),
        (f'answers {{"release":"{OLD}"}}', f'answers {{"release":"{OLD}"}}'),
        ("0192d3c4-1234-7abc-8def-0123456789ab", "0192d3c4-1234-7abc-8def-0123456789ab"),
    ):
        assert shorten(text) == said


def test_how_long_ago_something_was() -> None:
    said = [ago(seconds) for seconds in (-5, 59, 60, 7_199, 7_200, 172_799, 172_800)]
    assert said == [
        "just now", "just now", "1 min ago", "119 min ago", "2 h ago", "47 h ago", "2 days ago",
    ]  # fmt: skip
