"""What is possible now, what it will do, and the command line that does it."""

from dataclasses import replace
from pathlib import Path

import pytest

from guarded_rollout.errors import ActionRefusedError
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.lock import acquire
from guarded_rollout.rollout.window import PAUSED
from guarded_rollout.status.snapshot import Snapshot, read
from guarded_rollout.ui import actions
from guarded_rollout.ui.actions import check, offers, question, standing, words
from tests.guarded_rollout.manual_clock import ManualClock
from tests.guarded_rollout.ui.uikit import NEW, OLD, Place


@pytest.fixture
def still(tmp_path: Path):
    """A place where no time passes by itself."""
    made = Place(tmp_path, ManualClock())
    yield made
    made.close()


def look(place: Place) -> Snapshot:
    return read(place.environment, place.clock)


def possible(seen: Snapshot) -> set[str]:
    return {offer.name for offer in offers(seen) if not offer.why_not}


def test_on_an_empty_machine_one_can_only_roll_out(still: Place) -> None:
    assert possible(look(still)) == {"up"}


def test_a_watched_release_can_be_accepted_held_and_taken_back(still: Place) -> None:
    still.watched()
    assert possible(look(still)) == {"promote", "pause", "abort", "rollback"}


def test_a_paused_window_can_go_on(still: Place) -> None:
    still.journal.note(still.watched(), PAUSED)
    assert possible(look(still)) == {"promote", "resume", "abort", "rollback"}


def test_an_interrupted_rollout_goes_on_or_back(still: Place) -> None:
    still.release(OLD, "blue")
    still.release(NEW, "green")
    rollout = still.journal.begin("production", "up", operator="me", source=OLD, target=NEW)
    still.journal.intend(rollout, "verify")
    assert possible(look(still)) == {"resume", "abort", "rollback"}


def test_what_is_being_taken_back_is_not_accepted(still: Place) -> None:
    still.journal.note(still.watched(), "undoing", cause="it failed")
    assert possible(look(still)) == {"resume", "abort", "rollback"}


def test_while_somebody_is_at_work_nothing_is_possible_and_it_says_who(still: Place) -> None:
    still.watched()
    with acquire(still.environment.lock, environment="production", command="rollout promote"):
        seen = look(still)
        assert possible(seen) == set()
        assert all("`rollout promote` is at work" in offer.why_not for offer in offers(seen))
    assert possible(look(still)) != set(), "and it is over with its process"


def test_only_what_is_possible_is_shown_and_one_action_stands_out(still: Place) -> None:
    def shown() -> list[tuple[str, str]]:
        return [(offer.name, offer.tone) for offer in offers(look(still))]

    assert shown() == [("up", "primary")]
    rollout = still.watched()
    still.log(rollout)
    assert shown() == [("promote", "primary"), ("pause", ""), ("abort", "danger"), ("rollback", "danger")]
    still.journal.note(rollout, PAUSED)
    assert shown()[:2] == [("resume", "primary"), ("promote", "")]
    still.journal.note(rollout, "undoing", cause="it failed")
    assert dict(shown())["abort"] == "alarm", "nobody is at work on what is half done"


@pytest.mark.parametrize("begun", [False, True])
def test_what_another_process_rolls_out_can_always_be_aborted(still: Place, begun: bool) -> None:
    still.running("blue", "proxy")
    still.release(OLD, "blue")
    if begun:
        rollout = still.journal.begin("production", "up", operator="me", source=OLD, target=NEW)
        still.journal.intend(rollout, "verify")
    with acquire(still.environment.lock, environment="production", command="rollout up"):
        seen = look(still)
        assert possible(seen) == {"abort"}
        asked = question("abort", seen)
        assert asked.title == (f"Take {NEW} back?" if begun else "Stop `rollout up`?")
        assert words("abort", seen, {"rollout": standing(seen)}) == ["abort", "--env", "production"]


def test_what_was_stopped_can_be_started(still: Place) -> None:
    still.running("proxy")
    still.release(OLD, "blue")
    seen = look(still)
    assert "start" in possible(seen)
    assert words("start", seen, {"rollout": standing(seen)}) == ["start", "--env", "production"]
    still.running("blue", "proxy")
    assert "start" not in {offer.name for offer in offers(look(still))}


def test_without_the_journal_nothing_is_possible(still: Place) -> None:
    still.journal.close()
    for path in still.environment.root.glob("journal.db*"):
        path.unlink()
    still.environment.journal.write_bytes(b"no database at all, and long enough to be looked at " * 40)
    assert possible(look(still)) == set()


def test_a_confirmation_names_releases_traffic_window_and_data(still: Place) -> None:
    still.watched()
    asked = question("abort", look(still))
    told = " ".join(asked.will)
    assert asked.title == f"Take {NEW} back?"
    for part in (
        f"{OLD} gets all of it",
        f"{NEW} 100 %",
        "window closes with 60 min left",
        "Data is left",
    ):
        assert part in told
    assert "at once: it is running" in told
    (still.environment.root / "supervisor" / "blue.lock").unlink()
    assert "it does not run now" in " ".join(question("abort", look(still)).will)


@pytest.mark.parametrize("action", ["promote", "pause", "abort"])
def test_an_answered_confirmation_is_a_command_line(still: Place, action: str) -> None:
    still.watched()
    seen = look(still)
    assert words(action, seen, {"rollout": standing(seen)}) == [action, "--env", "production"]


def test_a_reason_cannot_become_an_option(still: Place) -> None:
    still.watched()
    seen = look(still)
    line = words("abort", seen, {"rollout": standing(seen), "why": "--dry-run"})
    assert line[-1] == "--why=--dry-run"


@pytest.mark.parametrize("why", ["x" * 501, "a\0b"])
def test_a_reason_has_its_limits(still: Place, why: str) -> None:
    still.watched()
    seen = look(still)
    with pytest.raises(ActionRefusedError):
        words("abort", seen, {"rollout": standing(seen), "why": why})


def test_a_confirmation_of_another_rollout_does_not_count(still: Place) -> None:
    rollout = still.watched()
    seen = look(still)
    still.journal.end(rollout, RolloutOutcome.ROLLED_BACK, "by somebody else")
    with pytest.raises(ActionRefusedError, match="No rollout is open"):
        words("abort", look(still), {"rollout": standing(seen)})
    still.journal.begin("production", "up", operator="me", source=OLD, target=NEW)
    with pytest.raises(ActionRefusedError, match="another rollout"):
        words("abort", look(still), {"rollout": standing(seen)})


def test_a_rollback_is_typed_and_goes_only_where_it_was_offered(still: Place) -> None:
    still.watched()
    seen = look(still)
    form = {"rollout": standing(seen), "target": f"release:{OLD}", "typed": "ROLLBACK"}
    assert words("rollback", seen, form) == ["rollback", "--env", "production", f"--to={OLD}", "--force"]
    for wrong in (
        {**form, "typed": "rollback"},
        {**form, "target": f"release:{NEW}"},
        {**form, "target": "release:../../x"},
        {**form, "target": "backup:../../etc/passwd"},
        {**form, "target": ""},
    ):
        with pytest.raises(ActionRefusedError):
            words("rollback", seen, wrong)


def test_a_rollback_to_a_backup_leaves_the_data_to_the_command_unless_it_is_left_out(still: Place) -> None:
    still.watched()
    name = "dhash_production_20260101_000000.zip"
    still.environment.backups.mkdir()
    (still.environment.backups / name).write_bytes(b"zip")
    seen = look(still)
    form = {"rollout": standing(seen), "target": f"backup:{name}", "typed": "ROLLBACK"}
    with pytest.raises(ActionRefusedError, match="where to return"):
        words("rollback", seen, form)  # it has no checksum beside it
    (still.environment.backups / f"{name}.sha256").write_text(f"{'0' * 64}  backups/{name}\n")
    seen = look(still)
    backup = f"--backup={still.environment.backups / name}"
    assert words("rollback", seen, form)[3:] == [backup, "--force"]
    assert "--data=none" in words("rollback", seen, {**form, "data": "none"})


def test_a_rollback_says_what_becomes_of_the_data(still: Place) -> None:
    still.watched()
    seen = look(still)
    assert any("a backup is merged into it" in line for line in question("rollback", seen).will)
    service = replace(seen.environment.service, commands={"serve": ("x",)})
    without = replace(seen, environment=replace(seen.environment, service=service))
    assert any(
        "a backup replaces it, for nothing merges" in line for line in question("rollback", without).will
    )


def test_checks_change_nothing_and_know_only_what_is_there(still: Place) -> None:
    still.watched()
    _, line = check("plan", look(still), "")
    assert line == ["migrate", "--env", "production", "--dry-run", "--verbose"]
    with pytest.raises(ActionRefusedError):
        check("verify", look(still), "/etc/passwd")


def test_an_unknown_action_is_refused(still: Place) -> None:
    with pytest.raises(ActionRefusedError):
        question("down", look(still))
    assert set(actions.LABELS) == {"promote", "pause", "resume", "abort", "rollback", "up", "start"}


def test_a_rollout_that_is_being_verified_or_shifted_can_be_aborted(still: Place) -> None:
    still.release(OLD, "blue")
    still.release(NEW, "green")
    rollout = still.journal.begin("production", "up", operator="me", source=OLD, target=NEW)
    still.journal.intend(rollout, "shift")
    with acquire(still.environment.lock, environment="production", command="rollout up"):
        assert possible(look(still)) == {"abort"}
    with acquire(still.environment.lock, environment="production", command="rollout backup"):
        assert possible(look(still)) == set()
