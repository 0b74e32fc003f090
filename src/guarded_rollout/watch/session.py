"""Puts a session together: what is asked, by which gates, from when on, and what an earlier process knew."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import EnvironmentGates, GatesFile, GlobalSettings
from guarded_rollout.config.kinds import ConsecutiveGate
from guarded_rollout.errors import NothingToJudgeError
from guarded_rollout.gates.panel import News, Panel
from guarded_rollout.gates.samples import Side
from guarded_rollout.host.site import Site
from guarded_rollout.watch import log as logs
from guarded_rollout.watch.errands import Errands
from guarded_rollout.watch.fetch import Place
from guarded_rollout.watch.rollouts import OpenWindow
from guarded_rollout.watch.sources import Probe, ProxyMetrics, Sampler, ServiceMetrics, wanted_by
from guarded_rollout.watch.watcher import Watcher, judged_gates, polls_for


@dataclass(frozen=True, slots=True)
class Past:
    """What an earlier process of the same session left in its log."""

    alerts: int = 0
    failed_probes: int = 0
    newest: float = float("-inf")  # time of its last sample
    samples: int = 0


def samplers_of(
    environment: Environment, window: OpenWindow | None, config: EnvironmentGates, settings: GlobalSettings
) -> list[Sampler]:
    """The sources of an environment: the candidate's slot and stable's, on their own sockets, and the proxy.

    Without a rollout, of what serves.
    """
    site = Site(environment)
    candidate = site.slots.find(window.candidate) if window else None
    candidate = candidate or site.traffic.serving()
    sides = {Side.CANDIDATE: candidate}
    if window is not None and (stable := site.slots.find(window.stable)) is not None:
        sides[Side.STABLE] = stable
    admin = _place(settings, socket=site.traffic.admin_socket)
    found: list[Sampler] = []
    for side, slot in sides.items():
        place = _place(settings, socket=site.slots.socket(slot))
        found += of_place(place, config, settings, side)
        found.append(ProxyMetrics(admin, slot, side))
    return found


def of_place(
    place: Place, config: EnvironmentGates, settings: GlobalSettings, side: Side = Side.CANDIDATE
) -> list[Sampler]:
    """The sources of one place: its health endpoint (and each gate's own), and its metrics."""
    gates = [gate for _, gate in config.quality_gates.enabled()]
    own = {gate.path for gate in gates if isinstance(gate, ConsecutiveGate)}
    probes = [
        Probe(place, name or path_of(settings.health_check_endpoint), name, side)
        for name in sorted(own)
        if side is Side.CANDIDATE
    ]
    return [*probes, ServiceMetrics(place, wanted_by(gates), path_of(settings.metrics_endpoint), side)]


def _place(settings: GlobalSettings, *, socket: Path) -> Place:
    return Place(socket=socket, timeout=settings.timeout_seconds, user_agent=settings.user_agent)


def place_of(url: str, settings: GlobalSettings) -> Place:
    """Any service, by its base URL."""
    return Place(url=url, timeout=settings.timeout_seconds, user_agent=settings.user_agent)


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


def watcher_of(
    name: str,
    config: EnvironmentGates,
    samplers: Sequence[Sampler],
    timeout: float,
    errands: Errands,
    began_at: float,
    now: float,
) -> tuple[Watcher, list[str], list[str]]:
    """The watcher, the gates it judges, and those that have no source here. Raises `NothingToJudgeError`."""
    gates, unheard = judged_gates(config, samplers)
    if not gates:
        reason = f"nothing can be asked for {', '.join(unheard)}" if unheard else "no gate is enabled"
        raise NothingToJudgeError(environment=name, reason=reason)
    panel = Panel(gates.items(), config.monitoring.poll_intervals, began_at)
    polls = polls_for(gates, samplers, config.monitoring, timeout)
    return Watcher(panel, polls, errands, began_at, now), list(gates), unheard


def recall(panel: Panel, lines: Iterable[logs.Line]) -> Past:
    """Let the gates learn what an earlier process of this session saw."""
    alerts, failed_probes, newest, count = 0, 0, float("-inf"), 0
    for sample in filter(None, map(logs.sample_of, lines)):
        changes = panel.take(sample)
        alerts += sum(change.news is News.FAILED for change in changes)
        alerts += any(change.news is News.SILENT for change in changes)
        if sample.source == "probe" and not sample.path:
            failed_probes = 0 if sample.ok else failed_probes + 1
        newest, count = max(newest, sample.at), count + 1
    return Past(alerts, failed_probes, newest, count)
