"""`rollout init`: what it reads from a folder, what it asks, and that it writes what the guard can load."""

import contextlib
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guarded_rollout.cli.app import app
from guarded_rollout.cli.init import typed
from guarded_rollout.config import gates
from guarded_rollout.config.environments import load
from guarded_rollout.config.terms import Source
from guarded_rollout.host.site import Site
from guarded_rollout.operations import scaffold
from guarded_rollout.operations.service_sketch import sketch, socket_words

PYPROJECT = """
[build-system]
requires = ["uv_build"]
[project]
name = "Order_Desk"
version = "1.0"
dependencies = ["fastapi", "asyncpg"]
"""
APPLICATION = 'from fastapi import FastAPI\napi: FastAPI = FastAPI()\n@api.get("/healthz")\ndef well(): ...\n'
COMPOSE = 'services:\n  web:\n    ports:\n      - "127.0.0.1:8080:8000"\n  db:\n    image: postgres:17\n'
WHEEL = {
    "pyproject.toml": PYPROJECT,
    "src/order_desk/__init__.py": APPLICATION,
    "compose.yaml": COMPOSE,
    "requirements.txt": "fastapi==1 --hash=sha256:00",
}
NODE = {
    "package.json": json.dumps(
        {
            "name": "@team/quotes",
            "scripts": {"start": "node --enable-source-maps server.js"},
            "dependencies": {"pg": "8"},
        }
    ),
    "package-lock.json": "{}",
    "server.js": 'app.get("/up", (q, a) => a.end())',
}
SCRIPT = {"notes.py": "import sqlite3\n"}


def folder_with(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def run(folder: Path, *words: str, given: str = "") -> tuple[int, str]:
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, ["init", *words], input=given)
    return done.exit_code, done.output


# ---- what a folder says


def test_a_wheel_is_read_from_pyproject_sources_and_a_compose_file(tmp_path: Path) -> None:
    found = sketch(folder_with(tmp_path, WHEEL))
    assert (found.name, found.build, found.lock) == ("order-desk", "wheel", "requirements.txt")
    assert found.serve == ("{bin}/uvicorn", "order_desk:api", "--uds", "{uds}")
    assert (found.store, found.health, found.port) == ("postgresql", "/healthz", 8080)
    assert found.variables == {"DATABASE_URL": "{store}"}


def test_a_lock_for_developers_is_not_taken_for_the_service(tmp_path: Path) -> None:
    hashed = "pytest==8 --hash=sha256:00"
    found = sketch(folder_with(tmp_path, WHEEL | {"requirements-dev.txt": hashed}))
    assert found.lock == "requirements.txt"
    (tmp_path / "requirements.txt").unlink()
    assert sketch(tmp_path).lock == "requirements.lock", "which `init` makes"


def test_a_node_server_is_read_from_package_json(tmp_path: Path) -> None:
    found = sketch(folder_with(tmp_path, NODE))
    assert (found.name, found.build) == ("quotes", "directory")
    assert found.serve == ("node", "--enable-source-maps", "server.js")
    assert found.prepare == (("npm", "ci", "--omit=dev"),)
    assert found.variables == {"DATABASE_URL": "{store}", "PORT": "{uds}"}
    assert (found.store, found.health) == ("postgresql", "/up")


def test_a_lone_program_is_served_by_the_releases_python(tmp_path: Path) -> None:
    found = sketch(folder_with(tmp_path, SCRIPT))
    assert found.serve == ("{python}", "notes.py")
    assert (found.build, found.store) == ("directory", "sqlite")
    assert found.variables == {"DATABASE_URL": "{store}", "SOCKET": "{uds}"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("uvicorn a:app --host 0.0.0.0 --port $PORT --workers 2", "uvicorn a:app --workers 2 --uds {uds}"),
        ("uvicorn a:app --reload --port=80", "uvicorn a:app --uds {uds}"),
        ("gunicorn -b :80 a:app", "gunicorn a:app --bind unix:{uds}"),
        ("{bin}/uvicorn a:app", "{bin}/uvicorn a:app --uds {uds}"),
        ("./serve --port 80", "./serve --port 80"),
    ],
)
def test_a_known_server_listens_on_the_socket_instead_of_a_port(words: str, expected: str) -> None:
    assert socket_words(tuple(words.split())) == tuple(expected.split())


def test_a_command_is_shown_as_it_can_be_typed() -> None:
    for words in (("{python}", "a b.py"), ("{bin}/uvicorn", "a:app", "--uds", "{uds}"), ("node", "it's.js")):
        assert tuple(shlex.split(typed(words))) == words
    assert (
        typed(("{bin}/uvicorn", "a:app", "--bind", "unix:{uds}")) == "{bin}/uvicorn a:app --bind unix:{uds}"
    )


def test_a_procfile_goes_before_what_is_guessed(tmp_path: Path) -> None:
    procfile = {"Procfile": "release: ./migrate\nweb: gunicorn desk.wsgi --bind 0.0.0.0:$PORT\n"}
    found = sketch(folder_with(tmp_path, WHEEL | procfile))
    assert found.serve == ("{bin}/gunicorn", "desk.wsgi", "--bind", "unix:{uds}")


@pytest.mark.parametrize("name", ["pyproject.toml", "package.json", "Procfile", "compose.yaml", "app.py"])
@pytest.mark.parametrize("content", ["", "[", '{"scripts": []}', "[project]\nname = 3\n", "\x00\xff", "web:"])
def test_files_that_make_no_sense_are_no_traceback(tmp_path: Path, name: str, content: str) -> None:
    sketch(folder_with(tmp_path, {name: content}))


# ---- the files


@pytest.mark.parametrize("files", [WHEEL, NODE, SCRIPT], ids=["wheel", "node", "script"])
def test_what_is_written_can_be_loaded_and_its_gates_need_no_word_of_its_own(
    tmp_path: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql:///orders")
    code, said = run(folder_with(tmp_path, files), "--yes", "--port", "8443")
    assert code == 0, said
    assert said.rstrip().endswith("Next: rollout up --env production")
    project = load(tmp_path / "rollout.toml")
    assert project.environment("production").port == 8443
    assert list(project.environments) == ["production"]
    watched = gates.load(tmp_path / "quality-gates-config.json").environment("production")
    sources = {gate.source for _, gate in watched.quality_gates.enabled()}
    assert sources <= {Source.PROBE, Source.PROXY, Source.EDGE, Source.CRASHES}
    assert watched.auto_rollback.enabled


def test_at_most_four_things_are_asked_and_the_answers_are_taken(tmp_path: Path) -> None:
    answers = "ledger\n{python} notes.py --quiet\n8081\nnone\n"
    code, said = run(folder_with(tmp_path, SCRIPT), given=answers)
    assert code == 0, said
    service = load(tmp_path / "rollout.toml").environment("production").service
    assert service.name == "ledger"
    assert service.commands["serve"] == ("{python}", "notes.py", "--quiet")
    assert service.variables == {"SOCKET": "{uds}"}
    assert load(tmp_path / "rollout.toml").environment("production").port == 8081


def test_a_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "rollout.toml").write_text("mine")
    code, said = run(tmp_path, "--yes")
    assert code == 1
    assert "rollout.toml is there already" in said
    assert [path.name for path in tmp_path.iterdir()] == ["rollout.toml"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--yes"], "Nothing here says how the service is started"),
        (["--yes", "--serve", "./serve", "--store", "mysql"], "There is no store 'mysql'"),
        (["--yes", "--serve", "./serve", "--name", "No Name"], "service.name"),
    ],
    ids=["no command", "no store", "no name"],
)
def test_what_cannot_be_guarded_is_said_and_nothing_is_left(
    tmp_path: Path, words: list[str], problem: str
) -> None:
    code, said = run(tmp_path, *words)
    assert code == 1
    assert problem in said
    assert not list(tmp_path.iterdir())


def test_in_a_checkout_the_guards_folders_are_ignored(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    folder_with(tmp_path, SCRIPT | {".gitignore": "*.pyc\nreleases/"})
    assert run(tmp_path, "--yes")[0] == 0
    ignored = (tmp_path / ".gitignore").read_text().splitlines()
    assert ignored == [
        "*.pyc",
        "releases/",
        "environments/",
        "backups/",
        "monitor_logs/",
        "premerge_artifacts/",
        ".rollout-ui/",
        ".env.notifications",
    ]


@pytest.mark.parametrize("name", ["notes", "quotes", "orders"])
def test_an_example_that_is_copied_ignores_what_init_would(tmp_path: Path, name: str) -> None:
    example = Path(__file__).parents[2] / "examples" / name
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    shown = (example / ".gitignore").read_text()
    for file in (".gitignore", "requirements.lock"):
        if (example / file).exists():
            shutil.copy(example / file, tmp_path)
    scaffold.write(sketch(example), tmp_path)
    assert (tmp_path / ".gitignore").read_text() == shown


def test_an_environments_folder_is_left_out_by_git_however_the_project_was_made(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "rollout.toml").write_text("[environments.production]\n")
    site = Site(load(tmp_path / "rollout.toml").environment("production"))
    site.prepare()
    site.prepare()
    site.environment.journal.touch()
    added = subprocess.run(
        ["git", "-C", tmp_path, "add", "-A", "--dry-run"], check=True, capture_output=True, text=True
    )
    assert added.stdout == "add 'rollout.toml'\n"


def test_every_key_can_be_read(tmp_path: Path) -> None:
    code, said = run(tmp_path, "--keys")
    assert code == 0
    assert "[service.commands]" in said
    assert not list(tmp_path.iterdir())


def test_what_a_shell_would_set_for_the_command_is_a_variable(tmp_path: Path) -> None:
    start = json.dumps({"scripts": {"start": "NODE_ENV=production DEBUG='a b' node server.js"}})
    found = sketch(folder_with(tmp_path, {"package.json": start}))
    assert found.serve == ("node", "server.js")
    assert found.variables == {"NODE_ENV": "production", "DEBUG": "a b", "PORT": "{uds}"}


@pytest.mark.parametrize(
    ("serve", "variables"),
    [
        ("node server.js", {"PORT": "{uds}"}),
        ("serve --on {uds}", {}),
        ("LEVEL=😀 serve 😀", {"LEVEL": "😀", "SOCKET": "{uds}"}),
    ],
)
def test_variables_are_those_of_the_command_that_was_given(
    tmp_path: Path, serve: str, variables: dict[str, str]
) -> None:
    code, said = run(tmp_path, "--yes", "--serve", serve)
    assert code == 0, said
    service = load(tmp_path / "rollout.toml").environment("production").service
    assert service.recipe.variables == variables
    assert service.recipe.commands["serve"] == tuple(shlex.split(serve)[serve.startswith("LEVEL") :])


@pytest.mark.parametrize("command", ["web: run 'it\n", "web: \nworker: run\n"], ids=["quotes", "nothing"])
def test_a_command_that_is_none_is_asked_for(tmp_path: Path, command: str) -> None:
    code, said = run(folder_with(tmp_path, {"Procfile": command}), "--yes")
    assert (code, "say it with --serve" in said) == (1, True), said
    code, said = run(tmp_path, "--yes", "--serve", "run 'it")
    assert (code, "No closing quotation" in said) == (1, True), said
    assert [path.name for path in tmp_path.iterdir()] == ["Procfile"]


@pytest.mark.parametrize("name", ["notes", "quotes", "orders"])
def test_the_example_has_the_gates_that_init_writes_which_tell_whoever_is_set_up(name: str) -> None:
    example = Path(__file__).parents[2] / "examples" / name
    shown = (example / "quality-gates-config.json").read_text()
    assert scaffold.quality_gates(sketch(example)) == shown
    told = gates.load(example / "quality-gates-config.json").environment("production").notifications
    assert {"slack", "teams", "discord", "email"} <= set(told.channels)
