"""`rollout smoke`: ask a service for what it must do."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.checks import report
from guarded_rollout.checks.service_checks import ask, smoke_checks
from guarded_rollout.cli.app import AsJson, DryRun, Env, Verbose, app
from guarded_rollout.cli.session import configured
from guarded_rollout.config.environments import Environment
from guarded_rollout.config.recipe import BuildKind
from guarded_rollout.errors import NotWritableError, UsageError
from guarded_rollout.files import write_atomic
from guarded_rollout.host.endpoint import is_url
from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site
from guarded_rollout.logs import LogFile


@app.command(epilog="Example: rollout smoke --env staging --quick")
def smoke(
    env: Env = "production",
    quick: Annotated[bool, typer.Option("--quick", help="Only the critical ones.")] = False,
    endpoint: Annotated[str, typer.Option(help="Ask this address instead of the environment's.")] = "",
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds that an answer may take.")] = 30.0,
    junit: Annotated[Path | None, typer.Option(help="Write the outcome as JUnit XML, too.")] = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Smoke tests, the critical ones first. Leaves nothing behind.

    A locked service's bearer token is read from the variable that `token_variable` in rollout.toml names.
    What a check writes and may not take away again stays, the same in every run.
    """
    with configured(env, as_json=as_json, verbose=verbose) as (environment, out):
        site = Site(environment)
        given = _address(endpoint) if endpoint else ""
        address = given or str(site.public())
        release = site.serving() or stand_in(environment)
        checks = smoke_checks(site, release)
        if dry_run:
            out.rehearse(*(f"would check at {address} that {check.sentence}" for check in checks))
            return
        out.log = LogFile.open(environment.logs, "smoke_tests", env)
        outcomes = []
        for result in ask(site, release, checks, url=given, timeout_seconds=timeout, quick=quick):
            out.say(report.line(result))
            outcomes.append(result)
        out.say(f"{report.summary(outcomes)} at {address}")
        out.detail(f"log: {out.log.path}")
        if junit is not None:
            _write(junit, report.junit(outcomes, env))
        out.result(**report.as_json(outcomes, env, address))
        if not all(outcome.passed for outcome in outcomes):
            raise typer.Exit(1)


def stand_in(environment: Environment) -> Release:
    """For a service that no rollout started: its checks are those of rollout.toml."""
    return Release(
        id="none",
        folder=environment.project,
        version="",
        commit=None,
        dirty=False,
        built_at=datetime.fromtimestamp(0, UTC),
        build=BuildKind.WHEEL,
        artifact="",
        artifact_sha256="",
        lock_sha256="",
        schema=None,
        run=None,
    )


def _address(given: str) -> str:
    if not is_url(given):
        raise UsageError(detail=f"--endpoint {given!r} is not an address such as http://localhost:3000.")
    return given.rstrip("/")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
    except OSError as error:
        raise NotWritableError(path=path, reason=error.strerror) from None
