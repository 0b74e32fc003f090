import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from guarded_rollout.errors import BuildError, ReleaseDamagedError, UnknownReleaseError
from guarded_rollout.files import sha256
from guarded_rollout.host.build import rebuild
from guarded_rollout.host.release import Release, releases, remove


def git(folder: Path, *words: str) -> str:
    identity = {
        f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    command = ["git", "-c", "init.defaultBranch=main", "-C", str(folder), *words]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | identity
    ).stdout.strip()


def leftovers(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name != ".lock")


def test_the_same_source_built_twice_is_one_release(sandbox, tmp_path):
    first = sandbox.site.build(None)
    again = sandbox.site.build(None)
    assert first == again
    assert sandbox.site.build(None, tmp_path / "rehearsal") == first
    assert leftovers(tmp_path / "rehearsal") == []
    assert leftovers(sandbox.environment.releases) == [first.id]
    assert first.version == "1.0.0"
    assert first.commit is None
    assert first.schema == "0001"


def test_a_release_says_what_is_in_it_and_its_own_programs_run(sandbox):
    release = sandbox.site.build(None)
    assert sha256(release.folder / release.artifact) == release.artifact_sha256
    assert sha256(release.folder / "requirements.txt") == release.lock_sha256
    code = "import sample_service, uvicorn; print(sample_service.__file__)"
    done = subprocess.run(
        [release.programs / "python", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(release.folder))
    compiled = list((release.folder / "venv").rglob("sample_service/__pycache__/*.pyc"))
    assert compiled, "importing must not have to compile"


def test_a_release_cannot_be_changed_by_accident(sandbox):
    release = sandbox.site.build(None)
    for path in (release.folder, release.folder / "RELEASE.json", release.programs):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o222, path
    (release.folder / "requirements.txt").chmod(0o644)
    (release.folder / "requirements.txt").write_text("uvicorn\n")
    with pytest.raises(ReleaseDamagedError, match=r"requirements\.txt is missing or was changed"):
        release.require_intact()


def test_commits_and_uncommitted_changes_are_in_its_name(sandbox):
    git(sandbox.source, "init", "-q")
    git(sandbox.source, "add", ".")
    git(sandbox.source, "commit", "-qm", "one")
    commit = git(sandbox.source, "rev-parse", "HEAD")
    clean = sandbox.site.build(None)
    assert clean.commit == commit
    assert clean.id.startswith(f"1.0.0-{commit[:8]}-")
    sandbox.version("2.0.0")
    dirty = sandbox.site.build(None)
    assert dirty.dirty
    assert dirty.id.startswith(f"2.0.0-{commit[:8]}-dirty-")
    assert sandbox.site.build(f"git:{commit[:10]}") == clean
    with pytest.raises(BuildError, match="has no revision 'nowhere'"):
        sandbox.site.build("git:nowhere")


def test_a_wheel_can_be_released_with_the_requirements_beside_it(sandbox):
    origin = sandbox.site.build(None)
    elsewhere = sandbox.folder / "elsewhere"
    elsewhere.mkdir()
    wheel = Path(shutil.copy(origin.folder / origin.artifact, elsewhere))
    shutil.copy(origin.folder / "requirements.txt", elsewhere)
    release = sandbox.site.build(str(wheel))
    assert (release.artifact_sha256, release.lock_sha256) == (origin.artifact_sha256, origin.lock_sha256)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda s: s.edit("pyproject.toml", lambda text: text + "\n[broken"), "uv build"),
        (lambda s: (s.source / "requirements.txt").unlink(), "requirements.txt is missing"),
        (
            lambda s: (s.source / "requirements.txt").write_text("uvicorn==0.0.1 --hash=sha256:" + "0" * 64),
            "uv pip",
        ),
        (
            lambda s: s.edit(
                "src/sample_service/__init__.py", lambda text: "raise SystemExit('no')\n" + text
            ),
            "/bin/sample db current` failed: no",
        ),
        (lambda s: shutil.rmtree(s.source), "neither a wheel nor a folder"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_nothing(sandbox, break_it, says):
    break_it(sandbox)
    with pytest.raises(BuildError) as error:
        sandbox.site.build(None)
    assert says in str(error.value)
    assert leftovers(sandbox.environment.releases) == []


def test_what_a_killed_build_left_behind_is_removed_by_the_next(sandbox):
    folder = sandbox.environment.releases
    (folder / ".building-abandoned" / "venv").mkdir(parents=True)
    release = sandbox.site.build(None)
    assert leftovers(folder) == [release.id]


def test_a_damaged_release_is_rebuilt_under_its_own_name(sandbox):
    release = sandbox.site.build(None)
    origin = sandbox.folder / "archive"
    origin.mkdir()
    for name in ("RELEASE.json", "requirements.txt", release.artifact):
        shutil.copy(release.folder / name, origin)
    release.folder.chmod(0o755)
    for path, _, _ in os.walk(release.folder / "venv"):
        os.chmod(path, 0o755)
    shutil.rmtree(release.folder / "venv")
    with pytest.raises(ReleaseDamagedError, match="its virtual environment is gone"):
        release.require_intact()
    again = rebuild(origin, sandbox.environment.releases)
    again.require_intact()
    assert again == release
    (origin / release.artifact).chmod(0o644)
    (origin / release.artifact).write_bytes(b"something else")
    with pytest.raises(ReleaseDamagedError, match="is not the file that was built"):
        rebuild(origin, sandbox.environment.releases)


def test_one_more_release_shares_what_it_has_in_common_with_the_one_before(sandbox):
    first = sandbox.site.build(None)
    sandbox.version("2.0.0")
    second = sandbox.site.build(None)
    shared, own = (list(second.folder.rglob(pattern)) for pattern in ("uvicorn/*.py", "sample_service/*.py"))
    assert shared
    for path in shared:
        assert path.samefile(first.folder / path.relative_to(second.folder)), path
    for path in [*own, second.programs / "sample"]:
        assert not path.samefile(first.folder / path.relative_to(second.folder)), path
    code = "import importlib.metadata as m; print(m.version('sample-service'))"
    for release in (first, second):
        done = subprocess.run([release.programs / "python", "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == release.version


def test_a_release_that_cannot_be_read_stops_no_other(sandbox):
    first = sandbox.site.build(None)
    (first.folder / "RELEASE.json").chmod(0o644)
    (first.folder / "RELEASE.json").write_text("{half")
    with pytest.raises(ReleaseDamagedError):
        Release.load(first.folder)
    sandbox.version("2.0.0")
    second = sandbox.site.build(None)
    assert releases(sandbox.environment.releases) == [second]


def test_releases_are_listed_oldest_first_and_can_be_removed(sandbox):
    built = [sandbox.site.build(None)]
    sandbox.version("2.0.0")
    built.append(sandbox.site.build(None))
    assert releases(sandbox.environment.releases) == built
    with pytest.raises(UnknownReleaseError, match=built[0].id):
        Release.load(sandbox.environment.releases / "3.0.0")
    remove(built[0])
    assert releases(sandbox.environment.releases) == built[1:]
