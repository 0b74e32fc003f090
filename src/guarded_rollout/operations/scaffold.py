"""Scaffold of a project: the two files that begin to guard a service."""

import json
from collections.abc import Iterator
from pathlib import Path

from guarded_rollout.config.environments import CHANNELS_FILE, SETTINGS_FILE
from guarded_rollout.files import write_atomic
from guarded_rollout.host.build import lock_requirements
from guarded_rollout.host.git import git
from guarded_rollout.operations.service_sketch import OURS, ServiceSketch

GATES = "quality-gates-config.json"
ENV_FILE = ".env"
CHANNELS = ("slack", "teams", "discord", "email", "console")
"""Those that are set up are told; a pager is for what its owner names."""


def rollout_toml(service: ServiceSketch) -> str:
    """The commented rollout.toml."""
    lines = [
        "# What `rollout` guards. `rollout init --keys` prints every key with its meaning.",
        "",
        "[service]",
        f"name = {_quoted(service.name)}   # names archives and logs",
    ]
    if service.build == "wheel":
        lines += [
            "# A release is a wheel of this folder in a virtual environment with exactly these packages.",
            f"lock = {_quoted(service.lock)}",
        ]
    else:
        lines += [
            "# A release is a copy of the files that git knows, or of all of them outside of git.",
            'build = "directory"',
        ]
        if service.prepare:
            lines.append(
                f"prepare = {json.dumps([list(words) for words in service.prepare])}   # run in the copy"
            )
    lines += [
        "# It serves on the unix socket {uds} and ends on SIGTERM; {bin}, {app}, {python} are the release's.",
        f"commands.serve = {_quoted(list(service.serve))}",
        *(f"variables.{name} = {_quoted(value)}" for name, value in (service.variables or {}).items()),
    ]
    if service.store == "postgresql":
        lines.append(f"env_file = {_quoted(ENV_FILE)}   # DATABASE_URL=…, with mode 0600")
    if service.health not in ("", "/health"):
        lines.append(f"health.path = {_quoted(service.health)}   # answers 200 when the service is well")
    else:
        lines.append('# health.path = "/health"   # answers 200 when the service is well')
    if service.store != "none":
        lines.append(f"store.kind = {_quoted(service.store)}   # backed up before each deployment")
    else:
        lines.append(
            '# store.kind = "sqlite"   # or "postgresql": its data is then backed up before each deployment'
        )
    lines += ["", "[environments.production]", f"port = {service.port}   # where clients come"]
    if service.store == "postgresql":
        lines.append('store = "$DATABASE_URL"   # read when the service starts, never kept')
    lines += [
        "# A new release gets 10 %, 50 % and then all of the traffic, as the gates decide.",
        "# traffic = [{ percent = 100, hold_seconds = 0.0 }]   # all of it at once",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str | list[str]) -> str:
    """A value as TOML has it, which knows no halves of a character as JSON's escapes do."""
    return json.dumps(text, ensure_ascii=False)


def quality_gates(service: ServiceSketch) -> str:
    """Gates that need nothing but what the proxy saw, and whether the health endpoint answers.

    Its log tells of answers that ended in the middle or never came; what it counts does not.
    """

    over = {"evaluation_window_minutes": 5.0, "min_sample_size": 20}
    gates = {
        "health": {
            "description": "The health endpoint answers",
            "threshold": {"consecutive_failures": 2, "check_interval_seconds": 5},
            "actions": ["alert", "auto_rollback"],
        },
        "failed_requests": {
            "kind": "ratio",
            "description": "Requests that failed for clients (5xx, cut, given up)",
            "source": "edge",
            "numerator": ["failed_total", "passed_on_total"],
            "denominator": ["requests_total", "passed_on_total"],
            "threshold": {"max_percentage": 5, **over},
            "full_window_confidence": 0.99,
            "actions": ["alert", "auto_rollback"],
        },
        "cut_answers": {
            "kind": "ratio",
            "description": "Answers that ended in the middle",
            "source": "edge",
            "numerator": ["cut_total"],
            "denominator": ["requests_total"],
            "threshold": {"max_percentage": 1, **over},
            "full_window_confidence": 0.99,
            "actions": ["alert", "auto_rollback"],
        },
        "server_crashes": {
            "kind": "gauge",
            "description": "Server processes that ended while clients came, also where they are replaced",
            "source": "crashes",
            "metric": "crashes",
            "unit": "crashes",
            "threshold": {"max_value": 2, "alert_value": 0, "check_interval_seconds": 2},
            "actions": ["alert", "auto_rollback"],
        },
        "slower_for_clients": {
            "kind": "regression",
            "description": "The 95th percentile of clients' waiting is above twice the old release's",
            "source": "proxy",
            "histogram": "response_seconds",
            "quantile": 0.95,
            "threshold": {"max_ratio": 2, **over},
            "actions": ["alert"],
        },
    }
    monitoring = {
        "window_minutes": 10,
        "poll_intervals": {
            "initial_minutes": 5,
            "initial_interval_seconds": 5,
            "normal_interval_seconds": 30,
        },
    }
    production = {
        "monitoring": monitoring,
        "quality_gates": gates,
        "notifications": {"channels": list(CHANNELS)},
        "auto_rollback": {"enabled": True},
    }
    settings = {
        "timeout_seconds": 5,
        "user_agent": f"{service.name}-monitor",
    }
    document = {
        "title": f"{service.name} quality gates",
        "description": "`rollout gates check` says in plain words what these do",
        "environments": {"production": production},
        "global_settings": settings,
    }
    return json.dumps(document, indent=2) + "\n"


def write(service: ServiceSketch, folder: Path) -> list[Path]:
    """Write both files, the lock of a wheel that has none, and what .gitignore lacks; return their paths.

    Raises `BuildError` where the requirements cannot be locked.
    """
    written = []
    if service.lock and not (folder / service.lock).exists():
        lock_requirements(folder, folder / service.lock)
        written.append(folder / service.lock)
    for name, text in ((SETTINGS_FILE, rollout_toml(service)), (GATES, quality_gates(service))):
        write_atomic(folder / name, text)
        written.append(folder / name)
    if git(folder, "rev-parse", "--is-inside-work-tree") == "true":
        ignored = folder / ".gitignore"
        has = ignored.read_text() if ignored.exists() else ""
        ours = (*OURS, CHANNELS_FILE, *([ENV_FILE] if service.store == "postgresql" else []))
        lacks = [name for name in ours if name not in has.splitlines()]
        if lacks:
            write_atomic(
                ignored, has + ("" if has.endswith("\n") or not has else "\n") + "\n".join(lacks) + "\n"
            )
            written.append(ignored)
    return written


def hints(service: ServiceSketch, folder: Path) -> Iterator[str]:
    """Yield what the operator has to see to."""
    words = " ".join((*service.serve, *(service.variables or {}).values()))
    if "{uds}" not in words:
        yield "Its command must serve on the unix socket {uds}: an option, or a variable, must say so."
    elif "SOCKET" in (service.variables or {}):
        yield "It must serve on the unix socket that its variable SOCKET names."
    if not service.health:
        yield "Nothing here looks like a health endpoint: /health must answer 200 when the service is well."
    if service.store == "postgresql":
        yield f"Write DATABASE_URL=… into {ENV_FILE} (chmod 600): the watcher has not your shell."
