"""Serves the dashboard on a socket that listens already, until Ctrl-C."""

import socket
from collections.abc import Mapping

import uvicorn

from guarded_rollout.config.environments import Project
from guarded_rollout.ui.access import FOLDER, Access, is_loopback
from guarded_rollout.ui.app import Dashboard
from guarded_rollout.ui.jobs import Jobs

GRACE_SECONDS = 3  # for requests in flight when it ends


class Server:
    """A dashboard and its web server. `address` is where a browser finds it."""

    def __init__(self, project: Project, token: str, host: str, listening: socket.socket) -> None:
        folder, port = project.path.parent, listening.getsockname()[1]
        here = socket.gethostname().lower()
        self.loopback = is_loopback(host)
        access = Access(token, port, loopback=self.loopback, names=frozenset({host.lower(), here}))
        variables: Mapping[str, str] = {"ROLLOUT_TOML": str(project.path)}
        dashboard = Dashboard(project, access, Jobs(folder / FOLDER / "jobs", folder, variables))
        name = here if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        self.address = f"http://{name}:{port}"
        self.once = access.once
        self._listening = listening
        self._server = uvicorn.Server(
            uvicorn.Config(
                dashboard.app,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

    def run(self) -> None:
        """Serve until Ctrl-C or SIGTERM, which is raised again in the end."""
        self._server.run(sockets=[self._listening])
