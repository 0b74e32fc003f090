"""The dashboard in a real browser, on real releases under a real proxy and supervisor."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from guarded_rollout.clock import SystemClock
from guarded_rollout.host.release import short
from guarded_rollout.journal.model import RolloutOutcome
from guarded_rollout.notify.events import Kind, event
from guarded_rollout.notify.outbox import Outbox
from guarded_rollout.rollout.window import PAUSED, RESUMED
from tests.browser.conftest import overflows
from tests.browser.dashboardkit import break_release, picture, sign_in, write_gates
from tests.guarded_rollout.gatekit import SHIPPED
from tests.guarded_rollout.load import POST, Load
from tests.guarded_rollout.manual_clock import ManualClock
from tests.guarded_rollout.sandbox import Sandbox
from tests.guarded_rollout.ui.command import dashboard
from tests.guarded_rollout.ui.uikit import NEW, OLD, Place, samples

HOSTILE = '"><img src=x onerror=document.title="owned"><script>document.title="owned"</script>'
CLIENT = {**POST, "clients": 1, "pause": 0.03, "picture": 2000}


@pytest.fixture(scope="module")
def stack() -> Iterator[Sandbox]:
    """Version 1 of the sample service serves."""
    made = Sandbox()
    try:
        write_gates(made)
        made.deploy()
        yield made
    finally:
        made.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An environment's files alone."""
    made = Place(tmp_path, SystemClock())
    yield made
    made.close()


def roll_out(sandbox: Sandbox, version: str) -> str:
    """`rollout up` of a new version, watched by its monitor; the release's id."""
    sandbox.version(version)
    done = sandbox.rollout("up", "--why", f"try {version}")
    assert done.returncode == 0, done.stdout + done.stderr
    slot = sandbox.site.traffic.serving()
    release = sandbox.site.slots.release(slot)
    assert release is not None
    return release.id


# ---- real releases


def test_an_operator_watches_a_faulty_release_roll_back_by_itself(stack: Sandbox, page: Page) -> None:
    stable = stack.served_by()
    candidate = roll_out(stack, "2.0.0")
    with dashboard(stack.folder) as running, Load(stack.port, [CLIENT]):
        page.goto(f"{running.address}/env/production")
        headline = page.locator("#headline")
        expect(headline).to_have_text(f"{short(candidate)} is being watched")
        expect(page.locator("#link")).to_have_text("live")
        gate = page.locator('[data-section="gate-extraction_failure_rate"]')
        expect(gate).to_contain_text("passes", timeout=15_000)
        expect(page.locator('[data-gate="edge requests"] canvas')).to_be_visible()
        page.get_by_text("Every gate’s chart and values").click()
        expect(page.locator('[data-gate="extraction_failure_rate"] canvas')).to_be_visible()
        picture(page, "watching")
        break_release(stack, candidate)
        expect(headline).to_have_text(f"{short(candidate)} was rolled back", timeout=30_000)
        expect(page.locator('[data-section="headline"]')).to_contain_text("extraction_failure_rate")
        all_of_it = page.locator('[data-section="traffic"] li', has_text="100 %").locator("code")
        expect(all_of_it).to_have_attribute("title", stable)
        expect(page.locator('[data-section="steps"]')).to_contain_text("rollback to")
        expect(page.locator('[data-section="deliveries"]')).to_contain_text("auto rollback")
        expect(page.locator('[data-section="history"] tbody tr').first).to_contain_text("the monitor")
        assert stack.served_by() == stable
        picture(page, "rolled-back")

        page.get_by_role("link", name="See its steps and gates").click()
        expect(page.get_by_role("heading", name=f"{short(candidate)} was taken back")).to_be_visible()
        expect(page.locator(".gate", has_text="extraction_failure_rate").first).to_contain_text("fails")
        page.get_by_text("Change the thresholds").click()
        for name, bound in (
            ("failure percentage", "90"),
            ("error percentage", "90"),
            ("consecutive failures", "99"),
        ):
            page.get_by_label(name).fill(bound)
        page.get_by_role("button", name="Judge again").click()
        expect(page.locator("#answer")).to_contain_text("would not have rolled back.")
        expect(page.locator("#answer")).to_contain_text("Those of the gates file would have rolled back")
        picture(page, "replayed")


def test_an_operator_aborts_a_release_by_its_button(
    stack: Sandbox, page: Page, accessible: Callable[[Page], None]
) -> None:
    stable = stack.served_by()
    write_gates(stack, auto=False)
    candidate = roll_out(stack, "3.0.0")
    with dashboard(stack.folder) as running, Load(stack.port, [CLIENT]) as load:
        sign_in(page, running)
        page.goto(f"{running.address}/env/production")
        break_release(stack, candidate)
        headline = page.locator('[data-section="headline"]')
        expect(headline).to_contain_text("Quality gate failed", timeout=30_000)
        expect(headline).to_contain_text("Abort takes it back at once.")
        picture(page, "failing")
        page.locator("#do-abort").press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(f"{short(stable)} gets all of it, at once: it is running")
        expect(dialog).to_contain_text(f"{short(candidate)} is stopped")
        picture(page, "abort")
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(page.locator("#do-abort")).to_be_focused()
        assert stack.served_by() == candidate, "a question is not an answer"
        page.locator("#do-abort").press("Enter")
        page.get_by_label("Reason").fill("pictures fail; users wait")
        page.get_by_label("Reason").press("Enter")
        expect(page.locator('[data-section="jobs"]')).to_contain_text("succeeded", timeout=30_000)
        expect(page.locator("#headline")).to_have_text(f"{short(candidate)} was taken back")
        said = page.locator('[data-section="jobs"] pre').first
        expect(said).to_contain_text(f"{short(stable)} serves production")
        expect(page.locator('[data-section="history"] tbody tr').first).to_contain_text("users wait")
        assert stack.served_by() == stable
        expect(page.locator('[data-section="deliveries"]')).not_to_contain_text("open:")
        before = load.count()
        time.sleep(0.5)
        assert load.count() > before, "clients go on"
        accessible(page)
        picture(page, "aborted")


def test_a_page_comes_back_after_a_restart_and_tells_that_it_was_away(
    stack: Sandbox, page: Page, accessible: Callable[[Page], None]
) -> None:
    write_gates(stack)
    candidate = roll_out(stack, "4.0.0")
    with dashboard(stack.folder) as running:
        sign_in(page, running)
        page.goto(f"{running.address}/env/production")
        link = page.locator("#link")
        expect(link).to_have_text("live")
        assert "The dashboard has ended." in running.stop()
        expect(link).to_contain_text("connection lost", timeout=5000)
        expect(page.locator("#stale")).to_be_visible(timeout=5000)
        expect(page.locator("#stale")).to_contain_text("what you see is from")
        accessible(page)
        picture(page, "lost")
        assert stack.rollout("pause").returncode == 0
        running.start()
        expect(link).to_have_text("live", timeout=10_000)
        expect(page.locator("#headline")).to_have_text(f"The window of {short(candidate)} is paused")
        page.locator("#do-resume").click()
        page.get_by_role("dialog").get_by_role("button", name="Resume").click()
        expect(page.locator("#headline")).to_have_text(f"{short(candidate)} is being watched", timeout=20_000)
        page.locator("#do-promote").click()
        page.get_by_role("dialog").get_by_role("button", name="Promote").click()
        expect(page.locator("#headline")).to_have_text(
            f"{short(candidate)} serves all of the traffic", timeout=30_000
        )
    assert stack.served_by() == candidate


def test_a_rollback_that_is_under_way_outlives_the_dashboard(stack: Sandbox, page: Page) -> None:
    stable = stack.served_by()
    candidate = roll_out(stack, "5.0.0")
    with dashboard(stack.folder) as running:
        sign_in(page, running)
        page.goto(f"{running.address}/env/production")
        page.locator("#do-rollback").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Roll back").click()
        expect(dialog).to_be_visible()  # nothing was typed
        dialog.get_by_label("Type ROLLBACK").fill("ROLLBACK")
        dialog.get_by_role("button", name="Roll back").click()
        page.wait_for_url("**/env/production")
        running.process.kill()  # kill -9, with the command just begun
        running.process.wait()
        running.start()
        page.goto(f"{running.address}/env/production")
        expect(page.locator("#headline")).to_have_text(f"{short(candidate)} was rolled back", timeout=30_000)
        jobs = page.locator('[data-section="jobs"]')
        expect(jobs.locator("details").first).to_contain_text("succeeded", timeout=20_000)
    assert stack.served_by() == stable


def test_an_operator_rolls_out_from_the_page(stack: Sandbox, page: Page) -> None:
    stable = stack.served_by()
    stack.version("6.0.0")
    with dashboard(stack.folder) as running:
        page.goto(f"{running.address}/env/production")
        page.locator("#do-up").click()
        expect(page.get_by_role("dialog")).to_contain_text("You are not signed in")
        expect(page.get_by_role("dialog").get_by_role("button", name="Roll out")).to_be_disabled()
        sign_in(page, running)
        page.goto(f"{running.address}/env/production")
        page.locator("#do-up").click()
        page.get_by_label("Reason").fill("from the page")
        page.get_by_role("dialog").get_by_role("button", name="Roll out").click()
        expect(page.locator("#headline")).to_contain_text("6.0.0", timeout=20_000)
        expect(page.locator("#headline")).to_contain_text("is being watched", timeout=40_000)
        expect(page.locator('[data-section="steps"]')).to_contain_text("from the page")
        page.locator("#do-abort").click()
        page.get_by_role("dialog").get_by_role("button", name="Abort").click()
        expect(page.locator("#headline")).to_contain_text("was taken back", timeout=30_000)
    assert stack.served_by() == stable


# ---- files alone: each state, and what is hostile in them


def test_names_reasons_and_notes_of_others_are_text(place: Place, page: Page) -> None:
    rollout = place.watched(operator=HOSTILE, why=HOSTILE, target=NEW)
    place.log(rollout).write(time.time(), "error", HOSTILE)
    place.journal.note(rollout, "gate", gate=HOSTILE, news="failed", reason=HOSTILE)
    outbox = Outbox.open(place.environment.root / "notifications.db")
    told = event(Kind.MESSAGE, "production", place.clock.now(), message=HOSTILE)
    outbox.put(told, ["console"], place.clock.now())
    outbox.close()
    with dashboard(place.folder) as running:
        for path in ("/env/production", f"/env/production/rollouts/{rollout}", "/"):
            page.goto(running.address + path)
            expect(page.locator("#page")).to_be_visible()
            assert page.locator("img[src=x]").count() == 0
            assert "owned" not in page.title()
        page.goto(f"{running.address}/env/production")
        expect(page.locator('[data-section="steps"]')).to_contain_text(HOSTILE)
        place.journal.note(rollout, PAUSED)  # what comes by event is text as well
        expect(page.locator("#headline")).to_contain_text("is paused")
        expect(page.locator('[data-section="history"]')).to_contain_text(HOSTILE)
        assert page.locator("img[src=x]").count() == 0


@contextmanager
def another_site(html: str) -> Iterator[str]:
    """A page of somebody else, on a port of its own: the same site to a cookie, another origin."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            """Nothing to say."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def test_a_form_on_another_site_cannot_act_in_an_operators_name(
    place: Place, page: Page, context: BrowserContext
) -> None:
    rollout = place.watched()
    with dashboard(place.folder) as running:
        sign_in(page, running)
        page.goto(f"{running.address}/env/production/confirm/abort")
        csrf = page.locator("form.question input[name=csrf]").get_attribute("value")
        assert csrf, "even one who knew it"
        forged = (
            f'<form method="post" action="{running.address}/env/production/do/abort">'
            f'<input name="rollout" value="{rollout}"><input name="csrf" value="{csrf}"></form>'
            "<script>document.forms[0].submit()</script>"
        )
        with another_site(forged) as address:
            evil = context.new_page()
            evil.goto(address)
            expect(evil.locator("body")).to_contain_text("This came from another page: nothing was done.")
        assert not (place.folder / ".rollout-ui" / "jobs").exists()
        cookie = next(one for one in context.cookies() if one["name"].startswith("rollout_ui"))
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")


def steady(place: Place) -> None:
    rollout = place.watched()
    place.journal.end(rollout, RolloutOutcome.COMPLETED)


def watching(place: Place) -> None:
    rollout = place.watched(why="faster")
    began_at = time.time() - 1200
    place.watch(place.log(rollout, began_at), began_at, 1200, lambda age: 0.01 + (age % 60) / 2000)


def failing(place: Place) -> None:
    rollout = place.watched()
    began_at = time.time() - 1200
    place.watch(place.log(rollout, began_at), began_at, 1200, lambda age: 0.3 if age > 900 else 0.01)


def paused(place: Place) -> None:
    place.journal.note(place.watched(), PAUSED)


def taken_back(place: Place) -> None:
    place.journal.end(place.watched(), RolloutOutcome.ROLLED_BACK, "extraction_failure_rate: 12 of 40 failed")


def dead(place: Place) -> None:
    steady(place)
    for name in ("green.lock", "supervisord.pid"):
        (place.environment.root / "supervisor" / name).unlink()


def interrupted(place: Place) -> None:
    place.journal.note(place.watched(), "undoing", cause="client_error_rate: 18 % is over 10 %")


def damaged(place: Place) -> None:
    place.release(OLD, "blue")
    place.journal.close()
    for path in place.environment.root.glob("journal.db*"):
        path.unlink()
    place.environment.journal.write_bytes(b"no database at all, and long enough to be looked at " * 40)


STATES = (lambda place: None, steady, watching, failing, paused, taken_back, interrupted, damaged, dead)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__.replace("<lambda>", "empty"))
def test_every_state_can_be_read_by_everybody_and_on_a_phone(
    place: Place, page: Page, accessible: Callable[[Page], None], state: Callable[[Place], None]
) -> None:
    state(place)
    name = state.__name__.replace("<lambda>", "empty")
    with dashboard(place.folder) as running:
        page.goto(f"{running.address}/env/production")
        expect(page.locator("#link")).to_have_text("live")
        accessible(page)
        picture(page, f"state-{name}")
        page.goto(f"{running.address}/")
        expect(page.locator("#link")).to_have_text("live")
        accessible(page)
        assert not overflows(page)
        page.goto(f"{running.address}/env/production")
        expect(page.locator("#link")).to_have_text("live")
        assert not overflows(page)
        accessible(page)
        picture(page, f"phone-{name}")
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 1280, "height": 900})
        page.wait_for_timeout(200)  # the charts take on the new size
        picture(page, f"dark-{name}")


def test_the_other_pages_can_be_read_by_everybody(
    place: Place, page: Page, accessible: Callable[[Page], None]
) -> None:
    rollout = place.watched()
    began_at = time.time() - 600
    place.watch(place.log(rollout, began_at), began_at, 600, lambda age: 0.04)
    past = f"/env/production/rollouts/{rollout}"
    limit = "extraction_failure_rate.max_failure_percentage"
    with dashboard(place.folder) as running:
        for path in (
            "/login",
            "/login?once=used",
            "/nowhere",
            "/env/production/confirm/rollback",
            "/env/production/confirm/up",
            past,
            f"{past}?{limit}=1",
            f"{past}?{limit}=x",
        ):
            page.goto(running.address + path)
            accessible(page)
            assert not overflows(page), path
            page.set_viewport_size({"width": 1280, "height": 900})
        sign_in(page, running)
        page.goto(f"{running.address}/env/production")
        page.locator("#do-rollback").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        accessible(page)


def test_everything_can_be_reached_and_read_without_a_mouse(place: Place, page: Page) -> None:
    watching(place)
    with dashboard(place.folder) as running:
        page.goto(f"{running.address}/env/production")
        expect(page.locator("#link")).to_have_text("live")
        reached: list[str] = []
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate(
                    "(one => one.id || one.textContent.trim().slice(0, 30))(document.activeElement)"
                )
            )
        for wanted in ("do-promote", "do-pause", "do-abort", "do-rollback"):
            assert wanted in reached
        assert any(one.startswith("up to") for one in reached)
        table = page.locator('[data-section="values-extraction_failure_rate"] table')
        expect(table).to_contain_text("candidate")
        expect(table).to_contain_text("stable")


def test_a_dead_monitor_is_told_by_the_time_it_was_last_seen(tmp_path: Path, page: Page) -> None:
    place = Place(tmp_path, ManualClock(datetime.now(UTC) - timedelta(minutes=3)))
    rollout = place.watched()
    place.log(rollout)
    with dashboard(place.folder) as running:
        page.goto(f"{running.address}/env/production")
        expect(page.locator("#headline")).to_have_text(f"Nobody watches {short(NEW)}")
        expect(page.locator('[data-section="headline"]')).to_contain_text("the monitor was last seen 3 min")
        expect(page.locator("#do-abort")).to_have_class("button alarm")
        picture(page, "unwatched")
    place.close()


def test_a_full_window_of_samples_costs_less_than_a_hundredth_of_a_core(place: Place, page: Page) -> None:
    """A 60-minute window, the shipped gates, a sample of each source every five seconds, one open page."""
    place.environment.gates.write_text(SHIPPED.read_text())
    rollout = place.watched()
    began_at = time.time() - 3540
    log = place.log(rollout, began_at)
    place.watch(log, began_at, 3535, lambda age: 0.01)
    seconds = 30.0
    with dashboard(place.folder) as running:
        page.goto(f"{running.address}/env/production")
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator(".gate canvas").nth(6)).to_be_attached()
        process = psutil.Process(running.process.pid)
        spent, begun, done = sum(process.cpu_times()[:2]), time.monotonic(), 71_000.0
        while (passed := time.monotonic() - begun) < seconds:
            done += 100
            for sample in samples(time.time(), done, done * 0.01):
                log.sample(sample)
            time.sleep(max(0.0, min(5.0, seconds - passed)))
        share = (sum(process.cpu_times()[:2]) - spent) / (time.monotonic() - begun)
        print(f"\nthe dashboard took {share:.2%} of a core")
        assert share < 0.05  # usually a fifth of that
        assert page.locator("#link").text_content() == "live"
        delays = []
        for note, words in ((PAUSED, "is paused"), (RESUMED, "is being watched"), (PAUSED, "is paused")):
            begun = time.monotonic()
            place.journal.note(rollout, note)
            page.wait_for_function(
                "words => document.querySelector('#headline').textContent.includes(words)", arg=words
            )
            delays.append(time.monotonic() - begun)
        print(f"a change was seen after {', '.join(f'{one:.2f} s' for one in delays)}")
        assert sorted(delays)[1] < 5.0  # the page asks once a second
