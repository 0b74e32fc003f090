"""What `--help` of both command lines says reaches whoever reads it."""

from collections.abc import Iterator
from typing import Any

import pytest
from rich.markup import render
from typer.main import get_command

from dhash_service.cli.app import app as dhash
from guarded_rollout.cli.app import app as rollout
from guarded_rollout.cli.reference import walk

APPLICATIONS = {"dhash": dhash, "rollout": rollout}


def texts(command: Any) -> Iterator[str]:
    yield command.help or ""
    yield command.epilog or ""
    for parameter in command.params:
        yield getattr(parameter, "help", None) or ""


@pytest.mark.parametrize("name", APPLICATIONS)
def test_no_word_of_a_help_text_is_taken_for_markup(name: str) -> None:
    """Typer's help leaves out what stands in square brackets: a default is told by `show_default`."""
    commands = dict(walk(get_command(APPLICATIONS[name])))
    assert len(commands) > 20
    lost = [
        f"{path}: {text}"
        for path, command in commands.items()
        for text in texts(command)
        if render(text).plain != text
    ]
    assert lost == []
