"""Requests that do not end, as the proxy counts them."""

import pytest

from guarded_rollout.host.endpoint import Answer, Endpoint
from guarded_rollout.monitor.stall import StallSource, counted


def metrics(over: int, ended: dict[str, int], server: str = "green", waiting: int = 0) -> str:
    labels = f'handler="reverse_proxy",server="{server}"'
    lines = [f"caddy_http_requests_total{{{labels}}} {over}"]
    lines += [f"caddy_http_requests_in_flight{{{labels}}} {waiting}"]
    lines += [
        f'caddy_http_request_duration_seconds_count{{code="{code}",{labels}}} {count}'
        for code, count in ended.items()
    ]
    other = 'handler="subroute",server="green"'
    return "\n".join([*lines, f"caddy_http_requests_total{{{other}}} 99", ""])


class Scripted(Endpoint):
    """An endpoint with one answer."""

    def answering(self, answer: Answer) -> "Scripted":
        object.__setattr__(self, "answer", answer)
        return self

    def fetch(self, method, path, **more):
        return self.answer


class Slot:
    """A slot behind a proxy, and a clock."""

    def __init__(self):
        self.now, self.begun, self.ended, self.alive = 100.0, 10, 10, True
        self.source = StallSource(Scripted("proxy"), Scripted("inner"), "green", clock=lambda: self.now)

    def after(self, seconds: float, *, begun: int = 0, ended: int = 0, left: int = 0) -> float:
        self.now += seconds
        self.begun += begun
        self.ended += ended
        over = self.ended + left
        text = metrics(over, {"200": self.ended, "499": left}, waiting=self.begun - over)
        self.source.proxy.answering(Answer(200, text.encode()))
        self.source.inner.answering(Answer(200 if self.alive else 0))
        return self.source.sample().gauges["unanswered_seconds"]


@pytest.fixture
def slot():
    made = Slot()
    assert made.after(0) == 0
    return made


def test_requests_that_nobody_answers_are_counted_in_seconds_from_the_first(slot):
    slot.alive = False
    assert slot.after(60) == 0, "nobody asks"
    assert slot.after(1, begun=3) == 1
    assert slot.after(1, begun=15) == 2
    assert slot.after(3, left=15) == 5, "a client that gives up was not answered"
    assert slot.after(1, ended=1) == 0


def test_long_requests_are_no_stall_while_the_slot_answers_a_question(slot):
    slot.after(1, begun=3)
    assert [slot.after(1) for _ in range(20)].count(0.0) >= 6
    slot.alive = False
    assert slot.after(1, begun=1) <= 3
    assert slot.after(5) > 4


def test_only_what_its_own_server_passed_on_is_counted():
    text = metrics(7, {"200": 4, "502": 1, "499": 2}, waiting=3) + metrics(100, {"200": 100}, server="blue")
    assert counted(text, "green") == (10, 5)


def test_a_proxy_that_cannot_be_asked_is_no_data():
    source = StallSource(Scripted("proxy").answering(Answer(problem="refused")), Scripted("inner"), "green")
    assert source.sample().problem == "the proxy refused"
