"""Static files: found, compressed, kept by browsers, and nothing outside the folder."""

import gzip
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from web_assets import Assets


@pytest.fixture
def assets(tmp_path: Path) -> Assets:
    (tmp_path / "page.js").write_text("export const answer = 42;\n" * 50)
    (tmp_path / "secret.txt").write_text("no")
    return Assets(tmp_path)


@pytest.fixture
def client(assets: Assets) -> httpx.AsyncClient:
    app = Starlette(routes=[Mount("/static", assets)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")


async def fetch(client: httpx.AsyncClient, path: str, **headers: str) -> httpx.Response:
    async with client:
        return await client.get(path, headers=headers)


def run(client: httpx.AsyncClient, path: str, **headers: str) -> httpx.Response:
    import asyncio

    return asyncio.run(fetch(client, path, **headers))


def test_a_linked_file_is_kept_for_good_and_travels_compressed(
    assets: Assets, client: httpx.AsyncClient
) -> None:
    answer = run(client, assets.url("page.js"), **{"accept-encoding": "gzip"})
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text.startswith("export")
    assert int(answer.headers["content-length"]) < len(answer.content)


def test_a_file_of_another_release_is_not_kept(client: httpx.AsyncClient) -> None:
    answer = run(client, "/static/page.js?v=000000000000", **{"accept-encoding": "identity"})
    assert answer.headers["cache-control"] == "no-cache"
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("header", "status"), [('"{}"', 304), ('W/"{}"', 304), ('"other", "{}"', 304), ('"other"', 200)]
)
def test_what_the_browser_has_is_not_sent_again(
    assets: Assets, client: httpx.AsyncClient, header: str, status: int
) -> None:
    digest = assets.url("page.js").partition("v=")[2]
    known = {"if-none-match": header.format(digest)}
    assert run(client, "/static/page.js", **known).status_code == status


@pytest.mark.parametrize(
    ("header", "packed"),
    [
        ("br, GZIP ; q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.00, br", False),
        ("x-gzip", False),
        ("", False),
    ],
)
def test_a_file_is_packed_for_whoever_takes_that(
    client: httpx.AsyncClient, header: str, packed: bool
) -> None:
    answer = run(client, "/static/page.js", **{"accept-encoding": header})
    assert ("content-encoding" in answer.headers) is packed


def test_the_shared_files_are_there_with_their_licences(assets: Assets) -> None:
    for name in ("base.css", "vendor/htmx/htmx.min.js", "vendor/uplot/uplot.min.js"):
        assert assets.url(name).startswith(f"/static/{name}?v=")
    vendored = Path(__file__).parents[2] / "src" / "web_assets" / "vendor"
    assert all((folder / "LICENSE").is_file() for folder in vendored.iterdir() if folder.is_dir())


@pytest.mark.parametrize(
    "path", ["secret.txt", "../assets.py", "%2e%2e/assets.py", "assets.py", "", "vendor", "nothing.css"]
)
def test_only_files_for_pages_are_served(client: httpx.AsyncClient, path: str) -> None:
    assert run(client, f"/static/{path}").status_code == 404


def test_a_missing_file_is_the_pages_mistake(assets: Assets) -> None:
    with pytest.raises(KeyError):
        assets.url("nothing.css")


def test_everything_fits_the_first_page(assets: Assets) -> None:
    shared = Path(__file__).parents[2] / "src" / "web_assets"
    sent = sum(len(gzip.compress(path.read_bytes())) for path in shared.rglob("*.min.js"))
    assert sent < 50_000
