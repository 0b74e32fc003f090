"""A project with its first release rolled out, made once a campaign: what SQLite runs start from."""

import fcntl
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from chaos.clients import SUBMIT, Clients, Entry, read_ledger
from chaos.operating import Operator
from chaos.receiver import receiving
from chaos.stack import Stack, wait_until
from chaos.variants import Shop

KEPT = ("data", "slots", "run", "journal.db", "notifications.db")
PICTURES_SEED = 0
PICTURES = 200


def prepare(shop: Shop) -> None:
    """Make it unless it is there. Raises `RuntimeError` when the first deployment fails in peace."""
    place = shop.releases.parent / "template"
    descriptor = os.open(shop.releases.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not place.exists():
            _make(shop, place)
    finally:
        os.close(descriptor)


def _make(shop: Shop, place: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="ch-", dir="/tmp") as name, receiving() as receiver:
        folder = Path(name)
        stack = Stack(folder, shop)
        stack.configure(receiver.url)
        (folder / "typed").mkdir()
        operator, ledger = Operator(stack, folder / "typed"), folder / "ledger.jsonl"
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
        shutil.copy(ledger, stack.root / "ledger.jsonl")
        aside = place.with_name("template.new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for kept in (*KEPT, "ledger.jsonl"):
            source = stack.root / kept
            _copy(source, aside / kept)
        aside.rename(place)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy(source, target)


def _submitted(ledger: Path) -> int:
    return sum(entry.kind == SUBMIT for entry in read_ledger(ledger))


def lay(stack: Stack, shop: Shop) -> None:
    """Put it where this stack's environment is."""
    for source in (shop.releases.parent / "template").iterdir():
        if source.name in KEPT:
            _copy(source, stack.root / source.name)


def acknowledged(shop: Shop) -> list[Entry]:
    """What was acknowledged while it was made."""
    ledger = shop.releases.parent / "template" / "ledger.jsonl"
    return [entry for entry in read_ledger(ledger) if entry.acknowledged]


def told(stack: Stack) -> list[str]:
    """The events that were delivered while it was made."""
    with closing(sqlite3.connect(stack.root / "notifications.db")) as file:
        return [id_ for (id_,) in file.execute("SELECT id FROM event")]
