"""Each error's advice is followed where the error is really met, and helps.

A case makes the situation, has the error raised with the words that it follows, does what they say, and tries
again. A class without a case stands in `WITHOUT`, with the reason.
"""

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from guarded_rollout import errors, logs
from guarded_rollout.backup.retention import RetentionRule
from guarded_rollout.checks import reviews
from guarded_rollout.cli.session import settings_file
from guarded_rollout.config import gates
from guarded_rollout.config.environments import load
from guarded_rollout.errors import RolloutError, all_errors
from guarded_rollout.host.certificate import read_certificate
from guarded_rollout.host.release import Release, resolve
from guarded_rollout.host.site import Site
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.journal.store import Journal
from guarded_rollout.lock import acquire
from guarded_rollout.monitor import log
from guarded_rollout.notify import settings
from guarded_rollout.notify.events import Kind, event
from guarded_rollout.notify.fallback import Fallback
from guarded_rollout.notify.message import checked
from guarded_rollout.notify.outbox import Outbox
from guarded_rollout.operations import baseline
from guarded_rollout.operations.systemd import Installation
from guarded_rollout.rollout.engine import Engine
from guarded_rollout.secret import expand, secrets_of
from guarded_rollout.status.snapshot import read
from guarded_rollout.ui.actions import standing, words
from tests.guarded_rollout import advice_backups, advice_fleet, advice_rollouts
from tests.guarded_rollout.advicekit import CASES, case, production, refused, rollout, written
from tests.guarded_rollout.certificates import Authority
from tests.guarded_rollout.gatekit import SHIPPED
from tests.guarded_rollout.test_https import configured
from tests.guarded_rollout.ui.uikit import OLD, Place

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MORE = (advice_backups, advice_fleet, advice_rollouts)
"""Modules with further cases, which are known once they are imported."""

MACHINE = "only a machine with releases, proxy and supervisor meets it; see the tests with the marker system"
TOLD = "it says where to look, and asks for nothing"
WITHOUT: dict[type[RolloutError], str] = {
    errors.ArtifactsError: "`rollout premerge` builds a release",
    errors.ChecksFailedError: MACHINE,
    errors.CommandError: TOLD,
    errors.CopyError: "it needs restic: test_copies.py",
    errors.DiskFullError: "no file system of a test is full",
    errors.DoesNotStopError: MACHINE,
    errors.FileThereError: "it needs litestream: test_stream.py",
    errors.FleetInstallError: "it needs an index",
    errors.FleetMixedError: "it needs hosts: test_fleet_hosts.py",
    errors.FleetTakenBackError: TOLD,
    errors.FirstDeploymentError: "its advice is that of its cause",
    errors.GateBreachedError: MACHINE,
    errors.MigrationBrokeStableError: MACHINE,
    errors.MissingProgramError: "`make install` needs an index",
    errors.NoAnswerError: TOLD,
    errors.NoFleetEngineError: "it needs an index",
    errors.NoImageError: "it tells how to go on without one",
    errors.NoReleaseError: MACHINE,
    errors.NoStreamError: "it needs litestream: test_stream.py",
    errors.NotInstalledError: "it needs an index: test_usage.py",
    errors.NotHealthyError: TOLD,
    errors.NothingToJudgeError: TOLD,
    errors.OperatorCommandError: MACHINE,
    errors.PreflightError: MACHINE,
    errors.ProcessError: TOLD,
    errors.RolledBackError: "its advice is that of its cause",
    errors.ServingUnknownError: "its ways out: test_serving_unknown.py",
    errors.SlotDrainsError: "its slot must drain: test_finishing.py",
    errors.StoreFileError: TOLD,
    errors.StoreProgramError: "it needs PostgreSQL: test_stores.py",
    errors.StreamError: "it needs litestream: test_stream.py",
    errors.SupervisorError: TOLD,
    errors.SystemdError: "no systemd runs where tests do: test_systemd.py",
    errors.UnknownCopyError: "it needs restic: test_copies.py",
    errors.WheelsError: "it needs an index: test_restore_by_hand.py",
}


# ---- what was asked, and the project

EXAMPLES = Path(__file__).parents[2] / "examples"


@case(errors.UsageError)
def usage(folder: Path) -> None:
    written(folder)
    with contextlib.chdir(folder):
        code, said = rollout("smoke", "--endpoint", "x")
    assert code == 1
    assert "See `rollout --help`." in said
    assert rollout("--help")[0] == 0


@case(errors.VariableError)
def no_variable(folder: Path) -> None:
    written(folder)
    with contextlib.chdir(folder):
        export = ("export", "kubernetes", "--image", "example.org/dhash:1")
        code, said = rollout(*export, "--set", "HOST")
        assert code == errors.VariableError.exit_code
        assert errors.VariableError.advice in said
        shutil.copy(SHIPPED, "quality-gates-config.json")
        code, said = rollout(*export, "--set", "HOST=0.0.0.0")
    assert code == 0, said


@case(errors.PodCommandError)
def on_a_socket(folder: Path) -> None:
    with contextlib.chdir(EXAMPLES / "orders"):
        export = ("export", "kubernetes", "--image", "example.org/orders:1")
        code, said = rollout(*export)
        assert code == errors.PodCommandError.exit_code
        advised = said.partition("--serve '")[2].partition("'")[0]
        code, said = rollout(*export, "--serve", advised)
    assert code == 0, said


@case(errors.ClusterNameError)
def of_no_cluster(folder: Path) -> None:
    with contextlib.chdir(EXAMPLES / "quotes"):
        code, said = rollout("export", "kubernetes", "--image", "Example.org/Quotes: 1")
        assert code == errors.ClusterNameError.exit_code
        advised = said.partition("--image ")[2].partition(".\n")[0]
        code, said = rollout("export", "kubernetes", "--image", advised)
    assert code == 0, said


@case(errors.ConfigurationError)
def configuration(folder: Path) -> None:
    path = written(folder, "[environments.production]\nprt = 1\n")
    with refused(errors.ConfigurationError, "rollout.example.toml documents every key"):
        load(path)
    example = Path(gates.__file__).with_name("rollout.example.toml").read_text()
    key = next(line.split()[0] for line in example.splitlines() if line.startswith("port = "))
    load(written(folder, f"[environments.production]\n{key} = 3000\n"))


@case(errors.NoProjectError)
def no_project(folder: Path) -> None:
    with contextlib.chdir(folder):
        with refused(errors.NoProjectError, "begin one there: `rollout init`"):
            settings_file()
        code, said = rollout("init", "--yes", "--serve", "{python} server.py")
        assert code == 0, said
        assert settings_file() == folder / "rollout.toml"


@case(errors.ProjectExistsError)
def project_exists(folder: Path) -> None:
    path = written(folder)
    with contextlib.chdir(folder):
        code, said = rollout("init", "--yes", "--serve", "{python} server.py")
        assert code == 1
        assert errors.ProjectExistsError.advice in " ".join(said.split())
        path.rename(folder / "aside.toml")  # "move it away first"
        code, said = rollout("init", "--yes", "--serve", "{python} server.py")
        assert code == 0, said


@case(errors.UnknownEnvironmentError)
def unknown_environment(folder: Path) -> None:
    path = written(folder)
    with refused(errors.UnknownEnvironmentError, "add it there"):
        load(path).environment("qa")
    path.write_text(path.read_text() + "[environments.qa]\nport = 3009\n")
    assert load(path).environment("qa").port == 3009


# ---- the machine


@case(errors.SocketPathTooLongError)
def socket_path_too_long(folder: Path) -> None:
    long = Site(production(folder, f'root = "{"x" * 120}"\n'))
    with refused(errors.SocketPathTooLongError, "Set a shorter `root`"):
        long.processes.require_short_paths()
    short = replace(production(folder), root=Path("/tmp/r"))
    Site(short).processes.require_short_paths()


@case(errors.PortTakenError)
def port_taken(folder: Path) -> None:
    site = Site(production(folder))
    site.prepare()
    with socket.socket() as other:
        other.bind(("127.0.0.1", site.environment.port))
        other.listen()
        with refused(errors.PortTakenError, "Stop that program"):
            site.traffic.require_own_port()
    site.traffic.require_own_port()


@case(errors.PortForbiddenError)
def port_forbidden(folder: Path) -> None:
    least = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not least.exists() or int(least.read_text()) < 2:
        pytest.skip("here everybody may open every port")
    environment = production(folder)
    low = Site(replace(environment, port=1))
    low.prepare()
    with _as_nobody(), refused(errors.PortForbiddenError, "or set another `port`"):
        low.traffic.require_own_port()
    with _as_nobody():
        Site(environment).traffic.require_own_port()


@contextmanager
def _as_nobody() -> Iterator[None]:
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


@case(errors.CertificateError)
def certificate(folder: Path) -> None:
    authority = Authority(folder / "ca")
    environment = configured(authority, folder, root="")
    with refused(errors.CertificateError, "in `root` the CA's own certificate"):
        read_certificate(environment.tls)
    assert read_certificate(configured(authority, folder).tls).days_left > 0


@case(errors.NotWritableError)
def not_writable(folder: Path) -> None:
    path = folder / "environments" / "production" / "lock"
    (folder / "environments").write_text("")
    with (
        refused(errors.NotWritableError, "move it aside"),
        acquire(path, environment="production", command="x"),
    ):
        pass
    (folder / "environments").rename(folder / "aside")
    with acquire(path, environment="production", command="x"):
        pass


@case(errors.UnitTakenError)
def unit_taken(folder: Path) -> None:
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(folder / "config")
    try:
        first, second = (
            Installation(folder / name, folder / "rollout", "ann", system=False) for name in "ab"
        )
        first.write()
        with refused(errors.UnitTakenError, "--force replaces it"):
            second.write()
        assert second.write(replace=True)
    finally:
        os.environ.pop("XDG_CONFIG_HOME")
        if before is not None:
            os.environ["XDG_CONFIG_HOME"] = before


# ---- releases and secrets


@case(errors.UnsetVariableError)
def unset_variable(folder: Path) -> None:
    file = folder / ".env"
    with refused(errors.UnsetVariableError, "Set KEY in your environment, or in the file that `env_file`"):
        expand("$KEY", secrets_of(file), variable="X")
    file.write_text("KEY=v\n")
    file.chmod(0o600)
    assert expand("$KEY", secrets_of(file), variable="X") == "v"


@case(errors.ReadableSecretsError)
def readable_secrets(folder: Path) -> None:
    file = folder / "my secrets"
    file.write_text("KEY=v\n")
    file.chmod(0o644)
    with refused(errors.ReadableSecretsError, "chmod 600") as found:
        secrets_of(file)
    typed = found.value.hint.partition("`")[2].partition("`")[0]
    assert typed == f"chmod 600 {shlex.quote(str(file))}"
    subprocess.run(typed, shell=True, check=True)
    assert secrets_of(file)["KEY"] == "v"


@case(errors.SecretsFileError)
def secrets_that_are_no_text(folder: Path) -> None:
    file = folder / ".env"
    file.write_bytes(b"KEY=\xff\n")
    file.chmod(0o600)
    with refused(errors.SecretsFileError, "Make it a UTF-8 text file"):
        secrets_of(file)
    file.write_text("KEY=v\n")
    assert secrets_of(file)["KEY"] == "v"
    file.unlink()
    file.mkdir(mode=0o700)
    with refused(errors.SecretsFileError, "Make it"):
        secrets_of(file)


@case(errors.MachineRefusedError)
def machine_refused(folder: Path) -> None:
    production(folder)
    log = folder / "monitor_logs" / "deploy_production_2026-01-01T00-00-00-000Z.log"
    log.mkdir(parents=True)
    with contextlib.chdir(folder):
        code, said = rollout("logs", "show")
        assert (code, said.splitlines()) == (
            1,
            [f"{log}: Is a directory.", "  Give this user access to it, or move aside what stands there."],
        )
        log.rename(folder / "aside")
        assert rollout("logs", "show") == (0, "")


@case(errors.UnknownReleaseError)
def unknown_release(folder: Path) -> None:
    place = Place(folder)
    place.release(OLD)
    releases = place.environment.releases
    with refused(errors.UnknownReleaseError, "Name one of these") as found:
        Release.load(releases / resolve(releases, "nope"))
    named = str(found.value.data["known"]).split(", ")[0]
    assert Release.load(releases / resolve(releases, named)).id == OLD
    place.close()


# ---- rollouts


@case(errors.LockHeldError)
def lock_held(folder: Path) -> None:
    path = folder / "lock"
    with (
        acquire(path, environment="production", command="rollout backup"),
        refused(errors.LockHeldError, "Wait for it to end"),
        acquire(path, environment="production", command="x"),
    ):
        pass
    with acquire(path, environment="production", command="x"):
        pass


@case(errors.JournalDamagedError)
def journal_damaged(folder: Path) -> None:
    path = folder / "journal.db"
    path.write_bytes(b"no database" * 1000)
    with refused(errors.JournalDamagedError, "Move it aside"), Journal.open(path):
        pass
    path.rename(folder / "aside.db")
    with Journal.open(path) as journal:
        assert journal.open_rollout("production") is None


@case(errors.RolloutOpenError)
def rollout_open(folder: Path) -> None:
    with Journal.open(folder / "journal.db") as journal:
        first = journal.begin("production", "deploy", operator="ann", target="1.0.0")
        with refused(errors.RolloutOpenError, "`rollout promote` accepts it, `rollout abort` takes it back"):
            journal.begin("production", "deploy", operator="bob", target="2.0.0")
        journal.end(first, RolloutOutcome.COMPLETED)  # as both do
        journal.begin("production", "deploy", operator="bob", target="2.0.0")


@case(errors.UnknownRolloutError)
def unknown_rollout(folder: Path) -> None:
    environment = production(folder)
    with Journal.open(environment.journal) as journal:
        known = journal.begin("production", "deploy", operator="ann", target="1.0.0")
        with refused(errors.UnknownRolloutError, "`rollout history` lists them"):
            journal.rollout(UUID(int=1))
    with contextlib.chdir(folder):
        code, said = rollout("history", "--json")
    assert code == 0
    assert str(known) in said


@case(errors.NothingOpenError)
def nothing_open(folder: Path) -> None:
    environment = production(folder)
    with (
        Journal.open(environment.journal) as journal,
        refused(errors.NothingOpenError, "`rollout status` shows what serves, `rollout history`"),
    ):
        Engine(Site(environment), journal, print).resume()
    with contextlib.chdir(folder):
        assert rollout("status")[0] == 0
        assert rollout("history")[0] == 0


@case(errors.ActionRefusedError)
def action_refused(folder: Path) -> None:
    place = Place(folder)
    place.watched()
    seen = read(place.environment, place.clock)
    with refused(errors.ActionRefusedError, "Reload"):
        words("pause", seen, {"rollout": "of before"})
    assert words("pause", seen, {"rollout": standing(seen)}) == ["pause", "--env", "production"]
    place.close()


# ---- gates and logs


@case(errors.GatesFileError)
def gates_file(folder: Path) -> None:
    path = folder / "gates.json"
    path.write_text('{"environments": {"production": {"quality_gates": {"health": {"enabled": 3}}}}}')
    with refused(errors.GatesFileError, "`rollout gates check FILE` explains a file"):
        gates.load(path)
    with contextlib.chdir(folder):
        written(folder)
        code, said = rollout("gates", "check", str(path))
    assert code == 1
    assert "quality_gates.health.enabled" in said
    path.write_text('{"environments": {"production": {"quality_gates": {}}}}')
    gates.load(path)


@case(errors.UnknownGatesEnvironmentError)
def unknown_gates_environment(folder: Path) -> None:
    path = folder / "gates.json"
    path.write_text('{"environments": {"production": {"quality_gates": {}}}}')
    with refused(errors.UnknownGatesEnvironmentError, "add it to the file"):
        gates.load(path).environment("qa")
    path.write_text('{"environments": {"production": {"quality_gates": {}}, "qa": {"quality_gates": {}}}}')
    gates.load(path).environment("qa")


@case(errors.NotALogError)
def not_a_log(folder: Path) -> None:
    other = folder / "deploy.log"
    other.write_text("no line of ours\n")
    with refused(errors.NotALogError, "monitor_logs/<service>_<environment>_<time>.log"):
        list(log.read(other))
    path = logs.path_for(folder / "monitor_logs", "orders", "production", NOW)
    path.parent.mkdir()
    path.write_text(
        json.dumps(
            {
                "timestamp": "2026-01-02T00:00:00.000Z",
                "level": "info",
                "message": "Quality gate passed: health",
                "environment": "production",
                "data": {},
            }
        )
        + "\n"
    )
    assert len(list(log.read(path))) == 1


# ---- backups, notifications, reviews


@case(errors.RetentionRuleError)
def retention_rule(folder: Path) -> None:
    with refused(errors.RetentionRuleError, "how many backups stay (--keep)"):
        RetentionRule()
    assert RetentionRule(last=3).last == 3


@case(errors.NotificationSettingsError)
def notification_settings(folder: Path) -> None:
    with refused(errors.NotificationSettingsError, ".env.notifications.example documents each setting"):
        settings.write(folder, {"SLACK_URL": "https://x.test"})
    example = (Path(__file__).parents[2] / ".env.notifications.example").read_text()
    name = next(word for word in ("SLACK_WEBHOOK_URL",) if word in example)
    settings.write(folder, {name: "https://x.test"})
    assert settings.load(folder).values[name] == "https://x.test"


@case(errors.NotificationTemplateError)
def notification_template(folder: Path) -> None:
    with refused(errors.NotificationTemplateError, "$service") as found:
        checked("$environment: $nothing", folder / "message.txt")
    for name in str(found.value.data["known"]).split(", "):
        checked(f"{name} it is", folder / "message.txt")


@case(errors.OutboxError)
def outbox(folder: Path) -> None:
    path = folder / "notifications.db"
    path.write_bytes(b"no database" * 1000)
    with refused(errors.OutboxError, "move a damaged outbox aside"):
        Outbox.open(path)
    path.rename(folder / "aside.db")
    Outbox.open(path).close()


@case(errors.FallbackFileError)
def fallback_file(folder: Path) -> None:
    (folder / "logs").write_text("")
    sent = event(Kind.MESSAGE, "production", NOW, message="m")
    with refused(errors.FallbackFileError, "or set another `logs` folder"):
        Fallback(folder / "logs").add(sent, "m", {}, "x")
    Fallback(folder / "other").add(sent, "m", {}, "x")


@case(errors.ReviewsError)
def unreadable_reviews(folder: Path) -> None:
    path = folder / "reviews.json"
    with refused(errors.ReviewsError, "gh pr view --json reviews,headRefOid"):
        reviews.read(path)
    path.write_text('{"reviews": [], "headRefOid": "abc"}')  # what gh prints of a pull request without any
    assert reviews.read(path) == ([], "abc")


@case(errors.BaselineError)
def unusable_baseline(folder: Path) -> None:
    path = folder / "baseline.json"
    path.write_text("[")
    with refused(errors.BaselineError, "Move it aside"):
        baseline.read(path)
    path.rename(folder / "aside.json")
    baseline.keep(path, [*baseline.read(path), baseline.Measured("2026-01-02", OLD, 1.0, 2.0)])
    assert len(baseline.read(path)) == 1


# ---- the table


@pytest.mark.parametrize("error", CASES, ids=lambda error: error.code())
def test_the_advice_helps(error: type[RolloutError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROLLOUT_TOML", raising=False)
    CASES[error](tmp_path)


def test_every_error_has_a_case_or_a_reason_why_it_has_none() -> None:
    known = {error for error in all_errors() if error is not RolloutError}
    assert known - CASES.keys() == WITHOUT.keys()
    assert not CASES.keys() & WITHOUT.keys()
    assert all(WITHOUT.values())
