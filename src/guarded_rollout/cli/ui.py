"""`rollout ui`: the dashboard."""

import socket
from contextlib import suppress
from typing import Annotated

import typer

from guarded_rollout.cli.app import app
from guarded_rollout.cli.session import Output, reporting, settings_file
from guarded_rollout.config.environments import Project, load
from guarded_rollout.errors import AddressError
from guarded_rollout.ui.access import token_of

PORT = 3010


@app.command(epilog="Example: rollout ui --port 3010")
def ui(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Beyond loopback, reading needs the token too.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = PORT,
    token: Annotated[
        bool, typer.Option("--token", help="Print the token that signs in, and do nothing else.")
    ] = False,
) -> None:
    """Serve the dashboard: environments, rollouts, gates and history, live; acting needs a token.

    It reads files and runs `rollout` itself, so it can end or be restarted at any time.
    """
    with reporting(Output()):
        project = load(settings_file())
        secret = token_of(project.path.parent)
        if token:
            typer.echo(secret)
            return
        listening = listen(host, port)
        serve(project, secret, host, listening)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `AddressError`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise AddressError(host=host, port=port, reason=error.strerror) from None


def serve(project: Project, secret: str, host: str, listening: socket.socket) -> None:
    """Serve until Ctrl-C."""
    from guarded_rollout.ui.server import Server  # the web server is slow to import

    server = Server(project, secret, host, listening)
    typer.echo(f"Dashboard of {project.path.parent}: {server.address}/")
    typer.echo(
        f"To act, sign in once within a quarter of an hour: {server.address}/login?once={server.once()}"
    )
    if not server.loopback:
        typer.echo(
            "Reading needs the token too. The way there is not encrypted: `ssh -L` or TLS in front is."
        )
    typer.echo("Ctrl-C ends it; commands started from it keep running.")
    with suppress(KeyboardInterrupt):
        server.run()
    typer.echo("The dashboard has ended.")
