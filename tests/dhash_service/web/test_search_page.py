"""The search page over HTTP, as a browser without scripts and as a forger would ask for it."""

import re
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from tests.dhash_service.documents.pdfs import showing
from tests.dhash_service.serving import Server, serving
from tests.pictures import encode, jpeg, photo

BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("pages")) as running:
        yield running


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that is locked, and takes little."""
    with serving(tmp_path_factory.mktemp("locked"), locked="true", max_body_bytes=200_000) as running:
        yield running


def look_up(
    server: Server, *files: tuple[str, bytes], keep: str = "", variants: str = "", **headers: str
) -> httpx.Response:
    """What the page's form sends."""
    parts = [("files", (name, data, "application/octet-stream")) for name, data in files]
    return server.client.post(
        "/lookup", data={"keep": keep, "variants": variants}, files=parts, headers=BROWSER | headers
    )


def is_known(server: Server, data: bytes) -> bool:
    asked = server.client.post("/api/dhash?register=false", content=data, headers=JPEG)
    return "known" in asked.json()["reasons"]


@pytest.mark.parametrize("path", ["/", "/?hash=nonsense", "/status", "/?hash=8f0f0f1f3f7fff00&radius=32"])
def test_every_page_forbids_what_is_not_its_own(server: Server, path: str) -> None:
    page = server.client.get(path, headers=BROWSER)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert re.search(r"<script>|<style|\s(style|on[a-z]+)=", page.text) is None


def test_pages_are_no_part_of_the_api(server: Server) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    assert not {"/", "/lookup", "/status", "/pictures/{id}"} & set(paths)


def test_what_is_typed_comes_back_as_text(server: Server) -> None:
    typed = '"><img src=x onerror=alert(1)>'
    page = server.client.get("/", params={"hash": typed}, headers=BROWSER)
    assert page.status_code == 422
    assert "<img src=x" not in page.text
    assert "&lt;img src=x onerror=alert(1)&gt;" in page.text


def test_a_file_that_is_looked_up_is_not_kept_unless_that_was_chosen(server: Server) -> None:
    data = jpeg(120, 90, 1)
    assert "not kept" in look_up(server, ("a.jpg", data)).text
    assert not is_known(server, data)
    assert "not kept" not in look_up(server, ("a.jpg", data), keep="yes").text
    assert is_known(server, data)


def test_a_form_of_several_files_answers_for_each(server: Server) -> None:
    page = look_up(
        server,
        ("good.jpg", jpeg(120, 90, 2)),
        ("<script>alert(1)</script>.jpg", b"nothing"),
        ("report.pdf", showing(jpeg(120, 90, 3), jpeg(120, 90, 4))),
    )
    assert page.status_code == 200
    assert page.text.count('class="answer"') == 3
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.jpg" in page.text
    assert "<script>alert" not in page.text
    assert "A PDF with 2 pages and 2 pictures." in page.text


def test_the_script_gets_one_answer_alone_and_problems_as_json(server: Server) -> None:
    answer = look_up(server, ("a.jpg", jpeg(120, 90, 5)), Accept="*/*", **{"HX-Request": "true"})
    assert answer.text.lstrip().startswith("<article")
    refused = look_up(server, ("a.jpg", b"nothing"), Accept="*/*", **{"HX-Request": "true"})
    assert (refused.status_code, refused.json()["type"]) == (415, "/problems/unsupported-format")


def test_turned_and_mirrored_copies_are_found_where_that_is_ticked(server: Server) -> None:
    known = photo(240, 180, 77)
    server.client.post("/api/dhash", content=encode(known, "PNG"), headers={"Content-Type": "image/png"})
    turned = encode(known.transpose(Image.Transpose.TRANSPOSE), "PNG")
    assert "mirrored and turned" not in look_up(server, ("t.png", turned)).text
    page = look_up(server, ("t.png", turned), variants="yes").text
    assert "mirrored and turned right" in page
    assert re.search(r'name="variants" value="yes" checked', page)


@pytest.mark.parametrize(
    "origin",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://evil.example"},
    ],
)
def test_a_form_on_another_site_keeps_nothing(server: Server, origin: dict[str, str]) -> None:
    data = jpeg(120, 90, 6)
    assert look_up(server, ("a.jpg", data), keep="yes", **origin).status_code == 403
    assert not is_known(server, data)


@pytest.mark.parametrize("origin", ["http://evil.example", "http://[", "null", ""])
def test_an_older_browsers_word_for_it_is_its_origin(server: Server, origin: str) -> None:
    def sent(origin: str) -> int:
        parts = [("files", ("a.jpg", jpeg(120, 90, 6), "image/jpeg"))]
        return server.client.post("/lookup", files=parts, headers={"Origin": origin}).status_code

    assert sent(server.url) == 200
    assert sent(origin) == 403


@pytest.mark.parametrize("body", [b"", b"--x\r\n", b"nothing of the kind"])
def test_a_form_without_files_says_so(server: Server, body: bytes) -> None:
    for kind in ("multipart/form-data; boundary=x", "multipart/form-data", "text/plain"):
        answer = server.client.post("/lookup", content=body, headers=BROWSER | {"Content-Type": kind})
        assert answer.status_code == 422
        assert "To the search" in answer.text


def test_a_known_picture_has_a_page_until_it_is_taken_out_of_search(server: Server) -> None:
    sent = server.client.post("/api/dhash", content=jpeg(120, 90, 7), headers=JPEG).json()
    page = server.client.get(f"/pictures/{sent['id']}", headers=BROWSER)
    assert page.status_code == 200
    for fact in (sent["hash"], sent["sha256"], "release test-1", "JPEG, 120 × 90 pixels"):
        assert fact in page.text
    thumbnail = server.client.get(f"/pictures/{sent['id']}/thumbnail")
    assert thumbnail.content == server.client.get(f"/api/dhash/{sent['id']}/thumbnail").content
    server.client.delete(f"/api/dhash/{sent['id']}", headers=server.token("ada", "admin"))
    gone = server.client.get(f"/pictures/{sent['id']}", headers=BROWSER)
    assert gone.status_code == 404
    assert "taken out of search" in gone.text


def test_a_picture_of_a_document_says_where_it_came_from_and_what_was_decided(server: Server) -> None:
    document = showing(jpeg(120, 90, 20))
    found = server.client.post(
        "/api/dhash/extract", content=document, headers={"Content-Type": "application/pdf"}
    )
    first = found.json()["pictures"][0]
    reviewer = server.token("rita", "reviewer")
    decided = server.client.post(
        f"/api/dhash/queue/{first['lookup']}/decision",
        json={"verdict": "different", "note": "<b>no</b>"},
        headers=reviewer,
    )
    assert decided.status_code == 201
    page = server.client.get(f"/pictures/{first['id']}", headers=BROWSER).text
    assert f'page 1 of the PDF <span class="mono">{found.json()["sha256"]}</span>' in page
    assert "New: nothing known is within 10 bits" in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    assert "rita" in page


def test_open_pages_do_not_count_as_traffic(server: Server) -> None:
    server.client.get("/")
    before = server.client.get("/metrics").json()["counters"]
    for _ in range(5):
        assert server.client.get("/status").status_code == 200
    after = server.client.get("/metrics").json()["counters"]
    assert {name: number for name, number in after.items() if "request" in name} == {
        name: number for name, number in before.items() if "request" in name
    }


def test_a_locked_service_shows_its_state_and_nothing_that_it_knows(locked: Server) -> None:
    token = locked.token("carl", "client")
    sent = locked.client.post("/api/dhash", content=jpeg(120, 90, 1), headers=JPEG | token).json()
    page = locked.client.get(f"/?hash={sent['hash']}&radius=32", headers=BROWSER)
    assert "This service is locked" in page.text
    assert "Healthy" in page.text
    assert sent["id"] not in page.text
    assert (
        locked.client.get(f"/pictures/{sent['id']}", headers=BROWSER)
        .headers["location"]
        .startswith("/sign-in")
    )
    assert locked.client.get(f"/pictures/{sent['id']}/thumbnail").status_code == 401
    assert look_up(locked, ("a.jpg", jpeg(120, 90, 1)), Accept="*/*").status_code == 401


def test_a_form_beyond_the_limit_is_answered_with_a_page(locked: Server) -> None:
    page = look_up(locked, ("huge.png", bytes(300_000)))
    assert page.status_code == 413
    assert "The body is too large" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    program = look_up(locked, ("huge.png", bytes(300_000)), Accept="*/*")
    assert program.json()["type"] == "/problems/body-too-large"


def test_the_form_takes_the_formats_that_are_read(server: Server) -> None:
    page = server.client.get("/", headers=BROWSER).text
    assert "TIFF, AVIF, JPEG 2000, TGA, PPM/PGM, ICO or PDF" in page
    assert ",.avif,.jp2," in page
    assert "HEIC" not in page
    answer = look_up(server, ("a.avif", encode(photo(200, 150, 71), "AVIF")))
    assert "200 × 150" in answer.text
