"""The sources of an environment (its slots' sockets and its proxy), or of any service at a URL."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import EnvironmentGates, GatesFile, GlobalSettings
from guarded_rollout.config.kinds import ConsecutiveGate
from guarded_rollout.config.service import Service
from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import SIDES, Side
from guarded_rollout.host.caddy import dial, inner_socket
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.host.site import Site
from guarded_rollout.host.slots import SLOTS, Slot
from guarded_rollout.monitor.answers import AnswersSource
from guarded_rollout.monitor.crashes import CrashesSource
from guarded_rollout.monitor.edge_log import (
    CUT,
    REQUESTS,
    UNSERVED,
    BeforeSource,
    EdgeLog,
    EdgeSource,
    Writes,
)
from guarded_rollout.monitor.lost_writes import WritesSource, count_rows
from guarded_rollout.monitor.ports import OpenWindow
from guarded_rollout.monitor.routes import Routes
from guarded_rollout.monitor.sources import HealthProbe, ProxyMetrics, Sampler, ServiceMetrics, wanted_by
from guarded_rollout.monitor.stall import SUSPICIOUS_SECONDS, StallSource
from guarded_rollout.monitor.system import ProcessTree, SystemSource

QUESTION_SECONDS = 5.0  # a release that answers later is for other gates


def samplers_of(
    environment: Environment, window: OpenWindow | None, config: EnvironmentGates, settings: GlobalSettings
) -> list[Sampler]:
    """The sources of an environment: the candidate's slot and stable's, on their own sockets, and the proxy.

    Without a rollout, of what serves.
    """
    site = Site(environment)
    service = environment.service
    admin = endpoint_of(site.traffic.admin_socket, service, settings)
    edge = edge_log_of(environment)
    found: list[Sampler] = []
    usual = path_of(settings.health_check_endpoint) or service.health.path
    sides = sides_of(site, window)
    for side, slot in sides.items():
        endpoint = endpoint_of(site.slots.socket(slot), service, settings)
        found += of_endpoint(endpoint, config, service, settings, side)
        found.append(ProxyMetrics(admin, slot, side))
        inner = Endpoint(inner_socket(environment.run, slot), SUSPICIOUS_SECONDS)
        found.append(StallSource(admin, inner, slot, usual, side))
        if edge.path.exists():  # a proxy that was started before there was one writes none
            found.append(EdgeSource(edge, slot, side))
            found += _writes(site, edge, slot, side)
        found.append(_system(site, edge, slot, side))
        found.append(_crashes(site, edge, slot, side))
        if side is Side.STABLE:
            found.append(BeforeSource(edge_log_of(environment), slot))
    if len(sides) == len(SIDES) and service.questions:
        found.append(_answers(site, sides))
    return found


def _answers(site: Site, sides: Mapping[Side, Slot]) -> AnswersSource:
    """The questions that both slots are asked."""
    environment, token = site.environment, site.token()
    candidate, stable = (Endpoint(site.slots.socket(sides[side]), QUESTION_SECONDS) for side in SIDES)
    return AnswersSource(
        candidate,
        stable,
        environment.service.questions,
        environment.edge_log,
        (environment.samples, environment.originals),
        {"Authorization": f"Bearer {token.reveal()}"} if token else {},
    )


def _system(site: Site, edge: EdgeLog, slot: Slot, side: Side) -> SystemSource:
    """The processes of a slot, with the requests that the edge's log says were its."""
    store = site.environment.data
    log = site.processes.log_path(slot)
    tree = ProcessTree(site.processes.lock_path(slot))
    return SystemSource(tree, partial(_counted, edge, slot, REQUESTS), (log, store), side)


def _crashes(site: Site, edge: EdgeLog, slot: Slot, side: Side) -> CrashesSource:
    """The server processes of a slot, and the requests that the edge's log says they did not serve."""
    tree = ProcessTree(site.processes.lock_path(slot))
    unserved = partial(_counted, edge, slot, UNSERVED, CUT)
    return CrashesSource(tree, site.slots.socket(slot), unserved, side)


def _counted(edge: EdgeLog, slot: Slot, *names: str) -> float:
    try:
        counters = edge.counts(slot).counters
    except OSError:
        return 0.0  # nothing is known of its requests then, and nothing is held against the release
    return sum(counters[name] for name in names)


def _writes(site: Site, edge: EdgeLog, slot: Slot, side: Side) -> list[Sampler]:
    """The writes of what runs in a slot, where it is declared how they are counted, and they can be."""
    query, release = site.environment.service.writes.count, site.slots.release(slot)
    if not query or release is None:
        return []
    rows = partial(count_rows, site.environment.store.reveal(), query, release.id)
    try:
        rows()
    except OSError:
        return []
    return [WritesSource(edge, slot, rows, side)]


def sides_of(site: Site, window: OpenWindow | None) -> dict[Side, Slot]:
    """The slots of the candidate and of stable; without a rollout, of what serves."""
    candidate = site.slots.find(window.candidate) if window else None
    sides = {Side.CANDIDATE: candidate or site.traffic.serving()}
    if window is not None and (stable := site.slots.find(window.stable)) is not None:
        sides[Side.STABLE] = stable
    return sides


def edge_log_of(environment: Environment) -> EdgeLog:
    """The edge's log of an environment, read from where its session begins."""
    service = environment.service
    dialed = {dial(environment.run, slot): slot for slot in SLOTS}
    writes = Writes(service.writes.routes, service.writes.statuses)
    return EdgeLog(environment.edge_log, Routes(service.routes), dialed, writes)


def of_endpoint(
    endpoint: Endpoint,
    config: EnvironmentGates,
    service: Service,
    settings: GlobalSettings,
    side: Side = Side.CANDIDATE,
) -> list[Sampler]:
    """The sources of one endpoint: its health endpoint (and each gate's own), and its metrics."""
    gates = [gate for _, gate in config.quality_gates.enabled()]
    own: dict[str, float] = {}  # path → longest time for an answer
    for gate in gates:
        if isinstance(gate, ConsecutiveGate) and gate.source is Source.PROBE and gate.side == side:
            seconds = gate.slow_after_seconds or endpoint.timeout_seconds
            own[gate.path] = min(seconds, own.get(gate.path, seconds))
    usual = path_of(settings.health_check_endpoint) or service.health.path
    probes = [
        HealthProbe(
            replace(endpoint, timeout_seconds=seconds),
            replace(service.health, path=name or usual),
            name,
            side,
        )
        for name, seconds in sorted(own.items())
    ]
    return [*probes, ServiceMetrics(endpoint, wanted_by(gates), path_of(settings.metrics_endpoint), side)]


def endpoint_of(address: Path | str, service: Service, settings: GlobalSettings) -> Endpoint:
    """A slot's or the proxy's socket, or any service by its base URL."""
    agent = settings.user_agent or f"{service.name}-monitor/1.0.0"
    return Endpoint(address, settings.timeout_seconds, {"User-Agent": agent})


def path_of(endpoint: str) -> str:
    """The path of a configured endpoint, which may be a whole URL; its query belongs to it."""
    if not endpoint.startswith(("http://", "https://")):
        return endpoint
    parts = urlsplit(endpoint)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def base_of(file: GatesFile) -> str:
    """The base URL that a gates file names by its health endpoint; empty if that is a path only."""
    parts = urlsplit(file.global_settings.health_check_endpoint)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
