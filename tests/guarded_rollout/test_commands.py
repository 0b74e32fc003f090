import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from typer.main import get_command

from guarded_rollout.cli import registry
from guarded_rollout.cli.app import app
from guarded_rollout.cli.registry import COMMANDS
from guarded_rollout.host.release import short
from guarded_rollout.status.document import StatusDocument
from tests.guarded_rollout.rolloutkit import files

ROOT = Path(__file__).parents[2]
CHANGING = (
    "up",
    "deploy",
    "backup",
    "migrate",
    "rollback",
    "resume",
    "abort",
    "pause",
    "promote",
    "prune",
    "down",
)
TELLING = ("verify", "status", "history", "preflight")


@pytest.fixture(scope="module")
def commands():
    return get_command(app).commands  # type: ignore[attr-defined]


def test_the_registry_lists_exactly_the_commands_that_its_modules_define(commands):
    for name, entry in COMMANDS.items():
        assert commands[name].name == name
        assert commands[name].hidden is not bool(entry.panel)
    unlisted = set(get_command(app).commands.data) - set(COMMANDS)  # one that is listed has been built
    assert (set(commands.built), unlisted) == (set(COMMANDS), set())
    folder = Path(registry.__file__).parent
    frame = {"__init__", "__main__", "app", "registry", "session", "pipeline", "tables", "monitor_view"}
    assert {path.stem for path in folder.glob("*.py")} - frame == {
        module for entry in COMMANDS.values() for module in entry.modules
    }


def test_the_help_lists_every_command_in_its_group_and_imports_none():
    told = "import sys; from guarded_rollout.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", told, "--help"], capture_output=True, text=True, check=True)
    page, _, modules = done.stdout.rpartition("╯")
    at = [page.index(f"─ {panel} ─") for panel in ("Deploy", "Observe", "Recover", "Maintain")]
    assert at == sorted(at)
    assert {*re.findall(r"^│ ([a-z][a-z-]+) ", page, re.MULTILINE)} == {
        name for name, entry in COMMANDS.items() if entry.panel
    }
    assert {name for name in modules.split() if name.startswith("guarded_rollout.")} == {
        "guarded_rollout.cli",
        "guarded_rollout.cli.registry",
        "guarded_rollout.cli.app",
    }


def test_a_reading_of_status_starts_without_what_deploys_judges_or_sends(tmp_path):
    (tmp_path / "rollout.toml").write_text('[environments.production]\nport = 3999\nroot = "p"\n')
    told = "import sys; from guarded_rollout.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", told, "status"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    imported = done.stdout.splitlines()[-1].split()
    assert "guarded_rollout.status.facts" in imported
    slow = {"httpx", "numpy", "prometheus_client", "psutil", "supervisor.xmlrpc", "starlette", "rich.live"}
    slow |= {"structlog", "guarded_rollout.config.gates", "guarded_rollout.backup.archive"}
    assert slow.isdisjoint(imported)


def test_every_command_has_help_with_an_example(commands):
    assert {*CHANGING, *TELLING} <= set(commands)
    for name in (*CHANGING, *TELLING):
        assert commands[name].help, name
        assert (commands[name].epilog or "").startswith(f"Example: rollout {name}"), name


def test_every_command_that_changes_something_can_be_rehearsed_and_told_as_json(commands):
    for name in CHANGING:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {"--env", "--dry-run", "--verbose", "-v", "--json"} <= options, name


@pytest.mark.parametrize("name", ["backup", "deploy", "migrate", "rollback"])
def test_the_guides_scripts_are_fronts(name):
    script = ROOT / "scripts" / f"{name}_dhash.sh"
    assert os.access(script, os.X_OK)
    assert script.read_text().count("\n") == 2
    done = subprocess.run([script, "--help"], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0
    assert f"rollout {name}" in done.stdout


def test_a_rehearsal_of_a_deployment_touches_nothing_on_an_empty_machine(sandbox):
    before = files(sandbox)
    done = sandbox.rollout("deploy", "--dry-run", "--verbose")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("DRY-RUN: ") for line in done.stdout.splitlines())
    for said in (
        "build release 1.0.0",
        "run migration 0001",
        "CREATE TABLE picture",
        "start release",
        "traffic",
    ):
        assert said in done.stdout
    assert files(sandbox) == before
    assert not sandbox.environment.root.exists()


def test_a_rehearsal_beside_a_running_release_tells_the_real_plan_and_changes_nothing(sandbox):
    old = sandbox.deploy().release
    sandbox.version("2.0.0")
    before = files(sandbox)
    done = sandbox.rollout("up", "--dry-run")
    assert done.returncode == 0, done.stderr
    for said in (
        "build release 2.0.0",
        "back up production",
        "in the green slot",
        "50 %",
        f"drain and stop {short(old.id)}",
    ):
        assert said in done.stdout
    assert files(sandbox) == before
    assert sandbox.served_by() == old.id


def test_migrate_shows_its_sql_asks_and_runs(sandbox):
    sandbox.configure(confirm=True)
    rehearsed = sandbox.rollout("migrate", "--dry-run")
    assert "DRY-RUN:   CREATE TABLE picture" in rehearsed.stdout
    assert not sandbox.environment.root.exists()
    cancelled = sandbox.rollout("migrate", given="no\n")
    assert cancelled.returncode == 1
    assert "Cancelled" in cancelled.stderr
    done = sandbox.rollout("migrate", "--force", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["applied"] == ["0001"]
    again = sandbox.rollout("migrate", "--force")
    assert "nothing to migrate" in again.stdout
    assert sandbox.rollout("migrate", "--direction", "sideways").returncode == 1


def test_deploy_refuses_a_release_whose_migrations_have_not_run(sandbox):
    old = sandbox.deploy().release
    sandbox.add_revision("expand", "CREATE TABLE more (id TEXT)")
    refused = sandbox.rollout("deploy")
    assert refused.returncode == 1
    assert "needs schema revision 0002" in refused.stderr
    assert "rollout migrate" in refused.stderr
    assert sandbox.served_by() == old.id
    assert sandbox.rollout("migrate").returncode == 0
    assert sandbox.rollout("deploy").returncode == 0


def test_status_tells_all_at_a_glance_and_starts_nothing(sandbox):
    empty = sandbox.rollout("status")
    assert empty.returncode == 0
    assert "nothing serves yet" in empty.stdout
    assert not sandbox.environment.root.exists()
    old = sandbox.deploy().release
    new = sandbox.deploy("2.0.0").release
    told = json.loads(sandbox.rollout("status", "--json").stdout)
    assert (told["stable"], told["candidate"], told["step"]) == (old.id, new.id, "watch")
    assert told["schema_revision"] == "0001"
    assert [(one["slot"], one["percent"], one["healthy"]) for one in told["slots"]] == [
        ("blue", 0, True),
        ("green", 100, True),
    ]
    assert 0 < told["window"]["seconds_left"] <= 60
    assert told["watched_by"] is None
    TypeAdapter(StatusDocument).validate_python(told)
    people = sandbox.rollout("status").stdout
    assert f"100 % of the traffic, running, pid {told['slots'][1]['pid']}, healthy" in people
    assert "next         rollout status --watch --env production" in people


def test_an_error_is_one_json_object_for_programs(sandbox):
    done = sandbox.rollout("promote", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == "nothing-open"


def test_two_commands_at_once_take_turns_by_refusing_the_second_with_the_first_ones_name(sandbox):
    from guarded_rollout.lock import acquire

    site = sandbox.site
    with acquire(site.environment.lock, environment="production", command="rollout deploy"):
        refused = sandbox.rollout("down", "--force")
    assert refused.returncode == 1
    assert f"process {os.getpid()}" in refused.stderr


def test_a_stopped_environment_comes_back_with_its_release_and_its_data(sandbox):
    release = sandbox.deploy().release
    assert sandbox.rollout("down", "--force").returncode == 0
    assert sandbox.pids() == {}
    again = sandbox.rollout("up")
    assert again.returncode == 0, again.stderr
    assert "serves production already" in again.stdout
    assert sandbox.served_by() == release.id


def test_a_group_that_was_imported_by_half_has_all_of_its_commands() -> None:
    """In a process of its own: the others have imported them all."""
    code = (
        "from guarded_rollout.cli import gates\n"
        "from typer.testing import CliRunner\n"
        "from guarded_rollout.cli.app import app\n"
        "print(CliRunner().invoke(app, ['gates', 'export', '--help']).output)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "prometheus" in done.stdout.lower(), done.stdout + done.stderr
