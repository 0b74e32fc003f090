"""Which fault may cost which requests. Pure; `docs/reliability.md` says the same in a table.

A request that failed is explained by an excuse that names its kind and its answer and covers a part of the
time it took. Whatever no excuse explains is a defect of the product.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from chaos.clients import EXTRACT, NOT_FOUND, READ, SEARCH, STATUS, SUBMIT, Entry
from chaos.faults.base import Incident
from chaos.plan import Action, Plan, Target, Variant

ALL = frozenset({SUBMIT, EXTRACT, READ, SEARCH, STATUS})
WRITES = frozenset({SUBMIT, EXTRACT})
NO_ANSWER = frozenset({0})
UNAVAILABLE = frozenset({502, 503, 504})
MISSED = frozenset({200})
READS, SEARCHES, NOT_THERE = frozenset({READ}), frozenset({SEARCH}), frozenset({404})

CUT = "IncompleteReadError"
"""A head came, and less of a body than it told."""

PROXY_BACK = 6.0
"""Seconds in which the supervisor has the proxy running again: it waits one, and the machine is busy."""

SERVICE_BACK = 9.0
"""Seconds in which a release that died alone answers again: the supervisor's one, imports, the index."""

DETECTED = 15.0
"""Seconds from a release's first bad answer to its last, with gates as shipped (the issue's own bound)."""

IN_STEP = 3.0
"""Seconds after which any process has every other one's rows in its index again."""

DATABASE_BACK = 10.0
"""Seconds in which a release that met a dead database server has another one, and its index is in step."""

TRIES = 3.0
"""Seconds for which the proxy looks for another release that answers (`lb_try_duration`)."""


@dataclass(frozen=True, slots=True)
class Excuse:
    """These kinds of requests may get these answers in this time (seconds since 1970).

    `words` is how the problem begins, where it must be a certain one; `numbers` are the pictures, where it
    must be about one of them.
    """

    kinds: frozenset[str]
    statuses: frozenset[int]
    begin: float
    end: float
    why: str
    words: str = ""
    numbers: frozenset[int] = frozenset()

    def covers(self, entry: Entry) -> bool:
        overlaps = entry.begun <= self.end and entry.ended >= self.begin
        named = entry.kind in self.kinds and entry.status in self.statuses
        meant = not self.numbers or entry.number in self.numbers
        return overlaps and named and meant and entry.problem.startswith(self.words)


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a run besides its incidents. `helped` has an operator's commands, begin and end.

    `exposed` is the time in which clients could reach the candidate. `slow` is how many times longer than
    on an idle machine things take: how many processes want each core. `erased` says of pictures when somebody
    first wanted them to be erased.
    """

    helped: tuple[tuple[float, float], ...]
    exposed: tuple[float, float] | None
    ended: float
    slow: float
    erased: Mapping[int, float] = field(default_factory=dict)

    def help_after(self, moment: float) -> float:
        """When an operator's next command was done."""
        return min((end for begin, end in self.helped if begin > moment), default=self.ended)


def unexplained(entries: Iterable[Entry], excuses: Sequence[Excuse]) -> list[Entry]:
    """The failures that the model does not allow."""
    return [entry for entry in entries if entry.failed and not any(one.covers(entry) for one in excuses)]


def excuses_of(plan: Plan, incidents: Sequence[Incident], history: History) -> list[Excuse]:
    """All that this run's faults may cost."""
    found = [excuse for incident in incidents for excuse in _excuses(incident, incidents, history)]
    return [*found, *_of_the_release(plan, history), *_of_the_erased(history)]


def _excuses(incident: Incident, incidents: Sequence[Incident], history: History) -> list[Excuse]:
    fault, began, ended = incident.fault, incident.began, incident.ended
    match fault.action, fault.target:
        case Action.KILL, Target.PROXY:
            back = _back(incident, incidents, history, PROXY_BACK * history.slow)
            return [Excuse(ALL, NO_ANSWER, began, back, "the proxy was killed")]
        case Action.KILL, Target.STABLE | Target.CANDIDATE | Target.REPLICA:
            cut = Excuse(
                ALL,
                NO_ANSWER,
                began,
                began + 0.5 * history.slow,
                "it was killed between an answer's head and its body",
                CUT,
            )
            if not incident.alone or fault.target is Target.REPLICA:
                return [cut]
            back = _back(incident, incidents, history, SERVICE_BACK * history.slow)
            return [cut, Excuse(ALL, UNAVAILABLE, began, back, "the only release that runs was killed")]
        case Action.KILL, Target.WORKER:
            return [
                Excuse(
                    frozenset({EXTRACT}),
                    frozenset({422}),
                    began - 0.5 * history.slow,
                    began + 1.0 * history.slow,
                    "the process that read this document was killed",
                )
            ]
        case Action.FREEZE, Target.STABLE | Target.CANDIDATE:
            late = Excuse(
                frozenset({SEARCH}),
                MISSED,
                began,
                ended + IN_STEP * history.slow,
                "its index stood still as well",
                NOT_FOUND,
            )
            cut = Excuse(
                ALL,
                UNAVAILABLE | NO_ANSWER,
                began,
                ended + DETECTED * history.slow,
                "it was ended while it stood still, with requests in hand for longer than the proxy tries",
            )
            return [late, cut] if ended - began >= TRIES or incident.alone else [late]
        case Action.DISK_FULL, _:
            return [
                Excuse(
                    WRITES,
                    UNAVAILABLE | {507},
                    began,
                    ended + 2.0 * history.slow,
                    "there was no room to write",
                )
            ]
        case Action.LOCK, _:
            return [
                Excuse(
                    WRITES,
                    UNAVAILABLE,
                    began,
                    ended + 2.0 * history.slow,
                    "the database was locked by another process",
                ),
                Excuse(
                    frozenset({SEARCH}),
                    MISSED,
                    began,
                    ended + IN_STEP * history.slow,
                    "the index could not follow",
                    NOT_FOUND,
                ),
            ]
        case Action.DATABASE, _:
            back = ended + DATABASE_BACK * history.slow
            return [Excuse(ALL, UNAVAILABLE, began, back, "the database was away")]
        case Action.POWER, _:
            back = history.help_after(began) + SERVICE_BACK * history.slow
            return [Excuse(ALL, UNAVAILABLE | NO_ANSWER, began, back, "there was no power")]
    return []


def _back(incident: Incident, incidents: Sequence[Incident], history: History, seconds: float) -> float:
    """When what died must answer again: soon, if a supervisor is there; else soon after an operator came."""
    absent = [
        other
        for other in incidents
        if other.fault.target is Target.SUPERVISORD and other.began <= incident.began + seconds
    ]
    if not absent:
        return incident.began + seconds
    if all(other.fault.action is Action.FREEZE for other in absent):
        return max(incident.began, *(other.ended for other in absent)) + seconds
    return history.help_after(incident.began) + seconds


BROKEN = {
    Variant.FAILS_LATER: (WRITES, frozenset({500})),
    Variant.METRICS_LIE: (WRITES, frozenset({500})),
    Variant.HEALTH_LIES: (WRITES, frozenset({500})),
    Variant.CRASHES_LATER: (ALL, UNAVAILABLE),
    Variant.CUTS_ANSWERS: (ALL, NO_ANSWER),
    Variant.FORGETS_FINDS: (frozenset({SEARCH}), MISSED),
    Variant.FAILS_SUBMITS: (WRITES, frozenset({500})),
}


def _of_the_release(plan: Plan, history: History) -> list[Excuse]:
    """What a faulty release answers while clients can reach it."""
    broken = BROKEN.get(plan.variant)
    if broken is None or history.exposed is None:
        return []
    begin, end = history.exposed
    kinds, statuses = broken
    words = NOT_FOUND if statuses == MISSED else ""
    return [Excuse(kinds, statuses, begin, end + 0.5, f"the release {plan.variant}", words)]


def _of_the_erased(history: History) -> list[Excuse]:
    """Nobody finds what is erased; that nobody may is looked at by itself."""
    return [
        excuse
        for number, asked in history.erased.items()
        for excuse in (
            Excuse(READS, NOT_THERE, asked, inf, "it was erased", numbers=frozenset({number})),
            Excuse(SEARCHES, MISSED, asked, inf, "it was erased", NOT_FOUND, frozenset({number})),
        )
    ]
