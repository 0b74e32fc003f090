import os
import socket
from collections.abc import Sequence

import pytest

from guarded_rollout.checks.findings import Finding, Severity
from guarded_rollout.checks.preflight import inspect, require
from guarded_rollout.errors import PreflightError
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.steps.backup import take_backup
from tests.guarded_rollout.sandbox import Sandbox


def look(sandbox: Sandbox, **more) -> dict[str, Finding]:
    with Journal.open(sandbox.environment.journal) as journal:
        release = sandbox.build()
        return {finding.name: finding for finding in inspect(sandbox.site, journal, release, **more)}


def levels(findings: dict[str, Finding], *names: str) -> Sequence[Severity]:
    return [findings[name].level for name in names]


def test_an_empty_machine_with_everything_in_place_is_ready(sandbox):
    found = look(sandbox)
    assert {finding.level for finding in found.values()} == {Severity.OK}, found
    require(list(found.values()))


def test_a_serving_environment_is_asked_for_its_health_and_its_latest_backup(sandbox):
    sandbox.deploy()
    found = look(sandbox)
    assert levels(found, "service health", "latest backup") == [Severity.OK, Severity.WARNING]
    backup = take_backup(sandbox.site).entry.path
    assert look(sandbox)["latest backup"].level is Severity.OK

    sandbox.site.processes.stop("blue")
    found = look(sandbox)
    assert found["service health"].level is Severity.FAILED
    with pytest.raises(PreflightError, match="service health"):
        require(list(found.values()))
    assert "service health" not in look(sandbox, health=False)

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
