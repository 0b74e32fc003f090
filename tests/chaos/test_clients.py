"""Whoever looks for what was erased notices where it is there, on a real service."""

import asyncio
import json
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from chaos.clients import STILL_THERE, SUBMIT, Connection, Work, read_ledger

from tests.dhash_service.serving import serving

pytestmark = pytest.mark.system
ROUNDS = 25


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run it in a thread of its own: tests of the pages leave an event loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


def test_an_erased_picture_that_is_answered_is_noticed_and_one_that_is_gone_is_not(tmp_path: Path) -> None:
    ledger, erased = tmp_path / "ledger.jsonl", tmp_path / "erased.jsonl"
    with serving(tmp_path) as server:
        port = int(server.env["DHASH_PORT"])
        work = Work(port, 1, ledger, erased)
        run(work.submit(Connection(port)))
        [sent] = read_ledger(ledger)
        run(asked(work))
        assert list(read_ledger(ledger)) == [sent], "nothing is asked for while nothing is erased"
        about = {"number": sent.number, "id": sent.id, "hash": sent.hash}
        erased.write_text(json.dumps(about) + "\n")
        run(asked(work))
        there = list(read_ledger(ledger))[1:]
        assert {entry.kind for entry in there} == {"read", "search", "submit"}
        assert all(entry.problem.startswith(STILL_THERE) for entry in there)
        answer = server.client.delete(
            f"/api/dhash/{sent.id}?erase=true", headers=server.token("eve", "admin")
        )
        assert answer.status_code == 200
        run(asked(work))
        gone = list(read_ledger(ledger))[1 + len(there) :]
        assert not [entry.problem for entry in gone if entry.problem]
        assert {entry.status for entry in gone if entry.kind == SUBMIT} == {451}


async def asked(work: Work) -> None:
    connection = Connection(work.port)
    for _ in range(ROUNDS):
        await work.gone(connection)
    connection.close()
