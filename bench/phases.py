"""Where a command's time goes, from what the journal tells: phases that add up to the whole."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from guarded_rollout.journal.model import UNDOING, EntryKind, JournalEntry, StepOutcome

FIRST, BETWEEN, LAST = "command start → first step", "between steps", "last step → exit"


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a command, in seconds."""

    name: str
    seconds: float


def phases(events: Iterable[JournalEntry], begin: float, end: float) -> list[Phase]:
    """Each step of a command that ran from `begin` to `end` (seconds since 1970), and the time around them.

    A step that was undone began where the undoing did, or the undoing of the step after it ended: the journal
    writes no intent for it. What happened in between steps, and after a window was opened, is told apart.
    The sum is `end - begin` whatever the events are.
    """
    found: dict[str, float] = {}
    at = begin
    for name, moment in _marks(event for event in events if begin <= event.at.timestamp() <= end):
        label = name or (BETWEEN if found else FIRST)
        found[label] = found.get(label, 0.0) + moment - at
        at = moment
    found[LAST] = end - at
    return _in_order(found)


def _marks(events: Iterable[JournalEntry]) -> Iterator[tuple[str, float]]:
    """The moments at which a phase ended, with its step; without one where the time was nobody's."""
    for event in events:
        match event.kind:
            case EntryKind.INTENT:
                yield "", event.at.timestamp()
            case EntryKind.OUTCOME:
                undone = event.data["outcome"] == StepOutcome.UNDONE
                yield f"undo {event.name}" if undone else event.name, event.at.timestamp()
            case EntryKind.NOTE if event.name == UNDOING:
                yield "", event.at.timestamp()


def means(runs: Sequence[Sequence[Phase]]) -> list[Phase]:
    """Each phase's mean over several runs, so that they add up to the mean of the whole."""
    sums: dict[str, float] = {}
    for phase in (phase for run in runs for phase in run):
        sums[phase.name] = sums.get(phase.name, 0.0) + phase.seconds / len(runs)
    return _in_order(sums)


def _in_order(seconds: Mapping[str, float]) -> list[Phase]:
    """What was before the steps first, then these, then what was between and after them."""
    places = {FIRST: -1, BETWEEN: 1, LAST: 2}
    return [Phase(name, seconds[name]) for name in sorted(seconds, key=lambda name: places.get(name, 0))]
