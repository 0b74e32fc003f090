"""The story of a rollout, from its journal."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from guarded_rollout.gates.samples import Side
from guarded_rollout.host.release import short
from guarded_rollout.journal.model import UNDOING, RolloutOutcome
from guarded_rollout.ui.postmortem import exposed_seconds, tell
from tests.guarded_rollout.ui.uikit import NEW, OLD, Place, Site


@pytest.fixture
def still(tmp_path: Path) -> Iterator[Place]:
    """A place whose time moves when it is told to."""
    made = Place(tmp_path)
    yield made
    made.close()


TOTALS = {
    Side.CANDIDATE: {"requests_total": 1200.0, "failed_total": 60.0, "passed_on_total": 9.0},
    Side.STABLE: {"requests_total": 800.0, "failed_total": 0.0},
}


def test_a_release_that_was_taken_back_is_told_from_its_end(still: Place) -> None:
    rollout = still.watched()
    still.clock.advance(90)
    still.journal.note(rollout, "gate", gate="health", news="failed", reason="3 checks were not OK")
    still.journal.note(rollout, UNDOING, cause="health: 3 checks were not OK")
    still.journal.end(rollout, RolloutOutcome.ROLLED_BACK, "health: 3 checks were not OK")
    told = tell(still.journal.rollout(rollout), TOTALS, ["abc1234 Break it"])
    assert (told.title, told.tone) == (f"{NEW} was taken back", "warn")
    assert told.cause == "health: 3 checks were not OK"
    assert told.impact == (
        "It had traffic for 1 min 30 s.",
        f"{NEW}: 1,200 requests, 60 of them failed (5 %)."
        " 9 more that it did not take were answered by the other.",
        f"{OLD}: 800 requests, 0 of them failed.",
    )
    words = [one.words for one in told.timeline]
    assert words[0].startswith("begun by me@here")
    assert f"{NEW} gets 100 % of the traffic" in words
    assert "gate health failed: 3 checks were not OK" in words
    assert [one.at for one in told.timeline] == sorted(one.at for one in told.timeline)
    written = told.markdown(still.journal.rollout(rollout), ())
    assert written.startswith(f"# {short(NEW)} was taken back\n")
    assert f"From `{OLD}` ({short(OLD)}). To `{NEW}` ({short(NEW)})." in written
    assert "## Impact\n\n- It had traffic for 1 min 30 s." in written
    assert "- `abc1234 Break it`" in written


def test_what_never_had_traffic_cost_nothing(still: Place) -> None:
    rollout = still.journal.begin("production", "up", operator="me", source=OLD, target=NEW)
    with still.journal.step(rollout, "preflight"):
        still.clock.advance(3)
    still.journal.end(rollout, RolloutOutcome.FAILED, "no space is left")
    told = tell(still.journal.rollout(rollout), {}, ())
    assert (told.title, told.impact) == (f"{NEW} could not be rolled out", ())
    assert exposed_seconds(still.journal.rollout(rollout)) == 0
    assert told.timeline[-1].at - told.timeline[0].at == pytest.approx(3)


def test_gates_are_told_as_they_stood_when_it_was_taken_back(place: Place, site: Site) -> None:
    rollout = place.watched()
    began_at = place.clock.now().timestamp() - 600
    log = place.log(rollout, began_at)
    place.watch(log, began_at, 1600, lambda age: 0.2 if age < 600 else 0.0)
    place.journal.end(rollout, RolloutOutcome.ROLLED_BACK, "extraction_failure_rate: too many")
    page = f"/env/production/rollouts/{rollout}"
    told = site.get(f"{page}/report.md").text
    assert "- **extraction_failure_rate** fails" in told, "what a stopped release said later is no verdict"
    (log.path.parent / f"{log.path.name}.gz").write_bytes(gzip.compress(log.path.read_bytes()))
    log.path.unlink()
    assert site.get(f"{page}/report.md").text == told, "compressed or not"
    assert site.get(page).status_code == 200


def test_the_report_is_served_as_markdown(place: Place, site: Site) -> None:
    rollout = place.watched()
    began_at = place.clock.now().timestamp() - 600
    place.watch(place.log(rollout, began_at), began_at, 600, lambda age: 0.2)
    place.journal.end(rollout, RolloutOutcome.ROLLED_BACK, "extraction_failure_rate: too many")
    answer = site.get(f"/env/production/rollouts/{rollout}/report.md")
    assert answer.headers["content-type"].startswith("text/markdown")
    assert f"# {short(NEW)} was taken back" in answer.text
    first = answer.text.split("## Gates\n\n")[1].splitlines()[0]
    assert first.startswith("- **extraction_failure_rate** fails"), "what failed comes first"
    assert f"- {short(NEW)}: 12,100 requests, 242 of them failed (2 %)." in answer.text
