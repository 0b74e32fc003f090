"""The commands around collections: local folders into Parquet and back, and what they refuse."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dhash_service.api.test_hostile import document
from tests.dhash_service.scale.making import many, put, rows_at
from tests.dhash_service.serving import dhash
from tests.dhash_service.store.databases import sqlite_file


@pytest.fixture
def folder(tmp_path: Path, pictures: list[bytes]) -> Path:
    folder = tmp_path / "in"
    for name, data in many(pictures, 60).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "report.pdf").write_bytes(document())
    return folder


def test_a_folder_becomes_parquet_then_a_store_then_groups(folder: Path, tmp_path: Path) -> None:
    out, env = (
        str(tmp_path / "out"),
        {"DHASH_THREADS": "1", "DHASH_STORE": sqlite_file(tmp_path / "dhash.db")},
    )
    words = ("index", folder, "--out", out, "--root", folder, "--per-task", "10", "--json")
    first = dhash(*words, env=env)
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    assert (summary["files"], summary["pictures"], summary["known"]) == (61, 62, 0)
    assert {"00/00007.jpg", "report.pdf"} <= {row["name"] for row in rows_at(out)}
    again = json.loads(dhash(*words, env=env).stdout)
    assert (again["files"], again["pictures"], again["known"]) == (61, 0, 61)

    done = json.loads(dhash("import", out, "--json", env=env).stdout)
    assert (done["rows"], done["added"], done["bad"]) == (62, 22, 0)
    assert "00/00007.jpg" in dhash("where", "--name", "00007", env=env).stdout

    groups = dhash("duplicates", "--parquet", out, "--radius", "0").stdout.splitlines()
    names = [{member["id"] for member in json.loads(line)["members"]} for line in groups]
    assert {"00/00007.jpg", "00/00027.jpg", "00/00047.jpg"} in names


def test_what_cannot_be_combined_or_is_not_there_is_refused(tmp_path: Path) -> None:
    missing = dhash("index", tmp_path / "none")
    assert missing.returncode == 2
    assert "does not exist" in " ".join(missing.stderr.replace("│", " ").split())
    assert dhash("index", tmp_path / "none", "--engine", "local", "--out", tmp_path / "out").returncode == 2
    both = dhash("index", tmp_path, "--url", "http://localhost:1", "--out", tmp_path / "out")
    assert both.returncode == 1
    assert "--url sends files of this machine" in both.stderr
    other = dhash("index", tmp_path, "--engine", "spark", "--out", tmp_path / "out")
    assert "There is no engine spark" in other.stderr


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (["index", "s3://bucket/in"], "pyarrow"),
        (["index", "s3://bucket/in"], "obstore"),
        (["index", ".", "--engine", "dask"], "distributed"),
        (["import", "prints/"], "pyarrow"),
        (["duplicates", "--parquet", "s3://bucket/out"], "pyarrow"),
    ],
)
def test_without_the_extra_it_is_named(words: list[str], package: str) -> None:
    script = f"import sys; sys.modules[{package!r}] = None; from dhash_service.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert run.returncode == 1
    assert f"{package}, which is not installed" in run.stderr
    assert "Install `mobius-dhash[scale]`." in run.stderr
    assert "Traceback" not in run.stderr


def test_a_bank_of_md5s_is_asked_about_files_that_lie_elsewhere(
    bucket: str, tmp_path: Path, pictures: list[bytes]
) -> None:
    put(bucket, {"refused.jpg": pictures[0], "taken.jpg": pictures[1]})
    (tmp_path / "originals").mkdir()  # there once, and not to be added to
    env = {
        "DHASH_THREADS": "1",
        "DHASH_STORE": sqlite_file(tmp_path / "dhash.db"),
        "DHASH_ORIGINALS": str(tmp_path / "originals"),
    }
    (tmp_path / "bank.csv").write_text(f"kind,value\nmd5,{hashlib.md5(pictures[0]).hexdigest()}\n")
    assert dhash("bank", "set", "known", "--action", "refused", env=env).returncode == 0
    assert dhash("bank", "import", "known", tmp_path / "bank.csv", env=env).returncode == 0
    run = dhash("index", bucket, "--json", env=env)
    summary = json.loads(run.stdout)
    assert (summary["pictures"], summary["failed"]) == (1, 1), run.stderr
    assert "refused.jpg: The picture is in a bank that refuses it" in run.stderr
    assert list((tmp_path / "originals").iterdir()) == []
