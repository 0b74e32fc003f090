"""Which releases are good, which one `previous` is, which are kept, and how `rollout releases` tells it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from guarded_rollout.checks.candidate import about_release
from guarded_rollout.checks.findings import Severity
from guarded_rollout.cli.app import app
from guarded_rollout.config.environments import Project, load
from guarded_rollout.errors import NoPreviousError, RolloutError
from guarded_rollout.files import sha256
from guarded_rollout.host.slots import Slots
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.journal.record import records
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.engine import Request
from guarded_rollout.rollout.releases import Release, surplus
from guarded_rollout.rollout.rollback import previous
from tests.guarded_rollout.world import Build, Killed, Machine

# ---- which one is previous, by the real engine on the modelled machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.close()


def accept(machine: Machine, **asked: object) -> Build:
    made = machine.build()
    if machine.deploy(made, **asked).window:
        machine.run(lambda engine: engine.promote())
    return made


def previous_of(machine: Machine) -> str:
    return machine.run(lambda engine: previous(engine.site, engine.journal)).id


def roll_back(machine: Machine, why: str = "", lives: float = float("inf")) -> None:
    machine.run(
        lambda engine: engine.roll_back(
            previous(engine.site, engine.journal), Request("rollback", "test", why)
        ),
        lives,
    )


def test_going_back_twice_does_not_bring_the_bad_one_back(machine: Machine) -> None:
    first, second, bad = accept(machine), accept(machine), accept(machine)
    assert previous_of(machine) == second.id
    roll_back(machine, "wrong answers")
    assert previous_of(machine) == first.id
    record = records(machine.history())[bad.id]
    assert record.bad
    assert record.why == "wrong answers"


def test_where_only_bad_ones_are_left_it_says_which_and_why(machine: Machine) -> None:
    _, bad = accept(machine), accept(machine)
    roll_back(machine, "wrong answers")
    with pytest.raises(NoPreviousError, match=rf"{bad.id} was left as bad \(wrong answers\)"):
        previous_of(machine)


def test_a_bad_one_that_is_accepted_later_is_good_again(machine: Machine) -> None:
    first, second = accept(machine), accept(machine)
    roll_back(machine)
    machine.deploy(second)
    machine.run(lambda engine: engine.promote())
    assert records(machine.history())[second.id].good
    assert previous_of(machine) == first.id


def test_in_a_window_it_is_what_is_being_replaced(machine: Machine) -> None:
    first = accept(machine)
    machine.deploy(machine.build())
    assert previous_of(machine) == first.id


def test_a_release_that_was_aborted_is_bad_and_one_that_was_superseded_is_not(machine: Machine) -> None:
    first, second = accept(machine), accept(machine)
    aborted, superseded = machine.build(), machine.build()
    machine.deploy(aborted)
    machine.run(lambda engine: engine.abort("slow"))
    machine.deploy(superseded)
    third = accept(machine, supersede=True)
    known = records(machine.history())
    assert known[aborted.id].bad
    assert known[aborted.id].why == "slow"
    assert superseded.id not in known
    assert known[third.id].good
    assert previous_of(machine) == second.id
    assert known[first.id].good


def said_of(machine: Machine, build: Build) -> tuple[Severity, str]:
    """What preflight says of a release."""
    with machine.journal() as journal:
        [finding] = about_release(SimpleNamespace(id=build.id, dirty=False), journal)
    return finding.level, finding.detail


def test_preflight_says_why_a_release_was_left(machine: Machine) -> None:
    accept(machine)
    aborted = machine.build()
    machine.deploy(aborted)
    machine.run(lambda engine: engine.abort("slow"))
    assert said_of(machine, aborted) == (Severity.WARNING, f"{aborted.id} was left as bad: slow")


def test_a_release_that_never_ran_is_not_bad(machine: Machine) -> None:
    accept(machine)
    candidate = machine.build()
    with pytest.raises(RolloutError):
        machine.run(lambda engine: engine.deploy(candidate, Request("up", "test")), failing="preflight")
    assert candidate.id not in records(machine.history())
    assert said_of(machine, candidate) == (Severity.OK, candidate.id)


def test_an_interrupted_rollback_goes_where_it_was_going(machine: Machine) -> None:
    _, second, _ = accept(machine), accept(machine), accept(machine)
    with pytest.raises(Killed):
        roll_back(machine, lives=5)
    assert machine.history()[0].open
    assert previous_of(machine) == second.id
    roll_back(machine)
    assert machine.world.standing[machine.world.serving()].id == second.id


# ---- which ones are kept


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "rollout.toml").write_text(
        "[project]\nkeep_releases = 2\n"
        "[environments.production]\nport = 3990\n[environments.staging]\nport = 3991\n"
    )
    return load(tmp_path / "rollout.toml")


def built(project: Project, number: int) -> Release:
    """A release as it lies on the disk; `number` is its age, the higher the younger."""
    folder = project.path.parent / "releases" / f"{number}.0"
    python = folder / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch(mode=0o755)
    hashes = []
    for name in ("service.whl", "requirements.txt"):
        (folder / name).write_text(name)
        hashes.append(sha256(folder / name))
    manifest = {
        "id": folder.name,
        "version": "1",
        "commit": None,
        "dirty": False,
        "built_at": f"2026-01-01T00:00:{number:02}+00:00",
        "wheel": {"name": "service.whl", "sha256": hashes[0]},
        "lock": {"sha256": hashes[1]},
        "schema": None,
    }
    (folder / "RELEASE.json").write_text(json.dumps(manifest))
    return Release.load(folder)


def rolled_out(project: Project, name: str, *targets: Release) -> None:
    environment = project.environment(name)
    with Journal.open(environment.journal) as journal:
        source: str | None = None
        for target in targets:
            begun = journal.begin(name, "up", operator="test", source=source, target=target.id)
            with journal.step(begun, "stage"):
                pass
            with journal.step(begun, "verify"):
                pass
            journal.end(begun, RolloutOutcome.COMPLETED)
            source = target.id


def surplus_of(project: Project, name: str) -> list[str]:
    with Journal.open(project.environment(name).journal) as journal:
        return [release.id for release in surplus(project.environment(name), journal)]


def test_no_environment_removes_what_another_would_return_to(project: Project) -> None:
    made = [built(project, number) for number in range(10)]
    rolled_out(project, "production", *made[:4])
    rolled_out(project, "staging", *made[4:])
    assert surplus_of(project, "staging") == ["0.0", "1.0", "4.0", "5.0", "6.0", "7.0"]
    assert surplus_of(project, "production") == surplus_of(project, "staging")


def test_nothing_is_removed_while_the_other_journal_cannot_be_read(project: Project) -> None:
    rolled_out(project, "staging", *(built(project, number) for number in range(10)))
    journal = project.environment("production").journal
    journal.parent.mkdir(parents=True)
    journal.write_bytes(b"no database" * 1000)
    assert surplus_of(project, "staging") == []


# ---- how they are told


def told(project: Project, *words: str) -> str:
    with contextlib.chdir(project.path.parent):
        done = CliRunner().invoke(app, ["releases", *words], env={"COLUMNS": "200", "ROLLOUT_TOML": ""})
    assert done.exit_code == 0, done.output
    return done.output


def test_every_release_is_told_with_the_way_back_to_it(project: Project) -> None:
    made = [built(project, number) for number in range(4)]
    rolled_out(project, "production", *made)
    environment = project.environment("production")
    (environment.root / "slots").mkdir()
    Slots(environment).assign("blue", made[3])
    with Journal.open(environment.journal) as journal:
        plan = {"slot": "blue", "steps": [], "options": {}, "back": True}
        names = {"source": "3.0", "target": "2.0", "why": "cut answers"}
        back = journal.begin("production", "rollback", operator="test", plan=plan, **names)
        journal.end(back, RolloutOutcome.COMPLETED)
    Slots(environment).assign("blue", made[2])
    (made[0].folder / "requirements.txt").write_text("other")
    found = {one["id"]: one for one in json.loads(told(project, "--json"))["releases"]}
    assert list(found) == ["3.0", "2.0", "1.0", "0.0"]
    assert found["3.0"]["bad"]
    assert found["3.0"]["why"] == "cut answers"
    assert found["2.0"]["percent"] == 100
    assert found["1.0"]["is_previous"]
    assert found["1.0"]["seconds"] > 0
    assert found["0.0"]["problem"] == "requirements.txt is missing or was changed"
    assert all(one["size_bytes"] > 0 for one in found.values())
    lines = told(project).splitlines()
    assert "cut answers" in lines[1]
    assert "stopped" in lines[2], "nothing runs here"
    assert "previous, in about 1 s" in lines[3]
    assert "by a backup alone" in lines[4]


def test_where_nothing_was_built_it_says_how_to_begin(project: Project) -> None:
    assert "rollout up --env production" in told(project)
