"""Pre-merge artifacts: made from real runs, and believed only as far as they hold."""

import json
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from guarded_rollout.checks import manifest
from guarded_rollout.checks.findings import Finding, Severity
from guarded_rollout.checks.manifest import Artifacts, Ran
from guarded_rollout.checks.preflight import inspect
from guarded_rollout.cli.app import app
from guarded_rollout.config.environments import Environment, load
from guarded_rollout.errors import ArtifactsError
from guarded_rollout.host.site import Site
from guarded_rollout.journal.store import Journal
from guarded_rollout.operations.premerge import (
    PremergeStep,
    as_toml,
    report,
    run,
    set_up,
    steps,
    steps_of,
    validate,
)
from tests.guarded_rollout.notify.receivers import webhook
from tests.guarded_rollout.test_reviews import review

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 1, 1, tzinfo=UTC)


def git(folder: Path, *words: str) -> str:
    known = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", *known, "-C", str(folder), *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project in git, with nothing in it that could be built."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "rollout.toml").write_text('[review]\nops = ["olga"]\n[environments.production]\nport = 3000\n')
    (folder / "quality-gates-config.json").write_text((ROOT / "quality-gates-config.json").read_text())
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.fixture
def production(checkout: Path) -> Environment:
    return load(checkout / "rollout.toml").environment("production")


def artifacts(folder: Path, commit: str, **changes: Any) -> Path:
    """Artifacts of a run that passed."""
    folder.mkdir(exist_ok=True)
    (folder / "deploy.log").write_text("deployed\n")
    ran = Ran("deploy", "rollout deploy", 0, changes.pop("passed", True), 1.0, "deploy.log")
    known = {"environment": "production", "release": "r", "commit": commit, "dirty": False}
    whole = Artifacts(**{**known, **changes}, created_at=AT.isoformat(), checks=(ran,))
    manifest.write(folder, whole)
    return folder


# ---- the manifest


def test_a_manifest_reads_back(tmp_path: Path) -> None:
    folder = artifacts(tmp_path / "artifacts", "c" * 40)
    found = manifest.read(folder)
    assert found.passed
    assert found.checks[0].name == "deploy"
    raw = json.loads((folder / "manifest.json").read_text())
    assert raw["files"]["deploy.log"]["size"] == 9
    assert len(raw["files"]["deploy.log"]["sha256"]) == 64


def test_a_changed_or_missing_artifact_is_noticed(tmp_path: Path) -> None:
    folder = artifacts(tmp_path / "artifacts", "c" * 40)
    (folder / "deploy.log").write_text("deployee\n")
    with pytest.raises(ArtifactsError, match="not what was written"):
        manifest.read(folder)
    (folder / "deploy.log").unlink()
    with pytest.raises(ArtifactsError, match="missing"):
        manifest.read(folder)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"checks": [], "files": {"../x": {"sha256": ""}}}', '{"checks": [{}]}']
)
def test_what_is_no_manifest_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ArtifactsError, match="rollout premerge"):
        manifest.read(tmp_path)


def test_a_run_without_checks_has_not_passed() -> None:
    assert not Artifacts("production", "r", "c", False, AT.isoformat(), ()).passed


# ---- preflight


def finding(environment: Environment, name: str, **files: Path) -> Finding:
    with Journal.open(environment.journal, create=False) as journal:
        found = inspect(Site(environment), journal, None, health=False, **files)
    [row] = [each for each in found if each.name == name]
    return row


def test_preflight_believes_artifacts_about_this_commit(production: Environment, tmp_path: Path) -> None:
    folder = artifacts(tmp_path / "made", git(production.project, "rev-parse", "HEAD"))
    assert finding(production, "pre-merge artifacts", artifacts=folder).level is Severity.OK


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"commit": "d" * 40}, Severity.FAILED, "they are about dddddddddddd"),
        ({"commit": ""}, Severity.FAILED, "no commit"),
        ({"passed": False}, Severity.FAILED, "failed: deploy"),
        ({"dirty": True}, Severity.WARNING, "uncommitted"),
    ],
)
def test_preflight_does_not_believe_others(
    production: Environment, tmp_path: Path, changes: dict[str, Any], level: Severity, said: str
) -> None:
    about = {"commit": git(production.project, "rev-parse", "HEAD"), **changes}
    row = finding(production, "pre-merge artifacts", artifacts=artifacts(tmp_path / "made", **about))
    assert (row.level, said in row.detail) == (level, True)


def test_preflight_warns_where_there_are_none(production: Environment, tmp_path: Path) -> None:
    row = finding(production, "pre-merge artifacts", artifacts=tmp_path / "none")
    assert row.level is Severity.WARNING


def test_preflight_asks_for_the_reviews(production: Environment, tmp_path: Path) -> None:
    head = git(production.project, "rev-parse", "HEAD")
    path = tmp_path / "reviews.json"
    path.write_text(json.dumps({"reviews": [review("olga", commit=head), review("max", commit=head)]}))
    assert finding(production, "reviews", reviews=path).detail == "approved by olga, max"
    path.write_text(json.dumps({"reviews": [review("olga", commit=head)]}))
    assert finding(production, "reviews", reviews=path).level is Severity.FAILED
    path.write_text(json.dumps({"reviews": [review("olga"), review("max")], "headRefOid": "a" * 40}))
    assert "is to be deployed" in finding(production, "reviews", reviews=path).detail


# ---- the runs


@pytest.mark.system  # it runs every command, each in a process of its own
def test_a_checkout_that_cannot_be_deployed_fails_and_leaves_the_evidence(
    production: Environment, tmp_path: Path
) -> None:
    folder, scratch = tmp_path / "artifacts", tmp_path / "s"
    scratch.mkdir()
    folder.mkdir()
    (folder / "deploy.log").write_text("of an earlier run: passed")
    ran: list[Ran] = []
    found = validate(production, folder, scratch, ran.append, at=AT)
    assert not found.passed
    outcome = {check.name: check.passed for check in found.checks}
    assert outcome["gates check"]
    assert not outcome["deploy"]
    assert not outcome["smoke tests"]
    assert not outcome["release checks"]
    assert list(found.checks) == ran
    assert "earlier run" not in (folder / "deploy.log").read_text()
    told = (folder / "report.md").read_text()
    assert "Pre-merge validation FAILED" in told
    assert "### deploy" in told
    manifest.write(folder, found)
    assert manifest.read(folder) == found
    assert not (production.project / "environments").exists()


def test_every_file_that_the_contract_names_is_made() -> None:
    named = {step.file for step in steps("production", Path("a"), Path("g"))}
    assert named >= {
        "deploy-dryrun.log",
        "migrate-dryrun.log",
        "backup-dryrun.log",
        "postdeploy-smoketests.log",
        "test_logging.log",
    }


def test_the_scratch_project_has_its_own_port_folders_and_no_holds(
    production: Environment, tmp_path: Path
) -> None:
    made = load(set_up(production, tmp_path)).environment("production")
    assert made.port != production.port
    assert made.root.is_relative_to(tmp_path)
    assert made.releases.is_relative_to(tmp_path)
    assert made.logs.is_relative_to(tmp_path)
    assert [step.hold_seconds for step in made.traffic] == [0.0]
    assert made.service.source == production.service.source
    assert made.service.commands == production.service.commands


@pytest.mark.parametrize("name", ["orders", "quotes", "notes"])
def test_a_service_without_migrations_is_not_asked_for_them(name: str, tmp_path: Path) -> None:
    guarded = load(ROOT / "examples" / name / "rollout.toml").environment("production")
    planned = [step.name for step in steps_of(guarded, tmp_path)]
    assert "migrate, dry run" not in planned
    assert "deploy, dry run" in planned
    ours = load(ROOT / "rollout.toml").environment("production")
    assert "migrate, dry run" in [step.name for step in steps_of(ours, tmp_path)]


def test_the_scratch_project_touches_nothing_of_what_runs(checkout: Path, tmp_path: Path) -> None:
    (checkout / "rollout.toml").write_text("""
[review]
file = "reviews.json"
[backup.stream]
url = "file:///mnt/disk/stream"
[backup.copies.offsite]
repository = "/mnt/disk/copies"
password = "$COPIES_PASSWORD"
[environments.production]
port = 443
metrics_port = 9100
tls = "acme"
[environments.production.certificate]
domain = "orders.example.org"
redirect_port = 80
""")
    real = load(checkout / "rollout.toml").environment("production")
    assert real.stream is not None
    assert real.copies
    made = load(set_up(real, tmp_path)).environment("production")
    assert made.stream is None
    assert made.copies == ()
    assert made.metrics_port == made.redirect_port == 0
    assert not made.tls.on
    assert made.reviews is None


def test_it_tells_nobody(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CI that can send has said that production was deployed."""
    settings = set_up(load(checkout / "rollout.toml").environment("production"), tmp_path)
    with webhook() as slack:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", slack.url())
        ran = run(PremergeStep("notify", "", ("notify", "--message", "x")), settings, tmp_path / "log")
    assert ran.exit_code == 1, "no channel is set up"
    assert slack.accepted == []


def test_a_dry_run_says_what_would_run_and_makes_nothing(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROLLOUT_TOML", str(checkout / "rollout.toml"))
    answer = CliRunner().invoke(app, ["premerge", "--dry-run", "--output", str(tmp_path / "out")])
    assert answer.exit_code == 0
    assert "DRY-RUN: would run `rollout smoke --env production" in answer.output
    assert not (tmp_path / "out").exists()


values = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
tables = st.recursive(
    st.dictionaries(names, values, max_size=4), lambda t: st.dictionaries(names, values | t, max_size=3)
)


@given(tables)
@settings(max_examples=40, deadline=None)
def test_toml_reads_back(table: dict[str, Any]) -> None:
    assert tomllib.loads("\n".join(as_toml(table))) == table


def test_a_report_shows_the_end_of_what_failed_and_breaks_out_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "deploy.log").write_text("early\n" * 50 + "```\n\x1b[31mthe cause\x1b[0m\n")
    ran = Ran("deploy", "rollout deploy", 1, False, 2.5, "deploy.log")
    told = report(Artifacts("production", "r", "c" * 40, True, AT.isoformat(), (ran,)), tmp_path)
    assert "| deploy | **failed** (1) | 2.5 | `deploy.log` |" in told
    assert told.count("```") == 2
    assert "the cause\n```" in told
    assert "with uncommitted changes" in told
