"""`rollout premerge`: the artifacts that a pull request must bring."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.checks import manifest
from guarded_rollout.checks.manifest import FOLDER, Ran
from guarded_rollout.cli.app import AsJson, DryRun, Env, Verbose, app
from guarded_rollout.cli.session import Output, configured
from guarded_rollout.clock import SystemClock
from guarded_rollout.host.release import make_writable
from guarded_rollout.operations.premerge import REPORT, steps_of, validate


@app.command(epilog="Example: rollout premerge --env production")
def premerge(
    env: Env = "production",
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the artifacts.", show_default="premerge_artifacts, in the project"),
    ] = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Deploy the checkout aside, on a free port, and run every check on it; fails if any of them does.

    Writes what each check printed, a report for the pull request, and a manifest with the hash of each.
    """
    with configured(env, as_json=as_json, verbose=verbose) as (environment, out):
        folder = (output or environment.project / FOLDER).absolute()
        if dry_run:
            planned = steps_of(environment, folder)
            out.rehearse(
                *(
                    f"would run `rollout {' '.join(s.words)}` into {environment.shown(folder / s.file)}"
                    for s in planned
                )
            )
            return
        with tempfile.TemporaryDirectory(prefix="pm-", dir="/tmp", ignore_cleanup_errors=True) as scratch:
            artifacts = validate(
                environment, folder, Path(scratch), lambda ran: _tell(out, ran), at=SystemClock().now()
            )
            make_writable(Path(scratch))
        manifest.write(folder, artifacts)
        outcome = "passed" if artifacts.passed else "failed"
        out.say(f"Pre-merge validation {outcome}; see {environment.shown(folder / REPORT)}.")
        out.result(passed=artifacts.passed, release=artifacts.release, commit=artifacts.commit, folder=output)
        if not artifacts.passed:
            raise typer.Exit(1)


def _tell(out: Output, ran: Ran) -> None:
    mark = "PASS" if ran.passed else "FAIL"
    out.say(f"{mark} {ran.name:18} {ran.seconds:6.1f} s  {ran.file}")
    out.detail(f"     {ran.command}: exit code {ran.exit_code}")
