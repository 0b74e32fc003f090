import json
import os
import platform
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from multiprocessing import get_context

import pytest

from guarded_rollout.errors import LockHeldError, NotWritableError
from guarded_rollout.lock import Owner, acquire, ask_to_stop, owner, process_started, stop_request


@pytest.fixture
def path(tmp_path):
    return tmp_path / "environments" / "production" / "lock"


def lock(path, command="rollout deploy"):
    return acquire(path, environment="production", command=command)


HOLDER = """
import os, sys, time
from pathlib import Path
from guarded_rollout.lock import acquire
with acquire(Path(sys.argv[1]), environment="production", command="rollout deploy"):
    child = os.fork() if "--child" in sys.argv else 1
    if child:
        print(child, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(path):
    """Starts another process that holds the lock; all of them are gone afterwards."""
    started = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        process.child = int(process.stdout.readline())
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.child != 1:
            os.kill(process.child, signal.SIGKILL)


def test_a_second_command_is_told_who_holds_the_lock(path, holder):
    process = holder()
    with pytest.raises(LockHeldError) as caught, lock(path, "rollout rollback"):
        pass
    assert f"production is being worked on by `rollout deploy` (process {process.pid} on" in str(caught.value)
    assert owner(path).pid == process.pid


def test_the_holder_of_a_lock_is_asked_to_stop_as_by_ctrl_c_and_knows_who_asked(path, holder):
    process = holder()
    assert ask_to_stop(path, owner(path), by="alice@ops", why="users see wrong matches")
    assert process.wait(10) == -signal.SIGINT
    assert stop_request(path) is None, "it was another process that was asked"
    me = Owner(os.getpid(), platform.node(), process_started(os.getpid()), "now", "rollout deploy")
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        ask_to_stop(path, me, by="alice@ops", why="it hangs")
    finally:
        signal.signal(signal.SIGINT, before)
    asked = stop_request(path)
    assert (asked.by, asked.why) == ("alice@ops", "it hangs")


def test_a_holder_that_is_stopped_in_its_terminal_goes_on_to_stop(path, holder):
    process = holder()
    os.kill(process.pid, signal.SIGSTOP)
    assert ask_to_stop(path, owner(path), by="alice@ops", why="")
    assert process.wait(10) == -signal.SIGINT


def test_whoever_is_gone_or_elsewhere_cannot_be_asked(path, holder):
    process = holder()
    found = owner(path)
    assert not ask_to_stop(path, replace(found, host="elsewhere"), by="alice", why="")
    process.kill()
    process.wait()
    assert not ask_to_stop(path, found, by="alice", why="")


def test_the_lock_is_free_when_its_block_ends_however_it_ends(path):
    with pytest.raises(KeyboardInterrupt), lock(path):
        raise KeyboardInterrupt
    assert owner(path) is None
    with lock(path) as died:
        assert died is None


def test_it_is_a_decorator_too(path):
    @lock(path)
    def command():
        return owner(path).pid

    assert command() == os.getpid()
    assert command() == os.getpid()
    assert owner(path) is None


def test_two_threads_of_one_process_do_not_both_get_it(path):
    with lock(path), pytest.raises(LockHeldError), lock(path):
        pass


def test_the_lock_of_a_killed_owner_is_taken_over_and_says_whose_it_was(path, holder):
    process = holder()
    process.kill()
    process.wait()
    assert owner(path) is None
    with lock(path) as died:
        assert died.pid == process.pid
        assert died.command == "rollout deploy"
    with lock(path) as died:
        assert died is None


def test_a_child_that_inherited_a_dead_owners_lock_does_not_hold_it(path, holder):
    process = holder("--child")
    with pytest.raises(LockHeldError), lock(path):
        pass
    process.kill()
    process.wait()
    with lock(path) as died:
        assert died.pid == process.pid
        with pytest.raises(LockHeldError), lock(path):
            pass


def test_a_process_with_the_same_number_but_another_start_is_another_process(path, holder):
    holder()
    named = json.loads(path.read_text())
    path.write_text(json.dumps(named | {"started": "an-earlier-boot:123"}))
    with lock(path) as died:
        assert died.started == "an-earlier-boot:123"


def test_of_another_hosts_owner_nothing_can_be_proved(path, holder):
    process = holder()
    process.kill()
    process.wait()
    elsewhere = Owner(**json.loads(path.read_text()))
    assert elsewhere.dead
    assert not replace(elsewhere, host="elsewhere").dead


def test_a_process_keeps_its_start_and_a_missing_one_has_none():
    assert process_started(os.getpid()) == process_started(os.getpid()) != ""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert process_started(ended.pid) == ""


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1}', "[]", "\x00" * 5000])
def test_a_garbled_owner_is_nobody(path, content):
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert owner(path) is None
    with lock(path) as died:
        assert died is None


def test_a_place_that_cannot_hold_a_lock_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritableError), lock(tmp_path / "file" / "lock"):
        pass


def test_an_owner_that_cannot_be_written_down_holds_nothing(path):
    with lock(path):
        pass
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, unlimited[1]))  # as on a full disk, no byte can be written
    try:
        with pytest.raises(NotWritableError), lock(path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    with lock(path):
        pass


def contend(path, inside, most):
    for _ in range(60):
        try:
            with lock(path):
                with inside.get_lock():
                    inside.value += 1
                    most.value = max(most.value, inside.value)
                sum(range(20_000))  # long enough for another to come in
                with inside.get_lock():
                    inside.value -= 1
        except LockHeldError:
            pass


def test_never_two_owners_among_many_that_try(path):
    context = get_context("spawn")
    inside, most = context.Value("i", 0), context.Value("i", 0)
    contenders = [context.Process(target=contend, args=(path, inside, most)) for _ in range(3)]
    contenders += [threading.Thread(target=contend, args=(path, inside, most)) for _ in range(2)]
    for contender in contenders:
        contender.start()
    for contender in contenders:
        contender.join()
    assert [contender.exitcode for contender in contenders[:3]] == [0, 0, 0]
    assert (inside.value, most.value) == (0, 1)
