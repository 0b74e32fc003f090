"""The tree keeps the shape that docs/architecture.md draws."""

import ast
import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from guarded_rollout.config.environments import load, parse

ROOT = Path(__file__).parents[1]
GUARD = ROOT / "src" / "guarded_rollout"
WORDS = re.compile(r"dhash|picture|golden|fingerprint", re.IGNORECASE)
EXAMPLE = re.compile(r"epilog=|Example: ")

FRONTS = {
    "config/version_before.toml": "what a rollout.toml of the version before means, which guarded it alone",
    "backup/signing.py": "the namespace of the signatures that backups of the version before have",
    "cli/app.py": "the distribution that both programs are installed with, asked for its version",
}
"""The files that may name the service, each with the reason."""


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize(
    ("package", "other"),
    [
        ("dhash_service", "guarded_rollout"),
        ("guarded_rollout", "dhash_service"),
        ("web_assets", "dhash_service"),
        ("web_assets", "guarded_rollout"),
    ],
)
def test_the_service_and_the_rollout_never_import_each_other(package: str, other: str) -> None:
    files = list((ROOT / "src" / package).rglob("*.py"))
    assert files
    guilty = [file for file in files if any(name.split(".")[0] == other for name in imports(file))]
    assert guilty == []


def test_every_dependency_has_a_line_in_the_architecture_document() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = chain(project["dependencies"], *project["optional-dependencies"].values())
    names = {re.split(r"[\[<>=~! ]", requirement)[0].lower() for requirement in wanted}
    document = (ROOT / "docs" / "architecture.md").read_text().lower()
    assert [name for name in sorted(names) if f"`{name}`" not in document] == []


def test_no_lock_names_an_index() -> None:
    for lock in (ROOT / "locks").glob("*.txt"):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert re.findall(r"https?://|--index-url|--find-links", text) == []


# ---- the guard knows nothing of the service that this repository is about: that stands in rollout.toml


def named(folder: Path) -> Iterator[tuple[str, str]]:
    """Each line that names the service, but for the examples of the documentation, with its file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            for line in path.read_text(errors="replace").splitlines():
                if WORDS.search(line) and not EXAMPLE.search(line):
                    yield str(path.relative_to(folder)), line.strip()


def test_the_guard_names_the_service_in_its_compatibility_fronts_alone() -> None:
    found = list(named(GUARD))
    assert [f"{file}: {line}" for file, line in found if file not in FRONTS] == []
    assert {file for file, _ in found} == set(FRONTS), "a front that is not needed any more"


def test_a_line_that_names_the_service_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        'PATH = "/api/Dhash"\n@command(epilog="Example: rollout verify dhash.zip")\n'
    )
    assert list(named(tmp_path)) == [("a.py", 'PATH = "/api/Dhash"')]


def test_a_file_of_the_version_before_means_the_service_as_this_repository_describes_it() -> None:
    """Byte for byte what a release is built of: an upgrade alone must not make another release."""
    before = parse({}, ROOT / "rollout.toml").environments
    today = load(ROOT / "rollout.toml").environments
    assert before == today
