"""`dhash check`: does a running service do what it must?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from dhash_service.cli.app import app


@app.command(epilog="Example: dhash check --url http://localhost:3000 --quick --json")
def check(
    uds: Annotated[Path | None, typer.Option(help="Ask the service on this unix socket.")] = None,
    url: Annotated[str | None, typer.Option(help="Ask the service at this address.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only the critical checks.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Only this check; may be repeated.")] = None,
    seed: Annotated[str, typer.Option(help="What the submitted picture is drawn from.")] = "dhash check",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for each answer.")] = 30.0,
    limit_ms: Annotated[float, typer.Option(min=0, help="Milliseconds that a lookup may take.")] = 2000.0,
    token: Annotated[
        str | None, typer.Option(envvar="DHASH_TOKEN", help="Token for a locked service.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, a line each check.")
    ] = False,
) -> None:
    """Ask a running service for all that it must do; exit 1 if a check fails.

    It leaves nothing in search behind if the token is an admin's, and one small picture if not.
    """
    from dataclasses import asdict

    from dhash_service.checks.checks import CHECKS, run
    from dhash_service.checks.probe import Probe
    from dhash_service.errors import BadRequestError
    from dhash_service.golden.readers import over_socket, over_url

    if (uds is None) == (url is None):
        raise BadRequestError("Which service is to be asked?", "Give one of --uds and --url.")
    names = [one.name for one in CHECKS]
    unknown = [name for name in only or () if name not in names]
    if unknown:
        raise BadRequestError(f"There is no check {unknown[0]!r}.", f"There are {', '.join(names)}.")
    connect = over_socket(uds, timeout) if uds else over_url(str(url), timeout)
    failed = []
    with Probe(connect, str(uds or url), token=token, limit_ms=limit_ms) as probe:
        for result in run(probe, quick=quick, only=tuple(only or ()), seed=seed):
            failed += [] if result.passed else [result.name]
            if as_json:
                typer.echo(json.dumps(asdict(result)))
            else:
                mark = "PASS" if result.passed else "FAIL"
                typer.echo(f"{mark}  {result.name:16} {result.seconds:6.2f} s  {result.detail}")
    if failed:
        raise typer.Exit(1)
