"""Collections in Azure's blob storage: Azurite, Microsoft's own stand-in for it, from npm."""

import base64
import hashlib
import hmac
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.dhash_service.scale.making import many, put
from tests.dhash_service.serving import dhash, free_port
from tests.dhash_service.store.databases import sqlite_file
from tests.guarded_rollout.storage import running

VERSION = "3.37.0"
HOME = Path(sys.prefix) / f"azurite-{VERSION}"
ACCOUNT, KEY = "dhash", base64.b64encode(b"a key of the account").decode()
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("npm") is None, reason="Azurite is installed by npm, which is not there"),
]


@pytest.fixture(scope="module")
def program() -> Path:
    """Azurite's blob service, installed once for this environment, without running any package's scripts."""
    program = HOME / "node_modules/azurite/dist/src/blob/main.js"
    if not program.exists():
        words = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", f"azurite@{VERSION}"]
        HOME.mkdir(exist_ok=True)
        subprocess.run(["npm", *words, "--prefix", HOME], check=True, capture_output=True, timeout=500)
    return program


@pytest.fixture
def azure(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty container; its credentials are in the environment."""
    port = free_port()
    monkeypatch.setenv("AZURITE_ACCOUNTS", f"{ACCOUNT}:{KEY}")
    command = [
        "node",
        program,
        "--silent",
        "--disableTelemetry",
        "--blobPort",
        port,
        "--location",
        tmp_path / "az",
    ]
    with running(command, tmp_path / "azurite.log", port):
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
        make_container(endpoint, "photos")
        yield "az://photos"


def make_container(endpoint: str, name: str) -> None:
    """obstore makes none. Signed by the account's key, as Azure's REST API asks."""
    date, version = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"), "2021-08-06"
    headers = f"x-ms-date:{date}\nx-ms-version:{version}\n"
    signed = "PUT" + "\n" * 12 + f"{headers}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    digest = hmac.digest(base64.b64decode(KEY), signed.encode(), hashlib.sha256)
    sent = {
        "x-ms-date": date,
        "x-ms-version": version,
        "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}",
    }
    answer = httpx.put(f"{endpoint}/{name}", params={"restype": "container"}, headers=sent)
    assert answer.status_code == 201, answer.text


def test_a_collection_in_azure_becomes_parquet_there_and_then_a_store(
    azure: str, tmp_path: Path, pictures: list[bytes]
) -> None:
    put(f"{azure}/in", {**many(pictures, 30), "ä b.png": b"no picture"})
    env = {"DHASH_THREADS": "1", "DHASH_STORE": sqlite_file(tmp_path / "dhash.db")}
    words = ("index", f"{azure}/in/", "--out", f"{azure}/prints/", "--per-task", "10", "--json")
    first = json.loads(dhash(*words, env=env).stdout)
    assert (first["files"], first["pictures"], first["known"]) == (31, 30, 0)
    again = json.loads(dhash(*words, env=env).stdout)
    assert (again["files"], again["pictures"], again["known"]) == (31, 0, 30)
    done = json.loads(dhash("import", f"{azure}/prints/", "--json", env=env).stdout)
    assert (done["rows"], done["added"], done["bad"]) == (31, 20, 1)
    groups = dhash("duplicates", "--parquet", f"{azure}/prints/", "--radius", "0").stdout.splitlines()
    assert len(groups) == 10


def test_what_azure_refuses_is_said_in_a_line(azure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "az://photos/none/: there is no such file" in dhash("index", f"{azure}/none/", "--out", "o").stderr
    lost = dhash("index", "az://lost/in/", "--out", "o").stderr.splitlines()
    assert lost[0].endswith("The specified container does not exist (ContainerNotFound).")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"another").decode())
    refused = dhash("index", f"{azure}/in/", "--out", "o").stderr
    assert "(AuthorizationFailure)" in refused
    assert "AZURE_STORAGE_ACCOUNT_KEY" in refused
