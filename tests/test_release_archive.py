"""`make release`: the same archive from the same commit, signed, with what it consists of; `make audit`."""

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def run(*command: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with variables added to this process's."""
    return subprocess.run(
        command, cwd=cwd, env=os.environ | variables, capture_output=True, text=True, timeout=240
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of this checkout's commit, with its virtual environment."""
    clone = tmp_path / "clone"
    assert run("git", "clone", "-q", str(ROOT), str(clone)).returncode == 0
    (clone / ".venv").symlink_to(ROOT / ".venv")
    (clone / ".git/info/exclude").write_text(".venv\n")
    return clone


def test_a_commit_has_one_archive_that_says_what_is_in_it_and_who_signed_it(
    checkout: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "releases", "-f", str(key))
    signed = run("sh", "scripts/release.sh", str(key), cwd=checkout)
    assert signed.returncode == 0, signed.stderr
    archive = next((checkout / "dist").glob("mobius-dhash-*.tar.gz"))
    first = archive.read_bytes()

    verify = ["ssh-keygen", "-Y", "verify", "-n", "mobius-dhash-release", "-I", "releases"]
    verify += ["-f", str(tmp_path / "signers"), "-s", f"{archive}.sig"]
    (tmp_path / "signers").write_text(f"releases {key.with_suffix('.pub').read_text()}")
    assert subprocess.run(verify, input=first, capture_output=True).returncode == 0
    assert subprocess.run(verify, input=first[:-1] + b"\1", capture_output=True).returncode != 0

    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    folder = next((tmp_path / "out").iterdir())
    assert run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=folder).returncode == 0
    materials = json.loads((folder / "service.cdx.json").read_text())
    locked = [line for line in (folder / "locks/service.txt").read_text().splitlines() if "==" in line]
    assert {f"{part['name']}=={part['version']}" for part in materials["components"]} == {
        line.split()[0].removesuffix("\\") for line in locked
    }

    again = run("sh", "scripts/release.sh", cwd=checkout)
    assert again.returncode == 0
    assert "not signed" in again.stderr
    assert archive.read_bytes() == first
    assert not Path(f"{archive}.sig").exists()


def test_what_is_not_committed_is_not_released(checkout: Path) -> None:
    (checkout / "README.md").write_text("changed\n")
    refused = run("sh", "scripts/release.sh", cwd=checkout)
    assert refused.returncode == 1
    assert "Commit or stash" in refused.stderr
    assert not (checkout / "dist").exists()


def test_an_audit_that_could_ask_nobody_says_so_and_fails(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("idna==3.10 --hash=sha256:" + "0" * 64 + "\n")
    run("sh", "scripts/audit.sh", str(lock))  # has uv keep pip-audit, which the next one needs
    alone = run("sh", "scripts/audit.sh", str(lock), UV_OFFLINE="1", HTTPS_PROXY="http://127.0.0.1:9")
    assert alone.returncode == 2
    assert "nothing was audited" in alone.stderr or "0 of 1 packages audited" in alone.stdout
