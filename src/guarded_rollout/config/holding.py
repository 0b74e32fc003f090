"""How long backups hold what was erased: what the rules for archives, copies and the stream say together."""

import re
from contextlib import suppress
from dataclasses import dataclass

from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import RolloutError

RULE = re.compile(r"--keep-(?P<kind>last|hourly|daily|weekly|monthly|yearly)[= ](?P<number>-?\d+|unlimited)")
WITHIN = re.compile(r"--keep-within(-\w+)?[= ](?P<length>(\d+[ymdh])+)")
DAYS = {"last": 0, "hourly": 1 / 24, "daily": 1, "weekly": 7, "monthly": 31, "yearly": 366}
LETTERS = {"y": 366, "m": 31, "d": 1, "h": 1 / 24}


@dataclass(frozen=True, slots=True)
class BackupHolding:
    """A backup stays for so many days, and until so many newer ones are there. `days` is None for ever."""

    days: int | None
    count: int


def holding_of(environment: Environment) -> BackupHolding:
    """The longest that a backup of the environment stays, wherever it is, if maintenance is carried out."""
    from guarded_rollout.config.gates import gates_of  # its models are slow to make, and seldom needed

    hours = [0.0]
    with suppress(RolloutError):  # a gates file that cannot be read is for those to say who judge by it
        watched = gates_of(environment)
        hours.append(watched.auto_rollback.backup_retention_hours)
    if environment.stream is not None:
        hours.append(environment.stream.retention_hours)
    days, count = max(hours) / 24, environment.keep_backups
    for rule in (rule for target in environment.copies for rule in target.keep):
        if (found := RULE.fullmatch(rule)) and found["number"] not in ("unlimited", "-1"):
            days = max(days, int(found["number"]) * DAYS[found["kind"]])
            count = max(count, int(found["number"]))
        elif found := WITHIN.fullmatch(rule):
            parts = re.findall(r"(\d+)([ymdh])", found["length"])
            days = max(days, sum(int(number) * LETTERS[letter] for number, letter in parts))
        else:
            return BackupHolding(None, count)
    return BackupHolding(-int(-days // 1), count)
