"""Operators are who they are."""

import getpass
import os
import platform

import pytest

from guarded_rollout.rollout.engine import MONITOR, operator

HOST = platform.node()


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, f"{getpass.getuser()}@{HOST}"),
        ({"SUDO_USER": "alice"}, f"alice@{HOST}"),
        ({"GITHUB_ACTOR": "octocat", "SUDO_USER": "alice"}, "octocat"),
        ({"ROLLOUT_OPERATOR": "Alice B.", "GITHUB_ACTOR": "octocat"}, "Alice B."),
        ({"ROLLOUT_OPERATOR": " \n"}, f"{getpass.getuser()}@{HOST}"),
        ({"ROLLOUT_OPERATOR": "a\x1b[31m\n" + "b" * 200}, "a[31m" + "b" * 95),
        ({"ROLLOUT_OPERATOR": MONITOR}, f"{MONITOR}@{HOST}"),
    ],
)
def test_who_is_at_work_is_said_by_name_or_by_ci_or_by_sudo(variables: dict[str, str], name: str) -> None:
    assert operator(variables) == name


@pytest.mark.parametrize("error", [KeyError("uid not found"), OSError("No username set")])
def test_a_user_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def nameless() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert operator({}) == f"{os.getuid()}@{HOST}"
