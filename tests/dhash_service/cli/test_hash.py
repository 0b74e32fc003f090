"""`dhash hash`, as a shell runs it."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import imagehash
import pytest
from PIL import Image

from tests.dhash_service.serving import dhash
from tests.pictures import encode, jpeg, photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photo.jpg").write_bytes(jpeg(320, 240))
    (tmp_path / "bad.jpg").write_bytes(jpeg(320, 240)[:2000])
    (tmp_path / "white.png").write_bytes(encode(Image.new("RGB", (90, 80), "white"), "PNG"))
    (tmp_path / "with space é.webp").write_bytes(encode(photo(90, 80), "WEBP"))
    return tmp_path


def test_each_file_is_one_json_object_a_line_in_the_order_given(folder: Path) -> None:
    names = ["with space é.webp", "photo.jpg", "white.png", "photo.jpg"]
    run = dhash("hash", *(folder / name for name in names), "--json")
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert (run.returncode, run.stderr) == (0, "")
    assert [Path(line["path"]).name for line in lines] == names
    assert [list(line) for line in lines] == [["path", "algorithm", "hash", "quality", "width", "height"]] * 4
    assert (lines[1]["algorithm"], lines[1]["width"], lines[1]["height"]) == (
        "dhash-64-visual-fast",
        320,
        240,
    )
    assert lines[2]["quality"] == 0


def test_the_exact_algorithm_prints_what_imagehash_does(folder: Path) -> None:
    path = folder / "photo.jpg"
    for run in (
        dhash("hash", path, "--json", "--algorithm", "dhash-64"),
        dhash("hash", path, "--json", env={"DHASH_ALGORITHM": "dhash-64"}),
    ):
        found = json.loads(run.stdout)
        assert (found["algorithm"], found["hash"]) == ("dhash-64", str(imagehash.dhash(Image.open(path))))


def test_it_goes_on_after_a_bad_file_and_exits_with_1(folder: Path) -> None:
    run = dhash("hash", folder / "bad.jpg", folder / "missing.jpg", folder, folder / "photo.jpg", "--json")
    assert run.returncode == 1
    assert [Path(json.loads(line)["path"]).name for line in run.stdout.splitlines()] == ["photo.jpg"]
    assert f"{folder / 'bad.jpg'}: The picture cannot be read" in run.stderr
    assert f"{folder / 'missing.jpg'}: The file cannot be read: No such file" in run.stderr
    assert f"{folder}: The file cannot be read: Is a directory" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_person_reads_hash_quality_reasons_size_and_path(folder: Path) -> None:
    run = dhash("hash", folder / "white.png")
    assert run.stdout == f"{0:016x}  0.00 (flat, low_entropy)  90×80  {folder / 'white.png'}\n"


def test_a_name_forges_no_line_and_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\nffffffffffffffff  1.00  \x1b[2Jb.png"
    path.write_bytes(jpeg(320, 240))
    (tmp_path / "\x1b[2Jbad.png").write_bytes(b"nothing")
    run = dhash("hash", path, tmp_path / "\x1b[2Jbad.png")
    assert len(run.stdout.splitlines()) == 1
    assert "\x1b[2J" not in run.stdout + run.stderr
    assert json.loads(dhash("hash", path, "--json").stdout)["path"] == str(path)


def test_a_dash_is_standard_input_once() -> None:
    command = [sys.executable, "-m", "dhash_service", "hash", "--json"]
    run = subprocess.run([*command, "-"], input=jpeg(320, 240), capture_output=True, timeout=60)
    assert json.loads(run.stdout)["path"] == "-"
    twice = subprocess.run([*command, "-", "-"], input=b"", capture_output=True, timeout=60)
    assert twice.returncode == 1
    assert b"only once" in twice.stderr


def test_standard_input_that_is_closed_is_said() -> None:
    command = [sys.executable, "-m", "dhash_service", "hash", "-"]
    run = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *command], capture_output=True, timeout=60)
    assert (run.returncode, b"Standard input is closed" in run.stderr) == (1, True), run.stderr


def test_a_device_is_refused_and_a_file_is_read_no_further_than_allowed(folder: Path) -> None:
    run = dhash("hash", "/dev/zero", folder / "photo.jpg", env={"DHASH_MAX_BODY_BYTES": "100"})
    assert run.returncode == 1
    assert "not a regular file" in run.stderr
    assert "more than 100 bytes" in run.stderr


def test_json_is_utf_8_and_names_every_file_whatever_its_bytes(folder: Path) -> None:
    odd = os.fsencode(folder) + b"/caf\xe9.jpg"
    Path(os.fsdecode(odd)).write_bytes((folder / "photo.jpg").read_bytes())
    command = [sys.executable, "-m", "dhash_service", "hash", "--json", os.fsdecode(odd)]
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
    run = subprocess.run(command, capture_output=True, timeout=60, env=env)
    line = json.loads(run.stdout.decode())
    assert line["path"].endswith("caf\\xe9.jpg")
    assert base64.b64decode(line["path_bytes"]) == odd


def test_limits_are_those_of_the_settings(folder: Path) -> None:
    run = dhash("hash", folder / "photo.jpg", env={"DHASH_MAX_PIXELS": "1000"})
    assert run.returncode == 1
    assert "320 × 240 is more than 1,000 pixels" in run.stderr


def test_an_unknown_algorithm_is_a_wrong_setting(folder: Path) -> None:
    run = dhash("hash", folder / "photo.jpg", "--algorithm", "phash")
    assert run.returncode == 2
    assert "dhash-64-fast" in run.stderr


def test_a_reader_that_goes_away_ends_it_quietly(folder: Path) -> None:
    files = " ".join([f"'{folder / 'photo.jpg'}'"] * 300)
    run = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m dhash_service hash {files} | head -n 1"],
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ),
    )
    assert len(run.stdout.splitlines()) == 1
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("arguments", [["hash", "photo.jpg"], ["settings", "--markdown"], ["--help"]])
def test_a_full_disk_for_what_is_printed_is_told_in_a_sentence(folder: Path, arguments: list[str]) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "dhash_service", *arguments]
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run(command, cwd=folder, env=env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (run.returncode, run.stderr.splitlines()[0]) == (
        1,
        "The output cannot be written: No space left on device.",
    )
    assert "Traceback" not in run.stderr
