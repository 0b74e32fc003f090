"""The rooms of both packages stand above what they import, as docs/architecture.md draws them."""

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text()


def picture(title: str) -> str:
    """The rooms that the document draws under a title, a floor a line: all before the first wide gap."""
    drawn = DOCUMENT.split(f"## {title}\n")[1].split("```")[1]
    return "\n".join(re.split(r"\s{3,}", line)[0] for line in drawn.splitlines())


def floors(plan: str) -> dict[str, int]:
    """Number the rooms by floor, the highest first. Rooms on one line may use each other, not in a circle."""
    return {room: floor for floor, line in enumerate(plan.split("\n")) for room in line.split()}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at any depth of its code, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(source: Path, package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    found = (source / package).rglob("*.py")
    return {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for path in found
    }


def upward(source: Path, package: str, plan: str) -> list[str]:
    """The imports that go up, and the rooms that the plan does not know."""
    floor = floors(plan)
    wrong = []
    for name, path in sorted(modules(source, package).items()):
        if name == package:
            continue
        room = name.split(".")[1]
        if room not in floor:
            wrong.append(f"{name} stands in no room of the plan")
            continue
        above = {
            target
            for target in imported(path)
            if target.startswith(f"{package}.") and floor.get(target.split(".")[1], -1) < floor[room]
            if target.split(".")[1] in floor
        }
        wrong += [f"{name} imports {target}" for target in sorted(above)]
    return wrong


def circle(source: Path, package: str) -> list[str]:
    """Modules that import each other in a circle; empty if there is none."""
    known = modules(source, package)
    graph: Mapping[str, set[str]] = {
        name: {target for target in imported(path) if target in known and target != name}
        - {".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)}
        for name, path in known.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


HOUSES = [("guarded_rollout", picture("The guard")), ("dhash_service", picture("The service"))]


@pytest.mark.parametrize(("package", "plan"), HOUSES)
def test_nothing_imports_upward(package: str, plan: str) -> None:
    assert upward(ROOT / "src", package, plan) == []


@pytest.mark.parametrize(("package", "plan"), HOUSES)
def test_no_modules_import_each_other_in_a_circle(package: str, plan: str) -> None:
    assert circle(ROOT / "src", package) == []


def test_the_terminal_never_imports_the_pages() -> None:
    for room in ("status", "cli"):
        for path in (ROOT / "src" / "guarded_rollout" / room).rglob("*.py"):
            pages = [name for name in imported(path) if name.startswith("guarded_rollout.ui")]
            assert pages == [] or path.name == "ui.py", f"{path} imports {pages}"


def test_an_import_upward_is_found(tmp_path: Path) -> None:
    """The test above can fail: a house with one wrong import."""
    _build(tmp_path, {"low": "from house.high import thing\n", "high": "thing = 1\n", "attic": ""})
    assert upward(tmp_path, "house", "high\nlow") == [
        "house.attic stands in no room of the plan",
        "house.low imports house.high",
        "house.low imports house.high.thing",
    ]


def test_a_circle_is_found_wherever_its_import_stands(tmp_path: Path) -> None:
    _build(
        tmp_path,
        {"a": "from house.b import b\n", "b": "def b():\n    from house import c\n", "c": "import house.a\n"},
    )
    assert set(circle(tmp_path, "house")) == {"house.a", "house.b", "house.c"}


def _build(folder: Path, files: Mapping[str, str]) -> None:
    (folder / "house").mkdir()
    (folder / "house" / "__init__.py").write_text("")
    for name, text in files.items():
        (folder / "house" / f"{name}.py").write_text(text)


@pytest.mark.parametrize(("package", "plan"), HOUSES)
def test_the_architecture_document_draws_the_rooms_that_there_are(package: str, plan: str) -> None:
    found = (ROOT / "src" / package).iterdir()
    there = {path.stem for path in found if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(floors(plan)) == sorted(there - {"__init__"})
