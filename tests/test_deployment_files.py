"""systemd units, the workflow and the templates: they run what exists, and hide no failure."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from guarded_rollout.cli.app import app

ROOT = Path(__file__).parents[1]
UNITS = sorted((ROOT / "src" / "guarded_rollout" / "operations" / "units").glob("*@.*"))
WORKFLOW = ROOT / ".github" / "workflows" / "premerge.yml"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_runs_a_command_that_exists(unit: Path) -> None:
    for line in re.findall(r"^Exec\w+=(.*)$", unit.read_text(), re.MULTILINE):
        program, *words = line.replace("%i", "production").split()
        assert program == "/srv/service/.venv/bin/rollout"
        names = [word for word in words[:2] if not word.startswith("-") and word != "production"]
        shown = CliRunner().invoke(app, [*names, "--help"])
        assert shown.exit_code == 0
        for option in filter(lambda word: word.startswith("--"), words):
            assert option in shown.output


def test_every_timer_has_its_service() -> None:
    names = {unit.name for unit in UNITS}
    assert {name.replace(".timer", ".service") for name in names if name.endswith(".timer")} <= names


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        assert not Path(
            "/run/systemd/system"
        ).exists()  # where there is no systemd there is nothing to verify
        return
    (tmp_path / "rollout").write_text("#!/bin/sh\n")
    (tmp_path / "rollout").chmod(0o755)
    made = []
    for unit in UNITS:  # an instance of each template, with programs and folders that exist here
        text = unit.read_text().replace("/srv/service/.venv/bin/rollout", str(tmp_path / "rollout"))
        text = text.replace("/srv/service", str(tmp_path)).replace("User=service\n", "")
        path = tmp_path / unit.name.replace("@.", "@production.")
        path.write_text(text)
        made.append(str(path))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *made], capture_output=True, text=True, timeout=60
    )
    ours = [line for line in verified.stderr.splitlines() if "rollout" in line]
    assert ours == []


def test_the_workflow_runs_the_validation_on_linux_and_macos() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    assert {os.partition("-")[0] for os in jobs["validate"]["strategy"]["matrix"]["os"]} == {
        "ubuntu",
        "macos",
    }
    commands = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    assert any("rollout premerge" in command for command in commands)
    assert any("make check" in command for command in commands)


def test_nothing_in_the_workflow_hides_a_failure() -> None:
    text = WORKFLOW.read_text()
    for trick in ("|| true", "continue-on-error", "set +e", "|| :", "exit 0"):
        assert trick not in text
    for job in yaml.safe_load(text)["jobs"].values():
        for step in job["steps"]:
            assert step.get("if", "always()") == "always()"


def test_the_template_asks_for_what_the_guide_asks_for() -> None:
    text = (ROOT / ".github" / "pull_request_template.md").read_text()
    assert "Two approvals, at least one by @ops" in text
    assert "rollout premerge" in text


def test_every_owned_path_exists() -> None:
    lines = (ROOT / ".github" / "CODEOWNERS").read_text().splitlines()
    paths = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    assert [path for path in paths if path != "*" and not (ROOT / path.strip("/")).exists()] == []
