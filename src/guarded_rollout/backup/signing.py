"""The `.sha256` beside an archive, as `sha256sum -c` reads it, and its optional signature.

A checksum detects accidents only: whoever can change the archive can change it too. The signature is
OpenSSH's (`ssh-keygen -Y`) over the checksum file, made with a key that is kept elsewhere.
"""

import re
import subprocess
from pathlib import Path

from guarded_rollout.backup.catalog import checksum_of, signature_of
from guarded_rollout.errors import BackupDamagedError, ChecksumMissingError, NotWritableError, SignatureError
from guarded_rollout.files import write_atomic
from guarded_rollout.host.programs import program

LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)\n?")
NAMESPACE = "dhash-backup"
IDENTITY = "rollout"


def write(archive: Path, digest: str, root: Path) -> None:
    """Claim an archive's name by writing its checksum; raises `FileExistsError` when the name is taken.

    The path inside is relative to `root`, where the guide runs `sha256sum -c`. An archive elsewhere is named
    by its full path, which can be checked from anywhere.
    """
    path = archive.absolute()
    named = path.relative_to(root.absolute()) if path.is_relative_to(root.absolute()) else path
    if not str(named).isprintable() or "\\" in str(named):
        raise NotWritableError(path=archive, reason="sha256sum cannot read a path with such characters")
    write_atomic(checksum_of(archive), f"{digest}  {named}\n", mode=0o600, overwrite=False)


def read(archive: Path) -> str:
    """The SHA-256 that is recorded for an archive. Raises `BackupDamagedError`."""
    path = checksum_of(archive)
    try:
        found = LINE.fullmatch(path.read_text())
    except FileNotFoundError:
        raise ChecksumMissingError(path=archive, problem=f"{path.name} is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BackupDamagedError(path=archive, problem=f"{path.name} cannot be read ({error})") from None
    if found is None or Path(found[2]).name != archive.name:
        raise BackupDamagedError(path=archive, problem=f"{path.name} does not name it with a SHA-256")
    return found[1]


def sign(archive: Path, key: Path) -> None:
    """Sign an archive's checksum with an OpenSSH private key; writes `….sha256.sig`."""
    done = _keygen(archive, "sign", "-f", str(key))
    if done.returncode != 0:
        raise SignatureError(
            path=archive, problem=f"signing with {key} failed: {done.stderr.decode().strip()}"
        )
    write_atomic(signature_of(archive), done.stdout, mode=0o600)


def check_signature(archive: Path, allowed_signers: Path) -> None:
    """Require a signature of one of the allowed signers (`man ssh-keygen`). Raises `SignatureError`."""
    signature = signature_of(archive)
    if not signature.exists():
        raise SignatureError(path=archive, problem=f"{signature.name} is missing")
    done = _keygen(archive, "verify", "-f", str(allowed_signers), "-I", IDENTITY, "-s", str(signature))
    if done.returncode != 0:
        raise SignatureError(path=archive, problem=(done.stderr or done.stdout).decode().strip())


def _keygen(archive: Path, action: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Sign or verify an archive's checksum file, which is passed on standard input."""
    command = [program("ssh-keygen"), "-Y", action, "-q", "-n", NAMESPACE, *options]
    return subprocess.run(command, input=checksum_of(archive).read_bytes(), capture_output=True, check=False)
