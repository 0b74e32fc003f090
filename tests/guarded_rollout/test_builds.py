"""Releases that are no wheel, what decides their id, and secrets that stay out of them."""

import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from guarded_rollout.checks.manifest import FOLDER
from guarded_rollout.clock import SystemClock
from guarded_rollout.config.environments import load
from guarded_rollout.config.recipe import BuildKind, Recipe
from guarded_rollout.errors import (
    BuildError,
    ConfigurationError,
    ReadableSecretsError,
    ReleaseDamagedError,
    UnsetVariableError,
)
from guarded_rollout.host.build import build, interpreter, rebuild
from guarded_rollout.host.release import Release, make_writable, releases, remove
from guarded_rollout.host.site import Site
from guarded_rollout.operations.premerge import set_up
from guarded_rollout.secret import expand, secrets_of
from guarded_rollout.ui.access import token_of
from tests.guarded_rollout.advice_rollouts import of_files
from tests.guarded_rollout.backups import make_release

RECIPE = Recipe(
    kind=BuildKind.DIRECTORY,
    commands={"serve": ("{python}", "app.py", "{uds}")},
    variables={"MODE": "plain", "KEY": "$API_KEY"},
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout of one program, with litter beside it."""
    folder = tmp_path / "checkout"
    (folder / "node_modules").mkdir(parents=True)
    (folder / "app.py").write_text("print('one')\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "package.json").write_text('{"version": "3.1.0"}')
    (folder / ".gitignore").write_text("node_modules/\n")
    (folder / "node_modules" / "big.js").write_text("x")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    commit(folder, "add", ".")
    return folder


def commit(folder: Path, *words: str) -> None:
    """Do this with git, and commit it."""
    for each in (words, ("commit", "-qm", "one")):
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *each], cwd=folder, check=True
        )


def built(checkout: Path, folder: Path, recipe: Recipe = RECIPE, spec: str = "") -> Release:
    return build(spec or str(checkout), folder, checkout=checkout, recipe=recipe, clock=SystemClock())


@pytest.mark.parametrize("filters", [True, False], ids=["", "Python before 3.11.4"])
def test_a_directory_is_released_as_git_knows_it(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filters: bool
) -> None:
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter")
    release = built(checkout, tmp_path / "releases")
    assert release.id.startswith("3.1.0-")
    assert sorted(path.name for path in release.app.iterdir()) == [
        ".gitignore",
        "app.py",
        "package.json",
        "run.sh",
    ]
    assert os.access(release.app / "run.sh", os.X_OK)
    release.require_intact()


def test_a_commit_is_the_same_release_from_whatever_folder(checkout: Path, tmp_path: Path) -> None:
    from_folder = built(checkout, tmp_path / "releases")
    (checkout / "app.py").write_text("print('two')\n")
    assert built(checkout, tmp_path / "releases").dirty
    assert built(checkout, tmp_path / "elsewhere", spec="git:HEAD").id == from_folder.id


@pytest.mark.parametrize(
    "change",
    [
        {"variables": {**RECIPE.variables, "MODE": "fast"}},
        {"commands": {"serve": ("{python}", "-O", "app.py", "{uds}")}},
        {"checks": {"home": {"path": "/"}}},
        {"prepare": (("true",),)},
    ],
    ids=["variables", "commands", "checks", "prepare"],
)
def test_all_that_decides_what_runs_decides_the_id(checkout: Path, tmp_path: Path, change: dict) -> None:
    one = built(checkout, tmp_path / "releases")
    other = built(checkout, tmp_path / "releases", replace(RECIPE, **change))
    assert one.id != other.id
    assert other.run is not None
    assert built(checkout, tmp_path / "releases", replace(RECIPE, **change)) == other


def test_what_is_prepared_stays_in_the_release(checkout: Path, tmp_path: Path) -> None:
    made = replace(RECIPE, prepare=(("{python}", "-c", "open('made.txt', 'w').write('yes')"),))
    release = built(checkout, tmp_path / "releases", made)
    assert (release.app / "made.txt").read_text() == "yes"
    assert not (checkout / "made.txt").exists()


def test_a_command_fills_the_folder_that_is_released(checkout: Path, tmp_path: Path) -> None:
    recipe = replace(
        RECIPE, kind=BuildKind.COMMAND, command=("sh", "-c", "mkdir {out}/bin && cp run.sh {out}/bin/")
    )
    release = built(checkout, tmp_path / "releases", recipe)
    assert [str(path.relative_to(release.app)) for path in release.app.rglob("*.sh")] == ["bin/run.sh"]


def test_all_that_a_command_made_is_released_whatever_git_ignores(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".gitignore").write_text("dist/\n")
    made = "cd {out} && mkdir -p dist node_modules/a && echo 1 > dist/a.js && cp dist/a.js node_modules/a/"
    made += " && ln -s dist current"
    recipe = replace(RECIPE, kind=BuildKind.COMMAND, command=("sh", "-c", made))
    release = built(checkout, checkout / "releases", recipe)
    assert sorted(str(path.relative_to(release.app)) for path in release.app.rglob("*.js")) == [
        "dist/a.js",
        "node_modules/a/a.js",
    ]
    assert (release.app / "current" / "a.js").read_text() == "1\n"


def test_what_a_revision_has_is_released_whatever_is_ignored_since(checkout: Path, tmp_path: Path) -> None:
    commit(checkout, "add", "--force", "node_modules")
    from_folder = built(checkout, tmp_path / "releases")
    from_revision = built(checkout, checkout / "releases", spec="git:HEAD")
    assert (from_revision.app / "node_modules" / "big.js").read_text() == "x"
    assert from_revision.id == from_folder.id


def test_a_checkout_that_git_refuses_is_not_packed_with_what_it_ignores(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / ".gitignore").write_text(".env\n")
    (checkout / ".env").write_text("KEY=secret\n")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    with pytest.raises(BuildError, match=r"git refuses this checkout: .*dubious ownership"):
        built(checkout, tmp_path / "releases")


@pytest.mark.parametrize("with_git", [True, False])
def test_what_is_the_guards_own_is_in_no_release(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, with_git: bool
) -> None:
    """It holds secrets (how people are told, the dashboard's token), and a release goes into every backup."""
    if with_git:
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".env.notifications").write_text("SLACK_WEBHOOK_URL=https://hooks.example/secret\n")
    (tmp_path / "program.py").write_text("print('hello')\n")
    site = of_files(tmp_path, ".")
    site.prepare()
    token_of(tmp_path)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "report.md").write_text("passed")
    release = site.build(None)
    assert [path.name for path in release.app.iterdir()] == ["program.py"]
    site.environment.gates.write_text("{}")
    tried = Site(
        load(set_up(site.environment, tmp_path_factory.mktemp("premerge"))).environment("production")
    ).build(None)
    assert [path.name for path in tried.app.iterdir()] == ["program.py"]
    assert tried.id == release.id, "what a pre-merge validation tries is what is deployed"


@pytest.mark.parametrize("with_git", [True, False])
def test_what_rollout_toml_leaves_out_is_in_no_release(tmp_path: Path, with_git: bool) -> None:
    if with_git:
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "program.py").write_text("print('hello')\n")
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "large.bin").write_text("x")
    site = of_files(tmp_path, ".")
    settings = site.environment.settings
    settings.write_text(settings.read_text().replace("[service]\n", "[service]\nleft_out = ['uploads']\n"))
    release = Site(load(settings).environment("production")).build(None)
    assert [path.name for path in release.app.iterdir()] == ["program.py"]
    settings.write_text(settings.read_text().replace("uploads", "."))
    with pytest.raises(ConfigurationError, match="whole source"):
        load(settings)


def test_names_that_are_not_utf_8_are_packed(checkout: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (checkout / name).write_text("1")
    assert (built(checkout, tmp_path / "releases").app / name).read_text() == "1"


@pytest.mark.parametrize("spec", ["", "git:HEAD"])
def test_a_link_that_leads_out_of_the_release_is_refused_in_words(
    checkout: Path, tmp_path: Path, spec: str
) -> None:
    (checkout / "out").symlink_to("/etc/hostname")
    commit(checkout, "add", "out")
    with pytest.raises(BuildError, match=r"out.*absolute path"):
        built(checkout, tmp_path / "releases", spec=spec)


def test_a_file_that_went_while_it_was_packed_is_named(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guarded_rollout.host.source._names", lambda *_: ["gone.txt"])
    with pytest.raises(BuildError, match=r"gone\.txt: No such file"):
        built(checkout, tmp_path / "releases")


def test_a_revision_is_unpacked_by_a_python_without_filters(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def before_filters(*_: object, filter: str = "") -> None:
        raise TypeError(f"unexpected keyword argument: {filter}")

    monkeypatch.delattr(tarfile, "data_filter")
    monkeypatch.setattr("shutil.unpack_archive", before_filters)
    assert (built(checkout, tmp_path / "releases", spec="git:HEAD").app / "app.py").exists()


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (
            replace(RECIPE, prepare=(("sh", "-c", "echo no such thing >&2; exit 3"),)),
            "service.prepare[0]: `sh -c echo no such thing >&2; exit 3` failed: no such thing",
        ),
        (
            replace(RECIPE, prepare=(("no-such-program",),)),
            "service.prepare[0]: no-such-program: No such file",
        ),
        (
            replace(RECIPE, kind=BuildKind.COMMAND, command=("true",)),
            "service.build_command: `true` put nothing into {out}",
        ),
        (replace(RECIPE, lock="requirements.txt"), "requirements.txt is missing"),
        (replace(RECIPE, python="2.1"), "2.1"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_nothing(
    checkout: Path, tmp_path: Path, recipe: Recipe, says: str
) -> None:
    with pytest.raises(BuildError) as error:
        built(checkout, tmp_path / "releases", recipe)
    assert says in str(error.value)
    assert [name for name in os.listdir(tmp_path / "releases") if name != ".lock"] == []


def test_a_release_is_asked_for_its_revision_where_it_runs_and_with_its_variables(
    checkout: Path, tmp_path: Path
) -> None:
    told = "import json, os; assert os.path.exists('app.py'); print(json.dumps({'head': os.environ['CONF']}))"
    commands = {**RECIPE.commands, "schema_current": ("{python}", "-c", told)}
    recipe = replace(RECIPE, commands=commands, variables={"CONF": '{"of": "$NAME", "{store_file}": 1}'})
    made = build(
        str(checkout), tmp_path / "releases", checkout=checkout, recipe=recipe, clock=SystemClock(),
        secrets={"NAME": "ours"},
    )  # fmt: skip
    assert str(made.schema).startswith('{"of": "ours", "/')
    again = replace(recipe, commands={**commands, "schema_current": ("{python}", "-c", "print(1)")})
    with pytest.raises(BuildError, match=r"service\.commands\.schema_current: .* told no head"):
        built(checkout, tmp_path / "releases", again)


def test_a_version_is_looked_up_on_this_machine(tmp_path: Path) -> None:
    found = interpreter(f"{sys.version_info.major}.{sys.version_info.minor}")
    told = subprocess.run(
        [found, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True
    )
    assert told.stdout.strip() == str(tuple(sys.version_info[:2]))


def test_a_release_is_rebuilt_from_its_archive_alone(checkout: Path, tmp_path: Path) -> None:
    release = built(checkout, tmp_path / "releases")
    origin = tmp_path / "origin"
    origin.mkdir()
    for name in ("RELEASE.json", "requirements.txt", release.artifact):
        (origin / name).write_bytes((release.folder / name).read_bytes())
    make_writable(release.folder)
    for path in release.app.iterdir():
        path.unlink()
    release.app.rmdir()
    with pytest.raises(ReleaseDamagedError, match="its files are gone"):
        release.require_intact()
    again = rebuild(origin, tmp_path / "releases")
    assert again == release
    assert (again.app / "app.py").read_text() == "print('one')\n"


# ---- secrets


def test_a_secret_is_in_no_file_of_a_release(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "hunter2-hunter2")
    release = built(checkout, tmp_path / "releases")
    assert json.loads((release.folder / "RELEASE.json").read_text())["run"]["variables"]["KEY"] == "$API_KEY"
    for path in release.folder.rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$NAME", "secret"),
        ("postgresql://u:${NAME}@h/d", "postgresql://u:secret@h/d"),
        ("costs $$5", "costs $5"),
        ("$$NAME", "$NAME"),
        ("plain", "plain"),
        ("50%$", "50%$"),
    ],
)
def test_names_are_filled_in(text: str, value: str) -> None:
    assert expand(text, {"NAME": "secret"}, variable="X") == value


def test_a_name_that_is_not_set_is_said_with_its_variable() -> None:
    with pytest.raises(UnsetVariableError, match=r"variable X needs \$NOWHERE"):
        expand("$NOWHERE", {}, variable="X")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secrets.env"
    file.write_text("ONE=file\nTWO='file $HOME'\n")
    file.chmod(0o600)
    monkeypatch.setenv("ONE", "environment")
    found = secrets_of(file)
    assert (found["ONE"], found["TWO"]) == ("environment", "file $HOME")


def test_a_file_of_secrets_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    file.write_text("ONE=1\n")
    file.chmod(0o644)
    with pytest.raises(ReadableSecretsError, match="can be read by other users"):
        secrets_of(file)


def test_what_is_the_guards_own_is_no_source_though_it_lies_there(checkout: Path, tmp_path: Path) -> None:
    def again() -> Release:
        own = (checkout / "releases", checkout / "rollout.toml")
        return build(
            str(checkout), tmp_path / "all", checkout=checkout, recipe=RECIPE, clock=SystemClock(), apart=own
        )

    first = again()
    (checkout / "releases").mkdir()
    (checkout / "releases" / "one").write_text("built")
    (checkout / "rollout.toml").write_text("[service]")
    assert again() == first, "neither another release nor a dirty one"
    (checkout / "releases.txt").write_text("the service's")
    assert again() != first


def test_a_removal_that_is_killed_leaves_no_half_of_a_release(tmp_path: Path) -> None:
    first, second = (make_release(tmp_path, f"1.0.0-abcdef01-0000000{digit}") for digit in "12")
    if (child := os.fork()) == 0:
        os.unlink = os.rmdir = lambda *_, **__: os._exit(9)  # the first thing that is deleted
        try:
            remove(first)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not first.folder.exists()
    assert releases(tmp_path) == [second]
    remove(second)
    assert list(tmp_path.iterdir()) == [], "the next removal takes what is left along"
