"""Verifies a running release: healthy for a while, golden fingerprints, a picture kept and found again."""

import hashlib
import struct
import time
import zlib
from collections.abc import Callable, Mapping

from guarded_rollout.clock import Clock
from guarded_rollout.config.environments import Checks
from guarded_rollout.errors import (
    DoesNotStopError,
    GoldenRejectedError,
    NoAnswerError,
    NotHealthyError,
    RoundTripError,
)
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import Slot
from guarded_rollout.secret import Secret

SEARCH_SECONDS = 3.0  # longest time from an acknowledged submit to finding it

Evidence = dict[str, object]


def require_healthy(
    endpoint: Endpoint,
    checks: Checks,
    clock: Clock,
    *,
    interval_seconds: float,
    consecutive: int | None = None,
    require_running: Callable[[], object] = lambda: None,
) -> Evidence:
    """Wait for so many healthy answers in a row (`checks.consecutive`), this far apart.

    `require_running` raises when the process has gone, which ends the wait at once.
    Raises `NotHealthyError` with the last answer when `start_seconds` are over without the first healthy one.
    """
    started, wanted = clock.monotonic(), consecutive or checks.consecutive
    in_a_row, asked, last = 0, 0, "none"
    while in_a_row < wanted:
        if in_a_row:
            clock.sleep(interval_seconds)
        require_running()
        try:
            answer = endpoint.ask("GET", "/health")
            healthy, last = answer.ok, answer.summary()
        except NoAnswerError as error:
            healthy, last = False, f"none, it {error.data['problem']}"
        asked += 1
        in_a_row = in_a_row + 1 if healthy else 0
        if not healthy:
            if clock.monotonic() - started > checks.start_seconds:
                raise NotHealthyError(endpoint=endpoint, seconds=checks.start_seconds, last=last)
            clock.sleep(min(0.1, interval_seconds))
    return {"healthy_checks": in_a_row, "asked": asked, "seconds": round(clock.monotonic() - started, 2)}


def require_graceful_stop(site: Site, slot: Slot, release: Release) -> Evidence:
    """Stop the release and start it again. Raises `DoesNotStopError` if it had to be killed.

    One that does not stop when asked would drop requests on the day it is replaced; now nobody is there yet.
    """
    allowed, begin = site.environment.checks.drain_seconds, site.clock.monotonic()
    site.processes.stop(slot)
    seconds = site.clock.monotonic() - begin
    if seconds >= allowed:
        raise DoesNotStopError(release=release.id, seconds=allowed)
    site.start(slot, release)
    return {"stopped_in_seconds": round(seconds, 2)}


def require_golden(site: Site, slot: Slot, release: Release, stable: Release | None) -> Evidence:
    """Ask the running release for its golden fingerprints, by its own record and by the stable release's.

    A release that moved the bits and recorded them again would pass its own. Raises `GoldenRejectedError`.
    """
    judges = {judge.id: judge for judge in (release, stable) if judge is not None}
    for judge in judges.values():
        result = site.command(judge, "golden", slot=slot)
        if not result.ok:
            raise GoldenRejectedError(release=release.id, judge=judge.id, reason=result.reason())
    return {"golden_by": list(judges)}


def require_round_trip(
    endpoint: Endpoint, seed: str, clock: Clock, *, token: Secret | None = None
) -> Evidence:
    """Submit a picture drawn from this seed and find it again by its fingerprint. Raises `RoundTripError`."""
    picture = draw(seed)
    sha256 = hashlib.sha256(picture).hexdigest()
    headers = {"Content-Type": "image/png", **_credentials(token)}
    started = time.perf_counter()
    try:
        answer = endpoint.ask("POST", "/api/dhash", body=picture, headers=headers)
        submitted = answer.json()
        if answer.status not in (200, 201) or not isinstance(submitted, Mapping):
            raise RoundTripError(
                endpoint=endpoint, problem=f"a submitted picture was answered {answer.summary()}"
            )
        if submitted.get("sha256") != sha256:
            raise RoundTripError(endpoint=endpoint, problem="the answer is about another picture")
        _find(endpoint, str(submitted.get("hash")), sha256, clock, token)
    except NoAnswerError as error:
        raise RoundTripError(endpoint=endpoint, problem=f"it {error.data['problem']}") from None
    return {"submitted": sha256, "found": True, "seconds": round(time.perf_counter() - started, 3)}


def _find(endpoint: Endpoint, value: str, sha256: str, clock: Clock, token: Secret | None) -> None:
    deadline = clock.monotonic() + SEARCH_SECONDS
    while True:
        answer = endpoint.ask(
            "GET", f"/api/dhash/search?hash={value}&radius=0&limit=1000", headers=_credentials(token)
        )
        found = answer.json()
        results = found.get("results", []) if isinstance(found, Mapping) else []
        if answer.ok and any(result.get("sha256") == sha256 for result in results):
            return
        if clock.monotonic() > deadline:
            raise RoundTripError(
                endpoint=endpoint,
                problem=f"a picture acknowledged as {value} is not found: {answer.summary()}",
            )
        clock.sleep(0.1)


def draw(seed: str) -> bytes:
    """A gray PNG of 8 × 8 random squares, 72 × 64 pixels: the same bytes for the same seed.

    Drawn by hand (PNG specification, ISO/IEC 15948), so that the guard needs no image library.
    """
    grays = hashlib.shake_256(seed.encode()).digest(9 * 8)
    rows = (grays[9 * line : 9 * line + 9] for line in range(8))
    lines = b"".join((b"\0" + b"".join(bytes([gray]) * 8 for gray in row)) * 8 for row in rows)
    header = struct.pack(">IIBBBBB", 72, 64, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _credentials(token: Secret | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.reveal()}"} if token else {}
