"""What goes wrong: each fault waits for its moment, strikes, and mends what passes. One family a file.

A strike yields words about whom it hit at the moment it hurts (or returns without, when there was nobody to
hurt), and what follows the `yield` mends it.
"""

import shutil
from collections.abc import Mapping

from chaos.faults import (
    backups,
    clock,
    database,
    disk,
    erasure,
    notifications,
    operators,
    places,
    power,
    preload,
    processes,
    store,
)
from chaos.faults.base import Strike
from chaos.plan import Action

STRIKES: Mapping[Action, Strike] = {
    Action.KILL: processes.kill,
    Action.FREEZE: processes.freeze,
    Action.DISK_FULL: disk.fill,
    Action.BACKUPS_READ_ONLY: disk.make_read_only,
    Action.DAMAGE: backups.damage,
    Action.NOBODY_LISTENS: notifications.go_silent,
    Action.CLOCK: clock.step,
    Action.LOCK: store.lock,
    Action.SECOND_OPERATOR: operators.come_in,
    Action.ABORT: operators.abort,
    Action.ERASE: erasure.erase,
    Action.VANISH: places.vanish,
    Action.REFUSE: places.refuse,
    Action.DATABASE: database.kill,
    Action.BROKEN_PIPE: operators.break_pipe,
    Action.POWER: power.fail,
}


def possible() -> frozenset[Action]:
    """What can be made to happen on this machine, by this user."""
    without = set()
    if not disk.can_mount():
        without |= {Action.DISK_FULL, Action.BACKUPS_READ_ONLY}
    if shutil.which("restic") is None:
        without |= {Action.VANISH, Action.REFUSE}
    if not preload.can_be_compiled():
        without |= {Action.CLOCK, Action.POWER}
    return frozenset(Action) - without
