"""Nobody's rollout waits for whoever reads along."""

import os
import pty
import subprocess
import sys
import termios
import time

import pytest

from guarded_rollout.display import Display

TALKS = """
import sys, time
from guarded_rollout.display import Display
display = Display(drops=sys.argv[1] == "drops")
began = time.monotonic()
for number in range(int(sys.argv[2])):
    display.show(f"{number} " + "x" * 500)
print(round(time.monotonic() - began, 1), file=sys.stderr)
"""

PAINTS = r"from guarded_rollout.display import Display; Display().show('\x1b[32mok\x1b[0m')"


def talk(how: str, lines: int, output: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", TALKS, how, str(lines)]
    return subprocess.Popen(words, stdout=output, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", ["drops", "waits"])
def test_a_reader_that_has_gone_ends_nobody(how):
    reading, writing = os.pipe()
    os.close(reading)
    talking = talk(how, 10, writing)
    os.close(writing)
    _, said = talking.communicate(timeout=10)
    assert talking.returncode == 0
    assert "Traceback" not in said


def test_a_pipe_that_nobody_empties_holds_up_a_second_and_no_more():
    reading, writing = os.pipe()
    talking = talk("drops", 2000, writing)
    os.close(writing)
    _, said = talking.communicate(timeout=20)
    assert talking.returncode == 0
    assert float(said) < 5
    os.close(reading)


def test_a_terminal_that_is_stopped_holds_up_a_second_and_takes_lines_again_later():
    reading, writing = pty.openpty()
    termios.tcflow(writing, termios.TCOOFF)  # Ctrl-S
    talking = talk("drops", 200, writing)
    _, said = talking.communicate(timeout=20)
    assert talking.returncode == 0
    assert float(said) < 5
    termios.tcflow(writing, termios.TCOON)
    talk("drops", 1, writing).communicate(timeout=10)
    assert os.read(reading, 100).startswith(b"0 x")
    os.close(reading)
    os.close(writing)


def test_a_pager_that_reads_slowly_gets_every_line():
    reading, writing = os.pipe()
    talking = talk("waits", 400, writing)
    os.close(writing)
    time.sleep(0.3)
    with os.fdopen(reading) as file:
        assert len(file.readlines()) == 400
    assert talking.wait(10) == 0


def test_colours_are_for_terminals_alone(capsys):
    Display().show("\x1b[32mok\x1b[0m: \x1b[1m3\x1b[0m gates")
    assert capsys.readouterr().out == "ok: 3 gates\n"
    reading, writing = pty.openpty()
    painting = subprocess.Popen([sys.executable, "-c", PAINTS], stdout=writing)
    assert painting.wait(timeout=10) == 0
    assert b"\x1b[32mok\x1b[0m" in os.read(reading, 100)
    for end in (reading, writing):
        os.close(end)
