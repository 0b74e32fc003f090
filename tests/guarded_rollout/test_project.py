"""How commands find their project: upwards, as git does, or by saying how to begin."""

import contextlib
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guarded_rollout.cli.app import app
from guarded_rollout.cli.session import settings_file
from guarded_rollout.errors import NoProjectError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROLLOUT_TOML", raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the guide's scripts, which are its own."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    (folder / ".venv" / "bin").mkdir(parents=True)
    front = folder / ".venv" / "bin" / "rollout"
    front.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m guarded_rollout.cli "$@"\n')
    front.chmod(0o755)
    (folder / "rollout.toml").write_text("[environments.elsewhere]\nport = 3999\n")
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["status", "--json"],
        ["history"],
        ["backup"],
        ["deploy", "--dry-run"],
        ["monitor"],
        ["notify", "--message", "hello"],
        ["gates", "check"],
        ["gates", "export", "prometheus"],
        ["smoke"],
        ["premerge"],
        ["ui", "--token"],
        ["validate-logging"],
    ],
    ids=" ".join,
)
def test_without_a_project_a_command_says_how_to_begin_and_leaves_nothing(
    words: list[str], tmp_path: Path
) -> None:
    with contextlib.chdir(tmp_path):
        done = CliRunner().invoke(app, words)
    assert done.exit_code in (1, 3), done.output
    assert f"There is no rollout.toml in {tmp_path} or above it." in done.output
    assert "rollout init" in done.output
    assert not list(tmp_path.iterdir())


def test_the_nearest_project_above_is_the_one_that_is_meant(project: Path) -> None:
    inside = project / "a" / "b"
    inside.mkdir(parents=True)
    with contextlib.chdir(inside):
        assert settings_file() == project / "rollout.toml"
        (project / "a" / "rollout.toml").touch()
        assert settings_file() == project / "a" / "rollout.toml"


def test_a_project_that_is_named_is_there(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_TOML", str(project / "scripts" / ".." / "rollout.toml"))
    assert settings_file() == project / "rollout.toml"
    monkeypatch.setenv("ROLLOUT_TOML", str(project / "rolout.toml"))
    with pytest.raises(NoProjectError, match=r"rolout\.toml, which ROLLOUT_TOML names"):
        settings_file()


@pytest.mark.parametrize("linked", [False, True], ids=["as it is", "by a link"])
def test_a_script_acts_on_its_own_project_from_wherever_it_is_called(
    project: Path, tmp_path: Path, linked: bool
) -> None:
    script = project / "scripts" / "backup_dhash.sh"
    if linked:
        script = tmp_path / "backup"
        script.symlink_to(project / "scripts" / "backup_dhash.sh")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "rollout.toml").write_text("[environments.wrong]\nport = 3998\n")
    done = subprocess.run([script, "--env", "nowhere"], cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"There is no environment 'nowhere'; {project / 'rollout.toml'} has" in done.stderr
    assert "elsewhere" in done.stderr


def test_every_script_of_the_guide_names_its_project() -> None:
    fronts = [path for path in (ROOT / "scripts").iterdir() if ".venv/bin/rollout" in path.read_text()]
    assert len(fronts) == 8
    for front in fronts:
        assert "ROLLOUT_TOML=${ROLLOUT_TOML:-$root/rollout.toml}" in front.read_text(), front


def test_the_gates_of_the_project_are_found_from_below_it(project: Path) -> None:
    shutil.copy(ROOT / "quality-gates-config.json", project)
    with contextlib.chdir(project / "scripts"):
        done = CliRunner().invoke(app, ["gates", "check", "--env", "production"])
    assert done.exit_code == 0, done.output


def test_the_version_is_the_distributions() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.output == f"rollout {version('mobius-dhash')}\n"
