"""The documentation names what exists, and all that exists is documented."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from dhash_service.cli import main as dhash_main  # noqa: F401
from dhash_service.cli.app import app as dhash
from guarded_rollout.cli.app import app as rollout
from guarded_rollout.cli.errors import rows
from guarded_rollout.cli.reference import document, walk
from guarded_rollout.errors import RolloutError, all_errors

ROOT = Path(__file__).parents[1]
ROLLOUT = typer.main.get_command(rollout)
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / ".github" / "pull_request_template.md",
    ROOT / ".env.notifications.example",
    *sorted((ROOT / "deploy").rglob("*.service")),
]
CALL = re.compile(r"(?<![\w/.-])(?:\.venv/bin/)?rollout((?: [^ `\n|&;][^`\n|&;]*)?)")
SCRIPTS = {
    "backup_dhash.sh": "backup",
    "deploy_dhash.sh": "deploy",
    "migrate_dhash.sh": "migrate",
    "rollback_dhash.sh": "rollback",
    "smoke_tests.sh": "smoke",
    "monitor_dhash": "monitor",
    "notify": "notify",
    "validate_logging": "validate-logging",
}


def commands() -> dict[str, set[str]]:
    """Every command with its options, the hidden ones too."""
    found: dict[str, set[str]] = {}

    def gather(command: Any, path: str) -> None:
        children = getattr(command, "commands", {})
        for name, child in children.items():
            gather(child, f"{path} {name}".strip())
        if not children:
            found[path] = {option for parameter in command.params for option in parameter.opts} | {
                "--help",
                "-h",
            }

    gather(ROLLOUT, "")
    return found


COMMANDS = commands()


def code(text: str) -> str:
    """What stands in code spans and blocks: prose says "rollout" too."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", rest)
    indented = re.findall(r"^    (\S.*)$", rest, re.MULTILINE)
    return "\n".join([*blocks, *spans, *indented])


def calls(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Every call of the command line in a document: the command, and the options with it."""
    text = path.read_text()
    text = code(text) if path.suffix == ".md" else text
    for line in text.splitlines():
        for script, command in SCRIPTS.items():
            for rest in re.findall(rf"scripts/{re.escape(script)}(?![\w.])([^`\n|&;]*)", line):
                yield command, options(rest)
        for rest in CALL.findall(line):
            words = [word.strip("`.,:)") for word in rest.split()]
            if not words or not re.fullmatch(r"[a-z][a-z-]*", words[0]):
                continue
            two = " ".join(words[:2])
            yield (two if two in COMMANDS else words[0]), options(rest)


def options(text: str) -> list[str]:
    return re.findall(r"(?<![\w-])(--[a-z][a-z-]+|-[vh])(?![\w-])", text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_names_no_command_and_no_option_that_does_not_exist(path: Path) -> None:
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    for command, named in calls(path):
        assert command in COMMANDS or command in groups, f"rollout {command}"
        if command in COMMANDS:
            assert [option for option in named if option not in COMMANDS[command]] == [], f"rollout {command}"


def test_the_documents_do_name_commands() -> None:
    named = {command for path in DOCUMENTS for command, _ in calls(path)}
    assert len(named) > 15


def test_every_command_and_option_is_documented() -> None:
    assert (ROOT / "docs" / "commands.md").read_text() == "\n".join(document(ROLLOUT)) + "\n", (
        "docs/commands.md is old: .venv/bin/rollout reference > docs/commands.md"
    )
    for name, command in walk(ROLLOUT):
        assert command.help, name
        assert (command.epilog or "").startswith("Example: rollout "), name
        for parameter in command.params:
            said = getattr(parameter, "help", "") or getattr(parameter, "hidden", False)
            assert said or parameter.param_type_name == "argument", (name, parameter.name)


def test_every_error_is_in_the_troubleshooting_guide() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    assert text.partition("<!-- rollout errors -->\n")[2] == "\n".join(rows()) + "\n", (
        "the list is old: put what .venv/bin/rollout errors prints at the end of docs/troubleshooting.md"
    )


def test_no_two_errors_share_a_name() -> None:
    names = [error.code() for error in all_errors()]
    assert len(names) == len(set(names))
    assert all(error.message and error.exit_code for error in all_errors(RolloutError))


def test_every_link_between_documents_leads_somewhere() -> None:
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
        for target in re.findall(r"`(docs/[\w-]+\.md)`", path.read_text()):
            assert (ROOT / target).exists(), f"{path.name}: {target}"


def test_the_service_s_commands_that_are_named_exist() -> None:
    names = set(typer.main.get_command(dhash).commands)  # type: ignore[attr-defined]
    for path in DOCUMENTS:
        if path.suffix == ".md":
            for name in re.findall(r"(?:^|[`\s/])dhash ([a-z]+)\b", code(path.read_text())):
                assert name in names, f"{path.name}: dhash {name}"
