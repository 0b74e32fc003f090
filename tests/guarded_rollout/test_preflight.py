import json
import os
import signal
import socket
from collections.abc import Sequence

import pytest

from guarded_rollout.checks.findings import Finding, Severity
from guarded_rollout.checks.manifest import Artifacts, Ran, write
from guarded_rollout.checks.preflight import inspect, require
from guarded_rollout.errors import PreflightError, RolledBackError
from guarded_rollout.journal.model import OVERRIDDEN
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.steps.backup import take_backup
from guarded_rollout.rollout.steps.base import Options
from tests.guarded_rollout.rolloutkit import last
from tests.guarded_rollout.sandbox import Sandbox

SLACK = "SLACK_WEBHOOK_URL=https://example.org/x"


def look(sandbox: Sandbox, **more) -> dict[str, Finding]:
    with Journal.open(sandbox.environment.journal) as journal:
        release = sandbox.build()
        return {finding.name: finding for finding in inspect(sandbox.site, journal, release, **more)}


def levels(findings: dict[str, Finding], *names: str) -> Sequence[Severity]:
    return [findings[name].level for name in names]


def test_an_empty_machine_with_everything_in_place_is_ready(sandbox):
    found = look(sandbox)
    assert found.pop("notifications").level is Severity.WARNING, "and nobody would be told"
    assert {finding.level for finding in found.values()} == {Severity.OK}, found
    require(list(found.values()))


def test_what_preflight_fails_deploy_refuses_unless_it_is_overridden_with_a_reason(sandbox):
    old = sandbox.deploy().release
    artifacts = sandbox.folder / "premerge_artifacts"
    artifacts.mkdir()
    (artifacts / "deploy.log").write_text("deployed")
    ran = Ran("deploy", "rollout deploy", 0, True, 1.0, "deploy.log")
    write(artifacts, Artifacts("production", "r", "d" * 40, False, "2026-01-01", (ran,)))
    with pytest.raises(RolledBackError, match="pre-merge artifacts: they are about dddddddddddd"):
        sandbox.deploy("2.0.0")
    assert sandbox.served_by() == old.id
    new = sandbox.deploy(options=Options(override="the site is down")).release
    assert sandbox.served_by() == new.id
    note = last(sandbox).note(OVERRIDDEN)
    assert (note.data["operator"], note.data["reason"]) == ("test", "the site is down")
    assert "pre-merge artifacts" in str(note.data["problems"])
    shown = sandbox.rollout("history").stdout
    assert "overridden by test: the site is down" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("asked", "level"), [("/well", Severity.WARNING), ("http://localhost:1/health", Severity.OK)]
)
def test_gates_that_ask_elsewhere_than_what_verifies_a_release_are_warned_of(sandbox, asked, level):
    document = json.loads(sandbox.environment.gates.read_text())
    document["global_settings"] = {"health_check_endpoint": asked}
    sandbox.environment.gates.write_text(json.dumps(document))
    with Journal.open(sandbox.environment.journal) as journal:
        rows = [row for row in inspect(sandbox.site, journal, None) if row.name == "quality gates"]
    assert max(row.level for row in rows) is level
    assert any("/well" in row.detail for row in rows) is (level is Severity.WARNING)


@pytest.mark.parametrize(
    ("given", "mode", "named", "level", "said"),
    [
        ("", 0o600, "slack", Severity.WARNING, "no channel is set"),
        (SLACK, 0o644, "slack", Severity.WARNING, "can read it (mode 644)"),
        (SLACK, 0o600, "slack", Severity.OK, "slack"),
        (SLACK, 0o600, "console", Severity.WARNING, "names no channel that is set up (slack)"),
    ],
)
def test_channels_that_tell_nobody_or_that_anybody_can_read_are_warned_of(
    sandbox, given, mode, named, level, said
):
    document = json.loads(sandbox.environment.gates.read_text())
    document["environments"]["production"]["notifications"] = {"channels": [named]}
    sandbox.environment.gates.write_text(json.dumps(document))
    path = sandbox.folder / ".env.notifications"
    path.write_text(given)
    path.chmod(mode)
    with Journal.open(sandbox.environment.journal) as journal:
        rows = {row.name: row for row in inspect(sandbox.site, journal, None)}
    assert rows["notifications"].level is level
    assert said in rows["notifications"].detail


def test_a_serving_environment_is_asked_for_its_health_and_its_latest_backup(sandbox):
    sandbox.deploy()
    found = look(sandbox)
    assert levels(found, "service health", "latest backup") == [Severity.OK, Severity.WARNING]
    backup = take_backup(sandbox.site).entry.path
    assert look(sandbox)["latest backup"].level is Severity.OK

    os.kill(sandbox.supervisor_pid(), signal.SIGKILL)  # nobody starts it again
    os.kill(sandbox.pids()["blue"], signal.SIGKILL)
    found = look(sandbox)
    assert found["service health"].level is Severity.FAILED
    with pytest.raises(PreflightError, match="service health"):
        require(list(found.values()))
    assert "service health" not in look(sandbox, health=False)
    sandbox.site.processes.stop("blue")
    assert look(sandbox)["service health"].level is Severity.OK, (
        "a deployment starts what was stopped on purpose"
    )

    backup.chmod(0o600)
    backup.write_bytes(backup.read_bytes()[:-40] + b"x" * 40)
    assert look(sandbox)["latest backup"].level is Severity.FAILED


def test_what_is_missing_is_named_with_what_to_do(sandbox, monkeypatch):
    file = sandbox.folder / "rollout.toml"
    file.write_text(file.read_text() + "[project]\nminimum_free_mb = 1000000000\n")
    (sandbox.folder / "quality-gates-config.json").write_text("{}")
    with socket.socket() as other:
        other.bind(("127.0.0.1", sandbox.port))
        other.listen()
        found = look(sandbox)
    assert levels(found, "disk space", "quality gates", "sockets and port") == [Severity.FAILED] * 3
    assert "1000000000 MB are needed" in found["disk space"].detail
    assert f"Port {sandbox.port} is taken" in found["sockets and port"].detail
    assert all(found[name].advice for name in ("disk space", "sockets and port"))


def test_a_missing_program_is_named(sandbox, monkeypatch, tmp_path):
    release = sandbox.build()
    monkeypatch.setattr("guarded_rollout.host.programs.sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with Journal.open(sandbox.environment.journal) as journal:
        found = {finding.name: finding for finding in inspect(sandbox.site, journal, release)}
    assert found["tools"].level is Severity.FAILED
    assert "'uv' is not installed" in found["tools"].detail


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(sandbox):
    sandbox.environment.backups.mkdir()
    sandbox.environment.backups.chmod(0o500)
    assert look(sandbox)["permissions"].level is Severity.FAILED


def test_a_destructive_migration_is_seen_before_anything_runs(sandbox):
    sandbox.deploy()
    sandbox.add_revision("expand", "DROP TABLE picture")
    found = look(sandbox)["migration plan"]
    assert found.level is Severity.FAILED
    assert "drops table" in found.detail
