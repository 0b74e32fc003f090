"""The guide's weekly and monthly tasks: each says what it did, or would do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from guarded_rollout.backup.restic import repositories
from guarded_rollout.backup.retention import remove, surplus
from guarded_rollout.checks.findings import Severity
from guarded_rollout.checks.service_checks import ask, checks_of
from guarded_rollout.clock import Clock
from guarded_rollout.config import gates
from guarded_rollout.config.environments import Environment
from guarded_rollout.config.service_checks import When
from guarded_rollout.config.tls import TlsMode
from guarded_rollout.errors import RolloutError
from guarded_rollout.gates.describe import describe_environment
from guarded_rollout.host.certificate import DAYS_LEFT, read_certificate
from guarded_rollout.host.site import Site
from guarded_rollout.journal.store import Journal
from guarded_rollout.monitor.threshold_review import lines_of, newest_sessions, review
from guarded_rollout.notify import settings
from guarded_rollout.notify.channels import factory
from guarded_rollout.notify.events import Kind, event
from guarded_rollout.notify.notifier import Notifier
from guarded_rollout.notify.outbox import Outbox
from guarded_rollout.operations import baseline
from guarded_rollout.operations.baseline import Measured
from guarded_rollout.operations.log_validation import validate
from guarded_rollout.rotation import DAY, carry_out, due, look

REMEMBERED = timedelta(days=30)
SESSIONS = 20


@dataclass(frozen=True, slots=True)
class TaskNote:
    """A line of a task's report. One that is not `well` needs attention."""

    task: str
    words: str
    level: Severity = Severity.OK

    @property
    def well(self) -> bool:
        return self.level is Severity.OK


@dataclass(frozen=True, slots=True)
class Round:
    """The environment of a round of tasks."""

    environment: Environment
    clock: Clock
    operator: str
    dry_run: bool


Remark = tuple[str, Severity]
Task = Callable[[Round], Iterator[Remark]]


def run(tasks: dict[str, Task], work: Round) -> Iterator[TaskNote]:
    """Do the tasks one after another, each whatever another one came to."""
    for name, task in tasks.items():
        try:
            for words, level in task(work):
                yield TaskNote(name, words, level)
        except RolloutError as error:
            yield TaskNote(name, str(error), Severity.FAILED)


def _unless(wrong: bool) -> Severity:
    return Severity.WARNING if wrong else Severity.OK


# ---- weekly


def logs(work: Round) -> Iterator[Remark]:
    """Review the logs, and rotate what is due."""
    now = work.clock.now()
    found = list(look(work.environment.logs, work.environment.service_logs))
    size = sum(one.size for one in found) / 2**20
    old = sum(now.timestamp() - one.changed_at > 7 * DAY for one in found)
    yield f"{len(found)} logs with {size:.1f} MB, {old} of them older than a week", Severity.OK
    actions = due(work.environment.logs, work.environment.service_logs, now)
    for action in actions:
        yield (f"would {action}" if work.dry_run else str(action)), Severity.OK
    if not work.dry_run:
        carry_out(actions, now)


def backups(work: Round) -> Iterator[Remark]:
    """Keep the last ten backups, what is young, and what an open rollout needs."""
    now, name = work.clock.now(), work.environment.name
    with Journal.open(work.environment.journal, create=False) as journal:
        for folder, decided in surplus(work.environment, journal.open_rollout(name), now):
            for entry in decided.remove if work.dry_run else remove(decided, folder, name, now):
                yield f"{'would remove' if work.dry_run else 'removed'} {entry.name}", Severity.OK
            if folder == work.environment.backups:
                yield f"{len(decided.keep)} backups stay", _unless(not decided.keep and bool(decided.remove))


def copies(work: Round) -> Iterator[Remark]:
    """Read back a part of each target's repository, and remove what restic's rules give up."""
    for repository in repositories(work.environment):
        name, target = repository.target.name, repository.target
        if work.dry_run:
            yield (
                f"would read {target.check} of {name} back, and keep by {' '.join(target.keep)}",
                Severity.OK,
            )
            continue
        try:
            repository.check(target.check)
            yield f"{name}: {target.check} of its data is as it was written", Severity.OK
            yield f"{name}: {repository.forget()} copies were removed", Severity.OK
        except RolloutError as error:
            yield str(error), Severity.FAILED


def notifications(work: Round) -> Iterator[Remark]:
    """Forget what was delivered long ago."""
    path = work.environment.root / "notifications.db"
    if not path.exists():
        yield "no notification was ever sent", Severity.OK
        return
    outbox = Outbox.open(path)
    try:
        waiting = outbox.pending()
        yield f"{waiting} messages wait", _unless(waiting > 0)
        if not work.dry_run:
            yield (
                f"{outbox.prune(work.clock.now() - REMEMBERED)} delivered events were forgotten",
                Severity.OK,
            )
    finally:
        outbox.close()


def logging(work: Round) -> Iterator[Remark]:
    """Validate the logging; it changes nothing, so a dry run does it too, but for what would be rotated."""
    findings = [one for one in validate(work.environment) if not (work.dry_run and one.name == "rotation")]
    for finding in findings:
        if finding.level is not Severity.OK:
            yield f"{finding.name}: {finding.sentence} {finding.advice}".rstrip(), finding.level
    yield (
        f"{sum(finding.level is Severity.OK for finding in findings)} of {len(findings)} checks passed",
        Severity.OK,
    )


def certificate(work: Round) -> Iterator[Remark]:
    """Let the proxy read a certificate that was renewed."""
    tls = work.environment.tls
    if tls.mode is not TlsMode.FILES:
        return
    if work.dry_run:
        yield f"would have the certificate of {tls.domain} read if it was renewed", Severity.OK
        return
    renewed = Site(work.environment, work.clock).traffic.renew_certificate()
    found = read_certificate(tls)
    state = "was renewed and is shown" if renewed else "is as before"
    yield f"{tls.domain} {state}, until {found.expires:%Y-%m-%d}", _unless(found.days_left < DAYS_LEFT)


# ---- monthly


def thresholds(work: Round) -> Iterator[Remark]:
    """Describe the gates, and compare them with the values of the last windows."""
    configured = gates.load(work.environment.gates).environment(work.environment.name)
    for line in describe_environment(configured):
        yield line, Severity.OK
    sessions = newest_sessions(
        work.environment.logs, work.environment.service.name, work.environment.name, SESSIONS
    )
    for one in review([lines_of(path) for path in sessions]):
        most = "no value" if one.most is None else f"{one.most:.4g} {one.unit}"
        yield f"{one.gate}: at most {most} in {one.windows} windows: {one.advice}", Severity.OK


def test_message(work: Round) -> Iterator[Remark]:
    """Tell every configured channel but the pager that this is a test."""
    if work.dry_run:
        on = factory.configured(settings.load(work.environment.project))
        yield (
            f"would send a test message to {', '.join(on) or 'no channel, for none is configured'}",
            Severity.OK,
        )
        return
    with Notifier.of(work.environment, clock=work.clock) as notifier:
        message = event(
            Kind.MESSAGE,
            work.environment.name,
            work.clock.now(),
            message="Monthly notification test; nothing has happened.",
            operator=work.operator,
        )
        notifier.send(message, notifier.all_channels(message))
        notifier.flush([message])
        for channel, result in notifier.outcome(message).items():
            yield f"{channel}: {result}", _unless(result != "delivered")


def performance(work: Round) -> Iterator[Remark]:
    """Measure how long the smoke tests take, and compare with the months before."""
    path = work.environment.root / "baseline.json"
    before = baseline.read(path)
    site = Site(work.environment, work.clock)
    serving = site.serving()
    if work.dry_run or serving is None:
        yield (
            ("would measure the smoke tests" if serving else "nothing serves, so nothing is measured"),
            Severity.OK,
        )
        return
    results = list(ask(site, serving, checks_of(site, serving, When.SMOKE)))
    if failed := [result for result in results if not result.passed]:
        yield f"{failed[0].name}: {failed[0].detail}", Severity.FAILED
        return
    times = [result.seconds * 1000 for result in results] or [0.0]
    now = Measured(work.clock.now().isoformat(), serving.id, round(median(times), 2), round(max(times), 2))
    as_usual, words = baseline.compare(now, before)
    yield words, _unless(not as_usual)
    baseline.keep(path, [*before, now])


WEEKLY: dict[str, Task] = {
    "logs": logs,
    "backups": backups,
    "copies": copies,
    "notifications": notifications,
    "logging": logging,
    "certificate": certificate,
}
MONTHLY: dict[str, Task] = {
    "thresholds": thresholds,
    "notification test": test_message,
    "performance": performance,
}
