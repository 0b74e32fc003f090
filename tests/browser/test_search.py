"""The search page as people use it: a real service, real files, a real Chromium."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from pikepdf import Encryption
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Request, expect

from dhash_service.facts import Fingerprint, Match, Picture, Sha256, Status
from dhash_service.store.store import Store
from tests.browser.conftest import overflows
from tests.browser.files import File, choose, drop, paste
from tests.dhash_service.documents.pdfs import Draft, showing, slow
from tests.dhash_service.serving import Server, serving, start
from tests.dhash_service.store.databases import postgres_server
from tests.pictures import encode, jpeg, photo

Accessible = Callable[[Page], None]
PHOTOS = range(12)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that knows a dozen photographs, and one of them four times over."""
    with serving(tmp_path_factory.mktemp("search")) as running:
        for seed in PHOTOS:
            keep(running, jpeg(480, 360, seed))
        for quality in (35, 55, 75):
            keep(running, jpeg(480, 360, 1, quality=quality))
        yield running


def keep(server: Server, data: bytes) -> dict[str, object]:
    sent = server.client.post("/api/dhash", content=data, headers={"Content-Type": "image/jpeg"})
    assert sent.status_code == 201, sent.text
    answer: dict[str, object] = sent.json()
    return answer


def known(server: Server) -> int:
    return int(server.client.get("/api/dhash/search?hash=0000000000000000").json()["known"])


def row(page: Page, name: str) -> Locator:
    """The row of a file, by its name as it is shown."""
    return page.locator("#answers .file").filter(has=page.get_by_text(name, exact=True))


# ---- files


def test_a_dropped_picture_is_shown_beside_the_nearest_known_ones_and_not_kept(
    page: Page, server: Server, accessible: Accessible
) -> None:
    before = known(server)
    page.goto(server.url)
    drop(page, File("holiday.jpg", jpeg(480, 360, 1, quality=65)))
    mine = row(page, "holiday.jpg")
    expect(mine.locator(".badge")).to_contain_text("Known: ")
    expect(mine.locator(".headline")).to_contain_text("not kept")
    cards = mine.locator(".cards .known")
    expect(cards).to_have_count(4)
    expect(cards.first).to_contain_text(re.compile(r"the same fingerprint|\d+ of 64 bits differs?"))
    assert (
        cards.first.locator("img").evaluate(
            "async (image) => { await image.decode(); return image.naturalWidth }"
        )
        == 240
    )
    assert mine.locator("section > .thumbnail").evaluate("(image) => image.naturalWidth") > 0
    accessible(page)
    assert known(server) == before


def test_what_is_chosen_to_be_kept_is_found_from_then_on(page: Page, server: Server) -> None:
    data = jpeg(480, 360, 50)
    page.goto(server.url)
    page.get_by_label("Add to library").check()
    choose(page, File("new.jpg", data))
    mine = row(page, "new.jpg")
    expect(mine.locator(".badge")).to_have_text("New: nothing known is within 10 bits")
    mine.get_by_role("link", name="kept").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("new.jpg")
    expect(page.locator("main")).to_contain_text("release test-1")
    assert server.client.post(
        "/api/dhash?register=false", content=data, headers={"Content-Type": "image/jpeg"}
    ).json()["reasons"] == ["known"]


def test_a_picture_that_was_only_looked_up_can_be_kept_after_all(page: Page, server: Server) -> None:
    before = known(server)
    page.goto(server.url)
    paste(page, File("clipboard.png", encode(photo(300, 200, 51), "PNG"), "image/png"))
    mine = row(page, "clipboard.png")
    mine.get_by_role("button", name="Keep it").click()
    expect(mine.get_by_role("link", name="kept")).to_be_visible()
    assert known(server) == before + 1


def test_each_picture_of_a_pdf_comes_with_its_page_and_what_is_near_it(
    page: Page, server: Server, accessible: Accessible
) -> None:
    document = showing(jpeg(480, 360, 1, quality=60), jpeg(480, 360, 70), jpeg(480, 360, 2))
    page.goto(server.url)
    drop(page, File("report.pdf", document, "application/pdf"))
    mine = row(page, "report.pdf")
    expect(mine).to_contain_text("A PDF with 3 pages and 3 pictures.")
    pictures = mine.locator("section.shown")
    expect(pictures).to_have_count(3)
    for number, says in enumerate(("Known: ", "New: ", "Exact duplicate")):
        expect(pictures.nth(number)).to_contain_text(f"page {number + 1}")
        expect(pictures.nth(number).locator(".badge")).to_contain_text(says)
    expect(pictures.first.locator(".cards .known")).to_have_count(4)
    accessible(page)


def test_a_long_document_shows_its_first_pictures_and_lists_the_rest(page: Page, server: Server) -> None:
    draft = Draft()
    drawn = [draft.jpeg(jpeg(120, 90, seed)) for seed in range(30)]
    for number in range(120):
        draft.show(drawn[number % 30])
    page.goto(server.url)
    drop(page, File("long.pdf", draft.save(), "application/pdf"))
    mine = row(page, "long.pdf")
    expect(mine.locator("section.shown")).to_have_count(24)
    mine.get_by_text("96 more pictures of this document").click()
    expect(mine.locator("tbody tr")).to_have_count(96)
    expect(mine.locator("tbody tr").last).to_contain_text("120")


def test_of_several_files_the_bad_ones_fail_alone(page: Page, server: Server, accessible: Accessible) -> None:
    hostile = '<img src=x onerror="document.title=1">&amp;.jpg'
    page.goto(server.url)
    drop(
        page,
        File("good.jpg", jpeg(480, 360, 3)),
        File(hostile, b"\xff\xd8\xff" + bytes(200)),
        File("notes.txt", b"no picture at all", "text/plain"),
        File("empty.jpg", b""),
        File("secret.pdf", encrypted(), "application/pdf"),
        File("none.pdf", without_pictures(), "application/pdf"),
        File("also good.jpg", jpeg(480, 360, 4)),
    )
    expect(row(page, "good.jpg").locator(".badge")).to_have_text("Exact duplicate")
    expect(row(page, "also good.jpg").locator(".badge")).to_have_text("Exact duplicate")
    expect(row(page, hostile)).to_contain_text("The picture cannot be read.")
    expect(row(page, "notes.txt")).to_contain_text("Send JPEG, PNG, WebP, GIF, BMP or TIFF")
    expect(row(page, "empty.jpg")).to_contain_text("There is nothing in this file.")
    expect(row(page, "secret.pdf")).to_contain_text("The PDF is encrypted.")
    expect(row(page, "none.pdf")).to_contain_text("There is no picture in it.")
    assert page.locator("main img:not(.thumbnail)").count() == 0
    assert page.title() == "Search · dhash"
    accessible(page)


def encrypted() -> bytes:
    return showing(jpeg(60, 60), encryption=Encryption(owner="o", user="u"))


def without_pictures() -> bytes:
    draft = Draft()
    draft.page(b"")
    return draft.save()


def test_a_thousand_files_are_not_all_taken_at_once(page: Page, server: Server) -> None:
    page.goto(server.url)
    small = jpeg(32, 32, 9)
    drop(page, *(File(f"{number}.jpg", small) for number in range(1000)))
    expect(page.locator("#answers")).to_contain_text("The first 200 files were taken; 800 more were not.")
    expect(page.locator("#answers article")).to_have_count(200, timeout=30_000)


def test_a_name_that_turns_its_direction_turns_nothing_beside_it(page: Page, server: Server) -> None:
    name = "gpj.\u202ephoto\u2067<b>"
    data = jpeg(480, 360, 77)
    files = {"file": (name, data, "image/jpeg")}
    assert server.client.post("/api/dhash", files=files).status_code == 201
    page.goto(server.url)
    drop(page, File("again.jpg", data))
    sentence = row(page, "again.jpg").locator(".sentence")
    expect(sentence).to_contain_text(f"{name}, added")
    shown = sentence.evaluate("""(sentence) => {
      const after = document.createRange();
      const words = [...sentence.childNodes].find((node) => node.data?.includes(", added"));
      after.setStart(words, 0); after.setEnd(words, 1);
      return [sentence.querySelector("a").getBoundingClientRect().right, after.getBoundingClientRect().left];
    }""")
    assert shown[1] >= shown[0] - 1, "the comma stands left of the name's end"


def test_a_known_picture_opens_beside_the_files_and_closes_again(
    page: Page, server: Server, accessible: Accessible
) -> None:
    page.goto(server.url)
    drop(page, File("mine.jpg", jpeg(480, 360, 1)))
    row(page, "mine.jpg").locator(".known").first.click()
    shown = page.get_by_role("dialog", name="A known picture")
    expect(shown).to_contain_text("SHA-256")
    accessible(page)
    page.keyboard.press("Escape")
    expect(shown).to_have_count(0)
    expect(row(page, "mine.jpg")).to_be_visible()


# ---- hashes


def test_a_hash_is_searched_for_by_keyboard_and_stands_in_the_address(
    page: Page, server: Server, accessible: Accessible
) -> None:
    value = server.client.post(
        "/api/dhash?register=false", content=jpeg(480, 360, 1), headers={"Content-Type": "image/jpeg"}
    ).json()["hash"]
    page.goto(server.url)
    page.get_by_label("Hash").focus()
    page.keyboard.type(f"0x{value.upper()}")
    page.keyboard.press("Tab")
    page.keyboard.type("12")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#results-title")).to_have_text("4 known pictures within 12 bits")
    expect(page.locator("#results .known").first).to_contain_text("the same fingerprint")
    assert f"q=0x{value.upper()}" in page.url
    accessible(page)
    page.reload()
    expect(page.locator("#results-title")).to_have_text("4 known pictures within 12 bits")
    expect(page.get_by_label("Within")).to_have_value("12")
    page.locator("#results .known").nth(1).click()
    expect(page.locator("dl.facts")).to_contain_text("JPEG, 480 × 360 pixels")
    accessible(page)


def test_a_pasted_hash_is_searched_for(page: Page, server: Server) -> None:
    page.goto(server.url)
    paste(page, text=" 0123456789abcdef\n")
    expect(page.locator("#results-title")).to_have_text("Nothing known within 10 bits")
    page.get_by_role("link", name="Search wider").click()
    expect(page).to_have_url(re.compile("radius=20"))


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("0x12345", "A hash has 16 hex digits; this has 5."),
        ("0x<b>x</b>", "“<” is none of them."),
        ("0123456789abcde", "A hash has 16 hex digits; this has 15."),
        ("00000000-0000-8000-8000-000000000000", "No picture is 00000000-"),
    ],
)
def test_what_is_no_hash_is_said_to_be_none(
    page: Page, server: Server, accessible: Accessible, typed: str, says: str
) -> None:
    page.goto(server.url)
    page.get_by_label("Hash").fill(typed)
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#mistake")).to_contain_text(says)
    expect(page.get_by_label("Hash")).to_be_focused()
    expect(page.get_by_label("Hash")).to_have_attribute("aria-invalid", "true")
    accessible(page)
    page.get_by_label("Hash").fill("0123456789abcdef")
    page.keyboard.press("Enter")
    expect(page.locator("#results-title")).to_be_visible()
    expect(page.locator("#mistake")).to_be_empty()


def test_a_search_from_a_file_leaves_the_files_and_going_back_leads_to_the_search_before(
    page: Page, server: Server
) -> None:
    page.goto(f"{server.url}/?hash={'0' * 16}&radius=32")
    drop(page, File("mine.jpg", jpeg(480, 360, 1)))
    mine = row(page, "mine.jpg")
    mine.get_by_text("Fingerprint", exact=True).click()
    hash = mine.locator("a.mono").inner_text()
    mine.locator("a.mono").click()
    expect(page.locator("#results-title")).to_have_text("4 known pictures within 10 bits")
    expect(page.get_by_label("Hash")).to_have_value(hash)
    expect(mine.locator(".badge")).to_be_visible()
    page.go_back()
    expect(page.locator("#results-title")).to_contain_text("within 32 bits")
    expect(page.get_by_label("Hash")).to_have_value("0" * 16)
    drop(page, File("again.jpg", jpeg(480, 360, 1)))
    expect(row(page, "again.jpg").locator(".badge")).to_be_visible()


# ---- without scripts


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A page of a browser that runs no scripts."""
    with browser.new_context(java_script_enabled=False) as context:
        context.set_default_timeout(10_000)
        yield context.new_page()


def test_everything_works_without_scripts(plain: Page, server: Server) -> None:
    plain.goto(server.url)
    choose(plain, File("one.jpg", jpeg(480, 360, 1)), File("bad <i>.jpg", b"nothing"))
    plain.get_by_role("button", name="Look up").click()
    expect(plain.locator("#answers .file")).to_have_count(2)
    expect(row(plain, "one.jpg").locator(".badge")).to_have_text("Exact duplicate")
    expect(row(plain, "bad <i>.jpg")).to_contain_text("Not a supported picture.")
    plain.get_by_label("Hash").fill("0xnonsense")
    plain.get_by_role("button", name="Search").click()
    expect(plain.locator("#mistake")).to_contain_text("“n” is none of them.")
    plain.get_by_label("Hash").fill("nonsense")
    plain.get_by_role("button", name="Search").click()
    expect(plain.locator("#results .empty")).to_contain_text("No picture has “nonsense” in its name.")
    plain.get_by_label("Hash").fill("0" * 16)
    plain.get_by_label("Within").select_option("32")
    plain.get_by_role("button", name="Search").click()
    expect(plain.locator("#results .known").first).to_be_visible()
    assert "q=0000000000000000&radius=32" in plain.url


# ---- size, width, keys


def test_the_first_page_takes_less_than_100_kilobytes(page: Page, server: Server) -> None:
    done: list[Request] = []
    page.on("requestfinished", lambda request: done.append(request))
    page.goto(server.url, wait_until="networkidle")
    sizes = [request.sizes() for request in done if request.resource_type != "image"]
    assert len(sizes) >= 5
    taken = sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes)
    assert taken < 100_000, taken


def test_nothing_scrolls_sideways_on_a_phone(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?hash={'0' * 16}&radius=32")
    assert not overflows(page)
    drop(
        page,
        File(f"{'long' * 60}.jpg", jpeg(480, 360, 1)),
        File("report.pdf", showing(jpeg(480, 360, 1), jpeg(90, 60, 3)), "application/pdf"),
        File("bad.jpg", b"?"),
    )
    expect(page.locator("#answers article")).to_have_count(2)
    assert not overflows(page)
    page.locator("#results .known").first.click()
    expect(page.locator("dl.facts")).to_be_visible()
    assert not overflows(page)


def test_every_control_can_be_reached_by_keyboard(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?hash={'0' * 16}&radius=32")
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "(e => e === document.body ? '' : e.id || e.name || e.ariaLabel || e.textContent.trim())"
            "(document.activeElement)"
        )
        if not name:
            break
        reached.append(name)
    wanted = [
        "Skip to the content",
        "files",
        "keep",
        "hash",
        "radius",
        "Search",
        "API",
        "The service: Healthy",
    ]
    assert [name for name in wanted if name not in reached] == []


# ---- states


def test_a_service_without_pictures_says_how_to_begin(
    page: Page, tmp_path: Path, accessible: Accessible
) -> None:
    with serving(tmp_path) as server:
        page.goto(server.url)
        expect(page.locator("main")).to_contain_text("No picture is known yet.")
        accessible(page)
        page.goto(f"{server.url}/?hash={'0' * 16}")
        expect(page.locator("#results")).to_contain_text("No picture is known yet.")
        page.get_by_label("Add to library").check()
        drop(page, File("first.jpg", jpeg(90, 60, 1)))
        expect(row(page, "first.jpg").get_by_role("link", name="kept")).to_be_visible()
        expect(page.locator("#status")).to_contain_text(re.compile(r"known pictures\s*1\b"), timeout=7000)


def test_ten_thousand_neighbours_come_a_page_at_a_time(
    page: Page, tmp_path: Path, accessible: Accessible
) -> None:
    with serving(tmp_path) as server:
        crowd(server, 10_000)
        begun = time.monotonic()
        page.goto(f"{server.url}/?hash={'f0' * 8}&radius=32")
        expect(page.locator("#results-title")).to_have_text("10,000 known pictures within 32 bits")
        assert time.monotonic() - begun < 15  # usually one or two
        expect(page.locator("#results .known")).to_have_count(24)
        expect(page.locator("#results .notice")).to_contain_text("A thousand known pictures or more")
        accessible(page)
        page.get_by_role("link", name="9,976 more").click()
        expect(page.locator("#results .asked")).to_contain_text("25 to 48")
        page.get_by_role("link", name="Nearer ones").click()
        expect(page.locator("#results .asked")).to_contain_text("1 to 24")
        page.goto(f"{server.url}/?hash={'f0' * 8}&radius=32&from=9990")
        expect(page.locator("#results .known")).to_have_count(10)
        expect(page.get_by_role("link", name="more")).to_have_count(0)


def crowd(server: Server, number: int) -> None:
    """Let a service know this many pictures near one another, 1,500 of them with one fingerprint."""
    random = np.random.default_rng(1)
    thumbnail = encode(photo(64, 48), "JPEG")
    with Store.open(server.env["DHASH_STORE"], release="bulk", algorithm=None) as store:
        for index in range(number):
            value = int("f0" * 8, 16)
            for bit in random.choice(64, 0 if index < 1500 else 1 + index % 9, replace=False):
                value ^= 1 << int(bit)
            print_ = Fingerprint(value, store.algorithm, 1.0, (), 640, 480)
            picture = Picture(
                Sha256(f"{index:08x}" * 8), "JPEG", 1000, print_, thumbnail if index % 2 else None
            )
            kept = store.add_image(picture, Match(Status.NEW, 1.0, (), None, None, 0))
        kept.result(60)
    deadline = time.monotonic() + 10
    while known(server) < number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_lost_service_is_said_to_be_lost_and_files_go_on_when_it_is_back(
    page: Page, tmp_path: Path, accessible: Accessible
) -> None:
    server = start(tmp_path).wait_until_ready()
    try:
        page.goto(server.url)
        server.kill()
        drop(page, File("mine.jpg", jpeg(480, 360, 1)))
        expect(row(page, "mine.jpg")).to_contain_text("The service cannot be reached.")
        expect(page.locator("#lost")).to_contain_text("The service does not answer.", timeout=12_000)
        accessible(page)
        page.get_by_label("Hash").fill("0" * 16)
        page.get_by_role("button", name="Search").click()
        expect(page.locator("#results")).to_contain_text("Search again when it is back.")
        server = again(server)
        expect(page.locator("#lost")).to_be_hidden(timeout=12_000)
        expect(row(page, "mine.jpg").locator(".badge")).to_contain_text("New: ")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("#results-title")).to_have_text("Nothing known within 10 bits")
    finally:
        server.stop()


def again(server: Server) -> Server:
    """The same service once more, at the same address."""
    with server.log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dhash_service", "serve"],
            env={**os.environ, **server.env},
            stdout=output,
            stderr=output,
        )
    return Server(process, server.url, server.env, server.log).wait_until_ready()


def test_a_service_without_its_database_is_shown_failing_and_stays_readable(
    page: Page, tmp_path: Path, accessible: Accessible
) -> None:
    with contextlib.ExitStack() as services:
        with postgres_server(durable=False) as url:
            server = services.enter_context(serving(tmp_path, store=url))
            page.goto(server.url)
            expect(page.locator("#status .badge")).to_have_text("Healthy")
            page.locator(".state summary").click()
        expect(page.locator("#status .badge")).to_have_text(re.compile("checks? fail"), timeout=12_000)
        expect(page.locator("#lost")).to_contain_text("Not all is well")
        expect(page.locator("#status")).to_contain_text("not to be told now")
        expect(page.locator(".checks .fails").first).to_contain_text("store")
        accessible(page)
        page.reload()
        expect(page.locator("#status .badge")).to_have_text(re.compile("checks? fail"))
        drop(page, File("mine.jpg", jpeg(480, 360, 1)))
        expect(row(page, "mine.jpg")).to_contain_text("The database cannot be reached", timeout=60_000)


def test_a_busy_service_says_when_it_is_asked_again(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path, max_in_flight_per_caller=2, threads=1) as server:
        page.goto(server.url)
        gradient = Image.linear_gradient("L").resize((7000, 7000))
        heavy = [encode(gradient, "PNG", compress_level=1) + bytes([number]) for number in range(6)]
        stop = threading.Event()

        def occupy(data: bytes) -> None:
            while not stop.is_set():
                httpx.post(
                    f"{server.url}/api/dhash?register=false",
                    content=data,
                    headers={"Content-Type": "image/png"},
                    timeout=60,
                )

        callers = [threading.Thread(target=occupy, args=(data,)) for data in heavy]
        try:
            for caller in callers:
                caller.start()
            drop(page, *(File(f"{number}.jpg", jpeg(480, 360, number)) for number in range(4)))
            waiting = page.locator("[data-state=busy]").first
            expect(waiting).to_contain_text(
                re.compile(r"Too many requests from this caller: tried again in \d+ s")
            )
            expect(waiting.get_by_role("button", name="Try now")).to_be_visible()
        finally:
            stop.set()
            for caller in callers:
                caller.join()
        expect(page.locator("#answers article")).to_have_count(4, timeout=30_000)


def test_a_file_beyond_the_limit_is_refused_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path, max_body_bytes=1024**2) as server:
        page.goto(server.url)
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url))
        drop(page, File("huge.png", bytes(2 * 1024**2), "image/png"))
        expect(row(page, "huge.png")).to_contain_text("Too large. It has 2 MB; 1 MB are allowed.")
        assert not any(url.endswith("/lookup") for url in sent)


def test_a_file_on_its_way_counts_the_seconds_and_can_be_cancelled(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path, document_seconds=6) as server:
        page.goto(server.url)
        honest = slow()
        drop(page, *(File(name, honest, "application/pdf") for name in ("one.pdf", "two.pdf")))
        one, two = row(page, "one.pdf"), row(page, "two.pdf")
        expect(one).to_contain_text(re.compile(r"reading, \d+ s"))
        expect(one.get_by_role("progressbar")).to_be_visible()
        two.get_by_role("button", name="Cancel").click()
        expect(two).to_contain_text("Cancelled.")
        expect(one).to_contain_text("Reading the file took too long.", timeout=20_000)
        expect(two.get_by_role("button", name="Try again")).to_be_visible()


def test_a_slow_connection_shows_how_much_was_sent(page: Page, server: Server) -> None:
    page.goto(server.url)
    network = page.context.new_cdp_session(page)
    slowly = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 60_000}
    network.send("Network.emulateNetworkConditions", slowly)
    drop(page, File("large.jpg", encode(photo(800, 600, 90, grain=40), "JPEG", quality=95)))
    large = row(page, "large.jpg")
    expect(large).to_contain_text(re.compile(r"sending, [1-9]\d? %"))
    assert 0 < float(str(large.get_by_role("progressbar").get_attribute("value"))) < 1
    expect(large.locator(".badge")).to_be_visible(timeout=30_000)


def test_a_locked_service_asks_to_sign_in_and_lets_a_client_look_up(
    page: Page, tmp_path: Path, accessible: Accessible
) -> None:
    with serving(tmp_path, locked="true") as server:
        client = server.token("carl", "client")
        sent = server.client.post(
            "/api/dhash", content=jpeg(480, 360, 1), headers={"Content-Type": "image/jpeg", **client}
        )
        page.goto(f"{server.url}/?hash={sent.json()['hash']}&radius=3")
        expect(page.locator("main")).to_contain_text("This service is locked")
        expect(page.locator("#results .known")).to_have_count(0)
        expect(page.get_by_label("Hash")).to_be_disabled()
        drop(page, File("mine.jpg", jpeg(480, 360, 1)))
        expect(page.locator("#answers .file")).to_have_count(0)
        accessible(page)
        page.locator("main").get_by_role("link", name="Sign in").click()
        page.get_by_label("Token").fill(client["Authorization"].removeprefix("Bearer "))
        page.keyboard.press("Enter")
        expect(page.locator("#results .known img")).to_be_visible()
        expect(page.locator("#results .known img")).to_have_js_property("naturalWidth", 240)
        drop(page, File("mine.jpg", jpeg(480, 360, 1)))
        expect(row(page, "mine.jpg").locator(".badge")).to_have_text("Exact duplicate")
