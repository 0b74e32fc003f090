"""The outcomes of smoke tests for people, for programs, and as JUnit XML for CI."""

import xml.etree.ElementTree as xml
from collections.abc import Sequence
from dataclasses import asdict

from guarded_rollout.checks.service_checks import CheckResult
from guarded_rollout.notify.message import printable


def line(outcome: CheckResult) -> str:
    """One line for people."""
    mark = "PASS" if outcome.passed else "FAIL"
    name = f"{outcome.name} (critical)" if outcome.critical else outcome.name
    return f"{mark} {name:26} {outcome.seconds:6.2f} s  {outcome.detail}"


def summary(outcomes: Sequence[CheckResult]) -> str:
    """Count those that passed, and name the others."""
    failed = [outcome.name for outcome in outcomes if not outcome.passed]
    whole = f"{len(outcomes) - len(failed)} of {len(outcomes)} smoke tests passed"
    return f"{whole}; failed: {', '.join(failed)}" if failed else whole


def as_json(outcomes: Sequence[CheckResult], environment: str, endpoint: str) -> dict[str, object]:
    """All of it for programs."""
    return {
        "environment": environment,
        "endpoint": endpoint,
        "passed": all(outcome.passed for outcome in outcomes),
        "tests": [{**asdict(outcome), "seconds": round(outcome.seconds, 3)} for outcome in outcomes],
    }


def junit(outcomes: Sequence[CheckResult], environment: str) -> str:
    """A JUnit XML document with one test suite."""
    failed = sum(not outcome.passed for outcome in outcomes)
    suite = xml.Element(
        "testsuite",
        name=f"smoke.{environment}",
        tests=str(len(outcomes)),
        failures=str(failed),
        errors="0",
        time=f"{sum(outcome.seconds for outcome in outcomes):.3f}",
    )
    for outcome in outcomes:
        case = xml.SubElement(
            suite, "testcase", classname="smoke", name=outcome.name, time=f"{outcome.seconds:.3f}"
        )
        detail = printable(outcome.detail)
        if outcome.passed:
            xml.SubElement(case, "system-out").text = detail
        else:
            xml.SubElement(case, "failure", message=detail).text = detail
    xml.indent(suite)
    return xml.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
