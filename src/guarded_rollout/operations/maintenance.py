"""The guide's weekly and monthly tasks: each says what it did, or would do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from statistics import median

from guarded_rollout.backup.restic import repositories
from guarded_rollout.backup.retention import remove, surplus
from guarded_rollout.checks.findings import Finding, Severity, failed, ok, ok_if
from guarded_rollout.checks.service_checks import ask, smoke_checks
from guarded_rollout.clock import Clock
from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import gates_of
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
class Round:
    """The environment of a round of tasks."""

    environment: Environment
    clock: Clock
    operator: str
    dry_run: bool


Task = Callable[[Round], Iterator[Finding]]


def run(tasks: dict[str, Task], work: Round) -> Iterator[Finding]:
    """Do the tasks one after another, each whatever another one came to."""
    for name, task in tasks.items():
        try:
            for finding in task(work):
                yield replace(finding, name=name)
        except RolloutError as error:
            yield replace(failed(str(error)), name=name)


# ---- weekly


def logs(work: Round) -> Iterator[Finding]:
    """Review the logs, and rotate what is due."""
    now = work.clock.now()
    found = list(look(work.environment.logs, work.environment.service_logs))
    size = sum(one.size for one in found) / 2**20
    old = sum(now.timestamp() - one.changed_at > 7 * DAY for one in found)
    yield ok(f"{len(found)} logs with {size:.1f} MB, {old} of them older than a week")
    actions = due(work.environment.logs, work.environment.service_logs, now)
    for action in actions:
        yield ok(f"would {action}" if work.dry_run else str(action))
    if not work.dry_run:
        carry_out(actions, now)


def backups(work: Round) -> Iterator[Finding]:
    """Keep the last ten backups, what is young, and what an open rollout needs."""
    now, name = work.clock.now(), work.environment.name
    with Journal.open(work.environment.journal, create=False) as journal:
        for folder, decided in surplus(work.environment, journal.open_rollout(name), now):
            for entry in decided.remove if work.dry_run else remove(decided, folder, name, now):
                yield ok(f"{'would remove' if work.dry_run else 'removed'} {entry.name}")
            if folder == work.environment.backups:
                yield ok_if(bool(decided.keep or not decided.remove), f"{len(decided.keep)} backups stay")


def copies(work: Round) -> Iterator[Finding]:
    """Read back a part of each target's repository, and remove what restic's rules give up."""
    for repository in repositories(work.environment):
        name, target = repository.target.name, repository.target
        if work.dry_run:
            yield ok(f"would read {target.check} of {name} back, and keep by {' '.join(target.keep)}")
            continue
        try:
            repository.check(target.check)
            yield ok(f"{name}: {target.check} of its data is as it was written")
            yield ok(f"{name}: {repository.forget()} copies were removed")
        except RolloutError as error:
            yield failed(str(error))


def notifications(work: Round) -> Iterator[Finding]:
    """Forget what was delivered long ago."""
    path = work.environment.root / "notifications.db"
    if not path.exists():
        yield ok("no notification was ever sent")
        return
    outbox = Outbox.open(path)
    try:
        waiting = outbox.pending()
        yield ok_if(waiting == 0, f"{waiting} messages wait")
        if not work.dry_run:
            yield ok(f"{outbox.prune(work.clock.now() - REMEMBERED)} delivered events were forgotten")
    finally:
        outbox.close()


def logging(work: Round) -> Iterator[Finding]:
    """Validate the logging; it changes nothing, so a dry run does it too, but for what would be rotated."""
    findings = [one for one in validate(work.environment) if not (work.dry_run and one.name == "rotation")]
    for finding in findings:
        if finding.level is not Severity.OK:
            words = f"{finding.name}: {finding.sentence} {finding.advice}".rstrip()
            yield Finding(finding.level, words)
    yield ok(f"{sum(finding.level is Severity.OK for finding in findings)} of {len(findings)} checks passed")


def certificate(work: Round) -> Iterator[Finding]:
    """Let the proxy read a certificate that was renewed."""
    tls = work.environment.tls
    if tls.mode is not TlsMode.FILES:
        return
    if work.dry_run:
        yield ok(f"would have the certificate of {tls.domain} read if it was renewed")
        return
    renewed = Site(work.environment, work.clock).traffic.renew_certificate()
    found = read_certificate(tls)
    state = "was renewed and is shown" if renewed else "is as before"
    yield ok_if(found.days_left >= DAYS_LEFT, f"{tls.domain} {state}, until {found.expires:%Y-%m-%d}")


# ---- monthly


def thresholds(work: Round) -> Iterator[Finding]:
    """Describe the gates, and compare them with the values of the last windows."""
    configured = gates_of(work.environment)
    for line in describe_environment(configured):
        yield ok(line)
    sessions = newest_sessions(
        work.environment.logs, work.environment.service.name, work.environment.name, SESSIONS
    )
    for one in review([lines_of(path) for path in sessions]):
        most = "no value" if one.most is None else f"{one.most:.4g} {one.unit}"
        yield ok(f"{one.gate}: at most {most} in {one.windows} windows: {one.advice}")


def test_message(work: Round) -> Iterator[Finding]:
    """Tell every configured channel but the pager that this is a test."""
    if work.dry_run:
        on = factory.configured(settings.load(work.environment.project))
        yield ok(f"would send a test message to {', '.join(on) or 'no channel, for none is configured'}")
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
            yield ok_if(result == "delivered", f"{channel}: {result}")


def performance(work: Round) -> Iterator[Finding]:
    """Measure how long the smoke tests take, and compare with the months before."""
    path = work.environment.root / "baseline.json"
    before = baseline.read(path)
    site = Site(work.environment, work.clock)
    serving = site.serving()
    if work.dry_run or serving is None:
        yield ok("would measure the smoke tests" if serving else "nothing serves, so nothing is measured")
        return
    results = list(ask(site, serving, smoke_checks(site, serving)))
    if bad := next((result for result in results if not result.passed), None):
        yield failed(f"{bad.name}: {bad.detail}")
        return
    times = [result.seconds * 1000 for result in results] or [0.0]
    now = Measured(work.clock.now().isoformat(), serving.id, round(median(times), 2), round(max(times), 2))
    as_usual, words = baseline.compare(now, before)
    yield ok_if(as_usual, words)
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
