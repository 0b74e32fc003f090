"""A fleet whose hosts answer oddly: Ansible runs for real, on hosts that say what a test has them say."""

import json
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from guarded_rollout.clock import SystemClock
from guarded_rollout.errors import FleetMixedError
from guarded_rollout.fleet.fleet import UP, Fleet
from guarded_rollout.journal.model import UNDOING, Rollout, RolloutOutcome
from guarded_rollout.journal.store import Journal

pytestmark = pytest.mark.system

HOST = """#!{python}
import json, pathlib, sys, time
here = pathlib.Path.cwd()
with (here.parent / "calls").open("a") as calls:
    print(here.name, sys.argv[1], file=calls)
status = here / "status"
match sys.argv[1]:
    case "status":
        time.sleep(float((here / "seconds").read_text()) if (here / "seconds").exists() else 0)
        print(status.read_text())
    case "abort" if (here / "stuck").exists():
        sys.exit("the disk is full")
    case "abort" | "rollback":
        left = {{"rollout": None, "candidate": None, "serving": "a"}}
        status.write_text(json.dumps(json.loads(status.read_text()) | left))
"""
IDLE = {"serving": "a", "candidate": None, "rollout": None, "at_work": None, "phase": "steady", "slots": []}
OPEN = IDLE | {"candidate": "b", "rollout": {"source": "a"}, "phase": "watching"}


@dataclass(frozen=True)
class Odd:
    """A fleet of `h1` and `h2`, and the place where a test says what they answer."""

    folder: Path
    fleet: Fleet

    def answers(self, host: str, status: object) -> None:
        text = status if isinstance(status, str) else json.dumps(status)
        (self.folder / host / "status").write_text(text)

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def write_inventory(self, *hosts: str) -> None:
        variables: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "rollout_command": str(self.folder / "rollout"),
            "release_poll": 1,
        }
        listed = {host: {**variables, "rollout_project": str(self.folder / host)} for host in hosts}
        self.fleet.inventory.write_text(json.dumps({"fleet": {"hosts": listed}}))

    def begin(self, *, undoing: str = "") -> UUID:
        """A rollout from a to b, begun on both hosts, whose driver died."""
        plan = {"before": {"h1": "a", "h2": "a"}, "artifact": {"name": "b", "source": "git:b"}}
        self.fleet.folder.mkdir()
        with Journal.open(self.fleet.folder / "journal.db", clock=self.fleet.clock) as journal:
            begun = journal.begin(
                "production", UP, operator="anna", source="a", target="b", why="", plan=plan
            )
            for host in ("h1", "h2"):
                journal.intend(begun, host)
            if undoing:
                journal.note(begun, UNDOING, cause=undoing)
        return begun

    def record(self) -> Rollout:
        return self.fleet.history(1)[0]


@pytest.fixture
def odd(tmp_path: Path) -> Odd:
    program = tmp_path / "rollout"
    program.write_text(HOST.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    made = Odd(tmp_path, Fleet(tmp_path / "hosts.json", "production", SystemClock(), lambda _: None, "anna"))
    for host in ("h1", "h2"):
        (tmp_path / host).mkdir()
        made.answers(host, OPEN)
    made.write_inventory("h1", "h2")
    return made


def test_the_newest_is_taken_back_first(odd: Odd) -> None:
    odd.begin()
    odd.fleet.abort("another time")
    assert [call for call in odd.calls() if "abort" in call] == ["h2 abort", "h1 abort"]
    assert odd.record().outcome is RolloutOutcome.ROLLED_BACK


@pytest.mark.parametrize("take_back", ["abort", "resume"])
def test_what_people_and_hosts_say_is_no_template(odd: Odd, take_back: str) -> None:
    mark = odd.folder / "made"
    words = f"{{{{ lookup('pipe', 'touch {mark}') }}}}"
    if take_back == "abort":
        odd.begin()
        odd.fleet.abort(words)
    else:
        odd.begin(undoing=words)
        odd.fleet.resume()
    assert not mark.exists()
    assert odd.record().reason == words


def test_a_host_that_could_not_abort_is_not_taken_for_one_that_did(odd: Odd) -> None:
    odd.begin()
    (odd.folder / "h1" / "stuck").touch()
    with pytest.raises(FleetMixedError, match=r"h1 has b at 0 %.*the disk is full"):
        odd.fleet.abort("another time")
    assert odd.record().open
    (odd.folder / "h1" / "stuck").unlink()
    odd.fleet.resume()
    assert odd.record().outcome is RolloutOutcome.ROLLED_BACK


def test_a_host_that_left_the_inventory_is_not_forgotten(odd: Odd) -> None:
    odd.begin()
    odd.write_inventory("h1")
    with pytest.raises(FleetMixedError, match="h2: it is not in the inventory any more"):
        odd.fleet.abort("another time")
    assert odd.record().open
    odd.write_inventory("h1", "h2")
    odd.fleet.abort("another time")
    assert odd.record().outcome is RolloutOutcome.ROLLED_BACK


@pytest.mark.parametrize("garbage", ["Killed: no json", '{"serving": ', "null", '{"serving": "a"}', "[1]"])
def test_one_hosts_garbage_keeps_no_other_from_being_taken_back(odd: Odd, garbage: str) -> None:
    odd.begin()
    odd.answers("h2", garbage)
    with pytest.raises(FleetMixedError, match="h2 cannot be asked"):
        odd.fleet.abort("another time")
    assert "h1 abort" in odd.calls()
    assert [host.serving for host in odd.fleet.status()] == ["a", None]


def test_a_host_that_hangs_is_waited_for_for_so_long(odd: Odd) -> None:
    odd.begin()
    (odd.folder / "h2" / "seconds").write_text("60")
    fleet = Fleet(odd.fleet.inventory, "production", SystemClock(), print, "anna", {"release_ask_timeout": 3})
    first, second = fleet.status()
    assert first.serving == "a"
    assert second.problem
    with pytest.raises(FleetMixedError, match="h2"):
        fleet.abort("another time")
    assert "h1 abort" in odd.calls()
