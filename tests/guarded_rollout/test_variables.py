"""What a deployment changes in the service's environment variables, as an operator reads it."""

import pytest

from guarded_rollout.checks.variables import changes


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"MODE": "slow"}, {"MODE": "slow"}, []),
        ({"MODE": "slow"}, {"MODE": "fast"}, ['MODE = "fast", it was "slow"']),
        ({}, {"MODE": ""}, ['MODE = "" is new']),
        ({"OLD": "1"}, {}, ['OLD = "1" is gone']),
        ({"A": "1", "B": "1"}, {"B": "2"}, ['A = "1" is gone', 'B = "2", it was "1"']),
        ({"API_KEY": "$OLD_KEY"}, {"API_KEY": "$NEW_KEY"}, ['API_KEY = "$NEW_KEY", it was "$OLD_KEY"']),
        ({"API_KEY": "hunter2"}, {"API_KEY": "$KEY"}, ['API_KEY = "$KEY", it was ***']),
        ({}, {"DB": "postgresql://me:hunter2@host/db"}, ['DB = "postgresql://***@host/db" is new']),
        ({}, {"DB": "postgresql://me:$PW@host/db"}, ['DB = "postgresql://me:$PW@host/db" is new']),
        ({}, {"X": "a\x1b[2J\nb"}, ["X = 'a\\x1b[2J\\nb' is new"]),
    ],
)  # fmt: skip
def test_changes_are_said_and_secrets_only_named(
    before: dict[str, str], after: dict[str, str], said: list[str]
) -> None:
    assert list(changes(before, after)) == said
