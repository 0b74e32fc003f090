"""A fleet by what its hosts say: is it of one release, what is next, what is taken back in which order."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psutil
import pytest
import yaml

from guarded_rollout.clock import SystemClock
from guarded_rollout.errors import BuildError
from guarded_rollout.fleet.artifact import prepare
from guarded_rollout.fleet.fleet import Fleet
from guarded_rollout.fleet.hosts import (
    HostState,
    described,
    is_mixed,
    not_ready,
    one_release,
    to_take_back,
)
from guarded_rollout.fleet.play import COLLECTION, LITERAL, literal, variables_of_ansible
from guarded_rollout.journal.model import Rollout, StepOutcome, StepRun
from tests.guarded_rollout.advicekit import production, written
from tests.guarded_rollout.sandbox import ROOT, wait_until

OLD, NEW = "1.0.0-wheel-aaaaaaaa", "1.0.1-wheel-bbbbbbbb"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
H1, H2 = HostState("h1", serving=NEW, phase="steady"), HostState("h2", serving=OLD, phase="steady")
H3 = HostState("h3", serving=OLD, source=OLD, candidate=NEW, percent=10, phase="interrupted")
LOST = HostState("h4", problem="no route to host")
BEFORE = {"h1": OLD, "h2": OLD, "h3": OLD, "h4": OLD}
ROLLOUT = Rollout(UUID(int=1), "production", "fleet up", "anna", OLD, "wheel", "", NOW)


def run(host: str, outcome: StepOutcome | None) -> StepRun:
    return StepRun(host, NOW, {}, None if outcome is None else NOW, outcome)


def test_a_mixed_fleet_is_named_host_by_host() -> None:
    hosts = [H1, H2, H3, LOST]
    assert is_mixed(hosts)
    assert described(hosts) == (
        "h1 serves 1.0.1+bbbb, h2 serves 1.0.0+aaaa, h3 has 1.0.1+bbbb at 10 % (interrupted),"
        " h4 cannot be asked"
    )


@pytest.mark.parametrize(
    ("hosts", "release", "mixed"),
    [
        ([H1, replace(H1, name="h2")], NEW, False),
        ([H1, H2], None, True),
        ([H2, H3], None, True),
        ([H1, LOST], None, True),
        ([HostState("h1"), HostState("h2")], None, False),  # nothing serves yet
        ([HostState("h1"), H2], None, True),
    ],
)
def test_a_fleet_is_of_one_release_or_mixed(hosts: list[HostState], release: str | None, mixed: bool) -> None:
    assert one_release(hosts) == release
    assert is_mixed(hosts) is mixed


def test_a_rollout_begins_only_over_hosts_that_are_there_and_idle() -> None:
    assert not_ready([H1, H2]) == ""
    assert not_ready([H1, LOST, replace(LOST, name="h5")]) == "h4, h5 cannot be asked"
    assert "h3 has 1.0.1+bbbb at 10 %" in not_ready([H1, H3])
    assert not_ready([]) == "the inventory has no host"
    assert one_release([]) is None


def test_what_was_touched_is_taken_back_the_newest_first() -> None:
    assert to_take_back(ROLLOUT, [H1, H2, H3], BEFORE) == ("h3", "h1")


def test_a_lost_host_is_taken_back_if_the_record_says_that_it_was_begun() -> None:
    for outcome in (None, StepOutcome.DONE, StepOutcome.FAILED):
        begun = replace(ROLLOUT, steps=(run("h4", outcome),))
        assert to_take_back(begun, [H1, LOST], BEFORE) == ("h4", "h1")
    undone = replace(ROLLOUT, steps=(run("h4", StepOutcome.UNDONE),))
    assert to_take_back(undone, [H1, LOST], BEFORE) == ("h1",)
    assert to_take_back(ROLLOUT, [LOST], BEFORE) == ()


def test_a_host_that_was_none_of_the_rollout_is_left_alone() -> None:
    assert to_take_back(ROLLOUT, [HostState("new", serving=NEW)], BEFORE) == ()


def test_a_host_that_served_nothing_is_taken_back_to_nothing() -> None:
    assert to_take_back(ROLLOUT, [H1], {"h1": None}) == ("h1",)
    assert to_take_back(ROLLOUT, [HostState("h1")], {"h1": None}) == ()


def test_a_state_is_read_from_what_the_host_prints() -> None:
    status = {
        "serving": OLD,
        "candidate": NEW,
        "phase": "rolling out",
        "rollout": {"source": OLD, "target": NEW},
        "slots": [{"release": OLD, "percent": 90}, {"release": NEW, "percent": 10}],
    }
    assert HostState.of_status("h3", status) == replace(H3, phase="rolling out")
    assert HostState.of_status("h3", status).before == OLD


def test_a_host_without_a_rollout_has_no_share_and_no_source() -> None:
    slots = [{"release": None, "percent": 0}, {"release": OLD, "percent": 100}]
    status = {"serving": OLD, "candidate": None, "phase": "steady", "rollout": None, "slots": slots}
    assert HostState.of_status("h2", status) == H2
    staged = status | {"candidate": NEW, "rollout": {"source": OLD}}  # it runs nowhere yet
    assert HostState.of_status("h2", staged) == replace(H2, source=OLD, candidate=NEW)


@pytest.mark.parametrize(
    ("host", "settled", "before", "said"),
    [
        (H2, OLD, OLD, "serves 1.0.0+aaaa"),
        (H3, None, OLD, "has 1.0.1+bbbb at 10 % (interrupted)"),
        (replace(H3, serving=None, source=None), None, None, "has 1.0.1+bbbb at 10 % (interrupted)"),
        (replace(H2, source=NEW), OLD, OLD, "serves 1.0.0+aaaa"),
        (HostState("h5"), None, None, "serves nothing"),
        (replace(LOST, serving=OLD), None, OLD, "cannot be asked"),
    ],
)
def test_a_host_is_settled_serves_or_served(
    host: HostState, settled: str | None, before: str | None, said: str
) -> None:
    assert (host.settled, host.before, str(host)) == (settled, before, said)


def test_a_host_is_told_as_data_with_what_is_known() -> None:
    known = {"host": "h3", "serving": OLD, "candidate": NEW, "percent": 10, "phase": "interrupted"}
    assert H3.as_json() == known | {"problem": None}
    lost = {"host": "h4", "serving": None, "candidate": None, "percent": 0, "phase": None}
    assert LOST.as_json() == lost | {"problem": "no route to host"}


def test_what_the_operator_sets_for_ansible_stays() -> None:
    told = variables_of_ansible({"ANSIBLE_FORKS": "3", "ANSIBLE_STDOUT_CALLBACK": "yaml"})
    assert told["ANSIBLE_FORKS"] == "3"
    assert told["ANSIBLE_STDOUT_CALLBACK"] == "rollout_events"  # or nobody could follow


@pytest.mark.parametrize("path", sorted(COLLECTION.rglob("*.yml")), ids=lambda path: path.stem)
def test_every_file_of_the_collection_is_read(path: Path) -> None:
    assert yaml.safe_load(path.read_text())


def test_the_play_over_all_hosts_goes_one_then_a_quarter_then_the_rest() -> None:
    first = yaml.safe_load((COLLECTION / "playbooks/rollout.yml").read_text())[0]
    assert "[1, '25%', '100%']" in first["serial"]
    assert first["any_errors_fatal"] is True
    assert "rescue" in first["tasks"][0]


DRIVER = """
import sys
from pathlib import Path
from guarded_rollout.fleet import play
play.COLLECTION = Path(sys.argv[1])
for event in play.run("slow.yml", Path(sys.argv[2]), {}, sys.stderr):
    print(event, flush=True)
"""


@pytest.mark.system
def test_a_play_ends_with_its_driver_even_by_kill_9(tmp_path: Path) -> None:
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "plugins").symlink_to(COLLECTION / "plugins")
    (tmp_path / "roles").mkdir()
    slow = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.pause": {"seconds": 60}}]}]
    (tmp_path / "playbooks/slow.yml").write_text(json.dumps(slow))
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"a": {"ansible_connection": "local"}}}}))
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path), str(inventory)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert driver.stdout is not None
        while "'task'" not in driver.stdout.readline():
            assert driver.poll() is None
        main = psutil.Process(driver.pid)
        wait_until(lambda: len(main.children(recursive=True)) > 1, 20, "the play has a worker")
        plays = main.children(recursive=True)
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait(20)
    wait_until(lambda: not any(one.is_running() for one in plays), 20)


@pytest.mark.system
def test_what_ansible_cannot_do_is_said_in_its_own_words(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    missing = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "rollout_command": "/no/such/program",
        "rollout_project": str(tmp_path),
    }
    inventory.write_text(json.dumps({"fleet": {"hosts": {"a": missing}}}))
    written(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "guarded_rollout.cli", "fleet", "status", "-i", str(inventory), "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 3
    assert "/no/such/program" in told["hosts"][0]["problem"]


@pytest.mark.system
def test_the_collection_can_be_built_and_has_its_roles(tmp_path: Path) -> None:
    galaxy = Path(sys.executable).with_name("ansible-galaxy")
    folder = COLLECTION.parents[3] / "deploy" / "ansible"
    words = [str(galaxy), "collection", "build", str(folder), "--output-path", str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as built:
        names = built.getnames()
    assert {"playbooks/rollout.yml", "roles/release/tasks/forward.yml", "roles/edge/tasks/drain.yml"} <= set(
        names
    )


@pytest.mark.system
@pytest.mark.timeout(900)
def test_the_guard_is_installed_as_locked_with_its_secrets_for_its_user_alone(tmp_path: Path) -> None:
    build = [str(Path(sys.executable).with_name("uv")), "build", "--quiet", "--wheel"]
    subprocess.run([*build, "--out-dir", str(tmp_path / "dist"), str(ROOT)], check=True)
    host = tmp_path / "host"
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "guard_python": sys.executable,
        "guard_venv": str(host / "venv"),
        "guard_wheel": f"dist/{next((tmp_path / 'dist').glob('*.whl')).name}",
        "guard_lock": str(ROOT / "locks/runtime.txt"),
        "rollout_project": str(host),
        "rollout_secrets": {"DATABASE": "postgresql://somewhere"},
    }
    (tmp_path / "hosts.json").write_text(json.dumps({"fleet": {"hosts": {"a": variables}}}))
    written(tmp_path)
    shutil.copy(ROOT / "quality-gates-config.json", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "guarded_rollout.cli", "fleet", "install", "-i", "hosts.json", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["hosts"] == ["a"]
    assert "somewhere" not in (tmp_path / "hosts.fleet/production-install.log").read_text()
    assert stat.S_IMODE((host / "secrets.env").stat().st_mode) == 0o600
    told = subprocess.run(
        [host / "venv/bin/rollout", "status", "--json"], cwd=host, capture_output=True, text=True
    )
    assert json.loads(told.stdout)["phase"] == "empty"


def test_an_empty_source_is_no_checkout(tmp_path: Path) -> None:
    """`--from "$WHEEL"` where that is not set must not reach every host."""
    with pytest.raises(BuildError, match="an empty --from"):
        prepare("", production(tmp_path), tmp_path)


def test_a_wheel_that_was_kept_is_rolled_out_again(tmp_path: Path) -> None:
    wheel = tmp_path / "app-1-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    (tmp_path / "requirements.txt").write_text("a lock")
    kept = prepare(str(wheel), production(tmp_path), tmp_path / "hosts.fleet")
    assert prepare(kept.wheel, production(tmp_path), tmp_path / "hosts.fleet") == kept
    assert Path(kept.wheel).read_bytes() == b"a wheel"


@pytest.mark.parametrize(
    ("inventory", "record"),
    [
        ("hosts.yml", "hosts.fleet"),
        ("hosts", "hosts.fleet"),
        ("hosts.eu", "hosts.eu.fleet"),
        ("hosts.us", "hosts.us.fleet"),
    ],
)
def test_each_inventory_has_a_record_of_its_own(tmp_path: Path, inventory: str, record: str) -> None:
    made = Fleet(tmp_path / inventory, "production", SystemClock(), print, "anna")
    assert made.folder == tmp_path / record


def test_texts_of_ours_are_no_templates() -> None:
    given = {"why": "{{ 1 }}", "before": {"h1": "a", "h2": None}, "hosts": ["h1"], "seconds": 3, "on": True}
    assert literal(given) == {
        "why": {LITERAL: "{{ 1 }}"},
        "before": {"h1": {LITERAL: "a"}, "h2": None},
        "hosts": [{LITERAL: "h1"}],
        "seconds": 3,
        "on": True,
    }
