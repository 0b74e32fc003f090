"""Backups that are not what they were: cut short, a bit flipped, swapped with another."""

import errno
import hashlib
import io
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from chaos.faults.base import Scene
from chaos.plan import Fault, Target

MANIFEST = "manifest.json"
PATIENCE_SECONDS = 10.0


def damage(scene: Scene, fault: Fault) -> Iterator[str]:
    """Spoil the newest backup. What was damaged is kept in the scene: it must be refused."""
    archives = sorted(scene.stack.backups.glob("dhash_*.zip"))
    if len(archives) < 2:
        return
    archive = archives[-1]
    if not checksum(archive).exists() or archive in scene.damaged:
        return
    scene.damaged.append(archive)
    SPOILS[fault.target](archive, archives[0])
    yield archive.name


def checksum(archive: Path) -> Path:
    return archive.with_name(archive.name + ".sha256")


def spoil(path: Path, content: bytes) -> None:
    """Put this content in the file's place; whoever has it open goes on with the old one. A folder that
    another fault has made read-only is waited for."""
    aside = path.with_name(f"{path.name}.spoilt")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            aside.write_bytes(content)
            os.replace(aside, path)
        except OSError as error:
            if error.errno != errno.EROFS or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def flipped(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


def digit_changed(content: bytes, where: int) -> bytes:
    return content[:where] + (b"1" if content[where : where + 1] == b"0" else b"0") + content[where + 1 :]


def with_manifest(change: Callable[[bytes, bytes], bytes]) -> Callable[[Path, Path], None]:
    """Write the archive anew with another manifest, and a checksum that is right for it."""

    def apply(archive: Path, other: Path) -> None:
        with zipfile.ZipFile(other) as there:
            others = there.read(MANIFEST)
        target = io.BytesIO()
        with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
            for info in old.infolist():
                content = old.read(info)
                new.writestr(info, change(content, others) if info.filename == MANIFEST else content)
        digest = hashlib.sha256(target.getvalue()).hexdigest()
        line = checksum(archive).read_bytes()
        spoil(archive, target.getvalue())
        spoil(checksum(archive), digest.encode() + line[64:])

    return apply


def sha256_changed(manifest: bytes, other: bytes) -> bytes:
    return digit_changed(manifest, manifest.index(b'"sha256": "') + 20)


SPOILS: Mapping[Target, Callable[[Path, Path], None]] = {
    Target.TRUNCATED: lambda one, other: spoil(one, one.read_bytes()[: one.stat().st_size * 2 // 3]),
    Target.FLIPPED: lambda one, other: spoil(one, flipped(one.read_bytes())),
    Target.SWAPPED: lambda one, other: spoil(one, other.read_bytes()),
    Target.CHECKSUM_FLIPPED: lambda one, other: spoil(
        checksum(one), digit_changed(checksum(one).read_bytes(), 7)
    ),
    Target.CHECKSUM_TRUNCATED: lambda one, other: spoil(checksum(one), checksum(one).read_bytes()[:40]),
    Target.CHECKSUM_SWAPPED: lambda one, other: spoil(checksum(one), checksum(other).read_bytes()),
    Target.MANIFEST_FLIPPED: with_manifest(sha256_changed),
    Target.MANIFEST_SWAPPED: with_manifest(lambda manifest, other: other),
    Target.MANIFEST_TRUNCATED: with_manifest(lambda manifest, other: manifest[: len(manifest) * 2 // 3]),
}
