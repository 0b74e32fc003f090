"""Under ROLLOUT_TOML the settings may have any name, and are found by it wherever they are read again."""

import zipfile
from pathlib import Path

from guarded_rollout.checks.manifest import FOLDER
from guarded_rollout.config.environments import load
from guarded_rollout.host.site import Site
from guarded_rollout.operations.premerge import set_up
from guarded_rollout.operations.systemd import Installation
from guarded_rollout.rollout.steps.backup import take_backup
from guarded_rollout.rollout.steps.restore_config import changed
from tests.guarded_rollout.advice_rollouts import of_files


def renamed(folder: Path) -> Site:
    (folder / "src").mkdir()
    (folder / "src" / "program.py").write_text("print('hello')\n")
    of_files(folder)
    path = (folder / "rollout.toml").rename(folder / "guard.toml")
    (folder / "quality-gates-config.json").write_text('{"environments": {}}')
    return Site(load(path).environment("production"))


def test_a_backup_has_them_and_brings_them_back(tmp_path: Path) -> None:
    site = renamed(tmp_path)
    site.prepare()
    release = site.build(None)
    taken = take_backup(site, release=release).entry.path
    with zipfile.ZipFile(taken) as archive:
        assert (
            'ROLLOUT_TOML=guard.toml rollout rollback --backup "$BACKUP"'
            in archive.read("RESTORE.md").decode()
        )
    before = site.environment.settings.read_bytes()
    site.environment.settings.write_bytes(before + b"\n[project]\nkeep_backups = 3\n")
    assert changed(site, taken) == {site.environment.settings: before}


def test_they_are_read_again_and_are_no_source(tmp_path: Path) -> None:
    site = renamed(tmp_path)
    site.reload()
    assert site.environment.service.name == "talks"
    assert site.environment.settings in site.environment.own_places
    (tmp_path / FOLDER).mkdir()
    made = load(set_up(site.environment, tmp_path / FOLDER)).environment("production")
    assert made.service.name == "talks"


def test_units_name_them(tmp_path: Path) -> None:
    user = {"program": tmp_path / "rollout", "user": "u", "system": True}
    units = Installation(tmp_path, **user, settings="guard.toml").units()  # type: ignore[arg-type]
    services = [text for name, text in units.items() if name.endswith(".service")]
    assert all(f'\nEnvironment="ROLLOUT_TOML={tmp_path}/guard.toml"\n' in text for text in services)
    usual = Installation(tmp_path, **user).units()  # type: ignore[arg-type]
    assert not any("ROLLOUT_TOML" in text for text in usual.values())
