"""What decides whether a change lands is a whole script, and runs all of it."""

import subprocess
from pathlib import Path

RUN = Path(__file__).parents[1] / ".ci" / "run"


def test_it_is_a_script_that_a_shell_can_read_and_anybody_may_run() -> None:
    assert RUN.stat().st_mode & 0o111
    done = subprocess.run(["bash", "-n", str(RUN)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_requires_lint_types_and_both_lanes() -> None:
    lines = RUN.read_text().splitlines()
    assert "set -euo pipefail" in lines
    for command in ("make lint", "make test ", "make test-system "):
        assert [line for line in lines if line.startswith(command)], command
