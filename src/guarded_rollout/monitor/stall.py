"""Requests that do not end: the proxy knows of them before anybody has given up."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.monitor import metrics_formats
from guarded_rollout.monitor.metrics_formats import NotMetricsError

OVER, ENDED = "caddy_http_requests_total", "caddy_http_request_duration_seconds_count"
UNDER_WAY = "caddy_http_requests_in_flight"  # Caddy counts a request among the total when it is over
LEFT = "499"  # the client has gone: that is no answer
UNANSWERED = "unanswered_seconds"
SUSPICIOUS_SECONDS = 2.0  # without an answer for so long, a question of our own must be answered


@dataclass(slots=True)
class StallSource:
    """The gauge `unanswered_seconds` of a slot: how long requests have come to it and none was answered.

    Long requests alone are no stall: after two seconds the slot is asked `path` on the way that clients come
    (`inner`), and one answer of any kind shows that it is alive.
    """

    proxy: Endpoint
    inner: Endpoint
    server: str
    path: str = "/health"
    side: Side = Side.CANDIDATE
    source: Source = Source.STALL
    clock: Callable[[], float] = time.monotonic
    _begun: float = field(default=0.0, init=False)  # requests, when it was last known to answer
    _answered: float = field(default=-1.0, init=False)
    _since: float = field(default=0.0, init=False)

    def sample(self) -> Sample:
        answer = self.proxy.fetch("GET", "/metrics", headers={"Accept": "text/plain"})
        if not answer.ok:
            problem = f"the proxy {answer.problem or f'answered {answer.status}'}"
            return Sample(self.source, 0.0, self.side, problem=problem, seconds=answer.seconds)
        try:
            seconds = self._unanswered(*counted(answer.text, self.server))
        except NotMetricsError as error:
            return Sample(self.source, 0.0, self.side, problem=f"the proxy {error}")
        return Sample(self.source, 0.0, self.side, gauges={UNANSWERED: round(seconds, 3)})

    def _unanswered(self, begun: float, answered: float) -> float:
        now = self.clock()
        if answered != self._answered or begun <= self._begun:  # it answers, or nobody asks
            self._begun, self._answered, self._since = begun, answered, now
            return 0.0
        if now - self._since > SUSPICIOUS_SECONDS and self.inner.fetch("GET", self.path).status:
            self._begun, self._since = begun, now
        return self.clock() - self._since


def counted(text: str, server: str) -> tuple[float, float]:
    """The requests that a server has begun, and those it has answered. Raises `NotMetricsError`."""
    mine = (f'server="{server}"', 'handler="reverse_proxy"')
    lines = [
        line
        for line in text.splitlines()
        if line.startswith((OVER, UNDER_WAY, ENDED)) and all(label in line for label in mine)
    ]
    begun = answered = 0.0
    for name, labels, value in metrics_formats.series("\n".join([*lines, ""])):
        begun += value if name in (OVER, UNDER_WAY) else 0.0
        answered += value if name == ENDED and labels.get("code") != LEFT else 0.0
    return begun, answered
