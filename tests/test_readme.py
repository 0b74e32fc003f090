"""README's commands run as written, and print what it shows."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import forked
from tests.dhash_service.serving import serving

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()

VARIES = (
    (r'"token": "dhash_[\w-]{43}"', '"token": "dhash_…"'),
    (r'"lookup":"[0-9a-f-]{36}"', '"lookup":"…"'),
    (r"[\d.]+ GB free", "… GB free"),
    (r"[\d.]+ s behind", "… s behind"),
)
"""What no two runs have in common."""


def sessions() -> list[list[tuple[str, str]]]:
    """The commands of each console block, each with what it prints."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    return [
        [
            (command, output)
            for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
        ]
        for block in blocks
    ]


def settled(text: str) -> str:
    for pattern, stand_in in VARIES:
        text = re.sub(pattern, stand_in, text)
    return text.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader would try things: the golden pictures."""
    golden = ROOT / "src" / "dhash_service" / "golden" / "files"
    return Path(shutil.copytree(golden, tmp_path / "pictures", ignore=shutil.ignore_patterns("*.json")))


def run(command: str, folder: Path, **env: str) -> str:
    program, *words = shlex.split(command)
    if program == "dhash":
        assert not set(command) & set("*?|<>;&$`"), "it needs a shell"
        done = forked.run(program, *words, env=env, folder=folder)
    else:
        done = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def test_the_commands_print_what_is_shown(folder: Path) -> None:
    shown = sessions()[0]
    assert len(shown) >= 9
    for command, output in shown:
        assert settled(run(command, folder, DHASH_STORE="sqlite:///try.db")) == settled(output), command


def test_the_requests_answer_what_is_shown(folder: Path, tmp_path: Path) -> None:
    shown = sessions()[1]
    assert len(shown) >= 3
    with serving(tmp_path, release="development") as server:
        for command, output in shown:
            here = command.replace("http://localhost:3000", server.url)
            assert settled(run(here, folder)) == settled(output), command


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for document in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        for target in re.findall(r"(?:`|^    )make ([a-z-]+)", document, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_file_that_is_linked_exists() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
