"""`rollout validate-logging`: check the logging of this machine."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.checks.findings import Finding, Severity
from guarded_rollout.cli.app import AsJson, Env, Verbose, app
from guarded_rollout.cli.session import Output, configured
from guarded_rollout.logs import LogFile
from guarded_rollout.operations.log_validation import validate

PASSED, FAILED, WARNINGS, INTERNAL = 0, 1, 2, 3
MARKS = {Severity.OK: "PASS", Severity.WARNING: "WARN", Severity.FAILED: "FAIL"}


@app.command(epilog="Example: rollout validate-logging --env production --verbose")
def validate_logging(
    env: Env = "production",
    config: Annotated[Path | None, typer.Option(help="Gates file instead of the configured one.")] = None,
    log_dir: Annotated[Path | None, typer.Option(help="Log folder instead of the configured one.")] = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Check configuration, channels, permissions, rotation, and the form and secrets of the logs so far.

    Exits with 0 if all is well, 1 if something fails, 2 if there are warnings only, 3 if it could not check.
    The logs are only read.
    """
    try:
        with configured(env, as_json=as_json, verbose=verbose, refused=INTERNAL) as (environment, out):
            environment = replace(
                environment,
                gates=config.absolute() if config else environment.gates,
                logs=log_dir.absolute() if log_dir else environment.logs,
            )
            findings = list(validate(environment))
            out.log = LogFile.open(environment.logs, "test_logging", env)
            for finding in findings:
                _tell(out, finding)
            out.say(_summary(findings))
            out.result(environment=env, checks=[finding.as_json() for finding in findings])
            code = code_of({finding.level for finding in findings})
    except typer.Exit as left:  # it could not begin, which says nothing about the logging
        raise typer.Exit(INTERNAL if left.exit_code == FAILED else left.exit_code) from None
    except Exception as error:
        typer.secho(f"validate-logging failed: {type(error).__name__}: {error}", err=True, fg="red")
        code = INTERNAL
    raise typer.Exit(code)


def code_of(levels: set[Severity]) -> int:
    """The exit code by the worst of these levels."""
    return FAILED if Severity.FAILED in levels else WARNINGS if Severity.WARNING in levels else PASSED


def _tell(out: Output, finding: Finding) -> None:
    line = f"{MARKS[finding.level]} {finding.name:14} {finding.detail}"
    if finding.level is Severity.OK:
        out.say(line)
    else:
        out.say(f"{line}. {finding.advice}".rstrip())


def _summary(findings: list[Finding]) -> str:
    counts = {level: sum(finding.level is level for finding in findings) for level in Severity}
    return (
        f"{counts[Severity.OK]} passed, {counts[Severity.WARNING]} warnings, {counts[Severity.FAILED]} failed"
    )
