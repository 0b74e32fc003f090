"""For operators and monitors: health, metrics, configuration, state."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from dhash_service.api.auth import Admin, Client, Running
from dhash_service.api.models import CheckResult, Health
from dhash_service.api.problems import PROBLEMS
from dhash_service.service import Service

router = APIRouter(tags=["operations"])

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Alive(BaseModel):
    """The process runs."""

    status: str = "ok"


async def health_of(service: Service, response: Response, names: set[str] | None = None) -> Health:
    checks = await service.read(service.checks)
    wanted = {name: check for name, check in checks.items() if names is None or name in names}
    failing = not all(check.ok for check in wanted.values())
    if failing:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    response.headers["Cache-Control"] = "no-store"
    return Health(
        status="failing" if failing else "ok",
        release=service.settings.release,
        checks={name: CheckResult(ok=check.ok, detail=check.detail) for name, check in wanted.items()},
    )


UNHEALTHY: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "A check fails"}}


@router.get("/health", summary="Every check by name", responses=UNHEALTHY)
async def health(service: Running, response: Response) -> Health:
    return await health_of(service, response)


@router.get("/health/live", summary="Does the process answer?")
async def health_live() -> Alive:
    return Alive()


@router.get(
    "/health/ready", summary="Can it serve: is the store there and the index loaded?", responses=UNHEALTHY
)
async def health_ready(service: Running, response: Response) -> Health:
    return await health_of(service, response, {"store", "index"})


@router.get(
    "/metrics",
    summary="Gauges, counters and histograms; Prometheus text when `Accept` asks for text/plain",
    response_model=dict[str, Any],
    responses={200: {"content": {PROMETHEUS.partition(";")[0]: {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, service: Running) -> Any:
    length = await service.read(service.queue_length)
    accept = request.headers.get("accept", "")
    # A scraper asks for text alone; whoever reads JSON as well gets the contract's default.
    if "application/json" not in accept and ("text/plain" in accept or "openmetrics" in accept):
        text = await service.read(lambda: service.metrics.as_prometheus(length))
        return PlainTextResponse(text, media_type=PROMETHEUS)
    return await service.read(lambda: service.metrics.as_json(length))


@router.get("/api/config", summary="The settings in force, secrets as ***", responses=PROBLEMS)
async def config(service: Running, client: Client) -> dict[str, Any]:
    return service.settings.public()


@router.get("/api/admin/status", summary="The state of every part", responses=PROBLEMS)
async def admin_status(service: Running, admin: Admin) -> dict[str, Any]:
    return await service.read(service.status)
