"""The command `rollout`: one thin file per command, which parses, calls and prints."""

from guarded_rollout.cli.app import run


def register() -> None:
    """Commands register themselves by being imported."""
    from guarded_rollout.cli import (  # noqa: F401
        ack,
        backup,
        deploy,
        down,
        errors,
        gates,
        gates_export,
        gates_review,
        history,
        logs,
        maintenance,
        migrate,
        monitor,
        notify,
        preflight,
        premerge,
        prune,
        reference,
        rollback,
        smoke,
        start,
        status,
        ui,
        validate_logging,
        verify,
        window,
    )


def main() -> None:
    """Entry point."""
    register()
    run()
