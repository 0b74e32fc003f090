"""The review page in a real browser, on the real service: working, losing the connection, undoing."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from dhash_service.facts import Verdict, new_id
from tests.browser.conftest import overflows
from tests.browser.reviewkit import Desk, desk, lookup_shown, sign_in
from tests.dhash_service.queues import fill
from tests.dhash_service.serving import Server, dhash
from tests.pictures import encode, photo

KEYS = {"s": Verdict.SAME, "d": Verdict.DIFFERENT, "u": Verdict.UNSURE}
Accessible = Callable[[Page], None]

TIMED = """
() => {
  window.times = [];
  let began = null;
  addEventListener("keydown", () => { began = performance.now(); }, true);
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  new MutationObserver(async () => {
    const from = began;
    const images = [...document.querySelectorAll("#stage img")];
    await Promise.all(images.map((image) => image.decode().catch(() => {})));
    await painted();
    if (from !== null) window.times.push(performance.now() - from);
  }).observe(document.querySelector("#pair"), { attributes: true, attributeFilter: ["data-lookup"] });
}
"""
"""Notes how long after each key the next pair, pictures and all, was on the screen."""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk(tmp_path_factory.mktemp("crowded"), 10_000) as at:
        yield at


def restarted(server: Server) -> None:
    """The same service on the same port, as a new process."""
    server.process = subprocess.Popen(
        [sys.executable, "-m", "dhash_service", "serve"],
        env={**os.environ, **server.env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(page: Page, said: Callable[[], bool], seconds: float = 15) -> None:
    """Until it is so. The browser goes on meanwhile: its events are heard only while it is waited for."""
    deadline = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < deadline, "it never came to be so"
        page.wait_for_timeout(50)


def crowding() -> float:
    """How many programs share a core at this moment, each with its share; 1 on a machine of our own."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def pending(page: Page) -> int:
    """How many decisions the browser still keeps."""
    return int(
        page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('dhash:outbox')).length")
    )


def test_a_reviewer_works_through_fifty_pairs_by_keyboard_while_the_service_restarts(
    tmp_path: Path, page: Page
) -> None:
    with desk(tmp_path, 60) as at:
        sign_in(page, at, at.token("rita"))
        decided: dict[UUID, list[str]] = {}
        for turn in range(50):
            lookup = UUID(lookup_shown(page))
            assert lookup not in decided, "a pair came twice"
            key = "sdu"[turn % 3]
            page.keyboard.press(key)
            decided[lookup] = [KEYS[key].value]
            if turn == 20:
                at.server.kill()
            if turn == 24:  # four decisions were made while nobody answered
                assert pending(page) >= 3
                expect(page.locator("#pending")).to_contain_text("pending")
                restarted(at.server)
            page.wait_for_function(
                "(before) => document.querySelector('#pair').dataset.lookup !== before",
                arg=str(lookup),
                timeout=20_000,
            )
        wait_for(page, lambda: pending(page) == 0)
        assert at.verdicts() == decided  # each once, and what was meant


def test_the_next_pair_is_there_within_a_tenth_of_a_second(crowded: Desk, page: Page) -> None:
    sign_in(page, crowded, crowded.token("fast"))
    lookup_shown(page)
    page.evaluate(TIMED)
    for turn in range(120):
        page.keyboard.press("sdu"[turn % 3])
        page.wait_for_function("(number) => window.times.length > number", arg=turn)
    times = page.evaluate("window.times")
    # Of three stretches the best: what the machine does besides is not what is measured.
    p95 = min(sorted(times[start : start + 40])[37] for start in (0, 40, 80))
    print(f"\nkey to next pair: median {sorted(times)[60]:.0f} ms, p95 {sorted(times)[114]:.0f} ms of 120")
    assert p95 < 100 * crowding()


def test_what_is_decided_without_a_connection_is_kept_over_a_reload_and_delivered(
    tmp_path: Path, page: Page, context: BrowserContext, accessible: Accessible
) -> None:
    with desk(tmp_path, 12) as at:
        sign_in(page, at, at.token("rita"))
        first = lookup_shown(page)
        context.set_offline(True)
        page.keyboard.press("s")
        page.wait_for_function(
            "(before) => document.querySelector('#pair').dataset.lookup !== before", arg=first
        )
        second = lookup_shown(page)
        page.keyboard.press("d")
        expect(page.locator("#pending")).to_have_text("2 pending")
        expect(page.locator("#trouble")).to_contain_text("2 decisions wait here to be sent")
        accessible(page)
        assert at.verdicts() == {}
        # The page is left while the service is away, as a browser does that is closed: what it keeps stays.
        page.route("**/review/decisions", lambda route: route.abort())
        context.set_offline(False)
        page.reload()
        expect(page.locator("#pending")).to_have_text("2 pending")
        assert lookup_shown(page) not in (first, second)  # though the service does not know yet
        page.unroute("**/review/decisions")
        wait_for(page, lambda: pending(page) == 0)
        assert at.verdicts() == {UUID(first): ["same"], UUID(second): ["different"]}
        expect(page.locator("#pending")).to_be_hidden()
        expect(page.locator("#trouble")).to_be_hidden()


def test_an_answer_that_is_lost_makes_no_second_decision(tmp_path: Path, page: Page) -> None:
    with desk(tmp_path, 8) as at:
        sign_in(page, at, at.token("rita"))
        lost = 0

        def lose(route) -> None:  # type: ignore[no-untyped-def]
            nonlocal lost
            route.fetch()  # it reaches the service
            lost += 1
            route.abort() if lost < 3 else route.continue_()

        page.route("**/review/decisions", lose)
        lookup = lookup_shown(page)
        page.keyboard.press("s")
        wait_for(page, lambda: lost >= 3 and pending(page) == 0)
        assert at.verdicts() == {UUID(lookup): ["same"]}


def test_what_answers_in_the_services_place_takes_no_decision(tmp_path: Path, page: Page) -> None:
    """A sign-in page of a company's proxy, say, which says 200 to all."""
    with desk(tmp_path, 8) as at:
        sign_in(page, at, at.token("rita"))
        page.route(
            "**/review/decisions",
            lambda route: route.fulfill(status=200, content_type="text/html", body="<h1>Sign in</h1>"),
        )
        lookup = lookup_shown(page)
        page.keyboard.press("s")
        expect(page.locator("#trouble")).to_contain_text("1 decision waits here to be sent")
        page.unroute("**/review/decisions")
        wait_for(page, lambda: pending(page) == 0)
        assert at.verdicts() == {UUID(lookup): ["same"]}


def test_a_page_sends_nothing_of_another_reviewer(tmp_path: Path, page: Page) -> None:
    with desk(tmp_path, 8) as at:
        sign_in(page, at, at.token("rita"))
        lookup = lookup_shown(page)
        kept = {"id": str(new_id()), "lookup": lookup, "verdict": "same", "note": ""}
        keep = "(item) => localStorage.setItem(`dhash:outbox:rita:s:${item.body.id}`, JSON.stringify(item))"
        page.evaluate(keep, {"kind": "decision", "body": kept})
        page.reload()
        assert lookup_shown(page) == lookup
        page.keyboard.press("d")
        wait_for(page, lambda: pending(page) == 1)  # the other reviewer's
        assert at.verdicts() == {UUID(lookup): ["different"]}


def test_two_reviewers_in_two_browsers_never_see_the_same_pair(tmp_path: Path, browser: Browser) -> None:
    with desk(tmp_path, 40) as at:
        seen: list[list[str]] = []
        with browser.new_context() as one, browser.new_context() as two:
            pages = [one.new_page(), two.new_page()]
            for number, page in enumerate(pages):
                sign_in(page, at, at.token(f"reviewer {number}"))
                seen.append([])
            done = [False, False]
            while not all(done):
                for number, page in enumerate(pages):
                    page.wait_for_function(
                        "() => ['pair', 'nothing'].includes(document.querySelector('#review').dataset.state)"
                    )
                    if page.get_attribute("#review", "data-state") == "nothing":
                        done[number] = True
                        continue
                    seen[number].append(lookup_shown(page))
                    page.keyboard.press("s" if number else "u")
        assert not set(seen[0]) & set(seen[1])
        assert sorted(seen[0] + seen[1]) == sorted(map(str, at.waiting))
        assert min(map(len, seen)) >= 8


def test_a_pair_that_was_left_goes_to_the_next_reviewer(tmp_path: Path, browser: Browser) -> None:
    with desk(tmp_path, 3) as at, browser.new_context() as one, browser.new_context() as two:
        first, second = one.new_page(), two.new_page()
        sign_in(first, at, at.token("rita"))
        assert lookup_shown(first) == str(at.waiting[0])
        sign_in(second, at, at.token("sam"))
        expect(second.locator("#nothing")).to_be_visible()
        first.close(run_before_unload=True)
        second.wait_for_selector("#pair:not([hidden])")  # by itself
        assert lookup_shown(second) == str(at.waiting[0])


def test_a_pair_whose_lease_ends_is_put_away(tmp_path: Path, browser: Browser) -> None:
    with desk(tmp_path, 2, lease_seconds=5) as at, browser.new_context() as one, browser.new_context() as two:
        first, second = one.new_page(), two.new_page()
        sign_in(first, at, at.token("rita"))
        assert lookup_shown(first) == str(at.waiting[0])
        one.set_offline(True)  # its renewals do not arrive
        sign_in(second, at, at.token("sam"))
        second.wait_for_selector("#pair:not([hidden])", timeout=30_000)
        assert lookup_shown(second) in map(str, at.waiting)
        assert first.locator("#pair").is_hidden()
        one.set_offline(False)


def test_undo_takes_back_and_shows_the_pair_again(tmp_path: Path, page: Page) -> None:
    with desk(tmp_path, 8) as at:
        sign_in(page, at, at.token("rita"))
        first = lookup_shown(page)
        page.keyboard.press("s")
        wait_for(page, lambda: pending(page) == 0)
        page.keyboard.press("z")
        assert lookup_shown(page) == first
        wait_for(page, lambda: pending(page) == 0)
        assert at.store.queue.status().length == 8
        page.keyboard.press("d")
        wait_for(page, lambda: at.store.queue.status().length == 7)
        assert at.verdicts() == {UUID(first): ["different", "same"]}

        page.reload()  # undo reaches what was decided before the page was loaded
        assert lookup_shown(page) != first
        page.keyboard.press("z")
        page.wait_for_function(
            "(first) => document.querySelector('#pair').dataset.lookup === first", arg=first
        )
        assert at.store.queue.status().length == 8

        page.goto(f"{at.url}/review/history")
        expect(page.get_by_role("row", name=re.compile("Taken back by rita"))).to_have_count(2)


def test_next_leaves_a_pair_for_later(tmp_path: Path, page: Page) -> None:
    with desk(tmp_path, 3) as at:
        sign_in(page, at, at.token("rita"))
        shown = []
        for _ in range(4):
            shown.append(lookup_shown(page))
            page.keyboard.press("n")
            page.wait_for_function(
                "(before) => document.querySelector('#pair').dataset.lookup !== before", arg=shown[-1]
            )
        assert shown == [*map(str, at.waiting), str(at.waiting[0])]
        assert at.verdicts() == {}


def test_names_and_notes_that_look_like_markup_are_text(tmp_path: Path, page: Page) -> None:
    evil = "<img src=x onerror=alert(1)>"
    with desk(tmp_path, 0, release=evil, review_below=1) as at:
        fill(at.store, 4, evil)
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        files = {"file": (f'"{evil}.jpg', b"not a picture", "image/jpeg")}
        assert at.server.client.post("/api/dhash", files=files).status_code == 415
        sign_in(page, at, at.token(evil))
        lookup_shown(page)
        expect(page.locator("#visitor")).to_have_text(evil)
        expect(page.locator("#why")).to_have_text(evil)
        expect(page.locator(".release")).to_have_text(f"release {evil}")
        page.keyboard.press("m")
        page.keyboard.type(f'{evil} & "quotes"')
        page.keyboard.press("Escape")
        page.keyboard.press("s")
        wait_for(page, lambda: pending(page) == 0)
        page.goto(f"{at.url}/review/history")
        expect(page.locator(".words")).to_have_text(f'{evil} & "quotes"')
        assert page.locator("img[src=x]").count() == 0


def test_another_site_cannot_decide_with_the_reviewers_cookie(
    tmp_path: Path, page: Page, context: BrowserContext
) -> None:
    with desk(tmp_path, 4) as at:
        here = at.url.replace("127.0.0.1", "localhost")  # another site than 127.0.0.1, to a browser
        sign_in(page, at, at.token("rita"))
        lookup = lookup_shown(page)
        body = json.dumps({"id": "01890000-0000-7000-8000-000000000000", "lookup": lookup, "verdict": "same"})
        forged = context.new_page()
        context.route(
            "http://localhost:1/", lambda route: route.fulfill(body="<p>evil", content_type="text/html")
        )
        forged.goto("http://localhost:1/")
        codes = []
        forged.on(
            "response", lambda response: codes.append(response.status) if "/review/" in response.url else None
        )
        forged.evaluate(
            """async ([url, body]) => {
              for (const type of ["text/plain", "application/x-www-form-urlencoded"])
                await fetch(`${url}/review/decisions`, {
                  method: "POST", mode: "no-cors", credentials: "include", body,
                  headers: { "Content-Type": type },
                }).catch(() => {});
            }""",
            [at.url, body],
        )
        form = "<form method=post enctype=text/plain action='{0}/review/decisions'><input name='{1}'></form>"
        forged.evaluate(
            "([html]) => { document.body.innerHTML = html; document.forms[0].submit(); }",
            [form.format(at.url, body.replace("'", "&#39;"))],
        )
        forged.wait_for_load_state()
        wait_for(forged, lambda: len(codes) >= 1)
        assert set(codes) == {403}
        assert at.verdicts() == {}
        assert here != at.url


def test_a_link_from_elsewhere_finds_the_reviewer_signed_in(
    tmp_path: Path, page: Page, context: BrowserContext
) -> None:
    with desk(tmp_path, 4) as at:
        sign_in(page, at, at.token("rita"))
        link = f"<a href='{at.url}/review?reason=small_margin'>look</a>"
        context.route("http://localhost:1/", lambda route: route.fulfill(body=link, content_type="text/html"))
        page.goto("http://localhost:1/")
        page.get_by_text("look").click()
        lookup_shown(page)
        expect(page.locator("#visitor")).to_have_text("rita")


def test_a_session_that_ends_keeps_what_was_decided(tmp_path: Path, page: Page) -> None:
    with desk(tmp_path, 8) as at:
        token = at.token("rita")
        sign_in(page, at, token)
        lookup = lookup_shown(page)
        with at.store.engine.connect() as connection:
            session = connection.exec_driver_sql("SELECT id FROM sessions").scalar()
        at.store.sessions.end(UUID(bytes=session), datetime.now(UTC)).result(10)
        page.keyboard.press("s")
        expect(page.locator("#trouble")).to_contain_text("Your session has ended. 1 decision waits")
        page.locator("#trouble").get_by_role("link", name="Sign in").click()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        lookup_shown(page)
        wait_for(page, lambda: pending(page) == 0)
        assert at.verdicts() == {UUID(lookup): ["same"]}
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/sign-in")
        page.goto(f"{at.url}/review")
        expect(page.locator("#only-looking")).to_contain_text("You are only looking")


def test_every_state_is_accessible_and_fits_a_phone(
    tmp_path: Path, page: Page, context: BrowserContext, accessible: Accessible
) -> None:
    with desk(tmp_path, 5) as at:
        page.goto(f"{at.url}/review")
        lookup_shown(page)
        accessible(page)  # signed out
        page.goto(f"{at.url}/sign-in")
        accessible(page)
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#wrong")).to_be_visible()
        accessible(page)
        sign_in(page, at, at.token("rita"))
        lookup_shown(page)
        accessible(page)
        for key in "wbv":
            page.keyboard.press(key)
            accessible(page)
        page.keyboard.press("v")
        page.keyboard.press("?")
        accessible(page)
        page.keyboard.press("Escape")
        for width in (360, 390, 768):
            assert not overflows(page, width)
        accessible(page)
        page.set_viewport_size({"width": 1280, "height": 800})
        page.locator("#more summary").click()
        accessible(page)
        page.keyboard.press("s")
        wait_for(page, lambda: pending(page) == 0)
        page.goto(f"{at.url}/review/history")
        accessible(page)
        assert not overflows(page)
        page.goto(f"{at.url}/review/reviewers")
        expect(page.get_by_role("row", name=re.compile("rita"))).to_be_visible()
        accessible(page)
        assert not overflows(page)
        page.goto(f"{at.url}/nothing-here")
        expect(page.locator("h1")).to_have_text("Not found")
        accessible(page)
        page.goto(f"{at.url}/review?older=30d")
        expect(page.locator("#nothing")).to_be_visible()
        accessible(page)
        page.goto(f"{at.url}/review")
        for _ in range(4):
            lookup_shown(page)
            page.keyboard.press("d")
        expect(page.locator("#nothing")).to_be_visible()
        accessible(page)
        assert not overflows(page)


def test_all_can_be_done_without_a_mouse(tmp_path: Path, page: Page) -> None:
    with desk(tmp_path, 8) as at:
        sign_in(page, at, at.token("rita"))
        first = lookup_shown(page)
        page.keyboard.press("?")
        page.get_by_label("Single keys decide").uncheck()
        page.keyboard.press("Escape")
        page.keyboard.press("s")  # single keys are off
        assert lookup_shown(page) == first
        reached = set()
        page.evaluate("document.activeElement.blur()")
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(
                page.evaluate(
                    "(document.activeElement.textContent || document.activeElement.id).trim().slice(0, 12)"
                )
            )
        decide = {"Same S", "Different D", "Unsure U", "Next N", "note", "?"}
        compare = {"Side X", "Swipe W", "Blink B", "Difference V", "Submitted", "+"}
        wanted = decide | compare | {"Skip to the ", "Search", "Sign out", "All 8", "Decisions", "Reviewers"}
        assert wanted <= reached, wanted - reached
        page.get_by_role("button", name="Same").focus()
        page.keyboard.press("Enter")
        page.wait_for_function(
            "(before) => document.querySelector('#pair').dataset.lookup !== before", arg=first
        )


def test_blinking_obeys_whoever_wants_no_motion(tmp_path: Path, page: Page) -> None:
    shown = "document.querySelector('#stage').dataset.shown"
    with desk(tmp_path, 3) as at:
        page.goto(f"{at.url}/review")
        lookup_shown(page)
        page.keyboard.press("b")
        page.wait_for_function(f"() => {shown} === 'nearest'")
        page.wait_for_function(f"() => {shown} === 'submitted'")  # by itself
        page.keyboard.press("b")
        page.emulate_media(reduced_motion="reduce")
        page.keyboard.press("b")
        page.wait_for_timeout(1200)  # nearly three turns of the other way
        assert page.evaluate(shown) == "submitted"
        page.keyboard.press("b")
        assert page.evaluate(shown) == "nearest"


def test_differing_bits_are_marked_by_shape_and_told_in_words(tmp_path: Path, page: Page) -> None:
    with desk(tmp_path, 0) as at:
        fill(at.store, 3, first=1)  # the very first scene's two pictures have one fingerprint
        page.goto(f"{at.url}/review")
        lookup = at.store.lookup(UUID(lookup_shown(page)))
        assert lookup is not None
        assert lookup.match.nearest is not None
        distance = lookup.match.nearest.distance
        assert distance > 0
        assert page.locator("#bits .cross").count() == 2 * distance
        assert page.locator("#bits rect").count() == 128
        label = page.locator("#bits svg").first.get_attribute("aria-label") or ""
        assert label.count("row") == distance


def test_the_page_is_ready_at_once_with_ten_thousand_pairs_waiting(crowded: Desk, page: Page) -> None:
    sign_in(page, crowded, crowded.token("rita"))
    lookup_shown(page)
    ready = "performance.getEntriesByName('pair shown')[0]?.startTime"
    times = []
    for _ in range(9):
        page.goto("about:blank")
        page.goto(f"{crowded.url}/review", wait_until="commit")
        page.wait_for_function(f"() => {ready}")
        times.append(float(page.evaluate(ready)))
    times.sort()
    print(f"\nnavigation to pair shown, 10,000 waiting: best {times[0]:.0f} ms, median {times[4]:.0f} ms")
    assert times[0] < 300 * crowding()


def test_the_first_page_is_small(crowded: Desk, context: BrowserContext) -> None:
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    kinds: dict[str, str] = {}
    sent: dict[str, int] = {}
    session.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))
    session.on(
        "Network.loadingFinished",
        lambda event: sent.update({event["requestId"]: int(event["encodedDataLength"])}),
    )
    page.goto(f"{crowded.url}/review")
    lookup_shown(page)
    page.wait_for_load_state("networkidle")
    total = sum(size for id, size in sent.items() if kinds.get(id) != "Image")
    print(f"\nfirst page, without pictures: {total / 1000:.1f} KB in {len(sent)} answers")
    assert 10_000 < total < 100_000


def test_reviewing_goes_on_when_a_token_is_revoked_for_others(crowded: Desk, page: Page) -> None:
    token = crowded.token("gone")
    sign_in(page, crowded, token)
    lookup_shown(page)
    assert dhash("token", "revoke", "gone", env=crowded.server.env).returncode == 0
    page.keyboard.press("s")
    expect(page.locator("#trouble")).to_contain_text("Your session has ended")


def test_pictures_are_large_and_zoom_in_step(tmp_path: Path, page: Page) -> None:
    with desk(tmp_path, 4) as at:
        page.set_viewport_size({"width": 1440, "height": 900})
        sign_in(page, at, at.token("rita"))
        lookup_shown(page)
        stage = page.locator("#stage").bounding_box()
        assert stage
        assert stage["width"] >= 0.7 * 1440
        assert stage["height"] >= 0.7 * 900
        expect(page.locator("#submitted .badge")).to_have_text("thumbnail only")
        page.mouse.move(stage["x"] + stage["width"] / 4, stage["y"] + stage["height"] / 3)
        page.mouse.wheel(0, -600)
        expect(page.locator("#zoom")).to_have_text("3.3×")
        moved = "[...document.querySelectorAll('#stage img')].map((i) => getComputedStyle(i).transform)"
        one, two = page.evaluate(moved)
        assert one == two != "none"
        page.keyboard.press("ArrowLeft")
        panned = page.evaluate(moved)
        assert panned[0] == panned[1] != one
        page.keyboard.press("0")
        expect(page.locator("#zoom")).to_have_text("Fit")
        page.keyboard.press("w")
        page.get_by_label("Where the known picture begins").fill("20")
        clip = page.locator("#nearest").evaluate("(figure) => getComputedStyle(figure).clipPath")
        assert clip == "inset(0px 0px 0px 20%)"


def test_a_candidate_is_compared_and_named_in_the_decision(tmp_path: Path, page: Page) -> None:
    with desk(tmp_path, 0, review_below=1) as at:
        scene = photo(480, 320, 7)
        for quality in (90, 40, 15):
            files = {"file": (f"at{quality}.jpg", encode(scene, "JPEG", quality=quality), "image/jpeg")}
            assert at.server.client.post("/api/dhash", files=files).status_code == 201
        sign_in(page, at, at.token("rita"))
        lookup_shown(page)
        expect(page.locator("#submitted")).to_contain_text("at40.jpg")
        candidates = page.locator("#strip button")
        expect(candidates).to_have_count(2)
        distances = [0 if "same" in text else int(text.split()[0]) for text in candidates.all_inner_texts()]
        assert distances == sorted(distances)
        other = candidates.nth(1).inner_text().split()[-1]
        page.keyboard.press("c")
        expect(candidates.nth(1)).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#nearest .name")).to_have_text(other)
        expect(page.locator("#submitted mark").first).to_be_visible()  # its size differs
        page.keyboard.press("s")
        wait_for(page, lambda: pending(page) == 0)
        (made,) = at.store.verdicts.history().judged
        named = at.store.image(UUID(made.decision.note.removeprefix("compared with ")))
        assert named is not None


def test_keys_can_be_set_and_stay(tmp_path: Path, page: Page) -> None:
    with desk(tmp_path, 6) as at:
        sign_in(page, at, at.token("rita"))
        first = lookup_shown(page)
        page.keyboard.press("?")
        page.get_by_label("Same picture").fill("d")
        expect(page.locator("#keymap-says")).to_contain_text("is taken: Different pictures")
        page.get_by_label("Same picture").fill("j")
        page.get_by_role("button", name="Done").click()
        page.reload()
        page.wait_for_selector("#pair:not([hidden])")
        page.keyboard.press("s")  # no longer a key
        assert lookup_shown(page) == first
        expect(page.get_by_role("button", name="Same")).to_contain_text("J")
        page.keyboard.press("j")
        wait_for(page, lambda: at.verdicts() == {UUID(first): ["same"]})


def test_on_a_phone_a_finger_decides_and_a_toast_takes_back(tmp_path: Path, browser: Browser) -> None:
    with (
        desk(tmp_path, 6) as at,
        browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True) as phone,
    ):
        page = phone.new_page()
        sign_in(page, at, at.token("rita"))
        first = lookup_shown(page)
        frames = [page.locator(f"#{name} .frame").bounding_box() for name in ("submitted", "nearest")]
        assert frames[0]
        assert frames[1]
        assert frames[0]["width"] > 350
        assert frames[1]["y"] > frames[0]["y"] + frames[0]["height"]  # one above the other
        tops = {
            round(box["y"])
            for each in page.locator("#decide button:visible").all()
            if (box := each.bounding_box())
        }
        assert len(tops) == 1
        fingers = phone.new_cdp_session(page)
        place = {"x": frames[0]["x"] + 60, "y": frames[0]["y"] + 80}
        fingers.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [place]})
        for _ in range(6):
            place["x"] += 30
            fingers.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [place]})
        expect(page.locator("#swiped")).to_have_text("Same")
        fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        wait_for(page, lambda: at.verdicts() == {UUID(first): ["same"]})
        wait_for(page, lambda: pending(page) == 0)
        page.locator(".toast").get_by_role("button", name="Undo").tap()
        expect(page.locator("#pair")).to_have_attribute("data-lookup", first)
        wait_for(page, lambda: at.store.queue.status().length == 6)


@pytest.mark.parametrize("waiting", [1, 3])
def test_a_tap_on_undo_while_the_next_pair_loads_brings_the_pair_back(
    tmp_path: Path, browser: Browser, waiting: int
) -> None:
    def late(route: Route) -> None:
        answer = route.fetch()
        time.sleep(0.4)
        route.fulfill(response=answer)

    with (
        desk(tmp_path, waiting) as at,
        browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True) as phone,
    ):
        page = phone.new_page()
        sign_in(page, at, at.token("rita"))
        first = lookup_shown(page)
        for path in ("pairs", "decisions", "withdrawals"):
            page.route(f"**/review/{path}*", late)
        page.locator("[data-verdict=same]").tap()
        page.locator(".toast").get_by_role("button", name="Undo").tap()
        expect(page.locator("#pair")).to_have_attribute("data-lookup", first)
        wait_for(page, lambda: pending(page) == 0 and at.store.queue.status().length == waiting)
        expect(page.locator("#pair")).to_have_attribute("data-lookup", first)
        page.unroute_all()
        page.locator("[data-verdict=different]").tap()
        wait_for(page, lambda: at.verdicts().get(UUID(first)) == ["different", "same"])
        expect(page.locator("#trouble")).to_be_hidden()


def test_the_page_tells_how_far_and_how_long(tmp_path: Path, page: Page) -> None:
    with desk(tmp_path, 12) as at:
        sign_in(page, at, at.token("rita"))
        lookup_shown(page)
        expect(page.locator("#place")).to_have_text("1 of 12")
        for turn in range(4):
            lookup_shown(page)  # a key that comes before the pair decides nothing
            page.keyboard.press("s")
            expect(page.locator("#place")).to_have_text(f"{turn + 2} of 12")
        expect(page.locator("#eta")).to_have_text(re.compile(r"about \d+ (s|min) left"), timeout=15_000)
        expect(page.locator("#place")).to_have_text("5 of 12")  # the service counts the same
