"""One word for one thing: no public class of the guard has the name of another."""

import ast
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

GUARD = Path(__file__).parents[1] / "src" / "guarded_rollout"


def twice(folder: Path) -> Mapping[str, list[str]]:
    """The public classes that stand in more than one module, with the modules."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(folder)))
    return {name: modules for name, modules in found.items() if len(modules) > 1}


def test_no_public_class_name_stands_in_two_modules() -> None:
    assert twice(GUARD) == {}


def test_a_name_that_stands_twice_is_found(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "a.py").write_text("class Outcome:\n    pass\n\n\nclass _Own:\n    pass\n")
    (tmp_path / "room" / "b.py").write_text(
        "class Outcome(Exception):\n    pass\n\n\nclass _Own:\n    pass\n"
    )
    assert twice(tmp_path) == {"Outcome": ["a.py", "room/b.py"]}
