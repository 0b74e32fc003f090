"""Checks all through the window: which are asked when, and what a sample of them says."""

from guarded_rollout.checks.service_checks import CheckResult
from guarded_rollout.checks.window_checks import WindowChecks
from guarded_rollout.config.service_checks import parse_check
from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Side


class Asked:
    """Checks that are asked on a clock of the test's; `failing` are those that do not pass."""

    def __init__(self):
        self.now, self.failing, self.asked = 0.0, set(), []
        checks = [
            parse_check("health", {"path": "/health", "every_seconds": 5.0}),
            parse_check("page", {"path": "/review", "every_seconds": 20.0}),
            parse_check("trip", {"command": ["trip"], "every_seconds": 60.0}),
        ]
        self.source = WindowChecks(checks, self.ask, Side.STABLE, clock=lambda: self.now)

    def ask(self, due):
        for check in due:
            self.asked.append(check.name)
            for name in ("write", "read") if check.name == "trip" else (check.name,):
                yield CheckResult(name, True, name not in self.failing, 0.1, "answered 500")

    def after(self, seconds: float) -> tuple[list[str], str]:
        self.now += seconds
        self.asked = []
        sample = self.source.sample()
        assert (sample.source, sample.side) == (Source.CHECKS, Side.STABLE)
        return self.asked, sample.problem


def test_each_check_is_asked_as_often_as_it_wants():
    checks = Asked()
    assert checks.after(0) == (["health", "page", "trip"], "")
    assert checks.after(5) == (["health"], "")
    assert checks.after(15) == (["health", "page"], "")
    assert checks.after(40) == (["health", "page", "trip"], "")


def test_a_check_that_failed_is_asked_again_at_once_and_its_failure_stands_until_it_passes():
    checks = Asked()
    checks.failing = {"page", "read"}
    problem = "the check page failed: answered 500; the check read failed: answered 500"
    assert checks.after(0)[1] == problem
    assert checks.after(1) == (["page", "trip"], problem)
    checks.failing = set()
    assert checks.after(1) == (["page", "trip"], "")
    assert checks.after(1) == ([], "")
