"""Releases that are wrong in one way each, built from the real source: each is stopped where it should be."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from guarded_rollout.errors import BuildError, RolledBackError
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.rollout.steps.base import Options
from tests.guarded_rollout.rolloutkit import last
from tests.guarded_rollout.sandbox import Sandbox
from tests.guarded_rollout.servicekit import SERVICE, migration, newest_revision


def replaced(name: str, old: str, new: str) -> Callable[[Sandbox], None]:
    return lambda sandbox: sandbox.edit(f"{SERVICE}/{name}", lambda text: text.replace(old, new, 1))


@dataclass(frozen=True)
class Fault:
    name: str
    spoil: Callable[[Sandbox], None]
    step: str
    says: str
    allow_unknown: bool = False


REFUSES = """    op.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON images BEGIN SELECT RAISE(ABORT, 'no more pictures'); END"
    )"""

FAULTS = [
    Fault(
        "crashes at start",
        replaced("cli/serve.py", "    import uvicorn\n", '    raise SystemExit("no such device: gpu0")\n'),
        "stage verify",
        "green does not run: no such device: gpu0",
    ),
    Fault(
        "never gets healthy",
        replaced("api/operations.py", "    failing = not all", "    failing = True or not all"),
        "verify",
        "did not get healthy within 12 s; its last answer: 503",
    ),
    Fault(
        "answers 500 to submits",
        replaced(
            "service.py",
            "        apart = await self._read_apart(",
            "        assert not register\n        apart = await self._read_apart(",
        ),
        "verify",
        "failed the check submit_and_find",
    ),
    Fault(
        "one bit of its fingerprints is wrong",
        replaced("facts.py", 'return f"{self.value:016x}"', 'return f"{self.value ^ 1:016x}"'),
        "verify",
        "failed the check golden",
    ),
    Fault(
        "rejects golden pictures",
        replaced(
            "settings.py",
            "    max_pixels: int = Field(",
            "    max_pixels: int = Field(500) if True else Field(",
        ),
        "verify",
        "failed the check golden",
    ),
    Fault(
        "hangs on SIGTERM",
        replaced(
            "cli/serve.py",
            "    import uvicorn\n",
            "    import signal\n\n    import uvicorn\n    import uvicorn.server\n\n"
            "    uvicorn.server.HANDLED_SIGNALS = ()\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n",
        ),
        "verify",
        "did not stop within 3 s after SIGTERM",
    ),
    Fault(
        "drops a table while it says it expands",
        migration("expand", '    op.drop_table("decisions")'),
        "preflight",
        "drops table",
    ),
    Fault(
        "a migration that fails half way, over rows that are there",
        migration(
            "expand",
            '    op.create_table("more", sa.Column("id", sa.Integer, sa.CheckConstraint("id < 0")))\n'
            '    op.execute("INSERT INTO more SELECT 1 FROM images")',
        ),
        "migrate",
        "CHECK constraint failed",
    ),
    Fault(
        "E7 answers 500 for a page",
        replaced(
            "web/review_page.py",
            '    """The page, with its first pairs."""\n',
            '    """The page, with its first pairs."""\n    raise RuntimeError("no page")\n',
        ),
        "verify",
        "failed the check review_page",
    ),
    Fault(
        "E11 writes rows with another release's id",
        replaced("store/store.py", "Recorder(release, ", 'Recorder("another", '),
        "verify",
        "and its row is of release another",
    ),
    Fault(
        "E12 adds a trigger of which nobody knows what it refuses",
        migration("expand", REFUSES),
        "preflight",
        "is not known to leave the release before alone",
    ),
    Fault(
        "E12 adds a trigger that refuses what stable writes, and was allowed to",
        migration("expand", REFUSES, down='    op.execute("DROP TRIGGER refuse")'),
        "migrate",
        "It was taken back; ",
        allow_unknown=True,
    ),
    Fault(
        "E13 takes every store for damaged",
        replaced("cli/db.py", "    if not all(finding.ok for finding in findings):", "    if findings:"),
        "verify",
        "its check finds a sound store damaged",
    ),
    Fault(
        "needs a schema that it does not bring",
        migration("expand", "", brought=False),
        "migrate",
        "but brings no migration to it",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_it_is_stopped_where_it_should_be_and_stable_goes_on_serving(dhash, fault):
    serving = dhash.served_by()
    schema = newest_revision(dhash)
    dhash.configure(start_seconds=12 if "healthy" in fault.name else 20)
    fault.spoil(dhash)
    with pytest.raises(RolledBackError) as error:
        dhash.deploy(migrate=True, options=Options(allow_unknown=fault.allow_unknown))
    assert fault.says in str(error.value)
    assert f"{serving} serves as before" in str(error.value)
    ended = last(dhash)
    assert ended.outcome is RolloutOutcome.ROLLED_BACK
    failed = [step.name for step in ended.steps if step.evidence and "error" in step.evidence]
    assert failed
    assert failed[0] in fault.step.split()
    assert dhash.served_by() == serving
    assert set(dhash.pids()) == {"proxy", dhash.slot_of(serving)}
    told = dhash.site.require(dhash.site.serving(), "schema_current").json()
    assert told["revision"] == schema, "the schema stands at the last good revision"


def test_a_release_that_cannot_even_be_imported_is_not_built(dhash):
    serving = dhash.served_by()
    built = set(dhash.environment.releases.iterdir())
    dhash.edit(f"{SERVICE}/__init__.py", lambda text: text + "\nraise RuntimeError('half merged')\n")
    with pytest.raises(BuildError, match="half merged"):
        dhash.deploy()
    assert set(dhash.environment.releases.iterdir()) == built
    assert dhash.served_by() == serving
