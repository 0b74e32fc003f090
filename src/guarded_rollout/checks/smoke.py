"""Smoke tests: what a service must do, asked from outside, the critical things first.

They leave nothing behind: pictures are only looked up, but for one that is kept and found again, which is
the same in every run and is taken out of search at the end (that takes an admin token; without one it stays).
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from guarded_rollout.checks.pictures import SEED, document, draw, find_again, mapping, multipart, submit
from guarded_rollout.checks.probe import SmokeFailure, SmokeProbe, brief
from guarded_rollout.clock import SystemClock

GAUGES = (
    "extraction_failure_rate",
    "p95_hash_time_ms",
    "low_confidence_queue_length",
    "memory_usage_percentage",
    "error_rate",
)
LOOKUPS = 10
SECRETIVE = re.compile(r"(token|secret|password|passwd|api_?key|credential)", re.IGNORECASE)
PASSWORD_IN_URL = re.compile(r"://[^/\s:@]+:(?!\*+@)[^/\s:@]+@")


@dataclass(frozen=True, slots=True)
class SmokeOutcome:
    """The end of one check. `detail` says what was seen, or why it failed."""

    name: str
    critical: bool
    passed: bool
    seconds: float
    detail: str


@dataclass(frozen=True, slots=True)
class Check:
    """A check: `look` returns what it saw, or raises `SmokeFailure`."""

    name: str
    critical: bool
    describes: str
    look: Callable[[SmokeProbe], str]


def run(
    probe: SmokeProbe, *, quick: bool = False, clock: Callable[[], float] = time.monotonic
) -> Iterator[SmokeOutcome]:
    """Go through the checks, each whatever another one says; `quick` is the critical ones."""
    for check in CHECKS:
        if quick and not check.critical:
            continue
        begun = clock()
        try:
            passed, detail = True, check.look(probe)
        except SmokeFailure as failure:
            passed, detail = False, str(failure)
        yield SmokeOutcome(check.name, check.critical, passed, clock() - begun, detail)


# ---- the checks


def health(probe: SmokeProbe) -> str:
    answer = probe.ask("GET", "/health", expect=(200, 503))
    checks = mapping(answer, "/health").get("checks", {})
    failing = [
        f"{name}: {check.get('detail', '')}"
        for name, check in checks.items()
        if isinstance(check, Mapping) and not check.get("ok")
    ]
    if failing or answer.get("status") not in ("ok", "healthy"):
        raise SmokeFailure(f"the service is not well: {'; '.join(failing) or answer.get('status')}")
    return f"release {answer.get('release', 'unknown')}, {len(checks)} checks well"


def submit_and_find(probe: SmokeProbe) -> str:
    """Keep a picture, find it again by its fingerprint, and take it out of search."""
    picture = draw(SEED)
    kept = submit(probe, picture)
    try:
        find_again(probe, kept, picture, SystemClock())
    finally:
        left = _take_out(probe, str(kept.get("id")))
    return f"found by {kept.get('hash')}; {left}"


def metrics(probe: SmokeProbe) -> str:
    found = mapping(probe.ask("GET", "/metrics", expect=(200,)), "/metrics")
    missing = [name for name in GAUGES if not isinstance(found.get(name), int | float)]
    if missing:
        raise SmokeFailure(f"/metrics has no number for {', '.join(missing)}")
    return ", ".join(f"{name} {found[name]:g}" for name in GAUGES)


def queue_status(probe: SmokeProbe) -> str:
    found = mapping(probe.ask("GET", "/api/dhash/queue/status", expect=(200,)), "the queue's status")
    length = found.get("length")
    if not isinstance(length, int) or length < 0:
        raise SmokeFailure(f"the queue's length is {length!r}")
    return f"{length} waiting"


def batch(probe: SmokeProbe) -> str:
    """Two good pictures and a broken one: the broken one fails alone."""
    content, kind = multipart("files", _three())
    found = probe.post("/api/dhash/batch", content, kind, register=False, expect=(200, 202))
    results = mapping(found, "the batch").get("results", [])
    good = [item.get("problem") is None for item in results if isinstance(item, Mapping)]
    if good != [True, True, False]:
        raise SmokeFailure(f"of two good pictures and a broken one these were taken: {good}")
    return "2 taken, the broken one refused alone"


def extraction(probe: SmokeProbe) -> str:
    """A PDF with one picture."""
    expected = (200, 201)
    found = probe.post("/api/dhash/extract", document(), "application/pdf", register=False, expect=expected)
    pictures = mapping(found, "the extraction").get("pictures", [])
    if len(pictures) != 1 or pictures[0].get("page") != 1:
        raise SmokeFailure(
            f"of a page with one picture {len(pictures)} were found: {brief(json.dumps(found))}"
        )
    return f"1 picture on page 1: {pictures[0].get('hash')}"


def configuration(probe: SmokeProbe) -> str:
    found = mapping(probe.ask("GET", "/api/config", expect=(200,)), "the configuration")
    shown = list(_secrets(found))
    if shown:
        raise SmokeFailure(f"/api/config shows {', '.join(shown)}")
    return f"{len(found)} settings, no secret among them"


def invalid_input(probe: SmokeProbe) -> str:
    refused = (400, 413, 415, 422)
    for kind, content in (
        ("image/png", b"no picture"),
        ("application/json", b'{"input": 7}'),
        ("image/png", b""),
    ):
        answer = probe.post("/api/dhash", content, kind, expect=refused)
        if not (isinstance(answer, Mapping) and (answer.get("detail") or answer.get("title"))):
            raise SmokeFailure(f"a refusal does not say why: {brief(json.dumps(answer))}")
    return "3 kinds refused, each with a reason"


def admin(probe: SmokeProbe) -> str:
    probe.ask("GET", "/api/admin/status", expect=(401, 403), credentials=False)
    forged = {"Authorization": "Bearer not-a-token"}
    probe.ask("GET", "/api/admin/status", expect=(401, 403), credentials=False, headers=forged)
    return "closed without credentials and with wrong ones"


def latency(probe: SmokeProbe) -> str:
    """Lookups one after another, each a picture of its own."""
    times = lookup_times(probe)
    slowest, median = max(times), sorted(times)[LOOKUPS // 2]
    if slowest > probe.limit_ms:
        raise SmokeFailure(
            f"the slowest of {LOOKUPS} lookups took {slowest:.0f} ms; {probe.limit_ms:g} are allowed"
        )
    return f"{LOOKUPS} lookups: median {median:.1f} ms, slowest {slowest:.1f} ms of {probe.limit_ms:g}"


def lookup_times(probe: SmokeProbe) -> list[float]:
    """Milliseconds that each of `LOOKUPS` lookups took. Raises `SmokeFailure`."""
    times = []
    for number in range(LOOKUPS):
        begun = time.perf_counter()
        submit(probe, draw(f"{SEED} {number}"), register=False)
        times.append((time.perf_counter() - begun) * 1000)
    return times


CHECKS = (
    Check("health", True, "GET /health answers 200 and every check is well", health),
    Check("submit_and_find", True, "a submitted picture is found again", submit_and_find),
    Check("metrics", False, "GET /metrics has the five gauges", metrics),
    Check("queue_status", False, "the review queue tells its length", queue_status),
    Check("batch", False, "in a batch a broken picture fails alone", batch),
    Check("extraction", False, "the picture in a PDF is found", extraction),
    Check("configuration", False, "GET /api/config shows no secret", configuration),
    Check("invalid_input", False, "what is no picture is refused with a reason", invalid_input),
    Check("admin", False, "GET /api/admin/status needs credentials", admin),
    Check("latency", False, "lookups stay under the limit", latency),
)


# ---- their parts


def _three() -> tuple[bytes, bytes, bytes]:
    good = draw(f"{SEED} broken")
    return draw(f"{SEED} a"), draw(f"{SEED} b"), good[: len(good) // 2]


def _take_out(probe: SmokeProbe, identity: str) -> str:
    """Out of search again, where the token allows it; what is left, in words."""
    if not probe.has_token:
        return "it stays known, for there is no admin token"
    answered = (200, 204, 401, 403, 404, 405)
    reason = {"reason": "smoke test"}
    answer = probe.ask("DELETE", f"/api/dhash/{identity}", params=reason, expect=answered)
    return "it stays known: the token is no admin's" if answer else "taken out of search again"


def _secrets(value: Any, path: str = "") -> Iterator[str]:
    """Paths of what looks like a secret that shows."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            place = f"{path}.{name}" if path else str(name)
            if SECRETIVE.search(str(name)) and isinstance(item, str) and item.strip("*"):
                yield place
            else:
                yield from _secrets(item, place)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _secrets(item, f"{path}[{number}]")
    elif isinstance(value, str) and PASSWORD_IN_URL.search(value):
        yield path
