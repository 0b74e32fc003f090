"""The releases that runs roll out: the real source, each faulty one wrong in one way, built when asked for.

What is built is kept in a folder named after the source, so that repeating a seed builds nothing.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from chaos.plan import Variant
from guarded_rollout.clock import SystemClock
from guarded_rollout.config.environments import load
from guarded_rollout.host.build import build
from guarded_rollout.host.programs import program

ROOT = Path(__file__).parents[1]
SOURCE = ("pyproject.toml", "README.md", "LICENSE", "src", "locks/service.txt")
SHAPES = (
    "pyproject.toml",
    "locks/service.txt",
    "src/dhash_service",
    "src/web_assets",
    "src/guarded_rollout/journal/store.py",
    "src/guarded_rollout/notify/outbox.py",
    "src/guarded_rollout/host/release.py",
)
"""What releases are made of, and the guard's files that a project begins with: a change needs new ones."""

SERVICE = Path("src/dhash_service")
AFTER, SEARCHES = 90, 25
"""Requests, and searches, after which a fault that waits begins: verification is over by then, which asks for
golden fingerprints twice."""

COUNT = "from itertools import count\n\nasked = count()\nrouter = "
BEFORE_ALL = ("\nimport ", "\nimport random\nfrom itertools import count\n\nasked = count()\nimport ")
MIGRATION = '''"""One more table, which nobody reads."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{below}"
branch_labels = None
depends_on = None
kind = "expand"


def upgrade() -> None:
    op.create_table("chaos", sa.Column("id", sa.Integer, primary_key=True)){more}


def downgrade() -> None:
    op.drop_table("chaos")
'''
ASKED = "        request_id = given_id(scope) or new_id().hex\n"
CUTS = f"""        if scope["path"].startswith("/api") and next(asked) > {AFTER} and random.random() < 0.3:
            headers = [(b"content-type", b"application/json"), (b"content-length", b"3000")]
            await send({{"type": "http.response.start", "status": 200, "headers": headers}})
            await send({{"type": "http.response.body", "body": b"x" * 100, "more_body": True}})
            raise OSError("cut")
"""
FOUND = "        (found,) = await self.search_many([value], radius, limit, skip)\n"
FORGETS = f"""        if next(asked) > {SEARCHES} and random.random() < 0.3:
            return replace(found, neighbours=(), total=0)
"""
PLAN = "Show what `dhash db upgrade` would do, and whether each revision keeps its word. Changes nothing."
UPGRADE = "Bring the store's schema up, making a new store where there is none."
SNAPSHOT = """Copy the store, as it is at one moment, into one SQLite file, while it goes on being written.

    The copy is verified before the file appears. Originals are no part of the store: they are copied
    as any folder is, or kept by their object store's own means.
    """
MERGE = """Add to the store what a snapshot has and it lacks; nothing that it has is changed.

    May be done while the service runs, and again if it was interrupted.
    """
EMPTY = """from dhash_service.store import migrate

migrate.upgrade(f"sqlite:///{file}", release="elsewhere")
typer.echo(json.dumps({"path": str(file), "rows": {"images": 200}}))
return"""
Change = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Built:
    """A release by its id, and the wheel it comes from, which has its requirements beside it."""

    wheel: Path
    release: str


@dataclass(frozen=True, slots=True)
class Shop:
    """What was built. `first` is the release that serves before anything else happens."""

    releases: Path
    first: Built
    variants: Mapping[Variant, Built]


def replaced(name: str, *changes: tuple[str, str]) -> Change:
    """Edit one file of the service. Raises `ValueError` where the source has moved on."""

    def change(tree: Path) -> None:
        path = tree / SERVICE / name
        text = path.read_text()
        for old, new in changes:
            if old not in text:
                raise ValueError(f"{path.name} does not hold {old!r} any more")
            text = text.replace(old, new, 1)
        path.write_text(text)

    return change


def in_submit(statements: str) -> Change:
    body = (
        "        apart = await self._read_apart(data, register) if self.documents.is_apart(data) else None\n"
    )
    spoilt = "".join(f"        {line}\n" for line in statements.splitlines())
    return replaced("service.py", BEFORE_ALL, (body, spoilt + body))


def hanging(signature: str, after: int) -> Change:
    """An endpoint that answers so many times, and then never again."""
    hang = f"    if next(asked) >= {after}:\n        await asyncio.sleep(3600)\n"
    return replaced(
        "api/operations.py", ("router = ", "import asyncio\n" + COUNT), (signature, signature + hang)
    )


def migrating(tree: Path, more: str = "") -> None:
    folder = tree / SERVICE / "store" / "migrations" / "versions"
    below = max(path.name[:4] for path in folder.glob("[0-9]*.py"))
    revision = f"{int(below) + 1:04d}"
    text = MIGRATION.format(revision=revision, below=below, more=more)
    (folder / f"{revision}_chaos.py").write_text(text)
    known = f"range(1, {int(revision)}))"
    replaced("store/schema.py", (known, f'{known} + (("{revision}", Kind.EXPAND),)'))(tree)


def failing_half_way(tree: Path) -> None:
    """The table is made, and then the migration fails, as only running it shows."""
    migrating(
        tree, '\n    op.execute("INSERT INTO chaos SELECT 1 FROM images UNION ALL SELECT 1 FROM images")'
    )


def command(says: str, statements: str) -> Change:
    """One of `dhash db …` that does this instead; it is known by what its help says."""
    help_ = f'    """{says}"""\n'
    instead = "".join(f"    {line}\n" for line in statements.splitlines())
    return replaced("cli/db.py", (help_, help_ + instead))


def together(*changes: Change) -> Change:
    def change(tree: Path) -> None:
        for one in changes:
            one(tree)

    return change


def nothing(tree: Path) -> None:
    """A release that differs by its version alone."""


SPOILS: Mapping[Variant, Change] = {
    Variant.GOOD: nothing,
    Variant.GOOD_MIGRATING: migrating,
    Variant.CRASHES_AT_START: replaced(
        "cli/serve.py", ("    import uvicorn\n", '    raise SystemExit("no such device: gpu0")\n')
    ),
    Variant.NEVER_HEALTHY: replaced(
        "api/operations.py", ("    failing = not all", "    failing = True or not all")
    ),
    Variant.FAILS_SUBMITS: in_submit("assert not register"),
    Variant.MOVES_A_BIT: replaced(
        "facts.py", ('return f"{self.value:016x}"', 'return f"{self.value ^ 1:016x}"')
    ),
    Variant.IGNORES_SIGTERM: replaced(
        "cli/serve.py",
        (
            "    import uvicorn\n",
            "    import signal\n\n    import uvicorn\n    import uvicorn.server\n"
            "    import uvicorn.supervisors.multiprocess\n\n"
            "    uvicorn.server.HANDLED_SIGNALS = ()\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "    del uvicorn.supervisors.multiprocess.SIGNALS[signal.SIGTERM]\n",  # of several processes
        ),
    ),
    Variant.CHECK_FAILS: replaced(
        "cli/db.py",
        (
            '    """Read the whole store and name what is wrong; then the exit code is 1."""\n',
            '    raise SystemExit("page 3 of the index is not what it was")\n',
        ),
    ),
    Variant.FOREIGN_ROWS: replaced(
        "store/recorder.py", ("self._release = release", 'self._release = "0.0.0-elsewhere"')
    ),
    Variant.FAILS_LATER: in_submit(
        f"number = next(asked)\nif number > {AFTER} and number % 3 == 0:\n"
        "    raise RuntimeError('inconsistent')"
    ),
    Variant.CRASHES_LATER: in_submit(
        # where two processes share the submits, each as soon as one would
        "import os\n\nshare = int(os.environ.get('DHASH_PROCESSES', '1'))\n"
        f"if next(asked) * share > {AFTER}:\n    os._exit(9)"
    ),
    Variant.METRICS_HANG: hanging("async def metrics(request: Request, service: Running) -> Any:\n", 4),
    Variant.METRICS_LIE: together(
        in_submit(
            f"number = next(asked)\nif number > {AFTER} and number % 3 == 0:\n"
            "    raise RuntimeError('inconsistent')"
        ),
        replaced("api/observe.py", ("count_request(route(scope), code", "count_request(route(scope), 200")),
    ),
    # A verification asks three times; a window whose monitor is killed has time for a dozen more.
    Variant.HEALTH_HANGS: hanging("async def health(service: Running, response: Response) -> Health:\n", 10),
    Variant.CUTS_ANSWERS: replaced("api/observe.py", BEFORE_ALL, (ASKED, CUTS + ASKED)),
    Variant.FORGETS_FINDS: replaced("service.py", BEFORE_ALL, (FOUND, FOUND + FORGETS)),
    Variant.HEALTH_LIES: together(
        in_submit(f"if next(asked) > {AFTER}:\n    raise RuntimeError('inconsistent')"),
        replaced("api/operations.py", ("    failing = not all", "    failing = False and not all")),
    ),
    Variant.HANGS_AT_START: replaced(
        "cli/serve.py", ("    import uvicorn\n", "    time.sleep(3600)\n    import uvicorn\n")
    ),
    Variant.PLAN_FAILS: command(PLAN, 'raise SystemExit("no such revision: 0042")'),
    Variant.PLAN_HANGS: command(PLAN, "import time\n\ntime.sleep(3600)"),
    Variant.PLAN_LIES: together(migrating, command(PLAN, "return")),
    Variant.UPGRADE_FAILS: failing_half_way,
    Variant.UPGRADE_LIES: together(
        migrating,
        command(UPGRADE, "typer.echo(json.dumps({'revision': revision, 'done': [revision]}))\nreturn"),
    ),
    Variant.SNAPSHOT_LIES: command(SNAPSHOT, EMPTY),
    Variant.MERGE_LIES: command(
        MERGE, "typer.echo(json.dumps({'read': {'images': 200}, 'added': {'images': 200}}))\nreturn"
    ),
}


def open_shop(wanted: Collection[Variant]) -> Shop:
    """Build what of these is not built yet; nobody builds the same one at the same time."""
    folder = Path(tempfile.gettempdir()) / f"chaos-{os.getuid()}-{fingerprint_of_source()}"
    folder.mkdir(exist_ok=True, mode=0o700)
    first = _built(folder, "first", nothing, "1.0.1")
    variants = {
        variant: _built(folder, variant.name.lower(), change, f"2.0.{number}")
        for number, (variant, change) in enumerate(SPOILS.items())
        if variant in wanted
    }
    return Shop(folder / "releases", first, variants)


def fingerprint_of_source() -> str:
    """A digest of everything that shapes a release, and of what is done to it."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for name in SHAPES:
        path = ROOT / name
        files = (
            sorted(file for file in path.rglob("*") if file.is_file() and file.suffix != ".pyc")
            if path.is_dir()
            else [path]
        )
        for file in files:
            digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _built(folder: Path, name: str, change: Change, version: str) -> Built:
    place = folder / "wheels" / name
    with alone(folder / f"{name}.lock"):
        if not place.exists():
            _pack(folder, place, change, version)
        wheel = next(place.glob("*.whl"))
        service = load(folder / "rollout.toml").environment("production").service
        release = build(
            str(wheel),
            folder / "releases",
            checkout=folder,
            recipe=replace(service.recipe, lock=""),
            clock=SystemClock(),
        )
    return Built(wheel, release.id)


def _pack(folder: Path, place: Path, change: Change, version: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        tree, out = Path(scratch) / "tree", Path(scratch) / "out"
        _copy(tree, version)
        change(tree)
        subprocess.run(
            [program("uv"), "build", "--quiet", "--wheel", "--out-dir", str(out), str(tree)], check=True
        )
        shutil.copy(tree / "locks" / "service.txt", out / "requirements.txt")
        place.parent.mkdir(exist_ok=True)
        out.rename(place)


def _copy(tree: Path, version: str) -> None:
    for name in SOURCE:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree / name)
    project = tree / "pyproject.toml"
    head, _, rest = project.read_text().partition('\nversion = "')
    project.write_text(f'{head}\nversion = "{version}"{rest.partition(chr(34))[2]}')


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Nobody else is in here with this file, in this process or another."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
