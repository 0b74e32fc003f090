"""The tree keeps the shape that docs/architecture.md draws."""

import ast
import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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
