"""The real service's backup, brought back by `rollout verify --deep`, and by following its RESTORE.md."""

import os
import re
import signal
import subprocess
import zipfile

import pytest

from dhash_service.checks.drawing import picture
from guarded_rollout.checks.restore_rehearsal import rehearse_restore
from guarded_rollout.errors import NoAnswerError
from guarded_rollout.host.endpoint import Answer, Endpoint
from guarded_rollout.rollout.steps.backup import take_backup
from tests.guarded_rollout.sandbox import Sandbox, free_port, wait_until


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
