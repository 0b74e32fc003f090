"""The rooms: modules that decide, each with the tests that must notice any change of it."""

from collections.abc import Mapping
from dataclasses import dataclass

GUARD, TESTS = "src/guarded_rollout", "tests/guarded_rollout"


@dataclass(frozen=True, slots=True)
class Room:
    """A module, and the tests that must notice any change of it: files, or tests in them, quickest first."""

    module: str
    tests: tuple[str, ...]
    chosen: str = ""  # of these tests, as `pytest -k` has it

    @property
    def name(self) -> str:
        """The module as it is imported."""
        return self.module.removeprefix("src/").removesuffix(".py").replace("/", ".")


def _judge(name: str, *tests: str) -> Room:
    return Room(f"{GUARD}/gates/{name}.py", tuple(f"{TESTS}/test_gates_{test}.py" for test in tests))


ROOMS: Mapping[str, Room] = {
    "retention": Room(f"{GUARD}/backup/retention.py", (f"{TESTS}/test_retention.py",)),
    "window": Room(f"{GUARD}/rollout/window.py", (f"{TESTS}/test_window.py",)),
    "rollback": Room(
        f"{GUARD}/rollout/rollback.py", (f"{TESTS}/test_rollback_plan.py", f"{TESTS}/test_rollback.py")
    ),
    "sequential": Room(
        f"{GUARD}/gates/sequential.py",
        (f"{TESTS}/test_gates_sequential.py",),
        "not rarely",  # hundreds of windows, which say less than what is worked out by hand
    ),
    "windowed": _judge("judges/windowed", "verdicts"),
    "health": _judge("judges/health", "verdicts"),
    "gauge": _judge("judges/gauge", "verdicts"),
    "silence": _judge("judges/base", "verdicts"),
    "regression": _judge("judges/regression", "regression", "relative", "verdicts"),
    "counters": _judge("window", "window"),
    "verdict": _judge("verdict", "verdicts"),
    "statistics": _judge("statistics", "statistics"),
    "detector": _judge("detector", "detector"),
    "comparisons": _judge("judges/comparisons", "comparisons"),
    "trend": _judge("judges/trend", "trend"),
    "restore": Room(f"{GUARD}/rollout/steps/restore_plan.py", (f"{TESTS}/test_restore_plan.py",)),
    "fleet": Room(f"{GUARD}/fleet/hosts.py", (f"{TESTS}/test_fleet.py",)),
    "merge": Room(
        "src/dhash_service/store/merge.py",
        ("tests/dhash_service/store/test_taking.py", "tests/dhash_service/store/test_merge.py"),
        "merge or salvage or taking",
    ),
}
