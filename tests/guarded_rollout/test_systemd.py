"""`rollout install systemd`: units from the shipped templates, for the machine or for one user."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guarded_rollout.cli.app import app
from guarded_rollout.errors import SystemdError, UnitTakenError
from guarded_rollout.operations.systemd import Installation, owner_of, run

WORST = 5.0  # of systemd's own exposure, 0 (safe) to 10


def made(tmp_path: Path, *, system: bool = True, port: int = 3000) -> Installation:
    return Installation(tmp_path, Path("/bin/true"), "root", system, port)


def test_each_unit_names_this_project_and_nothing_of_the_template_is_left(tmp_path: Path) -> None:
    units = made(tmp_path).units()
    assert len(units) == 10
    for name, text in units.items():
        assert "/srv/service" not in text, name
        if name.endswith(".service"):
            assert f"WorkingDirectory={tmp_path}\n" in text
            assert "ExecStart=/bin/true " in text
            assert "User=root\n" in text


def test_a_user_without_a_name_is_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", nameless)
    assert owner_of(tmp_path) == str(tmp_path.stat().st_uid)


def test_a_users_own_units_ask_for_nothing_that_needs_root(tmp_path: Path) -> None:
    for text in made(tmp_path, system=False).units().values():
        assert not re.search(r"^(User|ProtectSystem|PrivateTmp|CapabilityBoundingSet)=", text, re.MULTILINE)
        assert "multi-user.target" not in text


def test_a_low_port_needs_one_capability_and_a_high_one_none(tmp_path: Path) -> None:
    assert "AmbientCapabilities" not in made(tmp_path).units()["rollout@.service"]
    assert (
        "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in made(tmp_path, port=443).units()["rollout@.service"]
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd judges its own units")
@pytest.mark.parametrize("system", [True, False])
@pytest.mark.parametrize("folder", ["project", "my project, 100% é"])
def test_systemd_finds_nothing_wrong_and_little_exposed(tmp_path: Path, system: bool, folder: str) -> None:
    paths, project = [], tmp_path / folder
    project.mkdir()
    (project / "rollout").symlink_to("/bin/true")
    for name, text in Installation(project, project / "rollout", "root", system).units().items():
        paths.append(tmp_path / name.replace("@.", "@production."))
        paths[-1].write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert [line for line in verified.stderr.splitlines() if "rollout" in line] == []
    if system:
        service = str(tmp_path / "rollout@production.service")
        words = ["systemd-analyze", "security", "--offline=true", "--no-pager", service]
        judged = subprocess.run(words, capture_output=True, text=True, timeout=60)
        exposure = re.search(r"exposure level for \S+: ([\d.]+)", judged.stdout)
        assert exposure is not None, judged.stderr
        assert float(exposure[1]) <= WORST


def test_units_of_another_project_are_left_alone_unless_that_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    first, second = made(tmp_path / "a", system=False), made(tmp_path / "b", system=False)
    assert len(first.write()) == 10
    assert first.write() == [], "nothing has changed"
    with pytest.raises(UnitTakenError, match="another project"):
        second.write()
    assert len(second.write(replace=True)) == 6, "timers are the same"


def test_installing_tells_systemd_of_it_and_says_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rollout.toml").write_text("[environments.production]\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("systemctl", "loginctl"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/asked\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ROLLOUT_TOML", str(tmp_path / "rollout.toml"))
    rehearsed = CliRunner().invoke(app, ["install", "systemd", "--user", "--dry-run"])
    assert "DRY-RUN: run `systemctl --user daemon-reload`" in rehearsed.output
    assert not (tmp_path / "config").exists()
    done = CliRunner().invoke(app, ["install", "systemd", "--user", "--json"])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["written"]) == 10
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "systemctl --user daemon-reload"
    assert "rollout-backup@production.timer" in asked[1]
    assert asked[2] == (
        "systemctl --user enable rollout@production.service rollout-notify@production.service"
    ), "nothing serves yet, so nothing is started"
    assert asked[3].startswith("loginctl enable-linger ")
    with pytest.raises(SystemdError, match="no such unit"):
        run(["sh", "-c", "echo no such unit >&2; exit 5"])
