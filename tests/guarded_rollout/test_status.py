"""`rollout status --watch`: the dashboard's facts on a terminal, elsewhere, and for programs."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from guarded_rollout.config.gates import load
from guarded_rollout.gates.verdict import GateOutcome, Verdict
from guarded_rollout.status.document import StatusDocument
from guarded_rollout.status.gate_lines import Trail, gate_lines
from guarded_rollout.status.session_log import Judged, SessionFacts
from guarded_rollout.status.snapshot import Snapshot, read
from guarded_rollout.status.terminal import above, below, drawn, verdicts_of
from tests.forked import Forked
from tests.guarded_rollout.gatekit import SHIPPED
from tests.guarded_rollout.sandbox import Sandbox, wait_until
from tests.guarded_rollout.terminal import COLOUR, Terminal

KEYS = {one.name for one in fields(StatusDocument)}


@pytest.fixture(scope="module")
def monitored() -> Iterator[tuple[Sandbox, Terminal]]:
    """A rollout in its window, and a monitor that watches it on a small terminal."""
    made = Sandbox()
    made.configure(window_seconds=600)
    try:
        made.deploy()
        made.deploy("2.0.0")
        with Terminal(["rollout", "monitor"], made.folder, columns=60) as terminal:
            terminal.read_until("failures in a row", "left", "stable", "candidate", "100 %")  # judged, too
            with terminal.kept_reading():
                yield made, terminal
            assert terminal.press_ctrl_c() == 3  # nobody watches any more: the monitor failed
            assert terminal.written.rstrip().endswith(b"\x1b[?25hInterrupted: nobody watches any more.")
    finally:
        made.close()


@pytest.fixture
def watched(monitored: tuple[Sandbox, Terminal]) -> Sandbox:
    return monitored[0]


@contextlib.contextmanager
def redirected(sandbox: Sandbox, *words: str) -> Iterator[list[str]]:
    """The lines of `rollout status --watch …` without a terminal, until Ctrl-C; it ends with 130."""
    written, said = (sandbox.folder / name for name in ("written", "said"))
    for file in (written, said):
        file.write_text("")
    arguments = ["status", "--watch", *words]
    process = Forked("rollout", arguments, os.environ, written, said, folder=sandbox.folder)
    lines: list[str] = []
    try:
        wait_until(lambda: gathered(str(written), lines), 60, "a first line")
        yield lines
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    gathered(str(written), lines)
    assert (code, said.read_text()) == (130, "")


def gathered(path: str, lines: list[str]) -> list[str]:
    lines[:] = Path(path).read_text().splitlines()
    return lines


def paused_and_resumed(sandbox: Sandbox, lines: list[str], sign: str) -> None:
    """Pause the window and go on, each when the one before was seen."""
    for command, phase in (("pause", "paused"), ("resume", "watching")):
        before = len(lines)
        assert sandbox.rollout(command).returncode == 0
        path = str(sandbox.folder / "written")
        wait_until(lambda: sign.format(phase) in "\n".join(gathered(path, lines)[before:]), 60, phase)  # noqa: B023


# ---- without a terminal


def test_without_a_terminal_each_change_is_one_plain_line_and_nothing_is_repeated(watched: Sandbox) -> None:
    with redirected(watched) as lines:
        first = len(lines)
        time.sleep(1.5)  # three looks, at which nothing is new: the time left runs on
        assert len(gathered(str(watched.folder / "written"), lines)) == first
        paused_and_resumed(watched, lines, "phase: {}")
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert all(re.match(r"\d\d:\d\d:\d\d [\w ]+: \S", line) for line in lines)
    assert [line.partition("phase: ")[2] for line in lines if "phase: " in line] == [
        "watching",
        "paused",
        "watching",
    ]
    told = [line[9:] for line in lines]
    assert all(one != following for one, following in pairwise(told))
    assert sum("gate health: passes" in line for line in lines) == 1
    assert sum(line[9:].startswith("stable: 1.0.0") for line in lines) == 1


def test_for_programs_each_change_is_one_object_with_the_keys_of_status(watched: Sandbox) -> None:
    with redirected(watched, "--json") as lines:
        paused_and_resumed(watched, lines, '"phase": "{}"')
    told = [json.loads(line) for line in lines]
    # The commands that pause and resume are at work for a moment, which is a change too.
    assert [phase for phase, _ in groupby(one["phase"] for one in told)] == ["watching", "paused", "watching"]
    once = json.loads(watched.rollout("status", "--json").stdout)
    for one in told:
        assert list(one) == list(once)
        assert set(one) == KEYS
        assert one["gates"][0]["gate"] == "health"
    assert all(one["window"]["paused"] == (one["phase"] == "paused") for one in told)


def test_it_ends_when_its_reader_has_seen_enough(watched: Sandbox) -> None:
    words = watched.command("status", "--watch")
    with subprocess.Popen(
        words, cwd=watched.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"now: " in process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0  # although nothing changes
        assert process.stderr.read() == b""


# ---- on a terminal


@pytest.mark.parametrize("columns", [80, 60])
def test_on_a_terminal_there_is_a_picture_that_fits(watched: Sandbox, columns: int) -> None:
    with Terminal(["rollout", "status", "--watch"], watched.folder, columns=columns) as terminal:
        terminal.read_until(
            "is being watched", "✓ verify", "● watch", "health", "window left", "candidate", "100 %"
        )
        shown = terminal.shown()
        assert terminal.press_ctrl_c() == 130
    lines = shown.splitlines()
    assert len(lines) < 24
    assert all(cell_len(line) <= columns for line in lines), lines
    for release in ("1.0.0", "2.0.0"):
        assert release in shown
    assert ("0 failures in a row (limit 2)" if columns == 80 else "0/2 failures in a row") in shown
    assert terminal.written.rstrip().endswith(b"\x1b[?25h"), "the cursor is back"
    assert b"Traceback" not in terminal.written
    assert COLOUR.search(terminal.written)


def test_no_color_is_respected(watched: Sandbox) -> None:
    words = ["rollout", "status", "--watch"]
    with Terminal(words, watched.folder, variables={"NO_COLOR": "1"}) as terminal:
        terminal.read_until("is being watched", "health")
        assert terminal.press_ctrl_c() == 130
    assert not COLOUR.search(terminal.written)


def test_an_error_on_a_terminal_has_no_colour_either_then(watched: Sandbox) -> None:
    words = ["rollout", "status", "--env", "nowhere"]
    for variables, coloured in (({"NO_COLOR": "1"}, False), ({}, True)):
        with Terminal(words, watched.folder, variables=variables) as terminal:
            terminal.read_until("nowhere")
            assert terminal.process.wait(60) == 1
        assert bool(COLOUR.search(terminal.written)) is coloured


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(watched: Sandbox) -> None:
    words = ["rollout", "status", "--watch"]
    with Terminal(words, watched.folder, variables={"TERM": "dumb"}) as terminal:
        terminal.read_until("phase: watching", "gate health: passes")
        assert terminal.press_ctrl_c() == 130
    assert b"\x1b" not in terminal.written


def test_the_monitors_own_view_shows_both_slots_and_fits(monitored: tuple[Sandbox, Terminal]) -> None:
    _, terminal = monitored
    shown = terminal.shown()
    assert all(cell_len(line) <= 60 for line in shown.splitlines()), shown
    for words in ("0/2 failures in a row", "stable", "candidate", "100 %"):
        assert words in shown


# ---- the picture, for gates of every kind


def judged(name: str, outcome: GateOutcome, measured: float | None, limit: float, unit: str) -> Judged:
    reason = (
        "what is wrong is told at such length that it fits into no line of any terminal that one has, ever"
    )
    verdict = Verdict(name, outcome, reason, limit, unit, measured)
    return Judged(verdict, 0.0, outcome is GateOutcome.FAIL)


def crowded(sandbox: Sandbox) -> Snapshot:
    """The real rollout, with the verdicts of all shipped gates and one with a long name."""
    outcomes = [
        GateOutcome.FAIL,
        GateOutcome.PASS,
        GateOutcome.PASS,
        GateOutcome.INSUFFICIENT,
        GateOutcome.NO_DATA,
        GateOutcome.PASS,
    ]
    gates = dict(load(SHIPPED).environment("production").quality_gates.enabled())
    found: list[Judged] = []
    for number, (name, gate) in enumerate(gates.items()):
        threshold: Any = gate.threshold  # type: ignore[attr-defined]
        unit = getattr(gate, "unit", "")
        limit = getattr(threshold, "limit", 0)  # a trend has none of its own
        found.append(judged(name, outcomes[number % 6], 1234.5 / (number + 1), limit, unit))
    found.append(judged("a_gate_of_ones_own_with_a_very_long_name", GateOutcome.PASS, None, 1, ""))
    seen = read(sandbox.environment)
    assert seen.session is not None
    session: SessionFacts = replace(seen.session, judged=tuple(found))
    return replace(seen, session=session)


@pytest.mark.parametrize(("columns", "lines"), [(60, 24), (80, 24), (120, 40), (60, 15)])
def test_whatever_gates_say_the_picture_stays_within_the_terminal(
    watched: Sandbox, columns: int, lines: int
) -> None:
    console = Console(width=columns, height=lines, file=None, record=True, force_terminal=True)
    seen = crowded(watched)
    config = load(SHIPPED).environment("production")
    with console.capture() as captured:
        over, under = above(seen, config, columns), [*below(seen)]
        console.print(drawn(verdicts_of(seen), Trail(), over, under, columns, lines))
    shown = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in captured.get().splitlines()]
    assert len(shown) < lines
    assert all(cell_len(line) <= columns for line in shown)
    text = "\n".join(shown)
    assert "Quality gate failed: health" in text
    assert seen.session is not None
    failed = [one for one in seen.session.judged if one.verdict.outcome is GateOutcome.FAIL]
    for one in failed[: 4 if lines > 15 else 1]:
        said = one.verdict.short if columns < 80 else one.verdict.measured
        assert re.search(rf"{one.verdict.gate} +{re.escape(said)}", text), text


def test_where_there_are_few_lines_the_worst_gate_is_explained() -> None:
    verdicts = [
        Verdict("calm", GateOutcome.PASS, "within", 1),
        Verdict("young", GateOutcome.INSUFFICIENT, "3 of 20 samples", 1),
        Verdict("broken", GateOutcome.FAIL, "far beyond", 1),
    ]
    shown = [line.plain for line in gate_lines(verdicts, Trail(), 60, height=4)]
    assert len(shown) == 4
    assert "far beyond" in shown[3]
    two = [line.plain for line in gate_lines(verdicts, Trail(), 60, height=2)]
    assert "broken" in two[0], "the worst comes first where there is no room for all"
    assert two[1].strip() == "and 2 more, none more urgent"


def test_a_sparkline_shows_the_newest_values() -> None:
    trail = Trail()
    for value in range(100):
        trail.take([Verdict("gate", GateOutcome.PASS, "", 100, value=value)])
    assert trail.line("gate", 8) == "▁▂▃▄▅▆▇█"
    assert len(trail.line("gate", 50)) == 24
    assert trail.line("other", 8) == trail.line("gate", 0) == ""
