"""`rollout smoke`: ask a service for what it must do."""

from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.checks import report
from guarded_rollout.checks.probe import SmokeProbe
from guarded_rollout.checks.smoke import CHECKS, SmokeOutcome, run
from guarded_rollout.cli.app import AsJson, DryRun, Env, Verbose, app
from guarded_rollout.cli.session import Output, configured
from guarded_rollout.config import gates
from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import NotWritableError, RolloutError, UsageError
from guarded_rollout.files import write_atomic
from guarded_rollout.host.endpoint import Endpoint, is_url
from guarded_rollout.host.site import Site
from guarded_rollout.logs import LogFile

LIMIT_MS = 2000.0


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

    $DHASH_TOKEN is the bearer token for a service that is locked. An admin's lets the one picture that is
    kept and found again be taken out of search afterwards; without one it stays, the same in every run.
    """
    with configured(env, as_json=as_json, verbose=verbose) as (environment, out):
        address = _address(endpoint or f"http://127.0.0.1:{environment.port}")
        if dry_run:
            asked_for = [check.describes for check in CHECKS if check.critical or not quick]
            out.rehearse(*(f"would check at {address} that {described}" for described in asked_for))
            return
        out.log = LogFile.open(environment.logs, "smoke_tests", env)
        asked = Endpoint(address, timeout, proxied=bool(endpoint))
        probe = SmokeProbe(asked, token=Site(environment).token(), limit_ms=limit_ms(environment))
        outcomes = _tested(probe, out, quick)
        out.say(f"{report.summary(outcomes)} at {address}")
        out.detail(f"log: {out.log.path}")
        if junit is not None:
            _write(junit, report.junit(outcomes, env))
        out.result(**report.as_json(outcomes, env, address))
        if not all(outcome.passed for outcome in outcomes):
            raise typer.Exit(1)


def _tested(probe: SmokeProbe, out: Output, quick: bool) -> list[SmokeOutcome]:
    outcomes = []
    for outcome in run(probe, quick=quick):
        out.say(report.line(outcome))
        outcomes.append(outcome)
    return outcomes


def limit_ms(environment: Environment) -> float:
    """The longest time of a lookup: the limit of the environment's gate on the time of a hash."""
    try:
        gate = gates.load(environment.gates).environment(environment.name).quality_gates.p95_hash_time
    except RolloutError:
        gate = None
    return gate.threshold.limit if gate else LIMIT_MS


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
