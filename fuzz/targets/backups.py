"""The backup reader: what is unpacked is exactly what the manifest says, inside the folder, or it is refused.

Damage is drawn as accidents (bytes change under a checksum made anew, or an attacker has changed it as well)
and as forgeries: archives whose zip is in order and whose manifest is not.
"""

import hashlib
import io
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from fuzz.damage import damaged
from fuzz.engine import Check, Target, require
from guarded_rollout.backup.manifest import NAME
from guarded_rollout.backup.verify import unpack
from guarded_rollout.backup.zip_writer import ZipWriter
from guarded_rollout.errors import BackupDamagedError, BackupFormatError, DiskFullError

WHEN = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
RELEASE = "1.0.0-abcdef01-12345678"
FILES = {
    "release/app.whl": b"wheel" * 40,
    "release/requirements.txt": b"pillow==13.0.0 --hash=sha256:00\n",
    "release/RELEASE.json": json.dumps({"id": RELEASE}).encode(),
    "configuration/gates.json": b"{}\n",
    "data/snapshot": bytes(range(256)) * 4,
}
MANIFEST: dict[str, Any] = {
    "format": 1,
    "environment": "production",
    "created_at": WHEN.isoformat(),
    "release": RELEASE,
    "schema_revision": "0001",
    "wheel": "release/app.whl",
    "requirements": "release/requirements.txt",
    "release_json": "release/RELEASE.json",
    "snapshot": "data/snapshot",
    "configuration": ["configuration/gates.json"],
    "originals": None,
}


def archive(files: dict[str, bytes], manifest: dict[str, Any]) -> bytes:
    """An archive as `rollout backup` writes it, around any manifest."""
    file = io.BytesIO()
    writer = ZipWriter(file, WHEN)
    for name, content in files.items():
        writer.add(name, content)
    writer.add(NAME, json.dumps(manifest).encode())
    writer.close()
    return file.getvalue()


def described(files: dict[str, bytes]) -> dict[str, Any]:
    """The manifest's `files` for these."""
    return {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }


WHOLE = archive(FILES, {**MANIFEST, "files": described(FILES)})

# ---- what is drawn

NAMES = st.one_of(
    st.sampled_from(
        [
            "../evil",
            "/tmp/evil",
            "a/../../evil",
            "a\\b",
            "C:evil",
            ".",
            "..",
            "a/",
            "a//b",
            "\0",
            "release",
            "data",
        ]
    ),
    st.sampled_from(list(FILES)),
    st.text(max_size=12),
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-1, 2**65), st.text(max_size=8), NAMES, st.floats())
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
)


@st.composite
def forged(draw: DrawFn) -> bytes:
    """An archive in order as a zip, with a manifest and files of an attacker's choice."""
    files = FILES | draw(st.dictionaries(NAMES, st.binary(max_size=30), max_size=2))
    manifest = {**MANIFEST, "files": described(files)}
    for key in draw(st.lists(st.sampled_from(list(manifest)), max_size=2)):
        manifest[key] = draw(VALUES)
    if draw(st.booleans()) and isinstance(manifest["files"], dict) and manifest["files"]:
        named = draw(st.sampled_from(list(manifest["files"])))
        manifest["files"][named] = draw(
            st.one_of(
                VALUES,
                st.fixed_dictionaries({"size": st.integers(-1, 2**64), "sha256": st.text(max_size=64)}),
            )
        )
    try:
        return archive({name: content for name, content in files.items() if name}, manifest)
    except ValueError:  # a name that no zip can hold
        return WHOLE


@st.composite
def by_others(draw: DrawFn) -> bytes:
    """An archive of Python's zipfile with odd entries: links, duplicates, other methods, comments."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        entries = [*FILES.items(), (NAME, json.dumps({**MANIFEST, "files": described(FILES)}).encode())]
        for name, content in entries + draw(st.lists(st.tuples(NAMES, st.binary(max_size=20)), max_size=2)):
            info = zipfile.ZipInfo(name or "empty")
            info.compress_type = draw(
                st.sampled_from((zipfile.ZIP_DEFLATED,) * 6 + (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2))
            )
            info.create_system = draw(st.sampled_from((3, 0)))
            info.external_attr = (
                draw(st.sampled_from((0o100600, 0o100600, 0o120777, 0o040755, 0o020666, 0))) << 16
            )
            info.extra = draw(
                st.sampled_from((b"", b"", b"\x01\0\x08\0" + bytes(8), b"up\x06\0\x01\0\0\0\0a"))
            )
            with warnings.catch_warnings(action="ignore"):  # of names that are there already
                out.writestr(info, content)
        out.comment = draw(st.binary(max_size=10))
    return file.getvalue()


# ---- what must hold


@contextmanager
def opened() -> Iterator[Check]:
    with tempfile.TemporaryDirectory(prefix="fuzz-backups-") as name:
        folder = Path(name)
        yield lambda data: check(folder, data)


def check(folder: Path, data: bytes) -> None:
    """Unpacked whole, or refused naming the archive; nothing outside the folder either way."""
    path, into = folder / "dhash_production_20260601_120000.zip", folder / "into"
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")
    try:
        found = unpack(path, into)
    except DiskFullError:  # it says how much there would be, and that is looked at first
        pass
    except (BackupDamagedError, BackupFormatError) as error:
        require(str(path) in error.sentence, error.sentence)
    else:
        stand = {str(one.relative_to(into)): one.read_bytes() for one in into.rglob("*") if one.is_file()}
        require(set(stand) == set(found.manifest.files), "other files than the manifest names")
        for file, content in stand.items():
            told = found.manifest.files[file].sha256
            require(hashlib.sha256(content).hexdigest() == told, f"{file} is another one")
        require(not any(one.is_symlink() for one in into.rglob("*")), "a link was made")
    finally:
        shutil.rmtree(into, ignore_errors=True)
    left = {one.name for one in folder.iterdir()}
    require(left == {path.name, f"{path.name}.sha256"}, f"outside the folder: {left}")


TARGET = Target("backups", st.one_of(damaged([WHOLE]), forged(), by_others()), opened, (WHOLE,))
