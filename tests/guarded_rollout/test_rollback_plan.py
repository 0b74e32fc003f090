"""Where a rollback goes and what it leaves, decided from what runs, on the modelled machine."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guarded_rollout.errors import (
    NoPreviousError,
    OtherEnvironmentError,
    ReleaseDamagedError,
    UnknownReleaseError,
)
from guarded_rollout.rollout.engine import Request
from guarded_rollout.rollout.rollback import (
    plan_rollback,
    previous,
    release_of,
    require_environment,
    rollback_steps,
)
from guarded_rollout.rollout.steps.base import Data, Options
from tests.guarded_rollout.world import Build, FakeSite, Killed, Machine

WARM = ("shift", "safety", "retire", "quarantine", "validate")
COLD = ("stage", "verify", "shift", "safety", "schema", "retire", "quarantine", "validate")


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.close()


def planned(machine: Machine, release: Build, **options: Any) -> Any:
    with machine.journal() as journal:
        site: Any = FakeSite(machine.world)
        wanted: Any = release
        return plan_rollback(site, journal, wanted, Options(**options), validated=True)


def accepted(machine: Machine) -> Build:
    """Roll a release out for good."""
    release = machine.build()
    if machine.deploy(release).window is not None:  # the first one is not watched
        machine.run(lambda engine: engine.promote())
    return release


def test_while_a_release_is_watched_it_goes_to_the_warm_one_in_its_own_slot(machine: Machine) -> None:
    old, new = accepted(machine), machine.build()
    machine.deploy(new)
    plan = planned(machine, old)
    assert (plan.release, plan.slot, plan.outgoing, plan.steps) == (old, "blue", new, WARM)
    assert plan.closes is not None
    assert plan.closes.target == new.id


def test_a_third_release_gets_the_slot_that_does_not_serve(machine: Machine) -> None:
    third, old = machine.build(), accepted(machine)
    plan = planned(machine, third)
    assert (plan.slot, plan.outgoing, plan.closes) == ("green", old, None)
    assert plan.steps == ("schema", "stage", *COLD[1:4], *COLD[5:])
    new = accepted(machine)
    for other in (third, machine.build()):  # whichever was built first
        plan = planned(machine, other)
        assert (plan.slot, plan.outgoing) == ("blue", new)


def test_a_third_release_takes_the_slot_of_the_one_that_was_good(machine: Machine) -> None:
    """The one being rolled out still has the traffic that moves away."""
    third, _, new = machine.build(), accepted(machine), machine.build()
    machine.deploy(new)
    plan = planned(machine, third)
    assert (plan.slot, plan.outgoing) == ("blue", new)
    assert plan.closes is not None


def test_migrations_do_not_come_before_traffic_where_both_need_the_same_schema(machine: Machine) -> None:
    third, serving = machine.build(), accepted(machine)
    for build, schema in ((third, "7"), (serving, "7")):
        object.__setattr__(build, "schema", schema)
    assert planned(machine, third).steps == COLD
    for schema in ("6", "8", None):
        object.__setattr__(serving, "schema", schema)
        assert planned(machine, third).steps[0] == "schema"


def test_where_nothing_stands_the_slot_that_serves_is_filled(machine: Machine) -> None:
    first = machine.build()
    for green, slot in ((0, "blue"), (100, "green")):
        machine.world.green = green
        plan = planned(machine, first)
        assert (plan.slot, plan.outgoing) == (slot, None)
        assert plan.steps == ("schema", "stage", "verify", "shift", "safety", "validate")


def test_what_serves_already_leaves_what_a_failed_rollback_left_beside_it(machine: Machine) -> None:
    old = accepted(machine)
    plan = planned(machine, old)
    assert (plan.slot, plan.outgoing) == ("blue", None)
    new = accepted(machine)
    machine.world.standing["blue"] = old
    plan = planned(machine, new)
    assert (plan.slot, plan.outgoing) == ("green", old)


def test_the_release_that_is_rolled_out_itself_leaves_the_old_one_behind(machine: Machine) -> None:
    old, new = accepted(machine), machine.build()
    for warm, watched, slot in ((old, new, "green"), (new, old, "blue")):  # whichever was built first
        machine.deploy(watched)
        plan = planned(machine, watched)
        assert (plan.slot, plan.outgoing) == (slot, warm)
        machine.run(lambda engine: engine.promote())


def test_a_release_that_stands_and_does_not_answer_is_cold(machine: Machine) -> None:
    old, new = accepted(machine), machine.build()
    machine.deploy(new)
    machine.world.running.discard("blue")
    assert planned(machine, old).steps == ("schema", "stage", *COLD[1:4], *COLD[5:])


def test_a_restart_goes_back_to_the_slot_before_it(machine: Machine) -> None:
    before, release, after = Build("0.9"), accepted(machine), machine.build()
    for slot in ("blue", "green"):
        machine.deploy(release, restart=True)
        for third in (before, after):
            plan = planned(machine, third)
            assert (plan.slot, plan.outgoing) == (slot, release)
        plan = planned(machine, release)
        assert (plan.slot, plan.outgoing, plan.steps) == (slot, release, WARM)
        machine.run(lambda engine: engine.promote())


def test_the_rollback_of_a_restart_stays_with_its_slot_when_it_is_run_again(machine: Machine) -> None:
    release = accepted(machine)
    machine.deploy(release, restart=True)
    with pytest.raises(Killed):
        machine.run(lambda engine: engine.roll_back(release, Request("rollback", "me")), 4)  # type: ignore[arg-type]
    assert machine.history()[0].is_rollback
    assert planned(machine, release).slot == "blue"


def test_a_backup_brings_its_schema_and_is_started_over_where_it_is_exchanged(machine: Machine) -> None:
    old, new = accepted(machine), machine.build()
    machine.deploy(new)
    plan = planned(machine, old, backup="b.zip", data=Data.MERGE, configuration=True)
    middle = ("configuration", "data", "schema", "stage")
    assert plan.steps == ("shift", "safety", "retire", *middle, "quarantine", "validate")


def test_previous_says_why_there_is_none(machine: Machine) -> None:
    def asked() -> Any:
        with machine.journal() as journal:
            site: Any = FakeSite(machine.world)
            return previous(site, journal)

    first = accepted(machine)
    with pytest.raises(NoPreviousError) as error:
        asked()
    assert "left as bad" not in str(error.value)
    bad = machine.build()
    machine.deploy(bad)
    machine.run(lambda engine: engine.abort("it finds nothing"))
    with pytest.raises(NoPreviousError, match=f"{bad.id} was left as bad") as error:
        asked()
    assert f"{first.id} was left" not in str(error.value)
    accepted(machine)
    assert asked() is first


def test_another_environments_backup_is_refused_unless_that_is_meant() -> None:
    manifest: Any = SimpleNamespace(environment="staging")
    backup: Any = "b.zip"
    with pytest.raises(OtherEnvironmentError):
        require_environment(manifest, backup, "production", allow_other=False)
    with pytest.raises(OtherEnvironmentError):
        require_environment(manifest, backup, "testing", allow_other=False)
    require_environment(manifest, backup, "production", allow_other=True)
    require_environment(manifest, backup, "staging", allow_other=False)


# ---- the release of a backup


def brought(*, known: bool = True, intact: bool = True, wheel: str = "w", lock: str = "l") -> str:
    """Where the release of an unpacked backup comes from: its folder, or what it is rebuilt from."""

    class Found:
        artifact_sha256, lock_sha256 = wheel, lock

        def require_intact(self) -> None:
            if not intact:
                raise ReleaseDamagedError(id="1.0", problem="a file is gone")

    def release(name: str) -> Found:
        if not known:
            raise UnknownReleaseError(id=name, known="none")
        return Found()

    manifest: Any = SimpleNamespace(
        release="1.0",
        wheel="release/w.whl",
        requirements="release/r.txt",
        release_json="release/RELEASE.json",
        files={
            "release/w.whl": SimpleNamespace(sha256="w"),
            "release/r.txt": SimpleNamespace(sha256="l"),
        },
    )
    site: Any = SimpleNamespace(release=release, rebuild=str)
    found = release_of(site, Path("/unpacked"), manifest)
    return found if isinstance(found, str) else "its folder"


def test_a_release_is_rebuilt_from_its_backup_unless_its_folder_holds_just_that() -> None:
    assert brought() == "its folder"
    for told in ({"known": False}, {"intact": False}, {"wheel": "other"}, {"lock": "other"}):
        assert brought(**told) == "/unpacked/release", told


# ---- the steps


ALL = {"warm": True, "exchanged": False, "outgoing": True, "validated": True, "backup": True}


@pytest.mark.parametrize(
    ("asked", "steps"),
    [
        ({}, "shift safety retire data schema stage quarantine validate"),
        ({"configuration": True}, "shift safety retire configuration data schema stage quarantine validate"),
        ({"outgoing": False}, "shift safety data schema stage validate"),
        ({"validated": False}, "shift safety retire data schema stage quarantine"),
        ({"backup": False}, "shift safety retire quarantine validate"),
        ({"backup": False, "reunites": True}, "shift safety retire data quarantine validate"),
        ({"backup": False, "configuration": True}, "shift safety retire quarantine validate"),
        (
            {"warm": False},
            "safety schema stage verify shift retire data quarantine validate",
        ),
        (
            {"warm": False, "configuration": True},
            "safety configuration schema stage verify shift retire data quarantine validate",
        ),
        (
            {"warm": False, "backup": False},
            "schema stage verify shift safety retire quarantine validate",
        ),
        (
            {"warm": False, "backup": False, "reunites": True, "same_schema": True},
            "stage verify shift safety schema retire data quarantine validate",
        ),
        (
            {"exchanged": True},
            "safety halt data schema stage verify shift retire quarantine validate",
        ),
        ({"warm": False, "exchanged": True, "validated": False, "outgoing": False},
         "safety halt data schema stage shift"),
    ],
    ids=str,
)  # fmt: skip
def test_the_steps_are_these_in_this_order(asked: dict[str, bool], steps: str) -> None:
    assert rollback_steps(**(ALL | asked)) == tuple(steps.split())


# ---- to a third release, while something else is going on


def watched(machine: Machine) -> None:
    machine.deploy(machine.build())


def restarted(machine: Machine) -> None:
    machine.deploy(machine.world.standing["blue"], restart=True)


def killed_early(machine: Machine) -> None:
    """Before anything stands in the other slot."""
    killed_after(machine, 4)


def killed_while_it_shares(machine: Machine) -> None:
    killed_while_green_has_little(machine, machine.build)


def restart_killed_while_it_shares(machine: Machine) -> None:
    killed_while_green_has_little(machine, lambda: machine.world.standing["blue"], restart=True)


def killed_while_green_has_little(machine: Machine, build: Callable[[], Build], **asked: bool) -> None:
    for lives in range(1000):
        killed_after(machine, lives, build, **asked)
        if 0 < machine.world.green < 50:
            return
        if machine.history()[0].open:
            machine.run(lambda engine: engine.abort("the next try lives longer"))
    raise AssertionError("no share was ever given")


def killed_after(
    machine: Machine, lives: int, build: Callable[[], Build] | None = None, **asked: bool
) -> None:
    release: Any = (build or machine.build)()
    request = Request("deploy", "me", **asked)
    with pytest.raises(Killed):
        machine.run(lambda engine: engine.deploy(release, request), lives)


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize(
    "before", [watched, restarted, killed_early, killed_while_it_shares, restart_killed_while_it_shares]
)
def test_a_third_release_gets_no_traffic_before_it_is_verified(
    machine: Machine, before: Callable[[Machine], None], newest: bool
) -> None:
    """The modelled machine holds every change against that, and against clients whom nobody answers."""
    third: Any = machine.build()
    accepted(machine)
    before(machine)
    if newest:
        third = machine.build()
    tried = machine.world.standing.get("green")
    assert planned(machine, third).slot != machine.world.serving()
    machine.run(lambda engine: engine.roll_back(third, Request("rollback", "me")))
    slot = machine.world.serving()
    assert machine.world.standing[slot] == third
    assert {"blue": 0, "green": 100}[slot] == machine.world.green
    assert machine.world.running == {slot}
    assert not machine.world.spare
    if tried is not None:
        assert machine.history()[0].source == tried.id, "it is what was left as bad"
