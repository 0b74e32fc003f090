"""The advice of errors about fleets, and of waiting, tried: see `test_advice.py`."""

import json
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from guarded_rollout import errors
from guarded_rollout.cli import wait
from guarded_rollout.clock import SystemClock
from guarded_rollout.fleet.artifact import Artifact
from guarded_rollout.fleet.fleet import Fleet
from guarded_rollout.fleet.hosts import HostState
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.journal.store import Journal
from guarded_rollout.lock import acquire
from guarded_rollout.status.snapshot import read
from tests.guarded_rollout.advicekit import case, refused, rollout, written
from tests.guarded_rollout.ui.uikit import NEW, OLD, Place

WHEEL = Artifact("dhash.whl", wheel="dhash.whl")


class Told(Fleet):
    """A fleet whose hosts say what a test has them say; all else is the real one."""

    def status(self) -> list[HostState]:
        return HOSTS


HOSTS: list[HostState] = []


def fleet(folder: Path, *hosts: HostState) -> Told:
    inventory = folder / "hosts.json"
    inventory.write_text(json.dumps({"fleet": {"hosts": {host.name: None for host in hosts}}}))
    HOSTS[:] = hosts
    return Told(inventory, "production", SystemClock(), lambda line: None, "anna")


@contextmanager
def begun(made: Fleet) -> Iterator[Journal]:
    made.folder.mkdir(exist_ok=True)
    with Journal.open(made.folder / "journal.db") as journal:
        plan = {"before": {"h1": OLD}, "artifact": {"name": WHEEL.name}}
        journal.begin("production", "fleet up", operator="anna", target=WHEEL.name, plan=plan)
        yield journal


@case(errors.InventoryError)
def inventory(folder: Path) -> None:
    written(folder)
    (folder / "hosts.yml").write_text("fleet:\n  hosts: {h1: }\n")
    with chdir(folder):
        code, said = rollout("fleet", "history", "--inventory", "nowhere.yml")
        assert (code, "Name the inventory with --inventory" in said) == (1, True)
        assert rollout("fleet", "history", "--inventory", "hosts.yml")[0] == 0
        (folder / "others.yml").write_text("all: {hosts: {h1: }}")
        code, said = rollout("fleet", "status", "--inventory", "others.yml")
    assert (code, "others.yml: it has no hosts in the group fleet." in said) == (1, True), said


@case(errors.FleetBusyError)
def fleet_busy(folder: Path) -> None:
    made = fleet(folder, HostState("h1", serving=OLD))
    with begun(made):
        named = "rollout fleet up, anna"
        with (
            acquire(made.folder / "production.lock", environment="production", command=named),
            refused(errors.FleetBusyError, "Wait for it to end") as found,
        ):
            made.abort("now")
        assert "anna" in found.value.sentence
        made.abort("now")


@case(errors.FleetOpenError)
def fleet_open(folder: Path) -> None:
    made = fleet(folder, HostState("h1", serving=OLD))
    with begun(made) as journal:
        with refused(errors.FleetOpenError, "`rollout fleet abort` takes it back"):
            made.up(WHEEL, "")
        made.abort("no more")
        assert journal.history()[0].outcome is RolloutOutcome.ROLLED_BACK


@case(errors.FleetNotOpenError)
def fleet_not_open(folder: Path) -> None:
    written(folder)
    made = fleet(folder, HostState("h1", serving=OLD))
    with refused(errors.FleetNotOpenError, "`rollout fleet history` what was done"):
        made.resume()
    with chdir(folder):
        assert rollout("fleet", "history", "--inventory", str(made.inventory))[0] == 0


@case(errors.FleetNotReadyError)
def fleet_not_ready(folder: Path) -> None:
    made = fleet(folder, HostState("h1", serving=OLD), HostState("h2", problem="no route"))
    with refused(errors.FleetNotReadyError, "leave it out of the inventory"):
        made.up(WHEEL, "")
    assert made.history(1) == []


@contextmanager
def rolling_out(folder: Path) -> Iterator[Place]:
    place = Place(folder, SystemClock())
    try:
        place.release(OLD, "blue")
        place.running()
        place.journal.begin("production", "up", operator="me", source=OLD, target=NEW)
        with chdir(folder):
            yield place
    finally:
        place.close()


@case(errors.StuckError)
def stuck(folder: Path) -> None:
    with rolling_out(folder) as place:
        assert wait.standstill(read(place.environment)) == "it was interrupted"
        patience, wait.PATIENCE_SECONDS = wait.PATIENCE_SECONDS, 0.0
        try:
            code, said = rollout("wait")
        finally:
            wait.PATIENCE_SECONDS = patience
        assert (code, "`rollout abort` takes it back" in said) == (1, True)


@case(errors.NotOverError)
def not_over(folder: Path) -> None:
    with rolling_out(folder) as place:
        opened = place.journal.open_rollout("production")
        assert opened is not None
        with acquire(place.environment.lock, environment="production", command="rollout up"):
            code, said = rollout("wait", "--timeout", "0.1")
            assert (code, "`rollout wait` waits on" in said) == (1, True)

            def end() -> None:
                place.journal.end(opened.id, RolloutOutcome.COMPLETED)
                place.environment.lock.write_text("")

            threading.Timer(0.3, end).start()
            assert rollout("wait")[0] == 0
