"""Stand beside a monitor that watches already: show its log, and end with its exit code."""

from collections.abc import Callable
from pathlib import Path

from guarded_rollout.clock import Clock
from guarded_rollout.config.environments import Environment
from guarded_rollout.logs import Line, parse
from guarded_rollout.monitor import heartbeat
from guarded_rollout.monitor.session import FAILED

LOOK_SECONDS = 0.5


def follow(environment: Environment, clock: Clock, show: Callable[[Line], None]) -> int:
    """Show each line of the other's log until its session has ended; its exit code, 3 if it died."""
    beat = heartbeat.last(environment)
    if beat is None:
        return FAILED
    with Path(beat.log).open(encoding="utf-8") as file:
        rest = ""
        while True:
            rest += file.readline()
            if rest.endswith("\n"):
                line, rest = parse(rest), ""
                if line is None:
                    continue
                show(line)
                if "exit_code" in line.data:
                    return int(line.data["exit_code"])
            elif not beat.alive():
                return FAILED
            else:
                clock.sleep(LOOK_SECONDS)
