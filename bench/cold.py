"""Going back to a release that does not run any more, with a store of pictures."""

import os
import statistics

from tests.guarded_rollout.sandbox import Sandbox

from bench.fill import fill
from bench.phases import means
from bench.rollout import Run, run, running
from bench.table import Table, Target, duration, share

PICTURES = 100_000


def tables(quick: bool) -> list[Table]:
    with running(Sandbox(None)) as dhash:
        fill(dhash.site.store_url, PICTURES)
        runs = [cold(dhash, number) for number in range(1 if quick else 3)]
    return [going_back(runs)]


def cold(dhash: Sandbox, number: int) -> Run:
    """Accept one more release, which stops the one before, and go back to that."""
    dhash.deploy(f"8.{number}.{os.getpid()}")
    with dhash.engine() as engine:
        engine.promote()
    return run(dhash, "rollback", "--to", "previous", "--force")


def going_back(runs: list[Run]) -> Table:
    whole = statistics.mean(one.seconds for one in runs)
    moved = [one.first_share for one in runs]
    return Table(
        f"`rollout rollback --to previous` to a release that was stopped; {PICTURES:,} pictures in the store",
        ["phase", "time", "of the whole"],
        [
            *(
                [part.name, duration(part.seconds), share(part.seconds / whole)]
                for part in means([one.phases for one in runs])
            ),
            ["whole, by the clock of whoever waits", duration(whole), share(1.0)],
            ["until all of the traffic has moved", duration(statistics.mean(moved)), ""],
        ],
        [Target("command to all of the traffic, longest", "≤ 5 s", duration(max(moved)), max(moved) <= 5)],
        note="The safety copy and the checks on the public port come after the traffic.",
    )
