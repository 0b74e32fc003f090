"""The pages together: their routes and static files, added to the application."""

import time

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from dhash_service.web import api_docs, banks_page, duplicates_page, large, review_page, search_page, sign_in
from dhash_service.web.pages import ASSETS
from dhash_service.web.throttle import Throttle
from web_assets import page_headers, styleguide

SIGN_INS = 10
"""Failed sign-ins allowed to one address within a minute."""


DEVELOPMENT = "development"
"""The release of a service that was not released."""


def install(app: FastAPI, release: str) -> None:
    """Add the pages and their files to the application. They are not part of the OpenAPI document."""
    if release == DEVELOPMENT:
        app.add_route("/styleguide", guide, include_in_schema=False)
    app.state.sign_ins = Throttle(SIGN_INS, 60, time.monotonic)
    app.mount(ASSETS.prefix, ASSETS, name="static")
    for module in (search_page, review_page, duplicates_page, banks_page, large, sign_in, api_docs):
        app.include_router(module.router, include_in_schema=False)


async def guide(request: Request) -> HTMLResponse:
    """Every part that pages are made of, in development alone."""
    return HTMLResponse(styleguide(ASSETS.url), headers=dict(page_headers))
