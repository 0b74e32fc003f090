"""Two commits of a scratch repository, compared by two tiny questions in real processes."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.compare import Pair, locked, pairs
from bench.table import Quantity

from tests.guarded_rollout.sandbox import wait_until

ROOT = Path(__file__).parents[2]
NEEDED = ("__init__", "__main__", "compare", "machine", "table")
SIZES = """
from bench.table import Table, duration
from thing import SECONDS, answers
def tables(quick):
    return [Table("How long?", ("", "time", "answer"), [("thing", duration(SECONDS), answers())])]
"""
COUNTS = """
from bench.table import Table, Target
def tables(quick):
    met = Target("met", "1", "1", False)  # a missed target is an answer too
    return [Table("How many?", ("", "count"), [("all of it", f"{3 if quick else 4} things")], [met])]
"""
SLEEPS = """
import pathlib, signal
def tables(quick):
    pathlib.Path(__file__).parents[1].joinpath("begun").touch()
    try:
        signal.pause()
    finally:
        pathlib.Path("{folder}").joinpath("cleaned").touch()
"""


def thing(seconds: float) -> str:
    return f"SECONDS = {seconds}\ndef answers():\n    return '1'\n"


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    """Its first commit takes 2 seconds, the checkout (not committed) 3."""
    folder = tmp_path / "scratch"
    for name in ("bench", "src", "tests", "locks"):
        (folder / name).mkdir(parents=True)
    for name in NEEDED:
        shutil.copy(ROOT / "bench" / f"{name}.py", folder / "bench")
    shutil.copy(ROOT / "tests" / "leftovers.py", folder / "tests")
    (folder / "src" / "thing.py").write_text(thing(2.0))
    (folder / "locks" / "development.txt").write_text("# made\none==1.0 \\\n    --hash=sha256:00\n")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "before there were any questions")
    (folder / "src" / "thing.py").write_text(thing(3.0))
    (folder / "bench" / "sizes.py").write_text(SIZES)
    (folder / "bench" / "counts.py").write_text(COUNTS)
    yield folder
    assert git(folder, "worktree", "list").count("\n") == 1, "a worktree is left"


def git(folder: Path, *words: str) -> str:
    named = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    command = ["git", "-C", str(folder), *named, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "bench.compare", *words]


def compare(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=folder, capture_output=True, text=True, timeout=60)


def bases(repository: Path) -> set[Path]:
    """The folders in which commits of this repository stand beside it."""
    listed = git(repository, "worktree", "list", "--porcelain").splitlines()
    places = {Path(line.removeprefix("worktree ")) for line in listed if line.startswith("worktree ")}
    return {place for place in places if place.name == "base"}


@pytest.mark.system
def test_both_sides_are_asked_the_same_by_the_same_yardstick(repository: Path) -> None:
    done = compare(repository, "main", "--quick")
    assert done.returncode == 0, done.stderr
    row = re.search(r"thing: time\W+2 s\W+3 s\W+1\.500\W+yes", done.stdout)
    assert row, done.stdout
    assert re.search(r"thing: answer\W+1\W+1\W+1\.000\W+\n", done.stdout)
    assert re.search(r"all of it: count\W+3 things\W+3 things\W+1\.000", done.stdout)
    assert re.search(r" met\W+1\W+1\W+1\.000", done.stdout)


def test_what_the_base_cannot_answer_is_said(repository: Path) -> None:
    (repository / "bench" / "sizes.py").write_text(SIZES.replace("import SECONDS", "import NEW, SECONDS"))
    done = compare(repository, "main", "sizes")
    assert done.returncode == 2
    assert "How many?" not in done.stdout
    assert "BASE does not answer 'sizes': ImportError: cannot import name 'NEW'" in done.stderr


def test_other_locked_packages_are_refused_by_name(repository: Path) -> None:
    (repository / "locks" / "development.txt").write_text("one==2.0 \\\n    --hash=sha256:00\n")
    done = compare(repository, "main")
    assert done.returncode == 2
    assert "locks/development.txt differs (one==1.0, one==2.0)" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "'nowhere' is no commit of this repository"),
        (["--", "--upload-pack=touch x"], "is no commit of this repository"),
        (["main", "guesses"], "unknown: guesses; there are counts, sizes"),
        (["main", "--rounds", "1"], "fewer than 2 rounds have no spread"),
    ],
)
def test_what_cannot_be_compared_is_refused(repository: Path, words: list[str], said: str) -> None:
    done = compare(repository, *words)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_lets_the_question_clean_up_and_leaves_nothing(
    repository: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    (repository / "bench" / "sizes.py").write_text(SLEEPS.format(folder=tmp_path))
    process = subprocess.Popen(command("main", "sizes"), cwd=repository, stderr=subprocess.PIPE, text=True)
    seen: set[Path] = set()

    def begun() -> bool:
        seen.update(bases(repository))
        return any((base / "begun").exists() for base in seen)

    try:
        wait_until(begun, 30)
        os.kill(process.pid, sent)
        assert process.wait(30) == (130 if sent is signal.SIGINT else 143)
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / "cleaned").exists()
    assert not any(base.parent.exists() for base in seen)


# ---- pure


def test_only_what_every_round_of_both_has_in_the_same_unit_is_paired() -> None:
    def numbers(**values: tuple[float, str]) -> dict[tuple[str, str], Quantity]:
        return {("?", name): Quantity("", *value) for name, value in values.items()}

    base = [numbers(a=(1, "s"), b=(2, "MB"), gone=(1, "")), numbers(a=(2, "s"), b=(2, "MB"))]
    now = [numbers(a=(3, "s"), b=(2, "kB"), new=(1, "")), numbers(a=(4, "s"), b=(2, "kB"))]
    assert pairs(base, now) == [Pair("?", "a", (1, 2), (3, 4), "s")]


@pytest.mark.parametrize(
    ("base", "now", "beyond"),
    [
        ((10, 11), (12, 13), False),
        ((10, 11), (13, 14), True),
        ((5, 5), (5, 5), False),
        ((9, 9), (8, 8), True),
    ],
)
def test_a_difference_counts_when_it_is_larger_than_both_spreads(
    base: tuple[float, ...], now: tuple[float, ...], beyond: bool
) -> None:
    assert Pair("", "", base, now, "").beyond_spread is beyond


def test_there_is_no_ratio_to_nought() -> None:
    assert Pair("", "", (0, 0), (1, 1), "").ratio is None
    assert Pair("", "", (2, 4), (6, 6), "").ratio == 2


def test_this_checkout_locks_packages() -> None:
    assert {name.partition("==")[0] for name in locked(ROOT / "locks/development.txt")} >= {"numpy", "pillow"}


REQUESTS = """
from bench.table import Table
from thing import SECONDS
def tables(quick):
    return [Table("Requests", ("", "CPU of one", "of its floor's"), [("submit", "1 ms", f"{SECONDS:.2f} ×")])]
"""


@pytest.mark.parametrize(("seconds", "code"), [(2.1, 0), (2.3, 1)])
def test_a_gate_fails_where_a_request_costs_a_tenth_more(repository: Path, seconds: float, code: int) -> None:
    (repository / "bench" / "requests.py").write_text(REQUESTS)
    (repository / "src" / "thing.py").write_text(thing(seconds))
    done = compare(repository, "main", "requests", "--gate")
    assert done.returncode == code, done.stderr
    assert f"1 paths, {code} cost over 10% more" in done.stdout
    assert ("submit: 2.00 × → 2.30 × of its floor" in done.stderr) is bool(code)


def test_a_gate_that_has_nothing_to_look_at_says_so(repository: Path) -> None:
    done = compare(repository, "main", "counts", "--gate")
    assert (done.returncode, "nothing here is gated" in done.stderr) == (2, True)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_question_that_is_interrupted_stops_what_it_started(
    repository: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    (repository / "bench" / "sizes.py").write_text(SLEEPS.format(folder=tmp_path))
    process = subprocess.Popen([sys.executable, "-m", "bench", "sizes"], cwd=repository)
    try:
        wait_until((repository / "begun").exists, 30)
        process.send_signal(sent)
        process.wait(30)
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "cleaned").exists()
