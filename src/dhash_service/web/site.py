"""The pages together: their routes and static files, added to the application."""

import time

from fastapi import FastAPI

from dhash_service.web import api_docs, banks_page, duplicates_page, large, review_page, search_page, sign_in
from dhash_service.web.pages import ASSETS
from dhash_service.web.throttle import Throttle

SIGN_INS = 10
"""Failed sign-ins allowed to one address within a minute."""


def install(app: FastAPI) -> None:
    """Add the pages and their files to the application. They are not part of the OpenAPI document."""
    app.state.sign_ins = Throttle(SIGN_INS, 60, time.monotonic)
    app.mount(ASSETS.prefix, ASSETS, name="static")
    for module in (search_page, review_page, duplicates_page, banks_page, large, sign_in, api_docs):
        app.include_router(module.router, include_in_schema=False)
