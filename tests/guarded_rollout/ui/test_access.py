"""Who is let in: the token, the cookie, the form, the names of the host."""

import os
import stat
from pathlib import Path

import pytest

from guarded_rollout.errors import NotWritableError
from guarded_rollout.ui.access import ONCE_SECONDS, SESSION_SECONDS, Access, is_loopback, token_of
from tests.guarded_rollout.manual_clock import ManualClock

TOKEN = "t" * 43


def access(token: str = TOKEN, clock: ManualClock | None = None) -> Access:
    return Access(token, 3010, loopback=True, names=frozenset({"guard.lan"}), clock=clock or ManualClock())


def cookies(one: Access, cookie: str) -> dict[str, str]:
    return {one.cookie_name: cookie}


def test_a_token_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    first = token_of(tmp_path)
    path = tmp_path / ".rollout-ui" / "token"
    assert token_of(tmp_path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(first) >= 43


def test_a_token_file_that_others_could_read_is_closed(tmp_path: Path) -> None:
    token_of(tmp_path)
    path = tmp_path / ".rollout-ui" / "token"
    os.chmod(path, 0o644)
    token_of(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff\xfe\xff"])
def test_a_token_file_that_holds_none_is_an_error_that_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".rollout-ui").mkdir()
    (tmp_path / ".rollout-ui" / "token").write_bytes(content)
    with pytest.raises(NotWritableError, match="token"):
        token_of(tmp_path)


def test_a_session_survives_a_restart_and_ends_with_its_time_or_its_token() -> None:
    clock = ManualClock()
    visitor = access(clock=clock).by_token(f" {TOKEN}\n")
    assert visitor is not None
    again = access(clock=clock)
    assert again.by_cookie(cookies(again, visitor.cookie)) == visitor
    other = access("u" * 43, clock)
    assert other.by_cookie(cookies(other, visitor.cookie)) is None
    clock.advance(SESSION_SECONDS + 1)
    assert again.by_cookie(cookies(again, visitor.cookie)) is None


def test_a_cookie_that_was_changed_is_nobodys() -> None:
    one = access()
    visitor = one.by_token(TOKEN)
    assert visitor is not None
    expires, _, rest = visitor.cookie.partition(".")
    forged = [f"{int(expires) + 9}.{rest}", "", ".", "..", "é.é.é", visitor.cookie[:-1], f"{visitor.cookie}0"]
    assert [one.by_cookie(cookies(one, cookie)) for cookie in forged] == [None] * len(forged)


def test_a_one_time_address_works_once_and_not_for_ever() -> None:
    clock = ManualClock()
    one = access(clock=clock)
    code, late = one.once(), one.once()
    assert one.by_code(code) is not None
    assert one.by_code(code) is None
    clock.advance(ONCE_SECONDS + 1)
    assert one.by_code(late) is None
    assert one.by_code("") is None


@pytest.mark.parametrize(
    "host",
    [
        "localhost:3010",
        "localhost",
        "localhost:8000",
        "127.0.0.1:3010",
        "[::1]:3010",
        "guard.lan:3010",
        "10.0.0.7:3010",
    ],
)
def test_it_answers_to_its_own_names_and_to_addresses(host: str) -> None:
    assert access().refusal("GET", {"host": host}) == ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example:3010",
        "localhost:0",
        "localhost.evil.example",
        "127.0.0.1.evil.example:3010",
        "[::1:3010",
        "a:b",
    ],
)
def test_it_answers_to_no_name_that_another_dns_points_here(host: str) -> None:
    assert "does not answer" in access().refusal("GET", {"host": host})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:3011"},
        {"origin": "http://localhost:3010", "sec-fetch-site": "cross-site"},
        {"origin": "http://localhost:3010", "sec-fetch-site": "same-site"},
    ],
)
def test_what_another_page_sends_is_refused(headers: dict[str, str]) -> None:
    assert access().refusal("POST", {"host": "localhost:3010", **headers}) != ""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_its_own_page_sends_is_taken(scheme: str) -> None:
    own = {"host": "localhost:3010", "origin": f"{scheme}://localhost:3010", "sec-fetch-site": "same-origin"}
    assert access().refusal("POST", own) == ""


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("no.such.host.invalid", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, inside: bool) -> None:
    assert is_loopback(host) is inside


@pytest.mark.parametrize(
    ("site", "mode", "dest", "welcome"),
    [
        ("none", "navigate", "document", True),
        ("same-origin", "cors", "empty", True),
        ("cross-site", "navigate", "document", True),  # a link
        ("cross-site", "navigate", "iframe", False),
        ("cross-site", "no-cors", "image", False),
        ("same-site", "cors", "empty", False),
    ],
)
def test_another_page_may_link_here_and_ask_nothing(site: str, mode: str, dest: str, welcome: bool) -> None:
    headers = {
        "host": "localhost:3010",
        "sec-fetch-site": site,
        "sec-fetch-mode": mode,
        "sec-fetch-dest": dest,
    }
    assert (access().refusal("GET", headers) == "") is welcome
