"""The advice of errors about releases, rollouts and what they run on, tried: see `test_advice.py`."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guarded_rollout import errors
from guarded_rollout.checks.schema import plan_for
from guarded_rollout.cli.monitor import _require_its_window
from guarded_rollout.cli.ui import listen
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.journal.store import Journal
from guarded_rollout.lock import acquire, owner
from guarded_rollout.monitor.ports import OpenWindow
from guarded_rollout.rollout.engine import Engine, Request
from guarded_rollout.rollout.rollback import previous
from guarded_rollout.rollout.steps.migrate import expand, require_safe, require_schema
from guarded_rollout.rollout.stopping import stop_owner
from tests.guarded_rollout.advicekit import case, production, refused, rollout
from tests.guarded_rollout.backups import make_release
from tests.guarded_rollout.gatekit import shipped
from tests.guarded_rollout.manual_clock import ManualClock
from tests.guarded_rollout.ui.uikit import OLD, Place
from tests.guarded_rollout.world import Killed, Machine

# ---- the engine, on the modelled machine


@contextmanager
def modelled() -> Iterator[Machine]:
    machine = Machine()
    try:
        machine.deploy(machine.build())
        yield machine
    finally:
        machine.close()


def outcome(machine: Machine) -> RolloutOutcome | None:
    return machine.history()[0].outcome


@case(errors.WindowOpenError)
def window_open(folder: Path) -> None:
    advice = "`rollout promote` accepts it, `rollout abort` takes it back, `--supersede` replaces it"
    for way in ("promote", "abort", "supersede"):
        with modelled() as machine:
            machine.deploy(machine.build())
            newest = machine.build()
            with refused(errors.WindowOpenError, advice):
                machine.deploy(newest)
            if way == "promote":
                machine.run(lambda engine: engine.promote())
            elif way == "abort":
                machine.run(lambda engine: engine.abort("it is bad"))
            assert machine.deploy(newest, supersede=way == "supersede").window is not None


@case(errors.NotWatchedError)
def not_watched(folder: Path) -> None:
    for way, wanted in (("resume", None), ("abort", RolloutOutcome.ROLLED_BACK)):
        with modelled() as machine:
            with contextlib.suppress(Killed):
                machine.deploy(machine.build(), lives=12)
            with refused(
                errors.NotWatchedError, "`rollout resume` continues it, `rollout abort` takes it back"
            ):
                machine.run(lambda engine: engine.promote())
            if way == "resume":
                assert machine.run(lambda engine: engine.resume()).window is not None
            else:
                machine.run(lambda engine: engine.abort("it was interrupted"))
            assert outcome(machine) is wanted


@case(errors.NoPreviousError)
def no_previous(folder: Path) -> None:
    with modelled() as machine:
        other = machine.build()
        with refused(errors.NoPreviousError, "Name one with --to"):
            machine.run(lambda engine: previous(engine.site, engine.journal))
        machine.run(lambda engine: engine.roll_back(other, Request("rollback", "ann")))  # type: ignore[arg-type]
        assert machine.world.standing[machine.world.serving()] is other


@case(errors.RollbackFailedError)
def rollback_failed(folder: Path) -> None:
    with modelled() as machine:
        first = machine.world.standing[machine.world.serving()]
        machine.deploy(machine.build())
        machine.run(lambda engine: engine.promote())

        def back(engine: Engine) -> None:
            engine.roll_back(first, Request("rollback", "ann"))  # type: ignore[arg-type]

        command = f"rollout rollback --env production --to {first.id} --force"
        with refused(errors.RollbackFailedError, f"Run it again: {command}"):
            machine.run(back, failing="validate")
        machine.run(back)
        assert outcome(machine) is RolloutOutcome.COMPLETED
        assert machine.world.standing[machine.world.serving()] is first


@case(errors.RolloutEndedError)
def rollout_ended(folder: Path) -> None:
    environment = production(folder)
    with Journal.open(environment.journal) as journal:
        ended = journal.begin("production", "deploy", operator="ann", target="1.0.0")
        journal.end(ended, RolloutOutcome.FAILED, "the disk was full")
        with refused(errors.RolloutEndedError, "See `rollout history`"):
            journal.note(ended, "share", percent=10)
    with contextlib.chdir(folder):
        code, said = rollout("history", "--json")
    assert code == 0
    assert "the disk was full" in said


IGNORING = """
import signal, sys, time
from pathlib import Path
from guarded_rollout.lock import acquire
signal.signal(signal.SIGINT, signal.SIG_IGN)
with acquire(Path(sys.argv[1]), environment="production", command="rollout deploy"):
    print("held", flush=True)
    time.sleep(600)
"""


@case(errors.OwnerDoesNotReactError)
def owner_does_not_react(folder: Path) -> None:
    environment = production(folder)
    with Journal.open(environment.journal) as journal:
        journal.begin("production", "deploy", operator="ann", target="1.0.0")
    command = [sys.executable, "-c", IGNORING, str(environment.lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with refused(errors.OwnerDoesNotReactError, f"`kill -9 {other.pid}`"):
                stop_owner(environment, ManualClock(), print, by="bob", why="x")
        finally:
            os.kill(other.pid, signal.SIGKILL)
    assert owner(environment.lock) is None
    assert stop_owner(environment, ManualClock(), print, by="bob", why="x") is None
    with acquire(environment.lock, environment="production", command="rollout abort") as before:
        assert before is not None


@case(errors.CancelledError)
def cancelled(folder: Path) -> None:
    place = Place(folder)
    place.release(OLD, "blue")
    (folder / "rollout.toml").write_text(
        '[environments.production]\nport = 3999\nroot = "p"\nconfirm = true\n'
    )
    with contextlib.chdir(folder):
        code, said = rollout("down")
        assert code == 1
        assert "Answer the question, or pass --force" in " ".join(said.split())
        code, said = rollout("down", "--force")
    assert code == 0, said
    place.close()


# ---- releases


def of_files(folder: Path, source: str = "src") -> Site:
    """A service whose releases are the files of a folder."""
    more = f'[service]\nname = "talks"\nbuild = "directory"\nsource = "{source}"\n'
    more += '[service.store]\nkind = "none"\n[service.commands]\nserve = ["{python}", "program.py"]\n'
    return Site(production(folder, more))


@case(errors.BuildError)
def build(folder: Path) -> None:
    site = of_files(folder)
    with refused(errors.BuildError, "fix the source and run it again"):
        site.build(None)
    (folder / "src").mkdir()
    (folder / "src" / "program.py").write_text("print('hello')\n")
    site.build(None).require_intact()


@case(errors.ReleaseDamagedError)
def release_damaged(folder: Path) -> None:
    (folder / "src").mkdir()
    (folder / "src" / "program.py").write_text("print('hello')\n")
    site = of_files(folder)
    release = site.build(None)
    release.folder.chmod(0o755)
    release.app.rename(folder / "gone")
    with refused(errors.ReleaseDamagedError, "Remove its folder and build it again with --from"):
        release.require_intact()
    for path in (folder, *release.folder.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(release.folder)
    again = site.build(str(folder / "src"))
    assert again.id == release.id
    again.require_intact()


# ---- commands of the service


SCHEMA = """
import json, pathlib, sys
state, revisions = pathlib.Path("schema"), json.loads(pathlib.Path("revisions.json").read_text())
done = state.read_text().split() if state.exists() else []
if sys.argv[1] == "upgrade":
    for revision in revisions:
        if revision["revision"] in done or revision["revision"] > sys.argv[2]:
            continue
        if "nonsense" in revision["sql"]:
            sys.exit("near nonsense: syntax error")
        done.append(revision["revision"])
    state.write_text(" ".join(done))
if sys.argv[1] == "plan":
    for revision in revisions:
        if revision["revision"] not in done:
            print(json.dumps(revision))
else:
    applied = [one for one in revisions if one["revision"] in done]
    head = sys.argv[2] if sys.argv[1] == "current" else None
    print(json.dumps({"revision": done[-1] if done else None, "head": head, "applied": applied}))
"""


def migrating(folder: Path, *revisions: tuple[str, str], head: str = "0002") -> tuple[Site, Release]:
    """A service with a schema, whose revisions are these; the first one has run."""
    (folder / "schema.py").write_text(SCHEMA)
    told = [{"revision": "0001", "kind": "expand", "sql": "CREATE TABLE a (b INT)"}]
    told += [{"revision": name, "kind": "expand", "sql": sql} for name, sql in revisions]
    (folder / "revisions.json").write_text(json.dumps(told))
    if not (folder / "schema").exists():
        (folder / "schema").write_text("0001")
    more = "[service.commands]\n" + "".join(
        f'{name} = ["{{python}}", "schema.py", {words}]\n'
        for name, words in (
            ("schema_current", f'"current", "{head}"'),
            ("schema_plan", '"plan"'),
            ("schema_upgrade", '"upgrade"'),
        )
    )
    site = Site(production(folder, more))
    found = folder / "releases"
    name = "1.0.0-abcdef01-12345678"
    return site, Release.load(found / name) if found.exists() else make_release(found, name)


@case(errors.SchemaMissingError)
def schema_missing(folder: Path) -> None:
    site, release = migrating(folder, ("0002", "CREATE TABLE c (d INT)"))
    with refused(errors.SchemaMissingError, "Run `rollout migrate` first"):
        require_schema(release, plan_for(site, release))
    expand(site, release, plan_for(site, release))
    require_schema(release, plan_for(site, release))


@case(errors.SchemaNotBroughtError)
def schema_not_brought(folder: Path) -> None:
    site, release = migrating(folder)
    with refused(errors.SchemaNotBroughtError, "Build it again with the migration in it"):
        require_schema(release, plan_for(site, release))
    site, release = migrating(folder, ("0002", "CREATE TABLE c (d INT)"))
    expand(site, release, plan_for(site, release))
    require_schema(release, plan_for(site, release))


@case(errors.MigrationFailedError)
def migration_failed(folder: Path) -> None:
    fine, broken = ("0002", "CREATE TABLE c (d INT)"), ("0003", "nonsense")
    site, release = migrating(folder, fine, broken, head="0003")
    with refused(errors.MigrationFailedError, "Fix the revision and run it again") as found:
        expand(site, release, plan_for(site, release))
    assert found.value.data["current"] == "0002"
    site, release = migrating(folder, fine, ("0003", "CREATE TABLE e (f INT)"), head="0003")
    assert expand(site, release, plan_for(site, release)) == ["0003"]
    require_schema(release, plan_for(site, release))


@case(errors.MigrationRefusedError)
def migration_refused(folder: Path) -> None:
    site, release = migrating(folder, ("0002", "DROP TABLE a"))
    with refused(errors.MigrationRefusedError, "Expand first; contract in a later release"):
        require_safe(plan_for(site, release))
    site, release = migrating(folder, ("0002", "ALTER TABLE a ADD COLUMN g INT"))
    require_safe(plan_for(site, release))
    site, release = migrating(folder, ("0002", "FROBNICATE a"))
    with refused(errors.MigrationRefusedError, "--allow-unknown runs what is merely not known to be safe"):
        require_safe(plan_for(site, release))
    require_safe(plan_for(site, release), allow_unknown=True)


def checking(folder: Path, command: str) -> Site:
    service = '[service]\nname = "pictures"\n[service.store]\nkind = "commands"\n'
    service += '[service.commands]\nserve = ["x"]'
    return Site(production(folder, f"{service}\n{command}\n"))


@case(errors.NoSuchCommandError)
def no_such_command(folder: Path) -> None:
    release = make_release(folder / "releases")
    with refused(errors.NoSuchCommandError, "Write it there"):
        checking(folder, "").require(release, "store_check")
    assert checking(folder, 'store_check = ["true"]').require(release, "store_check").ok


# ---- around it


@case(errors.AddressError)
def address(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with refused(errors.AddressError, "Choose another with --port or --host"):
            listen("127.0.0.1", port)
        listen("127.0.0.1", 0).close()
        listen("127.0.0.2", port).close()


@case(errors.WindowDiffersError)
def window_differs(folder: Path) -> None:
    config = shipped("production")
    minutes = config.monitoring.window_minutes
    open_window = OpenWindow("r1", "new", "old", 0.0, (minutes + 5) * 60, 100.0)
    with refused(errors.WindowDiffersError, "Give the file the same window_minutes"):
        _require_its_window(open_window, config, Path("custom.json"))
    monitoring = config.monitoring.model_copy(update={"window_minutes": minutes + 5})
    _require_its_window(
        open_window, config.model_copy(update={"monitoring": monitoring}), Path("custom.json")
    )
    _require_its_window(open_window, config, None)  # "leave --config out"
