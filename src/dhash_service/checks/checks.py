"""The checks of a running service, asked from outside, the critical ones first.

The checks leave nothing behind: pictures are only looked up, but for one that is kept and found again. With
the same seed it is the same picture in every run, and it is taken out of search at the end (that takes an
admin's token; without one it stays).
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dhash_service.checks.drawing import broken, document, picture
from dhash_service.checks.probe import CheckFailed, Probe, brief, form

SEED = "dhash check"
GAUGES = (
    "extraction_failure_rate",
    "p95_hash_time_ms",
    "low_confidence_queue_length",
    "memory_usage_percentage",
    "error_rate",
)
PAGES = ("/", "/docs", "/sign-in")
LOOK_UP = {"register": "false"}  # asks, and keeps nothing
FIND_SECONDS = 3.0  # from an acknowledged submit to finding it
LOOKUPS = 10
SECRETIVE = re.compile(r"(token|secret|password|passwd|api_?key|credential)", re.IGNORECASE)
PASSWORD_IN_URL = re.compile(r"://[^/\s:@]+:(?!\*+@)[^/\s:@]+@")


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one check. `detail` says what was seen, or why it failed."""

    name: str
    critical: bool
    passed: bool
    seconds: float
    detail: str


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `see` returns what it saw, or raises `CheckFailed`. It gets the probe and the seed."""

    name: str
    critical: bool
    describes: str
    see: Callable[[Probe, str], str]


def run(
    probe: Probe,
    *,
    quick: bool = False,
    only: tuple[str, ...] = (),
    seed: str = SEED,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Result]:
    """Go through the checks, each whatever another one says; `quick` is the critical ones."""
    for check in CHECKS:
        if (quick and not check.critical) or (only and check.name not in only):
            continue
        begun = clock()
        try:
            passed, detail = True, check.see(probe, seed)
        except CheckFailed as failure:
            passed, detail = False, str(failure)
        yield Result(check.name, check.critical, passed, clock() - begun, detail)


def health(probe: Probe, seed: str) -> str:
    answer = probe.get("/health", expect=(200, 503))
    parts = answer.get("checks", {})
    failing = [
        f"{name}: {part.get('detail', '')}"
        for name, part in parts.items()
        if isinstance(part, Mapping) and not part.get("ok")
    ]
    if failing or answer.get("status") not in ("ok", "healthy"):
        raise CheckFailed(f"the service is not well: {'; '.join(failing) or answer.get('status')}")
    return f"release {answer.get('release', 'unknown')}, {len(parts)} checks well"


def submit_and_find(probe: Probe, seed: str) -> str:
    """Keep a picture, find it by its fingerprint, read its row back, and take it out of search."""
    # What one with a token takes down, one without could not send again: each has a picture of its own.
    sent = picture(f"{seed}, {'taken down' if probe.has_token else 'kept'}")
    digest = hashlib.sha256(sent).hexdigest()
    answer = probe.ask("POST", "/api/dhash", expect=(200, 201), body=sent, media_type="image/png")
    kept = _fingerprinted(probe.read(answer, "/api/dhash"))
    try:
        if kept.get("sha256") != digest:
            raise CheckFailed("the answer to a submitted picture is about another one")
        _find(probe, str(kept.get("hash")), digest)
        if answer.status == 201:
            _read_back(probe, kept)
    finally:
        left = _take_out(probe, str(kept.get("id")))
    return f"found by {kept.get('hash')}; {left}"


def metrics(probe: Probe, seed: str) -> str:
    found = probe.get("/metrics")
    missing = [name for name in GAUGES if not isinstance(found.get(name), int | float)]
    if missing:
        raise CheckFailed(f"/metrics has no number for {', '.join(missing)}")
    return ", ".join(f"{name} {found[name]:g}" for name in GAUGES)


def queue_status(probe: Probe, seed: str) -> str:
    length = probe.get("/api/dhash/queue/status").get("length")
    if not isinstance(length, int) or length < 0:
        raise CheckFailed(f"the queue's length is {length!r}")
    return f"{length} waiting"


def batch(probe: Probe, seed: str) -> str:
    """Two good pictures and a broken one: the broken one fails alone."""
    sent = (picture(f"{seed} a"), picture(f"{seed} b"), broken(f"{seed} broken"))
    body, media_type = form(("files", f"{number}.png", data) for number, data in enumerate(sent))
    found = probe.post("/api/dhash/batch", body, media_type, expect=(200, 202), query=LOOK_UP)
    results = found.get("results", [])
    good = [item.get("problem") is None for item in results if isinstance(item, Mapping)]
    if good != [True, True, False]:
        raise CheckFailed(f"of two good pictures and a broken one these were taken: {good}")
    return "2 taken, the broken one refused alone"


def extraction(probe: Probe, seed: str) -> str:
    """A PDF with one picture."""
    found = probe.post("/api/dhash/extract", document(seed), "application/pdf", query=LOOK_UP)
    pictures = found.get("pictures", [])
    if len(pictures) != 1 or pictures[0].get("page") != 1:
        said = brief(json.dumps(found))
        raise CheckFailed(f"of a page with one picture {len(pictures)} were found: {said}")
    return f"1 picture on page 1: {pictures[0].get('hash')}"


def configuration(probe: Probe, seed: str) -> str:
    found = probe.get("/api/config")
    shown = list(_secrets(found))
    if shown:
        raise CheckFailed(f"/api/config shows {', '.join(shown)}")
    return f"{len(found)} settings, no secret among them"


def invalid_input(probe: Probe, seed: str) -> str:
    refused = (400, 413, 415, 422)
    for media_type, body in (
        ("image/png", b"no picture"),
        ("application/json", b'{"input": 7}'),
        ("image/png", b""),
    ):
        answer = probe.post("/api/dhash", body, media_type, expect=refused)
        if not (answer.get("detail") or answer.get("title")):
            raise CheckFailed(f"a refusal does not say why: {brief(json.dumps(answer))}")
    return "3 kinds refused, each with a reason"


def admin(probe: Probe, seed: str) -> str:
    for token in ("", "not-a-token"):
        probe.ask("GET", "/api/admin/status", expect=(401, 403), token=token)
    return "closed without credentials and with wrong ones"


def pages(probe: Probe, seed: str) -> str:
    """Every page that needs no sign-in, and the review page, which may send to the sign-in."""
    for path in PAGES:
        answer = probe.ask("GET", path, expect=(200,), media_type="text/html")
        if answer.media_type != "text/html":
            raise CheckFailed(f"{path} is answered with {answer.media_type} instead of a page")
    probe.ask("GET", "/review", expect=(200, 303), media_type="text/html")
    return f"{len(PAGES) + 1} pages answer"


def latency(probe: Probe, seed: str) -> str:
    """Lookups one after another, each a picture of its own."""
    times = lookup_times(probe, seed)
    slowest, median = max(times), sorted(times)[LOOKUPS // 2]
    if slowest > probe.limit_ms:
        raise CheckFailed(
            f"the slowest of {LOOKUPS} lookups took {slowest:.0f} ms; {probe.limit_ms:g} are allowed"
        )
    return f"{LOOKUPS} lookups: median {median:.1f} ms, slowest {slowest:.1f} ms of {probe.limit_ms:g}"


def lookup_times(probe: Probe, seed: str = SEED) -> list[float]:
    """Milliseconds that each of `LOOKUPS` lookups took. Raises `CheckFailed`."""
    times = []
    for number in range(LOOKUPS):
        sent = picture(f"{seed} {number}")
        begun = time.perf_counter()
        _submit(probe, sent, LOOK_UP)
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
    Check("pages", False, "every page answers", pages),
    Check("latency", False, "lookups stay under the limit", latency),
)


def _submit(probe: Probe, sent: bytes, query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    return _fingerprinted(probe.post("/api/dhash", sent, "image/png", query=query))


def _fingerprinted(found: Mapping[str, Any]) -> Mapping[str, Any]:
    if not re.fullmatch(r"[0-9a-f]{16}", str(found.get("hash"))):
        raise CheckFailed(f"a submitted picture has the fingerprint {found.get('hash')!r}")
    return found


def _read_back(probe: Probe, kept: Mapping[str, Any]) -> None:
    """The row of a new picture is of the release that says it has written it."""
    row = probe.get(f"/api/dhash/{kept.get('id')}")
    if row.get("release") != kept.get("release"):
        said = f"release {kept.get('release')} confirmed a picture"
        raise CheckFailed(f"{said}, and its row is of release {row.get('release')}")


def _find(probe: Probe, value: str, digest: str) -> None:
    deadline = time.monotonic() + FIND_SECONDS
    while True:
        found = probe.get("/api/dhash/search", hash=value, radius="0", limit="1000")
        if any(near.get("sha256") == digest for near in found.get("results", [])):
            return
        if time.monotonic() > deadline:
            raise CheckFailed(f"a picture acknowledged as {value} is not found by it")
        time.sleep(0.05)


def _take_out(probe: Probe, identity: str) -> str:
    """Take the picture out of search where the token allows it; what is left, in words."""
    if not probe.has_token:
        return "it stays known, for there is no admin token"
    answered = (200, 204, 401, 403, 404, 405)
    answer = probe.ask("DELETE", f"/api/dhash/{identity}", expect=answered, query={"reason": "dhash check"})
    return "it stays known: the token is no admin's" if answer.body else "taken out of search again"


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
