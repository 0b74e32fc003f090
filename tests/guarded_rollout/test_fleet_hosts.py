"""A rollout over three real hosts, each with a network, a name and an sshd of its own, behind an edge."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from guarded_rollout.journal.model import Rollout
from guarded_rollout.journal.store import Journal
from tests.guarded_rollout import fleetkit
from tests.guarded_rollout.fleetkit import Clients, Fleet, Host, until_line
from tests.guarded_rollout.servicekit import migration

UNABLE = fleetkit.unable()
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(UNABLE), reason=UNABLE),
]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A fleet that serves one release; each test leaves it so."""
    with fleetkit.fleet() as made:
        told = made.rollout("up", "--from", str(made.wheel("1.0.1")), "--set", 'fleet_serial=[1, "100%"]')
        assert made.versions() == ["1.0.1"] * 3, told
        yield made


def rollouts(host: Host) -> list[Rollout]:
    """What a host has done to itself, the newest first."""
    with Journal.look(host.folder / "p/environments/production/journal.db") as journal:
        return journal.deployments("production")


def record(fleet: Fleet) -> Rollout:
    with Journal.look(fleet.folder / "hosts.fleet/journal.db") as journal:
        return journal.history("production", limit=1)[0]


def test_a_good_release_goes_from_host_to_host_without_a_failed_request(fleet: Fleet) -> None:
    expand = migration("expand", '    op.create_table("more", sa.Column("id", sa.Text, primary_key=True))')
    contract = migration("contract", '    op.drop_index("ix_lookups_document_id", "lookups")')
    wheel = fleet.wheel("1.0.2", expand, contract)
    with Clients(fleet.port) as clients:
        running = fleet.start("up", "--from", str(wheel), "--why", "a table more")
        until_line(running, lambda line: line.startswith("h1: rolling out"))
        refused = fleet.rollout("up", "--from", str(wheel), code=1, ROLLOUT_OPERATOR="berta")
        output = running.communicate(timeout=600)[0]
    assert running.returncode == 0, output
    assert refused["error"] == "fleet-busy"
    assert "anna" in refused["message"]
    assert "since 20" in refused["message"]
    assert clients.failed == []
    assert clients.answered > 100
    assert fleet.versions() == ["1.0.2"] * 3
    assert json.loads(output.splitlines()[-1])["release"].startswith("1.0.2-")
    first, second, third = (rollouts(host)[0] for host in fleet.hosts)
    assert first.ended_at < second.started_at < second.ended_at < third.started_at
    assert first.done("watch")
    assert len(first.last("migrate").evidence["applied"]) == 1  # before the first, once
    assert [one.last("finish").evidence["contracted"] for one in (first, second, third)] == [[], [], []]
    assert len(record(fleet).note("contracted").data["revisions"]) == 1  # after the last, once
    assert fleet.rollout("status")["mixed"] is False


def test_the_record_lies_beside_the_inventory(fleet: Fleet) -> None:
    with closing(sqlite3.connect(fleet.folder / "hosts.fleet/journal.db")) as journal:
        (count,) = journal.execute("SELECT count(*) FROM rollout").fetchone()
    assert count > 1
    assert json.loads(fleet.inventory.read_text())["fleet"]
    assert not list(Path(fleet.folder / "hosts.fleet").glob("*.json"))
    assert os.listdir(fleet.folder / "hosts.fleet/artifacts")
