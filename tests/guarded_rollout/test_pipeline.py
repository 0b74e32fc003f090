"""`rollout deploy` on a terminal draws what it does; elsewhere it says it in lines that are never cut."""

import re

import pytest

from guarded_rollout.host.release import short
from tests.guarded_rollout.sandbox import Sandbox
from tests.guarded_rollout.terminal import Terminal

pytestmark = pytest.mark.system


def test_a_rollout_is_drawn_while_it_is_at_work_and_ends_with_three_lines(sandbox: Sandbox) -> None:
    sandbox.deploy()
    sandbox.configure(steps=((50, 3.0), (100, 0.0)))
    sandbox.version("2.0.0")
    release = sandbox.build().id
    with Terminal(sandbox.command("deploy"), sandbox.folder, columns=100) as terminal:
        terminal.read_until("Shifting traffic", "● shift", "50 %")
        terminal.read_until("has all of the traffic and is watched for")
        assert terminal.process.wait(60) == 0
    plain = sandbox.rollout("status").stdout
    assert short(release) in plain
    assert release in sandbox.rollout("status", "--verbose").stdout


def test_without_a_terminal_no_line_is_cut(sandbox: Sandbox) -> None:
    done = sandbox.rollout("deploy", variables={"COLUMNS": "40"})
    assert done.returncode == 0, done.stderr
    release = sandbox.served_by()
    assert any(line.endswith(f"{short(release)} serves production") for line in done.stdout.splitlines())
    assert "\x1b" not in done.stdout
    sandbox.version("2.0.0")
    *_, serves, took, following = sandbox.rollout("deploy").stdout.splitlines()
    assert "has all of the traffic and is watched for" in serves
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S", line) for line in (serves, took, following))
    assert "Z It took " in took
    assert "verify " in took
    assert "rollout monitor --env production" in following
