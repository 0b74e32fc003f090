"""Whether what is acknowledged outlives the database's machine, as the database itself says."""

from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from dhash_service.errors import StoreNotSynchronousError
from dhash_service.store.engine import reading

STANDBYS = """
    SELECT current_setting('fsync') = 'on',
        current_setting('synchronous_standby_names'),
        count(*),
        count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')),
        count(*) FILTER (WHERE sync_state IS NULL)
    FROM pg_stat_replication
"""
"""Whoever may not read statistics (`pg_monitor`) sees that there are standbys, and not of which kind."""


@dataclass(frozen=True, slots=True)
class Durability:
    """`synchronous` is True where a standby has what is acknowledged; None where it may not be asked."""

    synchronous: bool | None
    detail: str


def durability(engine: Engine) -> Durability:
    """Ask the database. Raises `StoreError`."""
    with reading(engine) as connection:
        return durability_of(connection)


def durability_of(connection: Connection) -> Durability:
    """The same within a transaction."""
    if connection.dialect.name == "sqlite":
        return Durability(False, "What is acknowledged is on the disk of this machine.")
    flushes, names, standbys, confirming, hidden = connection.exec_driver_sql(STANDBYS).one()
    if not flushes:
        return Durability(False, "PostgreSQL's fsync is off: what is acknowledged may be lost in a crash.")
    if not names:
        if standbys:
            return Durability(
                False, f"Standbys follow ({standbys}), none synchronously: a failover may lose what was last."
            )
        return Durability(False, "What is acknowledged is on the disk of one PostgreSQL server.")
    if hidden:
        return Durability(None, "Standbys follow; GRANT pg_monitor to say whether synchronously.")
    if not confirming:
        return Durability(False, "No synchronous standby is connected: writes wait for one.")
    return Durability(True, f"What is acknowledged is on {confirming} synchronous standby as well.")


def require_synchronous(found: Durability) -> None:
    """Raise `StoreNotSynchronousError` unless a standby has what is acknowledged."""
    if not found.synchronous:
        raise StoreNotSynchronousError(found.detail)
