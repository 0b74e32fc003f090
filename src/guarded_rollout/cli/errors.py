"""`rollout errors`: every error, its exit code, and what to do about it."""

from collections.abc import Iterator

import typer

from guarded_rollout.cli.app import AsJson, app
from guarded_rollout.cli.session import Output
from guarded_rollout.errors import RolloutError, all_errors


@app.command(epilog="Example: rollout errors | grep port")
def errors(as_json: AsJson = False) -> None:
    """List every error by its name, as docs/troubleshooting.md does."""
    out = Output(as_json)
    if not as_json:
        for line in rows():
            typer.echo(line)
    out.result(
        errors=[
            {
                "error": error.code(),
                "exit_code": error.exit_code,
                "message": error.message,
                "advice": error.advice,
            }
            for error in listed()
        ]
    )


def listed() -> list[type[RolloutError]]:
    """Every error that an operator can meet, by name. Classes that only others build on are left out."""
    return sorted(
        (error for error in all_errors() if error is not RolloutError), key=lambda error: error.code()
    )


def rows() -> Iterator[str]:
    """The list as a Markdown table."""
    yield "| error | exit code | says | what to do |"
    yield "|---|---|---|---|"
    for error in listed():
        cells = (f"`{error.code()}`", str(error.exit_code), error.message, error.advice)
        yield (
            "| "
            + " | ".join(cell.replace("|", "\\|").replace("{", "‹").replace("}", "›") for cell in cells)
            + " |"
        )
