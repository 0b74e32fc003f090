"""What faults may cost: each excuse covers what it names, when it names it, and nothing else."""

from dataclasses import replace

import pytest
from chaos.clients import EXTRACT, NOT_FOUND, READ, SEARCH, STILL_THERE, SUBMIT, Entry
from chaos.faults.base import Incident
from chaos.model import DATABASE_BACK, DETECTED, PROXY_BACK, SERVICE_BACK, History, excuses_of, unexplained
from chaos.plan import Action, Fault, Moment, Plan, Store, Story, Target, Variant

AT = 1000.0
QUIET = History(helped=((900.0, 910.0), (1030.0, 1040.0)), exposed=None, ended=1100.0, slow=1.0)


def plan(variant: Variant = Variant.GOOD) -> Plan:
    return Plan(1, Store.SQLITE, Story.ROLL_OUT, variant, ())


def incident(action: Action, target: Target = Target.NONE, *, seconds: float = 0.0, alone: bool = False):
    fault = Fault(action, target, Moment("", False, 0.0), seconds)
    return Incident(fault, AT, AT + seconds, "process 1", alone)


def failed(kind: str, status: int, begun: float, seconds: float = 0.1) -> Entry:
    return Entry(kind, begun, begun + seconds, status, "it failed")


def left(entries: list[Entry], *incidents: Incident, history: History = QUIET, given: Plan | None = None):
    return unexplained(entries, excuses_of(given or plan(), incidents, history))


HARMLESS = [
    incident(Action.KILL, Target.ENGINE),
    incident(Action.KILL, Target.MONITOR),
    incident(Action.KILL, Target.SUPERVISORD),
    incident(Action.KILL, Target.CANDIDATE),
    incident(Action.KILL, Target.STABLE),
    incident(Action.KILL, Target.REPLICA, alone=True),
    incident(Action.FREEZE, Target.PROXY, seconds=3),
    incident(Action.FREEZE, Target.CANDIDATE, seconds=2),
    incident(Action.BACKUPS_READ_ONLY, seconds=3),
    incident(Action.DAMAGE, Target.FLIPPED),
    incident(Action.NOBODY_LISTENS, seconds=3),
    incident(Action.CLOCK, Target.AHEAD),
    incident(Action.SECOND_OPERATOR),
]


@pytest.mark.parametrize("one", HARMLESS, ids=lambda one: str(one.fault))
def test_these_may_cost_no_write_and_no_connection(one):
    entries = [failed(SUBMIT, 503, AT), failed(SUBMIT, 0, AT), failed(READ, 0, AT), failed(READ, 404, AT)]
    assert left(entries, one) == entries


def test_a_killed_proxy_costs_connections_until_it_is_back():
    killed = incident(Action.KILL, Target.PROXY)
    assert not left([failed(SUBMIT, 0, AT - 0.05), failed(READ, 0, AT + PROXY_BACK - 1)], killed)
    late, wrong = failed(READ, 0, AT + PROXY_BACK + 1), failed(READ, 500, AT + 1)
    assert left([late, wrong], killed) == [late, wrong]
    assert not left([late], killed, history=replace(QUIET, slow=3.0))


def test_without_a_supervisor_it_is_back_when_an_operator_has_come():
    killed = incident(Action.KILL, Target.PROXY)
    unsupervised = incident(Action.KILL, Target.SUPERVISORD)
    assert not left([failed(READ, 0, 1035.0)], killed, unsupervised)
    assert left([failed(READ, 0, 1040.0 + PROXY_BACK + 1)], killed, unsupervised)


def test_a_killed_release_costs_something_only_if_it_was_alone():
    entries = [failed(SUBMIT, 503, AT + 3)]
    assert left(entries, incident(Action.KILL, Target.STABLE)) == entries
    assert not left(entries, incident(Action.KILL, Target.STABLE, alone=True))
    assert left(
        [failed(SUBMIT, 503, AT + SERVICE_BACK + 1)], incident(Action.KILL, Target.STABLE, alone=True)
    )


def test_a_release_that_is_killed_cuts_the_answer_that_it_is_sending_and_no_other():
    cut = replace(failed(READ, 0, AT - 0.1, 0.2), problem="IncompleteReadError: 0 bytes of 328")
    assert not left([cut], incident(Action.KILL, Target.STABLE))
    late, refused = replace(cut, begun=AT + 2, ended=AT + 3), failed(READ, 0, AT)
    assert left([late, refused], incident(Action.KILL, Target.STABLE)) == [late, refused]


def test_a_killed_worker_costs_the_document_in_its_hands():
    killed = incident(Action.KILL, Target.WORKER)
    assert not left([failed(EXTRACT, 422, AT)], killed)
    assert left([failed(EXTRACT, 422, AT + 5), failed(SUBMIT, 422, AT)], killed)


def test_a_full_disk_costs_writes_and_no_reads():
    full = incident(Action.DISK_FULL, seconds=3)
    assert not left([failed(SUBMIT, 503, AT + 1)], full)
    assert left([failed(READ, 503, AT + 1), failed(SUBMIT, 500, AT + 1)], full)


def test_an_acknowledged_write_that_is_not_found_is_never_excused():
    everything = [incident(action) for action in Action if action is not Action.POWER]
    assert left([failed(READ, 404, AT)], *everything)


def test_what_is_erased_is_found_no_more_and_nothing_else_is_missed():
    history = replace(QUIET, erased={7: AT})
    gone = [replace(failed(READ, 404, AT + 50), number=7)]
    gone.append(replace(failed(SEARCH, 200, AT + 50), number=7, problem=f"{NOT_FOUND}: it"))
    assert not left(gone, history=history)
    others = [replace(entry, number=8) for entry in gone]
    before = [replace(entry, begun=AT - 2, ended=AT - 1) for entry in gone]
    found = replace(gone[1], problem=f"{STILL_THERE}, and search answers it")
    assert left([*others, *before, found], history=history) == [*others, *before, found]


def test_no_index_that_is_behind_excuses_finding_what_was_erased():
    found = replace(failed(SEARCH, 200, AT), problem=f"{STILL_THERE}, and search answers it")
    frozen = incident(Action.FREEZE, Target.STABLE, seconds=3)
    assert left([found], frozen, incident(Action.LOCK, seconds=3)) == [found]


def test_a_dead_database_costs_answers_until_there_is_another_and_no_connection():
    killed = incident(Action.DATABASE, Target.STANDBY, seconds=2)
    assert not left([failed(SUBMIT, 503, AT + 1), failed(READ, 503, AT + 1)], killed)
    wrong = [failed(SUBMIT, 500, AT + 1), failed(READ, 0, AT + 1), failed(READ, 404, AT + 1)]
    wrong.append(failed(READ, 503, AT + 2 + DATABASE_BACK + 1))
    assert left(wrong, killed) == wrong


def test_places_that_are_away_cost_nothing():
    away = [
        incident(Action.VANISH, Target.STREAM, seconds=3),
        incident(Action.REFUSE, Target.COPIES, seconds=3),
    ]
    entries = [failed(SUBMIT, 503, AT), failed(READ, 0, AT)]
    assert left(entries, *away) == entries


def test_a_faulty_release_costs_what_it_breaks_while_clients_can_reach_it():
    given, history = plan(Variant.FAILS_LATER), replace(QUIET, exposed=(AT, AT + DETECTED))
    assert not left([failed(SUBMIT, 500, AT + 5)], history=history, given=given)
    unexcused = [failed(SUBMIT, 500, AT + DETECTED + 5), failed(READ, 500, AT + 5), failed(SEARCH, 0, AT)]
    assert left(unexcused, history=history, given=given) == unexcused
