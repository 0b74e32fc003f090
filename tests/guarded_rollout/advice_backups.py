"""The advice of errors about backups and the data in them, tried: see `test_advice.py`."""

import os
import sqlite3
import subprocess
import zipfile
from contextlib import closing
from pathlib import Path

from guarded_rollout import errors
from guarded_rollout.backup import copies
from guarded_rollout.backup.catalog import find
from guarded_rollout.backup.restic import repositories
from guarded_rollout.backup.verify import verify
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.journal.store import Journal
from guarded_rollout.rollout.rollback import require_environment
from guarded_rollout.rollout.steps.base import Data, Options, Work
from guarded_rollout.rollout.steps.restore_data import RestoreData
from guarded_rollout.rollout.steps.restore_plan import require_possible
from tests.guarded_rollout.advicekit import case, production, refused
from tests.guarded_rollout.backups import Project, snapshot_of

WHOLE = 'ATTACH "{}" AS other; INSERT OR IGNORE INTO image SELECT * FROM other.image'
LOSING = f"{WHOLE}; DELETE FROM image WHERE id < 5"
REPLACING = f"DELETE FROM image; {WHOLE}"  # as many rows as before, and not what was written since
MERGE = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.executescript({!r}.format(sys.argv[2]))
"""


def flipped(path: Path) -> None:
    """Change a byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@case(errors.BackupMissingError)
def backup_missing(folder: Path) -> None:
    project = Project(folder, rows=5)
    taken = project.take()
    with refused(errors.BackupMissingError, "`ls backups/` shows what there is"):
        verify(project.backups / "dhash_production_20200101_000000.zip")
    shown = [name for name in os.listdir(project.backups) if name.endswith(".zip")]
    assert verify(project.backups / shown[0]).archive == taken.entry.path


@case(errors.BackupDamagedError)
def backup_damaged(folder: Path) -> None:
    project = Project(folder, rows=5)
    older, newest = project.take(), project.take()
    flipped(newest.entry.path)
    with refused(errors.BackupDamagedError, "take an older one"):
        verify(newest.entry.path)
    assert older.entry.path in [entry.path for entry in find(project.backups, "production")]
    verify(older.entry.path)


@case(errors.ChecksumMissingError)
def checksum_missing(folder: Path) -> None:
    taken = Project(folder, rows=5).take()
    elsewhere = taken.entry.checksum.rename(folder / "elsewhere")
    with refused(errors.ChecksumMissingError, "bring the .sha256 file along"):
        verify(taken.entry.path)
    elsewhere.rename(taken.entry.checksum)
    verify(taken.entry.path)


@case(errors.BackupFormatError)
def backup_format(folder: Path) -> None:
    project = Project(folder, rows=5)
    taken = project.take()
    other = taken.entry.path.with_name("dhash_production_20200101_000000.zip")
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("data.db", b"something else")
    digest = subprocess.run(["sha256sum", other], capture_output=True, text=True, check=True).stdout
    other.with_name(f"{other.name}.sha256").write_text(digest)
    with refused(errors.BackupFormatError, "an archive that `rollout backup` wrote"):
        verify(other)
    verify(taken.entry.path)


@case(errors.SignatureError)
def signature(folder: Path) -> None:
    key, allowed = folder / "key", folder / "allowed"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    allowed.write_text(f"rollout {key.with_suffix('.pub').read_text()}")
    project = Project(folder, rows=5)
    signed, changed = project.take(project.backup_folder(signing_key=key)), project.take()
    kept = folder / "kept elsewhere"
    kept.mkdir()
    for file in (signed.entry.path, signed.entry.checksum, signed.entry.signature):
        (kept / file.name).write_bytes(file.read_bytes())
    os.replace(changed.entry.path, signed.entry.path)
    text = changed.entry.checksum.read_text().replace(changed.entry.name, signed.entry.name)
    signed.entry.checksum.write_text(text)
    with refused(errors.SignatureError, "compare it with a copy kept elsewhere"):
        verify(signed.entry.path, allowed_signers=allowed)
    copy = kept / signed.entry.name
    assert copy.read_bytes() != signed.entry.path.read_bytes()
    verify(copy, allowed_signers=allowed)


@case(errors.SnapshotMissingError)
def snapshot_missing(folder: Path) -> None:
    project = Project(folder, rows=5)
    with refused(errors.SnapshotMissingError, "it is given the file to write"):
        project.take(snapshot=lambda target: None)
    verify(project.take(snapshot=snapshot_of(project.store)).entry.path)


@case(errors.OtherEnvironmentError)
def other_environment(folder: Path) -> None:
    taken = Project(folder, rows=5).take()
    manifest = verify(taken.entry.path).manifest
    with refused(errors.OtherEnvironmentError, "pass --allow-other-env"):
        require_environment(manifest, taken.entry.path, "staging", allow_other=False)
    require_environment(manifest, taken.entry.path, "staging", allow_other=True)
    require_environment(manifest, taken.entry.path, "production", allow_other=False)


@case(errors.NoCopyTargetError)
def no_copy_target(folder: Path) -> None:
    with refused(errors.NoCopyTargetError, "Name a repository under `[backup.copies]`"):
        copies.locate(production(folder), Path("restic:latest"))
    named = production(folder, f'[backup.copies.offsite]\nrepository = "{folder}/copies"\npassword = "$P"\n')
    assert [one.target.name for one in repositories(named)] == ["offsite"]


# ---- the data of a backup


def keeping(folder: Path, kind: str, *, merge: str = "", store: str = "") -> Site:
    """An environment whose service merges by this SQL, if by any."""
    (folder / "merge.py").write_text(MERGE.format(merge))
    command = 'store_merge = ["{python}", "merge.py", "{store_file}"]' if merge else ""
    where = store or 'store = "sqlite:///environments/production/data/dhash.db"'
    more = f"{where}\n[service]\nname = 'pictures'\n[service.store]\nkind = '{kind}'\n"
    more += f"[service.commands]\nserve = ['x']\n{command}\n"
    site = Site(production(folder, more))
    site.prepare()
    return site


def restoring(site: Site, journal: Journal, project: Project, backup: Path, data: Data) -> Work:
    rollout = journal.begin("production", "rollback", operator="ann", target=project.subject.release.id)
    return Work(
        site=site,
        journal=journal,
        rollout=rollout,
        incoming=project.subject.release,
        outgoing=None,
        slot="blue",
        steps=(),
        traffic=(),
        is_rollback=True,
        options=Options(backup=str(backup), data=data),
        say=lambda line: None,
        guard=lambda work: None,
    )


def pictures(store: Path) -> int:
    with closing(sqlite3.connect(store)) as opened:
        return int(opened.execute("SELECT count(*) FROM image").fetchone()[0])


def merged(folder: Path, first: str, error: type[errors.RolloutError], advice: str) -> None:
    """A merge that this first release cannot do: nothing was changed, and the ways out work."""
    project = Project(folder, rows=20)
    backup = project.take().entry.path
    with closing(sqlite3.connect(project.store, isolation_level=None)) as store:
        store.execute("DELETE FROM image WHERE id = 7")
        store.execute("INSERT INTO image VALUES (1000, 'since', '')")
    site = keeping(folder, "sqlite", merge=first)
    with Journal.open(folder / "one.db") as journal, refused(error, advice):
        RestoreData().do(restoring(site, journal, project, backup, Data.MERGE))
    assert pictures(project.store) == 20
    with Journal.open(folder / "two.db") as journal:
        RestoreData().do(restoring(site, journal, project, backup, Data.NONE))
    assert pictures(project.store) == 20
    other = keeping(folder, "sqlite", merge=WHOLE)  # a release whose commands work
    with Journal.open(folder / "three.db") as journal:
        RestoreData().do(restoring(other, journal, project, backup, Data.MERGE))
    assert pictures(project.store) == 21


@case(errors.MergeLosesError)
def merge_loses(folder: Path) -> None:
    for number, losing in enumerate((LOSING, REPLACING)):
        merged(folder / str(number), losing, errors.MergeLosesError, "Return to a release whose merge works")


@case(errors.StoreKeptError)
def store_kept(folder: Path) -> None:
    merged(folder, "SELECT nonsense", errors.StoreKeptError, "Return to a release whose commands work")


def wanted(data: Data) -> Options:
    return Options(backup="backups/dhash_production_20260101_000000.zip", data=data)


def a_release(folder: Path) -> Release:
    return Project(folder / "other", rows=1).subject.release


@case(errors.NoDataError)
def no_data(folder: Path) -> None:
    site, release = keeping(folder, "none"), a_release(folder)
    with refused(errors.NoDataError, "with --data none"):
        require_possible(site, release, wanted(Data.MERGE))
    require_possible(site, release, wanted(Data.NONE))


@case(errors.MergeUnsupportedError)
def merge_unsupported(folder: Path) -> None:
    site, release = keeping(folder, "sqlite"), a_release(folder)
    with refused(errors.MergeUnsupportedError, "Use --data exact"):
        require_possible(site, release, wanted(Data.MERGE))
    require_possible(site, release, wanted(Data.EXACT))
    require_possible(site, release, wanted(Data.NONE))


@case(errors.ExactUnsupportedError)
def exact_unsupported(folder: Path) -> None:
    server = 'store = "mysql://db.internal/pictures"'
    site, release = keeping(folder, "commands", merge=WHOLE, store=server), a_release(folder)
    with refused(errors.ExactUnsupportedError, "Merge instead"):
        require_possible(site, release, wanted(Data.EXACT))
    require_possible(site, release, wanted(Data.MERGE))
    require_possible(site, release, wanted(Data.NONE))
