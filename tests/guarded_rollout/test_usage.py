"""Whatever is typed wrong, no command ends with a code that says something else."""

import contextlib
import io
import json
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from guarded_rollout.cli.app import app, run
from guarded_rollout.cli.reference import walk
from guarded_rollout.cli.registry import COMMANDS, EXIT_CODES, usage_code

ROOT = Path(__file__).parents[2]
WALKED = dict(walk(typer.main.get_command(app)))
NEEDED = {
    "verify": ["none.zip"],
    "gates replay": ["none.log"],
    "gates check": ["none.json"],
    "gates simulate": ["--fault", "slower=2.5", "--rps", "15"],
    "restore": ["--into", "none.db"],
    **{f"export {kind}": ["--image", "none:1"] for kind in ("kubernetes", "argo", "flagger")},
}
"""Arguments without which a command is refused before it looks at its options."""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "rollout.toml").write_text("[environments.production]\n")
    (tmp_path / "quality-gates-config.json").write_text((ROOT / "quality-gates-config.json").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROLLOUT_TOML", raising=False)
    yield tmp_path
    left = {path.name for path in tmp_path.iterdir()} - {"rollout.toml", "quality-gates-config.json"}
    assert left == set(), "a wrong usage leaves nothing behind"


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    """The exit code of `rollout WORDS…`, and what it wrote to standard error."""
    monkeypatch.setattr(sys, "argv", ["rollout", *words])
    said = io.StringIO()
    with (
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
        pytest.raises(SystemExit) as end,
    ):
        run()
    assert isinstance(end.value.code, int)
    return end.value.code, said.getvalue()


def options(command: object) -> list[str]:
    """The long options that take a value."""
    found = [one for one in command.params if one.param_type_name == "option" and not one.is_flag]  # type: ignore[attr-defined]
    return [next(flag for flag in one.opts if flag.startswith("--")) for one in found]


@pytest.mark.parametrize("name", WALKED)
def test_a_wrong_option_or_a_missing_value_says_where_the_help_is(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    words = name.split()
    for wrong in (["--no-such-option"], *([option] for option in options(WALKED[name]))):
        code, said = call(monkeypatch, *words, *NEEDED.get(name, []), *wrong)
        assert code == usage_code(words[0]), (wrong, said)
        assert f"See `rollout {words[0]} --help`." in said
        assert wrong[0] in said


@pytest.mark.parametrize("name", [name for name in WALKED if "--env" in options(WALKED[name])])
def test_an_unknown_environment_is_named_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    words = [*name.split(), *NEEDED.get(name, []), "--env", "nowhere"]
    code, said = call(monkeypatch, *words)
    assert code in (1, 3)
    assert code != 3 or usage_code(name.split()[0]) == 3
    if name not in NEEDED or name.startswith("export "):
        assert "nowhere" in said
        assert "production" in said


@pytest.mark.parametrize("words", [["bogus"], ["--env"], ["gates", "bogus"], []])
def test_what_is_no_command_is_no_success_and_no_rollback(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    code, said = call(monkeypatch, *words)
    assert code == 1
    assert "--help`." in said or not words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["deploy", "--dry-run", "--from", ""], "Building a release from an empty --from failed"),
        (["rollback", "--dry-run", "--to", ""], "Say where to return"),
    ],
    ids=["from", "to"],
)
def test_an_empty_option_means_nothing_else(
    monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    """`--from "$WHEEL"` of a script where that is not set is no deployment of the checkout."""
    code, said = call(monkeypatch, *words)
    assert code == 1
    assert says in said


@pytest.mark.parametrize(
    "words",
    [
        ["prune", "--hours", "nan"],
        ["prune", "--hours", "inf"],
        ["monitor", "--for", "inf"],
        ["history", "--limit", "9" * 20],
        ["gates", "simulate", "--rps", "1", "--fault", "slower=nan"],
        ["gates", "simulate", "--rps", "1", "--fault", "failing=-1"],
    ],
    ids=" ".join,
)
def test_a_number_that_nothing_can_be_is_refused(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    code, said = call(monkeypatch, *words)
    assert code == usage_code(words[0])
    assert "--help`." in said


def test_an_age_before_all_calendars_is_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, "logs", "show", "--since", "99999999999d") == (0, "")


def test_two_says_rolled_back_or_less_than_failed_and_never_a_wrong_usage() -> None:
    assert {usage_code(name) for name in COMMANDS} == {1, 3}
    assert EXIT_CODES["monitor"][2] == "rolled back"
    assert all(2 not in codes or "usage" not in codes[2] for codes in EXIT_CODES.values())
    assert set(EXIT_CODES) - {""} <= set(COMMANDS)


@pytest.mark.parametrize("name", WALKED)
def test_help_turns_no_word_between_colons_into_a_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Typer has Rich read `restic:ID:` as the emoji of that name."""
    monkeypatch.setattr(sys, "argv", ["rollout", *name.split(), "--help"])
    with pytest.raises(SystemExit):
        run()
    shown = capsys.readouterr().out
    assert "Usage" in shown
    assert not [
        mark for mark in shown if unicodedata.category(mark) == "So" and not "\u2500" <= mark <= "\u257f"
    ]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_guard_without_its_packages_says_what_to_install(options: list[str]) -> None:
    """As `pip install .` leaves it: of a service alone, without the extra `rollout`."""
    unfound = "import sys\nsys.modules['isal'] = None\nfrom guarded_rollout.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", unfound, "verify", "none.zip", *options],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("`rollout` needs isal, which is not installed beside it.\n  Install ")
    assert not options or json.loads(done.stdout)["error"] == "not-installed"
