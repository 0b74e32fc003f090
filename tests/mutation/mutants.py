"""Mutants of a module by cosmic-ray, in an export of the commit that is checked out, each tried on tests.

Left out is what flatters or hides: annotations and the options of `@dataclass`, which decide nothing, and
operators that the operands do not know (`0.5 << 2`, `None < 3`), whose TypeError any test would notice. And
`is` for `==`, or the other way round, which differ by how Python keeps a value alone.
"""

import ast
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutation.rooms import Room
from tests.mutation.warm import ASK, SECONDS

ROOT = Path(__file__).parents[2]
COSMIC_RAY = ("tool", "run", "--quiet", "--from", "cosmic-ray==8.7.0", "cosmic-ray")
OPTIONS = ["-x", "-q", "-m", "not system", "--hypothesis-seed=1", "-p", "no:cacheprovider"]
OPTIONS += ["-p", "xdist", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"]
MEMORY = Path("/dev/shm")  # nothing here has to survive, and fsync costs nothing there

REPLACED = {
    "Add": ("Sub", "Mul"),
    "Sub": ("Add", "Div", "BitOr"),
    "Mul": ("Div", "Add"),
    "Div": ("Mul", "Sub"),
    "FloorDiv": ("Div", "Mul"),
    "Mod": ("Div", "Mul"),
    "Pow": ("Mul", "Div"),
    "BitOr": ("BitAnd", "BitXor", "Sub"),
    "BitAnd": ("BitOr", "BitXor", "Sub"),
    "BitXor": ("BitOr", "BitAnd", "Sub"),
}
"""What stands for a binary operator: its opposite and one of another kind. Others die of the same test."""

STAR = re.compile(r"(?<![\w)\]])\*{1,2}(?=\S)")  # one that unpacks, or stands for itself: no operator
IDENTITY = {"Is", "IsNot"}

Span = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: where, by which operator, and whether a test noticed."""

    line: int
    operator: str
    killed: bool
    diff: str

    @property
    def made(self) -> str:
        """The lines as the change makes them, or which it leaves out."""
        lines = self.diff.splitlines()
        made = [line[1:].strip() for line in lines if line.startswith("+")]
        return "\n".join(made) or "without " + " ".join(line[1:].strip() for line in lines).strip()


def mutate(room: Room) -> list[Mutant]:
    """Every mutant of a room, each tried on its tests."""
    with tempfile.TemporaryDirectory(prefix="mutation-", dir=MEMORY if MEMORY.is_dir() else None) as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir()
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
        compiled = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "src"]
        subprocess.run(compiled, cwd=tree, check=True)
        (tree / "room.toml").write_text(
            "[cosmic-ray]\n"
            f'module-path = "{room.module}"\n'
            f"timeout = {20 * SECONDS}\n"
            "excluded-modules = []\n"
            f'test-command = "{sys.executable} -I -S ask.py {scratch}/ask"\n'
            '[cosmic-ray.distributor]\nname = "local"\n'
        )
        (tree / "ask.py").write_text(ASK)
        _cosmic_ray(tree, "init", "room.toml", "session.sqlite")
        _leave_out(tree / "session.sqlite", noise((tree / room.module).read_text()))
        with _warm(tree, room):
            _cosmic_ray(tree, "exec", "room.toml", "session.sqlite")
        return list(_read(_cosmic_ray(tree, "dump", "session.sqlite")))


@contextmanager
def _warm(tree: Path, room: Room) -> Iterator[None]:
    """A process that runs the room's tests when it is asked. Raises `SystemExit` if they fail as it is."""
    variables = os.environ | {"PYTHONPATH": f"{tree / 'src'}:{tree}", "TMPDIR": str(tree.parent)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    socket = tree.parent / "ask"
    command = [
        sys.executable,
        "-m",
        "tests.mutation.warm",
        str(socket),
        room.name,
        *OPTIONS,
        "-k",
        room.chosen,
        *room.tests,
    ]
    with open(tree.parent / "log", "wb") as log:
        variables["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        process = subprocess.Popen(command, cwd=tree, env=variables, stdout=log, stderr=subprocess.STDOUT)
    try:
        while not socket.exists():
            if process.poll() is not None:
                raise SystemExit((tree.parent / "log").read_text())
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def noise(source: str) -> list[Span]:
    """Where a change decides nothing: annotations, options of `@dataclass`, imports for types, a bare `*`."""
    found: list[Any] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.AnnAssign() | ast.arg():
                found.append(node.annotation)
            case ast.FunctionDef():
                found.append(node.returns)
            case ast.ClassDef():
                found += [one for one in node.decorator_list if "dataclass" in ast.unparse(one)]
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                found.append(node)
    spans = [
        ((one.lineno, one.col_offset - 1), (one.end_lineno, one.end_col_offset))  # from the `@` on
        for one in found
        if one is not None
    ]
    for row, line in enumerate(source.splitlines(), start=1):
        spans += [((row, star.start()), (row, star.end())) for star in STAR.finditer(line)]
    return spans


def _leave_out(session: Path, spans: list[Span]) -> None:
    with closing(sqlite3.connect(session)) as store, store:
        rows = store.execute("SELECT job_id, operator_name, start_pos_row, start_pos_col FROM mutation_specs")
        for job, operator, row, column in rows.fetchall():
            if not _fits(operator) or any(start <= (row, column) < end for start, end in spans):
                store.execute("DELETE FROM mutation_specs WHERE job_id = ?", (job,))
                store.execute("DELETE FROM work_items WHERE job_id = ?", (job,))


def _fits(operator: str) -> bool:
    _, before, after = f"__{operator}".rsplit("_", 2)
    if not {before, after}.isdisjoint(IDENTITY):
        return {before, after} <= IDENTITY
    return "BinaryOperator" not in operator or after in REPLACED.get(before, ())


def _cosmic_ray(tree: Path, *words: str) -> str:
    command = [str(Path(sys.executable).with_name("uv")), *COSMIC_RAY, *words]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"cosmic-ray {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def _read(dumped: str) -> Iterator[Mutant]:
    for line in dumped.splitlines():
        item, result = json.loads(line)
        (mutation,) = item["mutations"]
        killed = result is not None and result["test_outcome"] in ("killed", "incompetent")
        diff = (result or {}).get("diff") or ""
        changed = [text for text in diff.splitlines() if text[:1] in "+-" and text[:3] not in ("+++", "---")]
        yield Mutant(
            mutation["start_pos"][0], mutation["operator_name"].partition("/")[2], killed, "\n".join(changed)
        )
