"""RESTORE.md of any service: followed by a real shell, whatever rollout.toml says by then."""

import json
import os
import re
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from guarded_rollout.backup.guide import restore_guide
from guarded_rollout.config.environments import parse
from guarded_rollout.config.recipe import BuildKind
from guarded_rollout.host.release import Release, RunPlan
from guarded_rollout.host.site import Site
from tests.guarded_rollout.backups import make_release

TELL = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], open(sys.argv[1], 'w'))"
PLAN = RunPlan(
    python="/gone/python3",
    prepare=(("sh", "-c", 'echo "$1" > prepared.txt', "sh", 'with "quotes" and $HOME'),),
    commands={"serve": ("{python}", "tell.py", "{root}/told.json", "$NOT_FILLED", "a b")},
    variables={
        "STORE": "{store_file}",
        "KEY": "$SHOP_KEY",
        "URL": "https://u:${SHOP_KEY}@host/`id`",
        "PRICE": "$$5",
        "UDS": "{uds}",
        "RELEASE": "{release}",
    },
)


def site(folder: Path, kind: str = "sqlite", **service: str) -> Site:
    """A site whose rollout.toml has changed since: nothing of it may be in the guide."""
    today = {
        "name": "shop",
        "store": {"kind": kind},
        "commands": {"serve": ["today"]},
        "variables": {"TODAY": "1"},
        **service,
    }
    store = {"store": "postgresql:///shop"} if kind == "postgresql" else {}
    tables = {"service": today, "environments": {"production": {"port": 3000, **store}}}
    return Site(parse(tables, folder / "rollout.toml").environment("production"))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A release from a directory."""
    made = make_release(tmp_path / "releases")
    (tmp_path / "tell.py").write_text(TELL)
    with tarfile.open(made.folder / "source.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "tell.py", "tell.py")
    return replace(made, build=BuildKind.DIRECTORY, artifact="source.tar.gz", run=PLAN)


def follow(guide: str, folder: Path, release: Release, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the blocks after the first, which only unpacks."""
    _, *blocks = re.findall(r"```sh\n(.*?)```", guide, re.DOTALL)
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "snapshot").write_text("rows")
    (folder / "release").symlink_to(release.folder)
    return subprocess.run(
        ["sh", "-e", "-c", "\n".join(blocks)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
    )


def test_a_directory_is_served_by_its_own_commands_with_secrets_from_whoever_restores(
    tmp_path: Path, release: Release
) -> None:
    guide = restore_guide(site(tmp_path), release)
    assert "today" not in guide
    assert "/gone/python3" not in guide
    folder = tmp_path / "an app"
    done = follow(guide, folder, release, SHOP_KEY='se"cret$')
    assert done.returncode == 0, done.stderr
    words, variables = json.loads((folder / "told.json").read_text())
    assert words == [f"{folder}/told.json", "$NOT_FILLED", "a b"]
    assert variables["KEY"] == 'se"cret$'
    assert variables["URL"] == 'https://u:se"cret$@host/`id`'
    assert variables["PRICE"] == "$5"
    assert variables["RELEASE"] == release.id
    assert variables["UDS"] == f"{folder}/service.sock"
    assert Path(variables["STORE"]).read_text() == "rows"
    assert (folder / "app" / "prepared.txt").read_text() == 'with "quotes" and $HOME\n'


def test_a_secret_that_is_not_set_stops_before_the_service_starts(tmp_path: Path, release: Release) -> None:
    done = follow(restore_guide(site(tmp_path), release), tmp_path / "here", release)
    assert done.returncode != 0
    assert "SHOP_KEY: is a secret" in done.stderr
    assert not (tmp_path / "here" / "told.json").exists()


def test_a_service_that_can_serve_on_a_port_does(tmp_path: Path, release: Release) -> None:
    guide = restore_guide(site(tmp_path, port_variable="PORT"), release)
    assert follow(guide, tmp_path / "here", release, SHOP_KEY="x", PORT="8080").returncode == 0
    variables = json.loads((tmp_path / "here" / "told.json").read_text())[1]
    assert variables["PORT"] == "8080"
    assert "UDS" not in variables


@pytest.mark.parametrize(
    ("kind", "there", "not_there"),
    [
        ("none", "keeps no data", "restored.db\n"),
        ("postgresql", "pg_restore --no-owner", "cp data/snapshot"),
        ("sqlite", "cp data/snapshot", "pg_restore"),
    ],
)
def test_each_kind_of_store_has_its_own_way(
    tmp_path: Path, release: Release, kind: str, there: str, not_there: str
) -> None:
    guide = restore_guide(site(tmp_path, kind), release)
    assert there in guide
    assert not_there not in guide
    assert "merge" not in guide  # it has no command for that


def test_a_wheels_variables_are_taken_literally_by_the_shell(tmp_path: Path) -> None:
    plan = RunPlan(
        python="/gone/python3",
        commands={"serve": ("{bin}/shop", "serve"), "store_merge": ("{bin}/shop", "merge", "--json")},
        variables={"ODD": 'a "b" `c` \\ $$HOME {store}', "UDS": "{uds}"},
    )
    wheel = replace(make_release(tmp_path / "releases"), run=plan)
    guide = restore_guide(site(tmp_path, port_variable="PORT"), wheel)
    (export,) = [line for line in guide.splitlines() if line.startswith("export ODD")]
    script = f'{export}\nprintf %s "$ODD"'
    said = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True).stdout
    assert said == f'a "b" `c` \\ $HOME sqlite:///{tmp_path}/store/restored.db'
    assert "--require-hashes" in guide
    assert "    venv/bin/shop merge OTHER_FILE" in guide
