"""The real service's backup, brought back by `rollout verify --deep`, and by following its RESTORE.md."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from dhash_service.checks.drawing import picture
from guarded_rollout.backup.verify import unpack
from guarded_rollout.checks.restore_rehearsal import rehearse_restore
from guarded_rollout.errors import BuildError, NoAnswerError, WheelsError
from guarded_rollout.host.build import rebuild
from guarded_rollout.host.endpoint import Answer, Endpoint
from guarded_rollout.host.release import make_writable
from guarded_rollout.host.wheels import wheels_of
from guarded_rollout.rollout.steps.backup import take_backup
from tests.guarded_rollout.sandbox import Sandbox, free_port, wait_until

pytestmark = pytest.mark.timeout(400)  # the real service is built and its packages are installed, twice


@pytest.fixture(scope="module")
def served():
    """The project's own service, deployed, with a picture in its store, and a backup of it."""
    sandbox = Sandbox(None)
    try:
        sandbox.configure(start_seconds=60)
        sandbox.deploy()
        assert submit(sandbox.site.public()).ok
        sandbox.backup = take_backup(sandbox.site).entry.path
        yield sandbox
    finally:
        sandbox.close()


def submit(endpoint: Endpoint) -> Answer:
    return endpoint.ask("POST", "/api/dhash", body=picture("by hand"), headers={"Content-Type": "image/png"})


def test_deep_verification_serves_the_real_release_from_its_archive(served):
    checks = rehearse_restore(served.backup, served.site).checks
    assert "the checks that it declares pass" in checks
    assert "the service's own check accepts its data" in checks


def test_whoever_follows_the_guide_in_the_archive_has_the_service_back(served, tmp_path):
    with zipfile.ZipFile(served.backup) as archive:
        guide = archive.read("RESTORE.md").decode()
    blocks = re.findall(r"```sh\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) == 4
    assert "package index" in guide
    port = free_port()
    environment = os.environ | {"BACKUP": str(served.backup), "DHASH_PORT": str(port), "PIP_NO_COMPILE": "1"}
    log = tmp_path / "log"
    (tmp_path / "empty").mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", "-e", "-c", "\n".join(blocks)],
            cwd=tmp_path / "empty",
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    endpoint = Endpoint(f"http://127.0.0.1:{port}")

    def healthy() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return endpoint.ask("GET", "/health").ok
        except NoAnswerError:
            return False

    try:
        wait_until(healthy, 150, "the service started by hand")
        assert endpoint.ask("GET", "/health").json()["release"] == served.site.serving().id
        known = submit(endpoint)
        assert known.status == 200, known.summary()  # 201 would mean that it was new
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(40)


SYSTEM_PYTHON = Path("/usr/bin/python3")
ALONE = """\
set -e
ip link set lo up
exec setpriv --reuid=65534 --regid=65534 --clear-groups env -i PATH=/usr/bin:/bin HOME="$PWD" \\
    BACKUP="$BACKUP" DHASH_PORT=39400 sh -e guide.sh
"""
ASK = """\
import json, time, urllib.request
for _ in range(600):
    try:
        print(urllib.request.urlopen("http://127.0.0.1:39400/health", timeout=2).read().decode())
        break
    except OSError:
        time.sleep(0.1)
"""


def same_python() -> bool:
    """True if the system's own Python can use the wheels of the one that runs these tests."""
    if not SYSTEM_PYTHON.exists():
        return False
    told = subprocess.run([SYSTEM_PYTHON, "-V"], capture_output=True, text=True).stdout
    return told.startswith(f"Python {sys.version_info.major}.{sys.version_info.minor}.")


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")
@pytest.mark.skipif(not shutil.which("ip") or not shutil.which("unshare"), reason="iproute2 is missing")
@pytest.mark.skipif(not same_python(), reason="the system's Python is another version")
def test_with_its_wheels_it_comes_back_without_a_network_for_another_user(served):
    """The system's own Python, an empty network namespace, nobody's rights, an empty environment."""
    archive = take_backup(served.site, with_wheels=True).entry.path
    with zipfile.ZipFile(archive) as opened:
        guide = opened.read("RESTORE.md").decode()
    assert "no network" in guide
    assert "## Back under `rollout`" in guide
    script = "\n".join(re.findall(r"```sh\n(.*?)```", guide, re.DOTALL))
    folder = Path(tempfile.mkdtemp(prefix="alone-", dir="/tmp"))
    try:
        ask = f"{SYSTEM_PYTHON} - <<'END' > health.json &\n{ASK}END\n"
        (folder / "guide.sh").write_text(ask + script)
        copy = folder / archive.name
        for path in (archive, archive.with_name(archive.name + ".sha256")):
            shutil.copy(path, folder)
            (folder / path.name).chmod(0o644)
        os.chown(folder, 65534, 65534)
        process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", ALONE],
            cwd=folder,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "BACKUP": str(copy)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            told = folder / "health.json"
            wait_until(
                lambda: process.poll() is not None or (told.exists() and told.stat().st_size),
                150,
                "it serves",
            )
            assert process.poll() is None, process.stdout.read().decode()
            assert json.loads(told.read_text())["release"] == served.site.serving().id
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.system
def test_a_release_is_built_again_from_the_wheels_in_its_archive(served, tmp_path, monkeypatch):
    """With an empty cache, and an index that nobody answers at."""
    archive = take_backup(served.site, with_wheels=True).entry.path
    found = unpack(archive, tmp_path / "archive")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    origin = tmp_path / "archive" / Path(found.manifest.release_json).parent
    release = rebuild(origin, tmp_path / "releases")
    release.require_intact()
    assert release.id == found.manifest.release
    shutil.rmtree(origin / "wheels")
    with pytest.raises(BuildError):
        rebuild(origin, tmp_path / "others")
    make_writable(release.folder)


def test_more_wheels_than_the_limit_are_left_out_unless_asked_for(served):
    release = served.site.serving()
    with pytest.raises(WheelsError, match="the limit is 1 MB"):
        wheels_of(release, 10**6)
    assert not any("wheels" in name for name in take_backup(served.site).manifest.files), "not in these tests"
