"""Runs the checks that a service declares: requests of our own, and commands of the release."""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from guarded_rollout.config.service_checks import CommandCheck, HttpCheck, ServiceCheck, When, parse_check
from guarded_rollout.host.caddy import PIN, inner_socket
from guarded_rollout.host.endpoint import Answer, Endpoint
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import CommandResult, Site
from guarded_rollout.host.slots import Slot

ANSWER_SECONDS = 30.0  # `{timeout}` of a command, where nobody says otherwise
SEED = "rollout check"  # `{seed}`: what a check writes is the same each time
BRIEF = 200  # characters of a body that are shown


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check. `detail` says what was seen, or why it failed."""

    name: str
    critical: bool
    passed: bool
    seconds: float
    detail: str


Runner = Callable[[CommandCheck, tuple[str, ...]], CommandResult]
"""Runs a check's command, with these words, within the check's time."""


@dataclass(frozen=True, slots=True)
class Checker:
    """Asks one place. `folder` is what `body_file` is relative to; `headers` go with every request."""

    endpoint: Endpoint
    run: Runner
    folder: Path
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 0.0  # of every request, in place of the check's own; 0: the check's
    clock: Callable[[], float] = time.monotonic

    def results(
        self, checks: Iterable[ServiceCheck], *, quick: bool = False, values: Mapping[str, str] | None = None
    ) -> Iterator[CheckResult]:
        """Go through the checks, each whatever another one says; `quick` is the critical ones.

        `values` are known from the beginning, as if they had been captured.
        """
        captured: dict[str, str] = dict(values or {})
        for check in checks:
            if quick and not check.critical:
                continue
            if isinstance(check, CommandCheck):
                yield from self._command(check, quick)
            elif isinstance(check, HttpCheck):
                yield self._http(check, captured)

    def _http(self, check: HttpCheck, captured: dict[str, str]) -> CheckResult:
        begun = self.clock()
        problem, detail = "", ""
        try:
            answer = self._ask(check, captured)
            problem = _problem(check, answer)
            if not problem:
                captured |= {name: str(_at(answer.json(), at)) for name, at in check.capture.items()}
                detail = f"{check.method} {check.path} answered {answer.status}"
        except LookupError as error:
            problem = f"{check.method} {check.path}: {error.args[0]}"
        except OSError as error:
            problem = f"{check.body_file}: {error.strerror}"
        return CheckResult(check.name, check.critical, not problem, self.clock() - begun, problem or detail)

    def _ask(self, check: HttpCheck, captured: Mapping[str, str]) -> Answer:
        body = (self.folder / check.body_file).read_bytes() if check.body_file else None
        if check.body:
            body = _filled(check.body, captured).encode()
        headers = {name: _filled(text, captured) for name, text in check.headers.items()}
        seconds = self.timeout_seconds or check.timeout_seconds
        headers_sent = {**self.endpoint.headers, **self.headers}
        place = replace(self.endpoint, timeout_seconds=seconds, headers=headers_sent)
        return place.fetch(check.method, _filled(check.path, captured), body=body, headers=headers)

    def _command(self, check: CommandCheck, quick: bool) -> Iterator[CheckResult]:
        begun = self.clock()
        words = (*check.command, *(check.quick if quick else ()))
        ended = self.run(check, words)
        results = [made for told in ended.lines() if (made := _result(told, check))]
        yield from results
        failed = any(not result.passed for result in results)
        if not ended.ok and not failed:
            problem = f"`{' '.join(words)}` failed: {ended.reason()}"
            yield CheckResult(check.name, check.critical, False, self.clock() - begun, problem)
        elif not results:
            yield CheckResult(check.name, check.critical, True, self.clock() - begun, "its command succeeded")


def checks_of(site: Site, release: Release, when: When) -> list[ServiceCheck]:
    """The checks that a release declares for this moment.

    A release of before declared checks has those of rollout.toml, as far as they can be asked of it: see
    `_programs`.
    """
    found = (parse_check(name, table) for name, table in site.plan(release).checks.items())
    return [check for check in found if when in check.when and _programs(release, check) is not None]


def smoke_checks(site: Site, release: Release) -> list[ServiceCheck]:
    """The checks of the smoke tests: where a release declares none, that it is well."""
    rule = site.environment.service.health
    codes = list(rule.valid_status_codes)
    well = {"path": rule.path, "valid_status_codes": codes, "describes": "it is well"}
    return checks_of(site, release, When.SMOKE) or [parse_check("health", well)]


def _programs(release: Release, check: ServiceCheck) -> Path | None:
    """The folder of the programs that ask: the release's own.

    A release of before declared checks may not have the command; then it is asked by the one beside
    `rollout`, if there is one. What is asked `by_stable` has always been a command of its own.
    """
    if release.run or check.by_stable or not isinstance(check, CommandCheck):
        return release.programs
    beside = Path(sys.executable).parent
    return beside if (beside / Path(check.command[0]).name).exists() else None


def ask(
    site: Site,
    release: Release,
    checks: Iterable[ServiceCheck],
    *,
    slot: Slot | None = None,
    pinned: bool = False,
    url: str = "",
    timeout_seconds: float = 0.0,
    quick: bool = False,
    seed: str = SEED,
) -> Iterator[CheckResult]:
    """Ask the service in a slot, at a URL, or else on the public port, with a release's own commands.

    `pinned` asks the slot by the way that clients come: requests through the public port, and commands, which
    cannot be told of a header, behind it.
    """
    place = Endpoint(url) if url else site.public()
    where = str(place.address)
    if slot and pinned:
        where = f"unix://{inner_socket(site.environment.run, slot)}"
    elif slot:
        place = site.private(slot)
        where = f"unix://{place.address}"

    def run(check: CommandCheck, words: tuple[str, ...]) -> CommandResult:
        more = {
            "url": where,
            "bin": str(_programs(release, check)),
            "seed": seed,
            "timeout": f"{timeout_seconds or ANSWER_SECONDS:g}",
        }
        return site.run(words, release, slot=slot or "blue", more=more, timeout=check.timeout_seconds)

    token = site.token()
    headers = {"Authorization": f"Bearer {token.reveal()}"} if token else {}
    if slot and pinned:
        headers[PIN] = slot
    checker = Checker(place, run, site.environment.project, headers, timeout_seconds)
    return checker.results(checks, quick=quick, values={"release": release.id, "seed": seed})


def _result(told: Mapping[str, object], check: CommandCheck) -> CheckResult | None:
    """One object that a command printed as a result; None for one that is none."""
    passed, seconds = told.get("passed"), told.get("seconds", 0.0)
    if not isinstance(passed, bool):
        return None
    return CheckResult(
        name=str(told.get("name", check.name)),
        critical=bool(told.get("critical", check.critical)),
        passed=passed,
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        detail=str(told.get("detail", "")),
    )


def _problem(check: HttpCheck, answer: Answer) -> str:
    """Describe what is wrong with an answer in one sentence; empty if nothing is. Pure."""
    request = f"{check.method} {check.path}"
    if answer.problem:
        return f"{request} {answer.problem}"
    codes = check.valid_status_codes
    if not (answer.status in codes if codes else answer.ok):
        wanted = " or ".join(map(str, codes)) or "200 to 299"
        return f"{request} answered {answer.status} instead of {wanted}: {answer.beginning() or 'nothing'}"
    for pattern in check.fail_if_body_matches_regexp:
        if found := re.search(pattern, answer.text):
            return f"{request} answered with {_brief(found[0])!r}, which must not be there"
    for pattern in check.fail_if_body_not_matches_regexp:
        if not re.search(pattern, answer.text):
            return f"{request} answered without {pattern!r}: {answer.beginning() or 'nothing'}"
    for at, expected in check.json.items():
        try:
            seen = _at(answer.json(), at)
        except LookupError as error:
            return f"{request}: {error.args[0]}"
        if seen != expected or type(seen) is not type(expected):
            return f"{request} has {seen!r} at {at or 'its top'} instead of {expected!r}"
    if check.max_seconds and answer.seconds > check.max_seconds:
        return f"{request} took {answer.seconds:.2f} s; {check.max_seconds:g} s are allowed"
    return ""


def _at(document: Any, pointer: str) -> object:
    """Follow a JSON pointer (RFC 6901). Raises `LookupError`."""
    here = document
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(here, list) and name.isdigit() and int(name) < len(here):
            here = here[int(name)]
        elif isinstance(here, dict) and name in here:
            here = here[name]
        else:
            raise LookupError(f"the answer has nothing at {pointer}")
    return here


def _filled(text: str, captured: Mapping[str, str]) -> str:
    """A string with `{name}` replaced by what was captured; other braces stay. Raises `LookupError`."""

    def replace(found: re.Match[str]) -> str:
        if found[1] not in captured:
            raise LookupError(f"{found[0]} was captured by no check before it")
        return captured[found[1]]

    return re.sub(r"\{([a-z][a-z0-9_]*)\}", replace, text)


def _brief(text: str) -> str:
    return " ".join(text[:BRIEF].split()) or "nothing"
