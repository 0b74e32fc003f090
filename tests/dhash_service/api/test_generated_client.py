"""A client generated from the OpenAPI document, by a generator that is not ours, used against a service."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dhash_service.serving import Server
from tests.pictures import jpeg

GENERATOR = "openapi-python-client@0.29.1"
UV = Path(sys.executable).with_name("uv")
ROOT = Path(__file__).parents[3]

FETCH = """
import sys
from pathlib import Path
from uuid import UUID
import client
from client.api.search import thumbnail
server = client.Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
answer = thumbnail.sync_detailed(id=UUID(sys.argv[2]), client=server)
Path(sys.argv[3]).write_bytes(answer.content)
print(answer.status_code.value)
"""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the package `client`, made by `make client`; skips where there is no network."""
    fetched = subprocess.run([UV, "tool", "run", GENERATOR, "--version"], capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"The generator cannot be fetched: {fetched.stderr.strip().splitlines()[-1:]}")
    folder = tmp_path_factory.mktemp("generated")
    made = subprocess.run(
        ["make", "client", f"CLIENT={folder}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "warning" not in (made.stdout + made.stderr).lower()
    return folder


@pytest.mark.system
def test_a_generated_client_fetches_a_thumbnail(generated: Path, server: Server, tmp_path: Path) -> None:
    made = server.client.post("/api/dhash", content=jpeg(300, 200, 8), headers={"Content-Type": "image/jpeg"})
    needed = ("--with", "httpx", "--with", "attrs", "--with", "python-dateutil", "--python", sys.executable)
    fetched = subprocess.run(
        [
            UV,
            "run",
            "--no-project",
            *needed,
            "python",
            "-c",
            FETCH,
            server.url,
            made.json()["id"],
            tmp_path / "thumbnail",
        ],
        env={**os.environ, "PYTHONPATH": str(generated)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (fetched.returncode, fetched.stdout.strip()) == (0, "200"), fetched.stderr
    assert (tmp_path / "thumbnail").read_bytes().startswith(b"\xff\xd8\xff")
