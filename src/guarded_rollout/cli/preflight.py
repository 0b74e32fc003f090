"""`rollout preflight`: the guide's pre-deployment checklist."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.checks.findings import Severity
from guarded_rollout.checks.manifest import FOLDER
from guarded_rollout.checks.preflight import inspect
from guarded_rollout.cli.app import AllowUnknown, From, app
from guarded_rollout.cli.session import Session, built_aside, coloured, with_session

COLOURS = {
    Severity.OK: typer.colors.GREEN,
    Severity.WARNING: typer.colors.YELLOW,
    Severity.FAILED: typer.colors.RED,
}


@app.command(epilog="Example: rollout preflight --env production")
@with_session(read_only=True)
def preflight(
    work: Session,
    source: From = None,
    allow_unknown: AllowUnknown = False,
    reviews: Annotated[
        Path | None,
        typer.Option(help="Reviews as `gh pr view --json reviews,headRefOid` prints them; checked too."),
    ] = None,
    artifacts: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the pre-merge artifacts.", show_default="premerge_artifacts, in the project"
        ),
    ] = None,
) -> None:
    """Check everything a deployment needs, and change nothing. Exits 1 if something is missing."""
    artifacts = artifacts or work.environment.project / FOLDER
    with built_aside(work, source) as release:
        findings = inspect(
            work.site,
            work.journal,
            release,
            allow_unknown=allow_unknown,
            reviews=reviews or work.environment.reviews,
            artifacts=artifacts,
        )
    for finding in findings:
        level = coloured(
            f"{finding.level:8}", COLOURS[finding.level], sys.stderr if work.out.as_json else sys.stdout
        )
        work.out.say(f"{level}{finding.name}: {finding.sentence}")
        if finding.advice:
            work.out.say(" " * 8 + finding.advice)
    work.out.result(environment=work.env, checks=[finding.as_json() for finding in findings])
    if any(finding.level is Severity.FAILED for finding in findings):
        raise typer.Exit(1)
