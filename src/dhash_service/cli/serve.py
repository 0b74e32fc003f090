"""`dhash serve`: run the service."""

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from dhash_service.cli.app import app
from dhash_service.errors import AddressInUseError


@app.command(epilog="Example: dhash serve --port 3000")
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="DHASH_HOST, or 127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on.", show_default="DHASH_PORT, or 3000")
    ] = None,
    uds: Annotated[Path | None, typer.Option(help="Unix socket to listen on instead.")] = None,
    processes: Annotated[
        int | None, typer.Option(help="Server processes.", show_default="DHASH_PROCESSES, or 1")
    ] = None,
    migrate: Annotated[
        bool, typer.Option(help="Bring the store's schema up to date first, creating it if need be.")
    ] = False,
) -> None:
    """Serve the HTTP API until SIGTERM or Ctrl-C, then finish the requests in flight.

    Every DHASH_… variable of docs/settings.md is honoured; the options here win over them.
    """
    import uvicorn

    from dhash_service.matcher import index_of
    from dhash_service.settings import Settings
    from dhash_service.store.durability import durability, require_synchronous
    from dhash_service.store.store import Store

    settings = Settings.load(host=host, port=port, uds=uds, processes=processes)
    # Try store and address before the server starts: what is wrong is then a sentence, not a traceback.
    if settings.uds:
        require_possible(settings.uds)
    else:
        require_free(settings.host, settings.port)
    with Store.open_from(settings, migrate=migrate) as store:
        if settings.keep_originals and store.originals:
            store.originals.require_usable()
        index_of(store, settings)
        if settings.require_synchronous:
            require_synchronous(durability(store.engine))
    for name, value in (("HOST", host), ("PORT", port), ("UDS", uds), ("PROCESSES", processes)):
        if value is not None:
            os.environ[f"DHASH_{name}"] = str(value)  # server processes read the environment
    with shared_metrics(settings.processes):
        uvicorn.run(
            "dhash_service.app:create_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            uds=str(settings.uds) if settings.uds else None,
            workers=settings.processes,
            http="dhash_service.api.protocol:Protocol",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.drain_seconds,
            timeout_keep_alive=75,  # longer than the proxy's, so that it never reuses a connection we close
        )


def require_free(host: str, port: int) -> None:
    """Raise `AddressInUseError` where somebody listens already, or the address is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AddressInUseError(f"{host}:{port}: {error.strerror}.") from None


def require_possible(uds: Path) -> None:
    """Raise `AddressInUseError` where no socket can be made, or somebody listens already.

    The server would take away what is there, a file as well as the socket of a service that is alive.
    """
    if os.path.lexists(uds) and not uds.is_socket():
        raise AddressInUseError(f"{uds} is there, and is no socket.", "Choose another path.")
    if uds.is_socket() and not is_left(uds):
        raise AddressInUseError(f"{uds}: somebody listens there.")
    if not os.access(uds.parent, os.W_OK | os.X_OK):
        raise AddressInUseError(f"{uds.parent} is no folder that can be written to.", "Choose another path.")


def is_left(uds: Path) -> bool:
    """True of a socket that nobody listens on any more; one that we may not ask counts as alive."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # where many wait to be let in already, we would wait with them
        try:
            probe.connect(str(uds))
        except OSError as error:
            return isinstance(error, ConnectionRefusedError | FileNotFoundError)
    return False


@contextmanager
def shared_metrics(processes: int) -> Iterator[None]:
    """Give several processes a folder in which they count together, from one beginning."""
    if processes == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="dhash-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        os.environ["DHASH_STARTED_AT"] = str(time.time())
        yield
