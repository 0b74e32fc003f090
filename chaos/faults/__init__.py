"""What goes wrong: each fault waits for its moment, strikes, and mends what passes. One family a file.

A strike yields `True` at the moment it hurts (or returns without, when there was nobody to hurt), and what
follows the `yield` mends it.
"""

from collections.abc import Mapping

from chaos.draw import Action
from chaos.faults.base import Strike
from chaos.faults.processes import freeze, kill

STRIKES: Mapping[Action, Strike] = {
    Action.KILL: kill,
    Action.FREEZE: freeze,
}

POSSIBLE = frozenset(STRIKES)
"""What can be made to happen on this machine."""
