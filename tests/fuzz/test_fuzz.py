"""Every target for a moment, with a fixed seed; and a fuzzer that finds what is there to be found."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fuzz.engine import Check, Report, Target, require, run
from fuzz.targets import NAMES, load
from hypothesis import strategies as st

from fuzz import engine

ROOT = Path(__file__).parents[2]
EXECUTIONS = 50


# A backup is killed at eight moments in tests/guarded_rollout/test_archive.py, in less time than here.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "kills"])
def test_hostile_input_does_no_harm(name: str) -> None:
    report = run(load(name), seed=20, executions=EXECUTIONS)
    assert report.findings == [], "\n".join(report.lines())
    assert report.executions >= EXECUTIONS


@contextmanager
def spoiled() -> Iterator[Check]:
    def check(number: int) -> None:
        require(number < 1000, "a thousand is too much")
        if number == 77:
            raise KeyError(number)

    yield check


SPOILED = Target("spoiled", st.integers(0, 10**6), spoiled)


def test_what_is_wrong_is_found_shrunk_and_told_with_its_seed() -> None:
    report = run(SPOILED, seed=3, executions=500)
    (finding,) = report.findings
    assert (finding.error, finding.example) == ("HarmError: a thousand is too much", "1000")
    assert "test_fuzz.py" in finding.where
    again = run(SPOILED, seed=finding.seed, executions=200)
    assert again.findings == [finding]
    assert any(f"batch seed {finding.seed}" in line for line in report.lines())


def test_kept_inputs_are_tried_first() -> None:
    report = run(Target("spoiled", st.just(1), spoiled, kept=(77,)), seed=1, executions=2)
    assert [finding.error for finding in report.findings] == ["KeyError: 77"]


def test_a_loop_without_an_end_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened() -> Iterator[Check]:
        yield looping

    def looping(number: int) -> None:
        while number > 10:
            number += 1

    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.2)
    report = run(Target("looping", st.just(11), opened), seed=1, executions=2)
    assert [(one.error, one.example) for one in report.findings] == [
        ("HarmError: it goes on for more than 0.2 s", "11")
    ]


def test_what_is_left_afterwards_is_looked_at_too() -> None:
    @contextmanager
    def opened() -> Iterator[Check]:
        yield lambda number: None
        require(False, "a file is left")

    report = run(Target("leaving", st.integers(), opened), seed=1, executions=3)
    assert [(one.error, one.example) for one in report.findings] == [
        ("HarmError: a file is left", "'what was left after all of them'")
    ]


def test_the_same_seed_draws_the_same() -> None:
    def drawn(seed: int) -> list[int]:
        seen: list[int] = []

        @contextmanager
        def opened() -> Iterator[Check]:
            yield seen.append

        run(Target("seen", st.integers(), opened), seed=seed, executions=50)
        return seen

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_run_ends_when_its_time_is_up() -> None:
    report: Report = run(Target("quick", st.integers(), spoiled_by_nothing), seed=1, seconds=0.3)
    assert 0.3 <= report.seconds < 30
    assert report.executions > 0


@contextmanager
def spoiled_by_nothing() -> Iterator[Check]:
    yield lambda number: None


def test_the_command_tells_executions_findings_and_seed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "metrics", "--seconds", "0.2", "--seed", "9"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "metrics: " in done.stdout
    assert "seed 9, 0 findings" in done.stdout


def test_what_kills_the_process_is_a_finding(tmp_path: Path) -> None:
    program = (
        "import os, sys, fuzz.__main__ as command\n"
        "command.run = lambda *_, newest, **__: (newest.write_text('the input'), os.abort())\n"
        "sys.exit(command.main())\n"
    )
    script = tmp_path / "killed.py"
    script.write_text(program)
    words = [sys.executable, str(script), "metrics", "--newest", str(tmp_path / "newest")]
    done = subprocess.run(words, cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, timeout=60)
    assert done.returncode < 0
    assert (tmp_path / "newest").read_text() == "the input"
