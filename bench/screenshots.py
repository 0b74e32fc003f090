"""`make screenshots`: the pictures in the docs, taken in Chromium of a service and a rollout that really run.

The service holds drawn photographs and a queue; the rollout is that of the demo, in a folder of its own.
Everything is started here and stopped here, and every wait has an end.
"""

import io
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from rich.console import Console
from tests.browser import dashboardkit
from tests.browser.conftest import launch
from tests.browser.files import File, drop
from tests.browser.reviewkit import Desk, desk, sign_in
from tests.dhash_service.documents.pdfs import showing
from tests.dhash_service.queues import altered
from tests.guarded_rollout.load import Load
from tests.pictures import encode, jpeg, photo

from bench.demo import SEARCH, SUBMIT, Demo
from dhash_service.store.added import AddedFilter

TARGET = Path(__file__).parents[1] / "docs" / "screenshots"
LARGEST = 100 * 1024  # bytes of one file: they are in everybody's clone
DESKTOP, TALL, PHONE = (1180, 860), (1180, 1160), (360, 740)  # CSS pixels
RELEASE = "1.4.0"
SAMPLES_SECONDS = 60  # for the gates to have something to say: a chart of two samples shows nothing
BOTH = ("light", "dark")

console = Console(highlight=False)


@dataclass
class Camera:
    """Takes pictures of pages as they are on the screen."""

    browser: Browser
    folder: Path

    @contextmanager
    def page(self, size: tuple[int, int] = DESKTOP) -> Iterator[Page]:
        """An empty page in a window of its own."""
        width, height = size
        with self.browser.new_context(viewport={"width": width, "height": height}) as context:
            context.set_default_timeout(30_000)
            yield context.new_page()

    def take(
        self, page: Page, name: str, schemes: tuple[str, ...] = BOTH, *, full_page: bool = False
    ) -> None:
        """What the page shows now, in these colour schemes, as `NAME-SCHEME.webp`."""
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            path = self.folder / f"{name}-{scheme}.webp"
            path.write_bytes(small(page.screenshot(full_page=full_page)))
            console.print(f"{path.name:32} {path.stat().st_size / 1024:6.0f} kB")


def small(png: bytes) -> bytes:
    """The same picture in the best quality, from 85 on, that leaves it below `LARGEST`."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in (85, 75, 60, 45):
        file = io.BytesIO()
        picture.save(file, "WEBP", quality=quality, method=6)
        if file.tell() <= LARGEST:
            break
    return file.getvalue()


# ---- the service


def service(camera: Camera) -> None:
    """Search, review, duplicates and the API."""
    with (
        tempfile.TemporaryDirectory(prefix="shots-") as folder,
        desk(Path(folder), 0, release=RELEASE, keep_originals=True, review_below=1) as running,
    ):
        fill(running)
        search(camera, running)
        review(camera, running)
        collections(camera, running)
        banks(camera, running)
        lost(camera, running)


NAMES = ("harbour", "beach", "forest", "market", "bridge", "alps", "garden", "island", "meadow", "tower")


def fill(running: Desk) -> None:
    """Photographs with names, some of them several times over in other sizes and qualities."""
    for number, name in enumerate(NAMES):
        scene = photo(960, 720, 100 + number)
        send(running, encode(scene, "JPEG", quality=85), f"{name}.jpg")
        if number % 3:
            send(running, encode(scene.resize((480, 360)), "JPEG", quality=60), f"{name}-small.jpg")
        if number % 3 == 1:
            send(running, encode(altered(scene, 2), "JPEG", quality=80), f"{name}-edited.jpg")


def send(running: Desk, data: bytes, name: str) -> str:
    sent = running.server.client.post(
        "/api/dhash", content=data, params={"name": name}, headers={"Content-Type": "image/jpeg"}
    )
    return str(sent.raise_for_status().json()["hash"])


def search(camera: Camera, running: Desk) -> None:
    files = (
        File("holiday.jpg", encode(photo(960, 720, 101).resize((400, 300)), "JPEG", quality=50)),
        File("report.pdf", showing(jpeg(640, 480, 102), jpeg(500, 400, 300)), "application/pdf"),
        File("broken.jpg", b"\xff\xd8\xff" + bytes(100)),
    )
    for name, size in (("search", TALL), ("search-phone", PHONE)):
        with camera.page(size) as page:
            page.goto(running.url)
            drop(page, *files)
            expect(page.locator("#answers article")).to_have_count(2)
            whole(page)
            page.evaluate("scrollTo(0, 0)")
            if size == PHONE:
                page.locator("#answers-title").evaluate("(heading) => heading.scrollIntoView()")
            camera.take(page, name)
    with camera.page() as page:
        page.goto(f"{running.url}/?hash={send(running, jpeg(640, 480, 103), 'pier.jpg')}&radius=22")
        expect(page.locator("#results .known").first).to_be_visible()
        whole(page)
        camera.take(page, "search-hash", ("light",))


def review(camera: Camera, running: Desk) -> None:
    token = running.token("rita")
    with camera.page() as page:
        sign_in(page, running, token)
        page.wait_for_selector("#pair:not([hidden])")
        whole(page)
        camera.take(page, "review")
        page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        camera.take(page, "review-phone", ("light",))


def banks(camera: Camera, running: Desk) -> None:
    """The list of banks, and one of them."""
    known = [image.fingerprint.hex for image in running.store.added.page(AddedFilter(), limit=6).images]
    algorithm = running.store.algorithm.name
    entries = {
        "stock-photos": [f"{algorithm},{hex},Series {n},{n % 4},," for n, hex in enumerate(known)],
        "watermarked": [f"{algorithm},{known[0]},Acme,3,logo bottom right,2027-03-01"],
        "withdrawn": [
            f"{algorithm},{known[1]},Case 4711,9,reported twice,",
            f"md5,{'c0' * 16},Case 12,7,,2025-01-01",
        ],
    }
    admin = running.server.token("ada", "admin")
    client = running.server.client
    for (name, lines), action in zip(entries.items(), ("told", "queued", "refused"), strict=True):
        settings = {"action": action, "radius": 4, "note": f"Kept by the {name.partition('-')[0]} desk"}
        client.put(f"/api/dhash/banks/{name}", json=settings, headers=admin).raise_for_status()
        text = "\n".join(["kind,value,label,severity,note,expires_at", *lines])
        client.post(f"/api/dhash/banks/{name}/entries", content=text, headers=admin).raise_for_status()
    with camera.page() as page:
        sign_in(page, running, running.token("adam", "admin"), "/banks")
        camera.take(page, "banks", ("light",))
        page.get_by_role("link", name="withdrawn").click()
        camera.take(page, "bank", ("light",))


def collections(camera: Camera, running: Desk) -> None:
    """The page of duplicates, and the API's."""
    with camera.page() as page:
        sign_in(page, running, running.token("dora"), "/duplicates")
        whole(page)
        camera.take(page, "duplicates", ("light",))
        page.goto(f"{running.url}/docs")
        page.locator("#submit_picture summary").first.click()
        camera.take(page, "api", ("light",))


def lost(camera: Camera, running: Desk) -> None:
    """The search page after its service was killed."""
    with camera.page() as page:
        page.goto(running.url)
        running.server.kill()
        drop(page, File("holiday.jpg", jpeg(320, 240, 101)))
        expect(page.locator("#lost")).to_be_visible(timeout=20_000)
        camera.take(page, "search-lost", ("light",))


def whole(page: Page) -> None:
    """Wait until every picture that is on the screen is there."""
    page.wait_for_load_state("networkidle")
    page.evaluate(
        "Promise.all([...document.images].map((i) => i.loading === 'lazy' || i.decode().catch(() => 0)))"
    )


def guide(camera: Camera) -> None:
    """The style guide, which tests/browser compares itself with."""
    with (
        tempfile.TemporaryDirectory(prefix="shots-") as folder,
        desk(Path(folder), 0, release="development") as running,
        camera.page() as page,
    ):
        page.goto(f"{running.url}/styleguide", wait_until="networkidle")
        camera.take(page, "styleguide", full_page=True)


# ---- the rollout


def rollouts(camera: Camera) -> None:
    """A release that is watched, and one that is taken back."""
    demo = Demo()
    try:
        demo.type("up")
        with (
            dashboardkit.dashboard(demo.sandbox.folder) as running,
            camera.page(TALL) as page,
            Load(demo.sandbox.port, [SEARCH, SUBMIT]),
        ):
            dashboardkit.sign_in(page, running)
            watched(camera, demo, page, f"{running.address}/env/production")
            taken_back(camera, demo, page, f"{running.address}/env/production")
    finally:
        demo.sandbox.close()


def watched(camera: Camera, demo: Demo, page: Page, address: str) -> None:
    demo.version("2.0.0")
    demo.type("up")
    page.goto(address)
    page.locator("#h-gates").wait_for()
    time.sleep(SAMPLES_SECONDS)
    camera.take(page, "dashboard")
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    camera.take(page, "dashboard-phone", ("light",))
    page.set_viewport_size({"width": TALL[0], "height": TALL[1]})
    demo.type("promote")


def taken_back(camera: Camera, demo: Demo, page: Page, address: str) -> None:
    second = demo.sandbox.served_by()
    demo.version("3.0.0")
    demo.break_submits()
    demo.type("up")
    demo.wait_for(second)
    page.goto(address)
    camera.take(page, "dashboard-rolled-back")
    page.goto(address.partition("/env/")[0])
    page.locator(".trends").first.wait_for()
    camera.take(page, "environments", ("light",))
    page.goto(address)
    page.get_by_role("link", name="See its steps and gates").click()
    page.wait_for_load_state("networkidle")
    camera.take(page, "dashboard-rollout", ("light",))


def main() -> int:
    TARGET.mkdir(exist_ok=True)
    wanted = sys.argv[1:] or ["guide", "service", "rollouts"]
    with sync_playwright() as playwright, launch(playwright) as browser:
        camera = Camera(browser, TARGET)
        for name, story in (("guide", guide), ("service", service), ("rollouts", rollouts)):
            if name in wanted:
                story(camera)
    return 0


if __name__ == "__main__":
    sys.exit(main())
