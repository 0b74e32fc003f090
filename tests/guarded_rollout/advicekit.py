"""What the cases of errors' advice share; `test_advice.py` says what a case is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guarded_rollout.cli.app import app
from guarded_rollout.config.environments import Environment, load
from guarded_rollout.errors import RolloutError
from tests.guarded_rollout.sandbox import free_port

Case = Callable[[Path], None]
CASES: dict[type[RolloutError], Case] = {}


def case(error: type[RolloutError]) -> Callable[[Case], Case]:
    """Make a function the case of an error."""

    def made(function: Case) -> Case:
        assert error not in CASES
        CASES[error] = function
        return function

    return made


@contextmanager
def refused(error: type[RolloutError], advice: str) -> Iterator[pytest.ExceptionInfo[RolloutError]]:
    """The block raises this very error, which advises so."""
    with pytest.raises(RolloutError) as found:
        yield found
    assert type(found.value) is error, found.value
    assert advice in found.value.hint, found.value.hint


def written(folder: Path, text: str = "[environments.production]\n") -> Path:
    path = folder / "rollout.toml"
    path.write_text(text)
    return path


def production(folder: Path, more: str = "") -> Environment:
    text = f"[environments.production]\nport = {free_port()}\n{more}"
    return load(written(folder, text)).environment("production")


def rollout(*typed: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, typed)
    return done.exit_code, done.output
