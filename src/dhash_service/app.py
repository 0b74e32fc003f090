"""The application: routes, middleware, and one `Service` for the time it runs."""

import asyncio
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from multiprocessing.connection import wait

import structlog
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from dhash_service import logs
from dhash_service.allocator import share_one_arena
from dhash_service.api import banks, document, duplicates, operations, problems, review, search, submit
from dhash_service.api.direct import Direct
from dhash_service.api.limits import Limits
from dhash_service.api.observe import Observe
from dhash_service.metrics import SNAPSHOT_EVERY, Metrics
from dhash_service.service import Service
from dhash_service.settings import Settings
from dhash_service.store.durability import durability
from dhash_service.web import pages, site

log = structlog.get_logger()


class Application(FastAPI):
    """FastAPI's application behind our own middlewares: its own, which each cost a request time, come after
    them, and only for what it answers itself."""

    def stand_behind(self, settings: Settings, metrics: Metrics) -> None:
        """Let every request pass `Observe`, `Limits` and `Direct` first."""
        direct = Direct(super().__call__, page=pages.error_page)
        limits = Limits(direct, settings=settings, page=pages.error_page)
        self._front = Observe(limits, metrics=metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self._front(scope, receive, send)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application. The store is opened, and the index loaded, before it accepts requests."""
    settings = settings or Settings.load()
    metrics = Metrics(settings.release)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logs.configure(settings.log_level, settings.release)
        share_one_arena()
        if settings.processes > 1:
            threading.Thread(target=end_with_parent, args=(settings.drain_seconds,), daemon=True).start()
        service = await asyncio.to_thread(lambda: Service(settings, metrics).start())
        app.state.service = service
        clock = asyncio.create_task(tick(metrics))
        kept = await asyncio.to_thread(durability, service.store.engine)
        known, algorithm = len(service.matcher.index), service.algorithm.name
        log.info("ready", known=known, algorithm=algorithm, acknowledged=kept.detail)
        try:
            yield
        finally:
            clock.cancel()
            with suppress(asyncio.CancelledError):
                await clock
            await asyncio.to_thread(service.close)
            log.info("stopped")

    app = Application(
        title="dhash",
        summary="Fingerprints of images, exact search among them, and a review queue.",
        description="Where the service is locked (`DHASH_LOCKED`), reading and submitting need a token too.",
        version=version("mobius-dhash"),
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load from another host; ours is `web.api_docs`
        redoc_url=None,
        openapi_tags=[*document.TAGS],
        servers=[*document.SERVERS],
        generate_unique_id_function=document.operation_id,
        license_info={"name": "MIT", "identifier": "MIT"},
    )
    problems.install(app, pages.error_page)
    document.install(app)
    # Fixed paths before those with an {id} in the same place.
    for module in (operations, review, submit, duplicates, banks, search, problems):
        app.include_router(module.router)
    site.install(app, settings.release)
    app.stand_behind(settings, metrics)
    return app


def end_with_parent(drain_seconds: float) -> None:
    """End this server process when the one that started it is gone: after a kill -9 nobody else would.

    What is in flight is finished first, as after SIGTERM; what hangs is not waited for. The folder in which
    processes count together, which was the other one's to remove, goes too.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    shutil.rmtree(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""), ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(drain_seconds + 5)
    os._exit(1)


async def tick(metrics: Metrics) -> None:
    """Keep the metrics' windows moving even while nobody scrapes."""
    while True:
        metrics.tick()
        await asyncio.sleep(SNAPSHOT_EVERY)
