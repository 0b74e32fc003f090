import json
import os
import signal
import subprocess
from contextlib import suppress

import pytest

from guarded_rollout.config.environments import load
from guarded_rollout.errors import (
    FirstDeploymentError,
    NothingOpenError,
    RolledBackError,
    RolloutError,
)
from guarded_rollout.host.site import Site
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.lock import owner
from guarded_rollout.monitor import heartbeat
from guarded_rollout.rollout.engine import Request
from guarded_rollout.rollout.steps.base import Options, Work
from tests.guarded_rollout.rolloutkit import journal_of, last
from tests.guarded_rollout.sandbox import SERVICE, Sandbox, free_port, wait_until

REQUEST = Request(command="deploy", operator="test")


def make_unhealthy(sandbox: Sandbox) -> None:
    sandbox.edit(SERVICE, lambda text: text.replace("(503 if lacking() else 200)", "503"))


# ---- the first deployment


def test_the_first_deployment_has_no_window_and_the_second_leaves_the_first_warm(sandbox):
    first = sandbox.deploy()
    assert first.window is None
    assert sandbox.served_by() == first.release.id
    ended = last(sandbox)
    assert ended.outcome is RolloutOutcome.COMPLETED
    assert [step.name for step in ended.steps] == [
        "preflight",
        "migrate",
        "stage",
        "verify",
        "shift",
        "finish",
    ]

    second = sandbox.deploy("2.0.0")
    assert second.window is not None
    assert sandbox.served_by() == second.release.id
    assert sandbox.site.answers(sandbox.slot_of(first.release.id)), "the old release stays warm"
    with sandbox.engine() as engine:
        engine.promote()
    assert sandbox.slot_of(first.release.id) is None
    assert set(sandbox.pids()) == {"proxy", "green"}
    assert last(sandbox).outcome is RolloutOutcome.COMPLETED


def test_a_first_deployment_that_fails_leaves_nothing_running_and_says_why(sandbox):
    make_unhealthy(sandbox)
    sandbox.configure(start_seconds=6)
    with pytest.raises(FirstDeploymentError) as error:
        sandbox.deploy()
    assert "did not get healthy within 6 s; its last answer: 503" in str(error.value)
    assert sandbox.pids() == {}
    assert not sandbox.site.processes.up()
    assert last(sandbox).outcome is RolloutOutcome.FAILED


def test_a_first_deployment_that_is_not_even_begun_leaves_no_supervisor_behind(sandbox):
    file = sandbox.folder / "rollout.toml"
    file.write_text(file.read_text() + "[project]\nminimum_free_mb = 1000000000\n")
    with pytest.raises(FirstDeploymentError, match="1000000000 MB are needed"):
        sandbox.deploy()
    assert not sandbox.site.processes.up()
    assert sandbox.slot_of("1.0.0") is None


# ---- the second


def test_a_supervisor_that_dies_with_a_rollout_is_back_when_it_has_been_taken_back(sandbox):
    def end_the_supervisor(work: Work) -> None:
        os.kill(dead, signal.SIGKILL)
        raise RolloutError(detail="the supervisor is gone")

    sandbox.configure(steps=((50, 30), (100, 0)))
    old = sandbox.deploy().release
    dead = sandbox.supervisor_pid()
    sandbox.version("2.0.0")
    with sandbox.engine(guard=end_the_supervisor) as engine, pytest.raises(RolledBackError):
        engine.deploy(sandbox.build(), REQUEST)
    assert sandbox.supervisor_pid() != dead
    assert sandbox.site.processes.up()
    assert sandbox.served_by() == old.id


@pytest.mark.parametrize("dying", ["proxy", "blue"])
def test_what_dies_once_while_the_old_release_is_asked_fails_no_taking_back(sandbox, dying):
    def breaks(work: Work) -> None:
        raise RolloutError(detail="taken back")

    done, pid = sandbox.folder / "done", sandbox.site.processes.lock_path(dying)
    script = sandbox.folder / "ends.sh"
    script.write_text(f"test -e {done} || {{ touch {done}; kill -9 $(cat {pid}); }}")
    check = f'[service.checks.a]\ncommand = ["sh", "{script}"]\nwhen = ["rollback"]\n\n'
    sandbox.configure(steps=((50, 30), (100, 0)))
    file = sandbox.folder / "rollout.toml"
    file.write_text(file.read_text().replace("[service.checks.submit]", f"{check}[service.checks.submit]", 1))
    old = sandbox.deploy().release
    sandbox.version("2.0.0")
    with sandbox.engine(guard=breaks) as engine, pytest.raises(RolledBackError):
        engine.deploy(sandbox.build(), REQUEST)
    assert done.exists()
    assert sandbox.served_by() == old.id
    assert last(sandbox).outcome is RolloutOutcome.ROLLED_BACK


def test_a_contracting_migration_waits_until_the_release_is_accepted(sandbox):
    sandbox.deploy()
    sandbox.version("2.0.0")
    sandbox.add_revision("contract", "DROP INDEX IF EXISTS old")
    sandbox.deploy(migrate=True)
    told = sandbox.rollout("status", "--json")
    assert json.loads(told.stdout)["schema_revision"] == "0001", "the old release may still be needed"
    with sandbox.engine() as engine:
        engine.promote()
    assert last(sandbox).last("finish").evidence["contracted"] == ["0002"]


def test_the_check_of_what_serves_now_can_be_skipped_and_nothing_else(sandbox):
    old = sandbox.deploy().release
    sandbox.edit(
        SERVICE, lambda text: text.replace('{"release": RELEASE, "pid"', '{"release": RELEASE + "", "pid"')
    )
    os.kill(sandbox.supervisor_pid(), signal.SIGSTOP)  # so that what dies stays dead
    os.kill(sandbox.pids()["blue"], signal.SIGKILL)
    os.kill(sandbox.supervisor_pid(), signal.SIGKILL)
    sandbox.site.processes.spec_path("blue").write_text("{}")  # and it does not come up by itself
    sandbox.version("2.0.0")
    with pytest.raises(RolledBackError, match="service health"):
        sandbox.deploy()
    new = sandbox.deploy(options=Options(skip_health_check=True)).release
    assert sandbox.served_by() == new.id
    assert "verify" in [step.name for step in last(sandbox).steps]
    assert old.id == last(sandbox).source


def test_environments_run_side_by_side(sandbox):
    file = sandbox.folder / "rollout.toml"
    staging = f"[environments.staging]\nport = {free_port()}\nconfirm = false\n"
    file.write_text(file.read_text() + staging)
    gates = sandbox.folder / "quality-gates-config.json"
    told = json.loads(gates.read_text())
    told["environments"]["staging"] = told["environments"]["production"]
    gates.write_text(json.dumps(told))
    production = sandbox.deploy().release
    sandbox.version("2.0.0")
    try:
        done = sandbox.rollout("up", "--env", "staging")
        assert done.returncode == 0, done.stderr
        status = json.loads(sandbox.rollout("status", "--env", "staging", "--json").stdout)
        assert status["stable"].startswith("2.0.0")
        assert sandbox.served_by() == production.id
        assert sandbox.rollout("down", "--env", "staging", "--force").returncode == 0
        assert sandbox.served_by() == production.id, "stopping one leaves the other"
    finally:
        Site(load(file).environment("staging")).processes.shut_down()


def test_finish_removes_old_releases_but_none_that_stands_in_a_slot(sandbox):
    file = sandbox.folder / "rollout.toml"
    file.write_text(file.read_text() + "[project]\nkeep_releases = 2\n")
    for version in ("1.1.0", "1.2.0", "1.3.0", "1.4.0"):
        sandbox.deploy(version)
        with sandbox.engine() as engine, suppress(NothingOpenError):
            engine.promote()
    built = sorted(path.name[:5] for path in sandbox.environment.releases.glob("1.*"))
    assert built == ["1.3.0", "1.4.0"]


def test_finish_keeps_the_release_that_was_replaced_however_many_were_built_since(sandbox):
    file = sandbox.folder / "rollout.toml"
    file.write_text(file.read_text() + "[project]\nkeep_releases = 2\n")
    old = sandbox.deploy("1.1.0").release
    for version in ("1.2.0", "1.3.0"):  # built, and never accepted
        sandbox.version(version)
        sandbox.build()
    sandbox.deploy("1.4.0")
    with sandbox.engine() as engine:
        engine.promote()
    assert old.folder.is_dir()
    with sandbox.engine() as engine:
        engine.roll_back(old, Request(command="rollback", operator="test"))
    assert sandbox.served_by() == old.id


# ---- crashes: the engine is a process of its own and is killed for real


def begin(sandbox: Sandbox, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        sandbox.command(*words),
        cwd=sandbox.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def reaches(sandbox: Sandbox, step: str) -> bool:
    with journal_of(sandbox) as journal:
        rollout = journal.open_rollout("production")
        return rollout is not None and rollout.last(step) is not None


@pytest.mark.parametrize("step", ["stage", "shift", "finish"])
def test_killed_at_any_step_a_rollout_is_gone_on_with_or_taken_back(sandbox, step):
    old = sandbox.deploy().release
    sandbox.configure(steps=((50, 1.0), (100, 0)), window_seconds=0.1 if step == "finish" else 60)
    sandbox.version("2.0.0")
    engine = begin(sandbox, "up")
    wait_until(lambda: reaches(sandbox, step), seconds=30)
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    assert sandbox.served_by() in (old.id, sandbox.build().id), "clients are served whatever happened"

    wait_until(lambda: owner(sandbox.environment.lock) is None, 60, "the watcher may be finishing it")
    resumed = sandbox.rollout("resume")
    if resumed.returncode == 0:
        new = sandbox.build()
        if step != "finish":
            sandbox.rollout("promote")
        assert sandbox.served_by() == new.id
        assert last(sandbox).outcome is RolloutOutcome.COMPLETED
    else:
        assert "No rollout is open" in resumed.stderr  # it had ended before the signal came
    assert len([name for name in sandbox.pids() if name in ("blue", "green")]) == 1, "no duplicates"


def test_the_next_deployment_takes_an_interrupted_one_back_first(sandbox):
    old = sandbox.deploy().release
    sandbox.configure(steps=((50, 30.0), (100, 0)))
    sandbox.version("2.0.0")
    engine = begin(sandbox, "deploy")
    wait_until(lambda: reaches(sandbox, "shift"), seconds=30)
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    sandbox.configure()
    sandbox.version("3.0.0")
    done = sandbox.rollout("deploy")
    assert done.returncode == 0, done.stderr
    assert "taking 2.0.0" in done.stdout
    with journal_of(sandbox) as journal:
        newest, interrupted, _ = journal.history()
    assert interrupted.outcome is RolloutOutcome.ROLLED_BACK
    assert interrupted.reason == "it was interrupted"
    assert (newest.source, sandbox.served_by()) == (old.id, newest.target)


def test_an_interrupted_rollout_takes_itself_back(sandbox):
    old = sandbox.deploy().release
    sandbox.configure(steps=((50, 30.0), (100, 0)))
    sandbox.version("2.0.0")
    for number in (signal.SIGINT, signal.SIGTERM):
        engine = begin(sandbox, "deploy")
        wait_until(lambda: reaches(sandbox, "shift"), seconds=30)
        os.kill(engine.pid, number)
        said, _ = engine.communicate(timeout=30)
        assert engine.returncode == 130, said
        assert sandbox.served_by() == old.id
        ended = last(sandbox)
        assert (ended.outcome, ended.reason) == (
            RolloutOutcome.ROLLED_BACK,
            "it was interrupted by the operator.",
        )
        assert set(sandbox.pids()) == {"proxy", "blue"}


def test_every_step_can_be_done_twice(sandbox):
    sandbox.deploy()
    sandbox.version("2.0.0")
    with sandbox.engine() as engine:
        release = sandbox.build()
        work = engine._begin(
            engine._work(release, engine.site.serving(), Request("up", "t", migrate=True)), REQUEST
        )
        for step in work.steps:
            for _ in range(2):
                step.do(work)
        engine.journal.end(work.rollout, RolloutOutcome.COMPLETED)
    assert sandbox.served_by() == release.id


# ---- everything that may be killed at any time


def test_whatever_is_killed_the_next_command_puts_it_right(sandbox):
    release = sandbox.deploy().release
    for victim in (*sandbox.pids().values(), sandbox.supervisor_pid()):
        os.kill(victim, signal.SIGKILL)
    assert sandbox.deploy().serving_already
    wait_until(lambda: sandbox.served_by() == release.id)
    assert set(sandbox.pids()) == {"proxy", "blue"}


def test_the_background_watcher_finishes_a_window_and_survives_being_killed(sandbox):
    sandbox.deploy()
    sandbox.configure(window_seconds=6)
    sandbox.version("2.0.0")
    done = sandbox.rollout("up")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: "watcher" in sandbox.pids())
    os.kill(sandbox.pids()["watcher"], signal.SIGKILL)
    wait_until(lambda: last(sandbox).outcome is RolloutOutcome.COMPLETED, seconds=30)
    wait_until(lambda: set(sandbox.pids()) == {"proxy", "green"})
    assert not sandbox.site.processes.wanted("watcher")


def test_the_background_watcher_takes_a_release_back_that_stops_answering(sandbox):
    old = sandbox.deploy().release
    sandbox.edit(
        SERVICE,
        lambda text: (
            text.replace(
                'case "GET", "/slow":',
                'case "GET", "/hang" if HANGING.append(1):\n            pass\n        case "GET", "/slow":',
            )
            .replace("(503 if lacking() else 200)", "(503 if HANGING else 200)")
            .replace("RELEASE = os", "HANGING: list[int] = []\nRELEASE = os")
        ),
    )
    sandbox.version("2.0.0")
    done = sandbox.rollout("up")
    assert done.returncode == 0, done.stderr
    rollout = last(sandbox).id
    wait_until(lambda: (beat := heartbeat.last(sandbox.environment)) and beat.rollout == str(rollout))
    running = sandbox.pids()
    assert sandbox.rollout("resume").returncode == 0
    assert sandbox.pids() == running, "what runs is left alone, its watcher as well"
    sandbox.site.public().ask("GET", "/hang")
    wait_until(lambda: last(sandbox).command == "rollback" and not last(sandbox).open, seconds=40)
    with journal_of(sandbox) as journal:
        back, taken, _ = journal.history()
    assert (back.outcome, back.target) == (RolloutOutcome.COMPLETED, old.id)
    assert taken.outcome is RolloutOutcome.ROLLED_BACK
    assert sandbox.served_by() == old.id
