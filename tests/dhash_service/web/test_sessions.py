"""Signing in, staying signed in, signing out; and what no other site can make a browser do."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from dhash_service.errors import TooManyRequestsError
from dhash_service.facts import new_id
from dhash_service.web.sign_in import local
from dhash_service.web.throttle import ADDRESSES, Throttle
from tests.dhash_service.serving import dhash, serving
from tests.dhash_service.web.browsing import Browsing, field
from tests.dhash_service.web.conftest import Reviewed

SignIn = Callable[..., Browsing]


def test_whoever_has_a_token_signs_in_and_out_again(reviewed: Reviewed) -> None:
    browsing = Browsing(reviewed.server.url)
    page = browsing.sign_in(reviewed.token("olga"), "/review?reason=small_margin")
    assert str(page.url).endswith("/review?reason=small_margin")
    assert "Signed in as" in page.text
    browsing.client.post("/sign-out", data={"csrf": browsing.csrf})
    assert "Signed in as" not in browsing.client.get("/review").text
    assert browsing.send("/review/pairs", {"number": 1}).status_code == 401


def test_the_cookie_is_kept_from_scripts_and_other_sites(reviewed: Reviewed) -> None:
    token = reviewed.token("carl")
    for https in (False, True):
        browsing = Browsing(reviewed.server.url, https=https)
        browsing.client.follow_redirects = False
        page = browsing.client.get("/sign-in")
        # httpx sends no secure cookie to http, as a browser behind the proxy would by https
        cookie = page.headers["set-cookie"].partition(";")[0]
        answer = browsing.client.post(
            "/sign-in", data={"csrf": field(page.text, "csrf"), "token": token}, headers={"Cookie": cookie}
        )
        assert answer.status_code == 303
        said = next(
            each
            for each in answer.headers.get_list("set-cookie")
            if "dhash_session=" in each and "=;" not in each
        )
        assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"} <= set(said.split("; "))
        assert ("Secure" in said.split("; ")) == https
        assert said.startswith("__Host-dhash_session=" if https else "dhash_session=")


def test_a_wrong_token_is_told_and_nothing_else(reviewed: Reviewed) -> None:
    browsing = Browsing(reviewed.server.url)
    answer = browsing.sign_in("dhash_guessed")
    assert answer.status_code == 401
    assert "unknown, or was revoked" in answer.text
    assert "dhash_guessed" not in answer.text
    assert "dhash_session" not in browsing.client.cookies


def test_a_revoked_token_ends_its_sessions(reviewed: Reviewed) -> None:
    browsing = reviewed.signed_in("erik")
    assert browsing.pairs(1)
    assert dhash("token", "revoke", "erik", env=reviewed.server.env).returncode == 0
    assert browsing.send("/review/pairs", {"number": 1}).status_code == 401
    assert "Signed in as" not in browsing.client.get("/review").text


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}, "http://evil.example"),
        ({"Sec-Fetch-Site": "same-site"}, "It comes from"),
        ({"Sec-Fetch-Site": "none"}, "It comes from"),
        ({"X-CSRF-Token": ""}, "secret"),
        ({"X-CSRF-Token": "0" * 64}, "secret"),
    ],
    ids=["other site", "other host of the site", "typed in", "no secret", "wrong secret"],
)
def test_a_forged_decision_is_refused_though_the_cookie_comes_along(
    reviewed: Reviewed, alone: SignIn, headers: dict[str, str], says: str
) -> None:
    browsing = alone(f"vera {headers}"[:40])
    lookup = browsing.pairs(1)[0]
    body = {"id": "01890000-0000-7000-8000-000000000000", "lookup": lookup, "verdict": "same"}
    browsing.client.headers.update(headers)
    token = {} if "X-CSRF-Token" in headers else {"X-CSRF-Token": browsing.csrf}
    answer = browsing.client.post("/review/decisions", json=body, headers={"Accept": "*/*", **token})
    assert answer.status_code == 403
    assert answer.json()["type"] == "/problems/forged-request"
    assert says in answer.json()["detail"]
    assert reviewed.store.verdicts.decision(UUID(body["id"])) is None
    browsing.client.headers.update({"Sec-Fetch-Site": "same-origin"})
    browsing.client.headers.pop("X-CSRF-Token", None)


def test_an_older_browser_is_known_by_its_origin(reviewed: Reviewed, alone: SignIn) -> None:
    browsing = alone("otto")
    del browsing.client.headers["Sec-Fetch-Site"]
    assert browsing.pairs(1)
    browsing.client.headers["Origin"] = "http://evil.example"
    assert browsing.send("/review/pairs", {"number": 1}).status_code == 403
    del browsing.client.headers["Origin"]
    assert browsing.send("/review/pairs", {"number": 1}).status_code == 403
    browsing.client.headers["Origin"] = reviewed.server.url


def test_no_other_site_signs_a_browser_in(reviewed: Reviewed) -> None:
    token = reviewed.token("mona")
    browsing = Browsing(reviewed.server.url)
    page = browsing.client.get("/sign-in")
    fields = {"csrf": field(page.text, "csrf"), "token": token}
    forged = browsing.client.post("/sign-in", data=fields, headers={"Sec-Fetch-Site": "cross-site"})
    assert forged.status_code == 403
    without = browsing.client.post("/sign-in", data=fields | {"csrf": "0" * 64})
    assert without.status_code == 403
    assert "does not come from this service" in without.text  # a page, for a person
    other = Browsing(reviewed.server.url)
    assert other.client.post("/sign-in", data=fields).status_code == 403  # another browser's secret


def test_who_tries_too_often_waits(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        browsing = Browsing(server.url)
        codes = [browsing.sign_in(f"guess {number}").status_code for number in range(12)]
        assert codes[:10] == [401] * 10
        assert codes[10:] == [429] * 2
        answer = browsing.client.get("/review")
        assert answer.status_code == 200  # looking goes on
        browsing.client.headers["X-Forwarded-For"] = "203.0.113.9"
        assert browsing.sign_in("guess").status_code == 401  # somebody else's address


def test_a_locked_service_shows_nothing_to_strangers(tmp_path: Path) -> None:
    with serving(tmp_path, locked=True) as server:
        stranger = Browsing(server.url)
        for path in ("/review", "/review/history", "/review?reason=x"):
            page = stranger.client.get(path)
            assert page.url.path == "/sign-in"
            assert page.url.params["next"] == path
        asked = {"Accept": "application/json"}
        for path in ("/review/pairs?number=1", "/review/progress"):
            answer = stranger.client.get(path, headers=asked)
            assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
        token = server.token("rita", "client")["Authorization"].removeprefix("Bearer ")
        reader = Browsing(server.url)
        page = reader.sign_in(token)
        assert page.status_code == 200
        assert "rita</bdi> has the role client" in page.text
        assert reader.send("/review/pairs", {"number": 1}).status_code == 403


def test_a_session_ends_by_itself_though_the_browser_goes_on_sending_its_cookie(tmp_path: Path) -> None:
    with serving(tmp_path, locked=True, session_hours=0.0005) as server:
        reader = Browsing(server.url)
        reader.sign_in(server.token("rita", "reviewer")["Authorization"].removeprefix("Bearer "))
        cookies = dict(reader.client.cookies)
        assert cookies
        progress = str(reader.client.base_url.join("/review/progress"))
        deadline = time.monotonic() + 10
        asked = {"Accept": "application/json"}
        while httpx.get(progress, cookies=cookies, headers=asked).status_code != 401:
            assert time.monotonic() < deadline, "the session never ends"
            time.sleep(0.1)


@pytest.mark.parametrize(
    "address",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "",
        "/a\r\nX: y",
        "a",
    ],
)
def test_signing_in_leads_nowhere_else(address: str) -> None:
    assert local(address) == "/review"
    assert local("/review?document=ab") == "/review?document=ab"


def test_every_form_carries_the_page_s_secret(reviewed: Reviewed, alone: SignIn) -> None:
    browsing = alone("fred")
    id = str(new_id())
    browsing.decide(browsing.pairs(1)[0], id=id)
    for path in ("/review", "/review/history"):
        page = browsing.client.get(path).text
        forms = re.findall(r'<form[^>]*method="post".*?</form>', page, re.DOTALL)
        assert forms
        assert all(f'name="csrf" value="{browsing.csrf}"' in form for form in forms)
    browsing.send("/review/withdrawals", {"id": str(new_id()), "decision": id})


def test_a_throttle_counts_failures_by_address_and_forgets_with_time() -> None:
    now = 0.0
    throttle = Throttle(2, 60, lambda: now)
    for _ in range(2):
        throttle.admit("a")
        throttle.failed("a")
    with pytest.raises(TooManyRequestsError):
        throttle.admit("a")
    throttle.admit("b")
    now = 60.0
    throttle.admit("a")
    for number in range(2 * ADDRESSES):
        throttle.failed(f"many {number}")
    assert len(throttle._failures) == ADDRESSES
