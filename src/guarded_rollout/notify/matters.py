"""What an event does to the matters that are open: a breach is one message, and its end another.

A matter is something that someone must look at, known by a key within its environment. Pure.
"""

from guarded_rollout.notify.events import Event, Kind, Level

GATE = "gate:"
ROLLBACK = "rollback"
WATCH = "watch"


def opens(event: Event) -> str | None:
    """The matter that begins with this event. While it is open, the same event again is a repeat."""
    match event.kind:
        case Kind.GATE_ALERT:
            return gate(event)
        case Kind.ROLLBACK_FAILED:
            return ROLLBACK
        case Kind.UNWATCHED:
            return WATCH
    return None


def closes(event: Event, key: str) -> bool:
    """Whether an open matter ends with this event."""
    match event.kind:
        case Kind.GATE_CLEARED:
            return event.facts.get("gate") in key.removeprefix(GATE).split(", ")
        case Kind.MONITORING_STARTED | Kind.DEPLOYMENT_SUCCEEDED:
            return key == WATCH
        case Kind.ROLLBACK_SUCCEEDED | Kind.DEPLOYMENT_STARTED:  # what was measured is not served any more
            return True
        case Kind.DEPLOYMENT_FAILED:  # taken back, so its breaches are over
            return event.level is Level.ERROR and key != ROLLBACK
    return False


def concerns(event: Event) -> str | None:
    """The matter that an event belongs to without opening or closing it."""
    if event.kind is Kind.AUTO_ROLLBACK and "gate" in event.facts:
        return gate(event)
    return None


def gate(event: Event) -> str:
    """The matter of one gate; or of several, with commas, that fell silent together: the first that is
    heard again ends it."""
    return GATE + event.facts.get("gate", "")


def waits(event: Event) -> bool:
    """Whether the environment's initial delay applies: a breach may pass by itself, a disaster does not."""
    return event.kind is Kind.GATE_ALERT
