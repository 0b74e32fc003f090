"""A release that serves and whose RELEASE.json cannot be read is no empty machine."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from guarded_rollout.checks.findings import Severity
from guarded_rollout.checks.preflight import inspect
from guarded_rollout.errors import ServingUnknownError
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.engine import Request
from tests.guarded_rollout.advice_rollouts import of_files
from tests.guarded_rollout.advicekit import rollout
from tests.guarded_rollout.world import Machine


def standing(folder: Path) -> tuple[Site, Release]:
    """A release that stands in the slot that has the traffic."""
    (folder / "src").mkdir()
    (folder / "src" / "program.py").write_text("print('hello')\n")
    site = of_files(folder)
    site.prepare()
    release = site.build(None)
    site.slots.assign(site.traffic.serving(), release)
    loosen(release)
    return site, release


def loosen(release: Release) -> None:
    """Let its folder be changed, which nobody may."""
    release.folder.chmod(0o755)
    (release.folder / "RELEASE.json").chmod(0o644)


def forget_copies(site: Site) -> None:
    """As in an environment of an older version, or where somebody cleared that as well."""
    for copy in (site.environment.root / "slots").glob("*.json"):
        copy.unlink()


def torn(release: Release) -> None:
    (release.folder / "RELEASE.json").write_text("{half")


def empty(release: Release) -> None:
    (release.folder / "RELEASE.json").write_text("{}")


def gone(release: Release) -> None:
    (release.folder / "RELEASE.json").unlink()


def away(release: Release) -> None:
    shutil.move(release.folder, release.folder.with_name(".away"))


@pytest.mark.parametrize("damage", [torn, empty, gone])
def test_it_is_put_back(tmp_path: Path, damage: Callable[[Release], None]) -> None:
    site, release = standing(tmp_path)
    for ask in (site.serving, lambda: site.release(release.id)):
        damage(release)
        assert ask() == release
        assert Release.load(release.folder) == release
        assert release.folder.stat().st_mode & 0o777 == 0o555
        loosen(release)


def test_another_releases_copy_is_not_put_back(tmp_path: Path) -> None:
    site, release = standing(tmp_path)
    torn(release)
    copy = site.environment.root / "slots" / f"{site.traffic.serving()}.json"
    copy.write_text(copy.read_text().replace(release.id, "another"))
    with pytest.raises(ServingUnknownError, match=release.id):
        site.serving()


@pytest.mark.parametrize("damage", [torn, empty, gone, away])
def test_it_is_no_first_deployment(tmp_path: Path, damage: Callable[[Release], None]) -> None:
    site, release = standing(tmp_path)
    forget_copies(site)
    damage(release)
    (tmp_path / "src" / "program.py").write_text("print('another')\n")
    with pytest.raises(ServingUnknownError, match=release.id):
        site.serving()
    with contextlib.chdir(tmp_path):
        for command in ("up", "deploy", "backup"):
            code, said = rollout(command)
            assert code == 1, said
            assert "What serves production cannot be told. " in said
            assert release.id in said
            assert "Put its RELEASE.json back" in said
    with Journal.open(site.environment.journal) as journal:
        assert list(journal.deployments("production")) == []


def test_status_and_preflight_say_so_and_go_on(tmp_path: Path) -> None:
    site, release = standing(tmp_path)
    forget_copies(site)
    torn(release)
    with contextlib.chdir(tmp_path):
        code, said = rollout("status")
    assert code == 0, said
    assert "What serves production cannot be told." in said
    assert str(release.folder / "RELEASE.json") in said.replace("\n", "")
    with Journal.open(site.environment.journal) as journal:
        found = {one.name: one for one in inspect(site, journal, release)}
    assert found["service health"].level is Severity.FAILED


def test_building_it_again_asks_for_its_folder(tmp_path: Path) -> None:
    site, release = standing(tmp_path)
    forget_copies(site)
    gone(release)
    with contextlib.chdir(tmp_path):
        code, said = rollout("deploy")
    assert code == 1
    assert "Remove its folder and build it again" in said
    shutil.rmtree(release.folder)
    assert site.build(None).id == release.id
    assert site.serving() == site.release(release.id), "the slot finds it again"


def test_a_rollback_takes_the_traffic_from_it_and_stops_it() -> None:
    machine = Machine()
    try:
        old, bad = machine.build(), machine.build()
        machine.deploy(old)
        machine.deploy(bad)
        machine.world.unreadable = {bad.id}
        machine.run(lambda engine: engine.roll_back(old, Request("rollback", "test")))  # type: ignore[arg-type]
        assert machine.world.standing == {machine.world.serving(): old}
        assert machine.world.running == {machine.world.serving()}
    finally:
        machine.close()
