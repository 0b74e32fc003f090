"""`rollout backup`, `verify`, `prune` and `history`, as the guide's reader types them, on a served sample."""

import json
import subprocess
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from guarded_rollout.backup.archive import Subject, take
from guarded_rollout.backup.catalog import latest
from guarded_rollout.backup.publish import BackupFolder
from guarded_rollout.backup.retention import RetentionRule, decide
from guarded_rollout.checks.restore_rehearsal import rehearse_restore
from guarded_rollout.errors import ChecksFailedError
from guarded_rollout.journal.model import PLAN, RolloutOutcome
from guarded_rollout.journal.store import Journal
from tests.guarded_rollout.sandbox import Sandbox

GUIDE = """
set -e
LATEST_BACKUP=$(ls -1 backups/dhash_production_*.zip | sort -r | head -n1)
sha256sum -c "${LATEST_BACKUP}.sha256"
"""


@pytest.fixture(scope="module")
def served():
    """A project whose first release serves."""
    sandbox = Sandbox()
    try:
        sandbox.deploy()
        yield sandbox
    finally:
        sandbox.close()


@pytest.fixture
def scratch(tmp_path_factory, monkeypatch):
    """Where temporary folders go, to see that none is left; short, because sockets live there."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)
    monkeypatch.setattr(tempfile, "tempdir", None)


def newest(sandbox: Sandbox) -> Path:
    return latest(sandbox.environment.backups, "production").path


def test_a_backup_is_what_the_guide_expects(served):
    done = served.rollout("backup", "--env", "production", "--verbose")
    assert done.returncode == 0, done.stderr
    assert "data/snapshot" in done.stdout
    guide = subprocess.run(["sh", "-c", GUIDE], cwd=served.folder, capture_output=True, text=True)
    assert guide.stdout.strip() == f"backups/{newest(served).name}: OK", guide.stderr


def test_a_backup_elsewhere_answers_programs(served, tmp_path):
    done = served.rollout("backup", "--output-dir", str(tmp_path / "far away"), "--json")
    answer = json.loads(done.stdout)
    assert Path(answer["backup"]).parent == tmp_path / "far away"
    assert answer["release"] == served.site.serving().id
    assert answer["schema_revision"] == "0001"
    subprocess.run(["sha256sum", "-c", answer["checksum"]], check=True, capture_output=True, cwd="/")


def test_a_rehearsed_backup_writes_nothing(served):
    before = sorted(served.folder.rglob("*"))
    done = served.rollout("backup", "--dry-run")
    assert done.returncode == 0
    assert done.stdout.startswith("DRY-RUN: back up production (1.0.0+")
    assert sorted(served.folder.rglob("*")) == before


def test_without_a_release_there_is_nothing_to_back_up(sandbox):
    done = sandbox.rollout("backup")
    assert done.returncode == 1
    assert done.stderr.startswith("No release serves production yet.")
    assert not list(sandbox.environment.backups.glob("*"))
    past = json.loads(sandbox.rollout("history", "--json").stdout)["rollouts"]
    assert [(rollout["command"], rollout["outcome"]) for rollout in past] == [("backup", "failed")]


def test_a_whole_archive_is_verified_and_a_spoiled_one_is_named(served, tmp_path):
    served.rollout("backup")
    name = newest(served).relative_to(served.folder)
    done = served.rollout("verify", str(name), "--verbose")
    assert done.returncode == 0
    assert f"{name} is whole: production, release 1.0.0-" in done.stdout
    content = bytearray(newest(served).read_bytes())
    content[len(content) // 2] ^= 1
    spoiled = tmp_path / newest(served).name
    spoiled.write_bytes(content)
    Path(f"{spoiled}.sha256").write_text(Path(f"{newest(served)}.sha256").read_text())
    done = served.rollout("verify", str(spoiled))
    assert done.returncode == 1
    assert f"{spoiled} is damaged" in done.stderr


def test_deep_verification_serves_from_the_archive_and_leaves_nothing(served, scratch):
    served.rollout("backup")
    before = served.pids()
    found = rehearse_restore(newest(served), served.site)
    assert found.checks[-1] == "the checks that it declares pass"
    assert list(scratch.iterdir()) == []
    assert served.pids() == before
    assert not processes_in(scratch)


def test_deep_verification_refuses_a_release_that_rejects_its_golden_pictures(served, tmp_path, scratch):
    code = served.source / "src/sample_service/__init__.py"
    good = code.read_text()
    spoiled = good.replace('print(json.dumps({"checked": 1, "moved": []}))', 'sys.exit("moved: a.png")')
    assert spoiled != good
    code.write_text(spoiled)
    bad = served.site.build(None)
    code.write_text(good)
    subject = Subject(
        environment="production",
        release=bad,
        schema_revision="0001",
        snapshot=lambda file: served.site.require(bad, "store_snapshot", str(file)),
        configuration=(),
        originals=None,
        restore_guide="",
    )
    taken = take(subject, BackupFolder(tmp_path, tmp_path), served.site.clock)
    with pytest.raises(ChecksFailedError, match=r"moved: a\.png"):
        rehearse_restore(taken.entry.path, served.site)
    assert list(scratch.iterdir()) == []
    assert not processes_in(scratch)


def processes_in(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in process.info["cmdline"] or ())
    ]


def test_pruning_tells_first_and_removes_then(served):
    for _ in range(3):
        served.rollout("backup")
    archives = sorted(served.environment.backups.glob("*.zip"), reverse=True)
    rule = ("--keep", "2", "--hours", "0")
    told = served.rollout("prune", *rule, "--dry-run", "--verbose")
    assert told.returncode == 0, told.stderr
    for archive in archives[2:]:
        assert f"DRY-RUN: remove {archive.name}" in told.stdout
    assert f"keep {archives[0].name}: among the last 2" in told.stdout
    assert sorted(served.environment.backups.glob("*.zip"), reverse=True) == archives
    done = served.rollout("prune", *rule, "--json")
    assert json.loads(done.stdout) == {
        "environment": "production",
        "removed": len(archives) - 2,
        "kept": 2,
        "dry_run": False,
    }
    left = {path.name for path in served.environment.backups.iterdir() if path.is_file()}
    assert left == {archive.name + suffix for archive in archives[:2] for suffix in ("", ".sha256")}


def test_pruning_keeps_by_the_gates_hours_if_nothing_is_said(served):
    served.rollout("backup")
    done = served.rollout("prune", "--verbose")
    assert done.returncode == 0, done.stderr
    assert "among the last 10" in done.stdout
    assert served.rollout("prune", "--keep", "0").returncode == 1


def test_a_claim_that_never_became_a_backup_is_cleared_away(served):
    long_ago = served.environment.backups / "dhash_production_20200101_000000.zip.sha256"
    long_ago.write_text("")
    staging = served.environment.backups / "dhash_staging_20200101_000000.zip.sha256"
    staging.write_text("")
    served.rollout("prune")
    assert not long_ago.exists()
    assert staging.exists()
    staging.unlink()


def test_what_an_open_rollout_may_return_to_is_needed(tmp_path):
    now = datetime.now(UTC)
    hours = [now - timedelta(hours=n) for n in (1, 3, 5, 7)]
    names = [f"dhash_production_{moment:%Y%m%d_%H%M%S}.zip" for moment in hours]
    for name in names:
        (tmp_path / name).touch()
    with Journal.open(tmp_path / "journal.db") as journal:
        rollout = journal.begin("production", "deploy", operator="ops", target="2.0.0")
        with journal.step(rollout, "backup") as evidence:
            evidence["backup"] = str(tmp_path / names[3])
        opened = replace(journal.rollout(rollout), started_at=now - timedelta(hours=2))
        journal.end(rollout, RolloutOutcome.FAILED)
    decided = decide(tmp_path, "production", RetentionRule(last=1), opened, now)
    assert [kept.entry.name for kept in decided.keep] == [names[0], names[1], names[3]]


def test_what_an_interrupted_rollback_returns_to_is_needed(tmp_path):
    now = datetime.now(UTC)
    names = [f"dhash_production_{now - timedelta(hours=n):%Y%m%d_%H%M%S}.zip" for n in (1, 3, 5)]
    for name in names:
        (tmp_path / name).touch()
    with Journal.open(tmp_path / "journal.db") as journal:
        rollout = journal.begin("production", "rollback", operator="ops", target="1.0.0")
        journal.note(rollout, PLAN, options={"backup": str(tmp_path / names[2])})
        opened = journal.rollout(rollout)
        journal.end(rollout, RolloutOutcome.FAILED)
    decided = decide(tmp_path, "production", RetentionRule(last=1), opened, now)
    assert [kept.entry.name for kept in decided.keep] == [names[0], names[2]]


def test_an_accepted_rollout_removes_what_the_rule_gives_up(served):
    project = served.folder / "rollout.toml"
    settings = project.read_text()
    project.write_text("[project]\nkeep_backups = 2\n" + settings)
    old = [
        served.environment.backups / f"dhash_production_2020010{day}_000000.zip{suffix}"
        for day in (1, 2, 3)
        for suffix in ("", ".sha256")
    ]
    served.rollout("backup")
    for path in old:
        path.touch()
    served.rollout("backup")
    served.deploy("3.0.0")
    assert served.rollout("promote").returncode == 0
    assert not any(path.exists() for path in old)
    project.write_text(settings)


def test_history_tells_who_did_what_and_how_it_ended(served):
    served.rollout("backup")
    told = served.rollout("history", "--verbose", "--limit", "3")
    assert told.returncode == 0
    assert "backup" in told.stdout
    assert "completed" in told.stdout
    answer = json.loads(served.rollout("history", "--json").stdout)
    newest_first = [rollout["started_at"] for rollout in answer["rollouts"]]
    assert newest_first == sorted(newest_first, reverse=True)
    first = answer["rollouts"][-1]
    assert (first["command"], first["source"], first["outcome"]) == ("deploy", None, "completed")
    assert first["steps"][-1]["outcome"] == "done"
