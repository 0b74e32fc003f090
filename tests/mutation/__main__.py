"""`python -m tests.mutation [ROOM…]`: change the code of a room in one place at a time, and run its tests.

By cosmic-ray, in an export of the commit that is checked out. Prints each mutant that the tests let pass, and
how many of how many were killed. What survives wants a better test, or a reason why nothing can tell.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COSMIC_RAY = ("uv", "tool", "run", "--quiet", "--from", "cosmic-ray==8.7.0")
SECONDS = 60.0  # for the tests of one mutant: one that never ends is killed
GUARD, TESTS = "src/guarded_rollout", "tests/guarded_rollout"


@dataclass(frozen=True, slots=True)
class Room:
    """A module, and the tests that must notice any change of it."""

    module: str
    tests: tuple[str, ...]


ROOMS: Mapping[str, Room] = {
    "retention": Room(f"{GUARD}/backup/retention.py", (f"{TESTS}/test_retention.py",)),
    "window": Room(
        f"{GUARD}/rollout/window.py", (f"{TESTS}/test_engine.py", f"{TESTS}/test_monitor_resume.py")
    ),
    "rollback": Room(
        f"{GUARD}/rollout/rollback.py", (f"{TESTS}/test_engine.py", f"{TESTS}/test_traffic_first.py")
    ),
    "sequential": Room(f"{GUARD}/gates/sequential.py", (f"{TESTS}/test_gates_sequential.py",)),
    "windowed": Room(
        f"{GUARD}/gates/judges/windowed.py",
        (f"{TESTS}/test_gates_verdicts.py", f"{TESTS}/test_gates_window.py"),
    ),
    "health": Room(f"{GUARD}/gates/judges/health.py", (f"{TESTS}/test_gates_verdicts.py",)),
    "gauge": Room(f"{GUARD}/gates/judges/gauge.py", (f"{TESTS}/test_gates_verdicts.py",)),
    "verdict": Room(
        f"{GUARD}/gates/verdict.py", (f"{TESTS}/test_gates_verdicts.py", f"{TESTS}/test_gates_guard.py")
    ),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: where, by which operator, and whether a test noticed."""

    line: int
    operator: str
    killed: bool
    diff: str


def mutate(room: Room) -> list[Mutant]:
    """Every mutant of a room, each tried on its tests."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir()
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
        tests = " ".join(("-m pytest -x -q -n0 -m 'not system' -p no:cacheprovider", *room.tests))
        (tree / "room.toml").write_text(
            "[cosmic-ray]\n"
            f'module-path = "{room.module}"\n'
            f"timeout = {SECONDS}\n"
            "excluded-modules = []\n"
            f'test-command = "{sys.executable} {tests}"\n'
            '[cosmic-ray.distributor]\nname = "local"\n'
        )
        _cosmic_ray(tree, "init", "room.toml", "session.sqlite")
        _cosmic_ray(tree, "baseline", "room.toml")
        _cosmic_ray(tree, "exec", "room.toml", "session.sqlite")
        return list(_read(_cosmic_ray(tree, "dump", "session.sqlite")))


def _cosmic_ray(tree: Path, *words: str) -> str:
    variables = os.environ | {"PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*COSMIC_RAY, "cosmic-ray", *words]
    command[0] = str(Path(sys.executable).with_name("uv"))
    done = subprocess.run(command, cwd=tree, env=variables, capture_output=True, text=True)
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


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rooms", nargs="*", help=f"of {', '.join(ROOMS)}; all of them unless named")
    for name in parser.parse_args().rooms or ROOMS:
        mutants = mutate(ROOMS[name])
        survivors = [mutant for mutant in mutants if not mutant.killed]
        for mutant in survivors:
            print(f"{ROOMS[name].module}:{mutant.line} {mutant.operator}\n{mutant.diff}", flush=True)
        killed = len(mutants) - len(survivors)
        print(f"{name}: {killed} of {len(mutants)} mutants killed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
