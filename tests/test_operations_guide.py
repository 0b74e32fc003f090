"""Every bash block of docs/operations-guide.md, in order, on the system that the blocks themselves deploy."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dhash_service.serving import free_port
from tests.guarded_rollout.notify.receivers import Webhook, webhook
from tests.leftovers import owned_folder

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "operations-guide.md"
BLOCK = re.compile(
    r"^```bash\n(?P<commands>.*?)^```\n(?:```text\n(?P<shown>.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
ANSWERS = "yes\nROLLBACK\n"
PATIENCE = 300
OPERATORS = (
    "backup_dhash.sh",
    "deploy_dhash.sh",
    "migrate_dhash.sh",
    "monitor_dhash",
    "notify",
    "rollback_dhash.sh",
    "smoke_tests.sh",
    "validate_logging",
)
"""The scripts that operators call by name; the others are the Makefile's."""


class Terminal:
    """One operator's terminal: the folder and the variables of a block are the next one's."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self._state = folder / "terminal"
        self._state.write_text("")
        self._environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DHASH_", "ROLLOUT_", "SLACK_", "VIRTUAL_ENV", "PYTEST_", "COV_"))
        } | environ
        self._folder = folder

    def run(self, commands: str) -> subprocess.CompletedProcess[str]:
        """Type these; questions are answered as the guide says."""
        script = (
            f"source {self._state}\nset -e\n{commands}\n"
            f"set +e\n{{ declare -p DHASH_URL LATEST_BACKUP PATH; echo cd $PWD; }} 2> /dev/null"
            f" | sed 's/^declare -x/export/; s/^declare --/export/' > {self._state}\n"
        )
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder,
            env=self._environ,
            input=ANSWERS,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )


def blocks() -> list[tuple[str, str]]:
    """The commands of each block, and what the guide says they print."""
    return [(found["commands"], found["shown"] or "") for found in BLOCK.finditer(GUIDE.read_text())]


def missing(shown: str, printed: str) -> str:
    """The first line of the guide that was not printed, in order; nothing if all were."""
    lines = iter(re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines())
    for wanted in filter(None, (line.strip() for line in shown.splitlines())):
        pattern = re.compile(".*".join(map(re.escape, wanted.split("…"))))
        if not any(pattern.search(line) for line in lines):
            return wanted
    return ""


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=operator", "-c", "user.email=operator@example.org")
    subprocess.run(["git", *identity, "-C", str(folder), *words], check=True, capture_output=True)


def shorten_windows(checkout: Path, ports: dict[str, int]) -> None:
    """What would take an hour takes seconds: by configuration, not by other commands."""
    path = checkout / "quality-gates-config.json"
    file = json.loads(path.read_text())
    for name, environment in file["environments"].items():
        environment["monitoring"]["window_minutes"] = 0.1 if name == "production" else 0.05
        for gate in environment["quality_gates"].values():
            if "check_interval_seconds" in gate["threshold"]:
                gate["threshold"]["check_interval_seconds"] = 1
    path.write_text(json.dumps(file, indent=2))
    (checkout / "rollout.toml").write_text(
        "".join(
            f"[environments.{name}]\nport = {port}\nconfirm = {'true' if name == 'production' else 'false'}\n"
            "traffic = [{ percent = 50, hold_seconds = 0.0 }, { percent = 100, hold_seconds = 0.0 }]\n"
            f"[environments.{name}.checks]\nvalidation_interval_seconds = 0.2\n"
            for name, port in ports.items()
        )
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: there are unix sockets below it."""
    made = owned_folder("og")
    try:
        yield made
    finally:
        for path in [made, *made.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)  # releases are read-only
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def slack() -> Iterator[Webhook]:
    with webhook() as receiver:
        yield receiver


@pytest.mark.system
@pytest.mark.timeout(1200)
def test_every_block_runs_and_prints_what_the_guide_says(folder: Path, slack: Webhook) -> None:
    upstream, ports = folder / "upstream", {"production": free_port(), "staging": free_port()}
    subprocess.run(["git", "clone", "-q", str(ROOT), str(upstream)], check=True)
    shorten_windows(upstream, ports)
    git(upstream, "commit", "-qam", "Short windows")
    terminal = Terminal(
        folder,
        REPOSITORY=str(upstream),
        DHASH_URL=f"http://localhost:{ports['production']}",
        SLACK_WEBHOOK_URL=slack.url(),
        COLUMNS="160",
    )
    try:
        for commands, shown in blocks():
            if "git pull" in commands:  # somebody has merged a change
                module = upstream / "src" / "dhash_service" / "__init__.py"
                module.write_text(module.read_text() + "\n# A change of no consequence.\n")
                git(upstream, "commit", "-qam", "A change")
            done = terminal.run(commands)
            assert done.returncode == 0, f"{commands}\nended with {done.returncode}:\n{done.stdout}"
            unsaid = missing(shown, done.stdout)
            assert not unsaid, f"{commands}\ndid not print {unsaid!r} but:\n{done.stdout}"
    finally:
        for name in ports:
            terminal.run(f"cd {folder}/dhash && .venv/bin/rollout down --env {name} --force")
    told = json.dumps([arrived.body for arrived in slack.accepted])
    for words in ("deployment of", "monitoring of", "rollback to", "Monthly notification test"):
        assert words in told


def test_a_block_that_prints_something_else_is_noticed() -> None:
    assert missing("one\n… three", "one\ntwo three\n") == ""
    assert missing("one\nthree", "three\none\n") == "three"
    assert missing("[x]", "x\n") == "[x]"


def test_the_guide_keeps_every_command_that_operators_know() -> None:
    text = "".join(commands for commands, _ in blocks())
    for name in OPERATORS:
        assert (ROOT / "scripts" / name).is_file()
        assert re.search(rf"(scripts/|for script in .*){name}\b", text), name
