"""`rollout status`: what serves, what is being rolled out, and how far it is."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from guarded_rollout.checks.schema import revision_of
from guarded_rollout.cli.app import AsJson, Env, Verbose, app
from guarded_rollout.cli.session import Session, session
from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import RolloutError
from guarded_rollout.interrupts import interruptible
from guarded_rollout.status.facts import Asked, Changes, gates, rows
from guarded_rollout.status.snapshot import Reader, Snapshot, read

if TYPE_CHECKING:
    from guarded_rollout.backup.copies import CopyRecord
    from guarded_rollout.config.gates import EnvironmentGates

POLL_SECONDS = 0.5

Watch = Annotated[
    bool,
    typer.Option("--watch", "-w", help="Go on until Ctrl-C: drawn on a terminal, else a line a change."),
]


@app.command(epilog="Example: rollout status --env staging --json")
def status(
    env: Env = "production", verbose: Verbose = False, as_json: AsJson = False, watch: Watch = False
) -> None:
    """Show environment, releases, traffic, step, window, gates, last backup and schema. Changes nothing.

    With --watch it goes on until it is interrupted, and then ends with 130, as every command does.
    """
    with session(env, "status", as_json=as_json, verbose=verbose, read_only=True) as work:
        if watch:
            _watch(work)
        else:
            _once(work)


def _once(work: Session) -> None:
    seen = read(work.environment, work.site.clock)
    asked = _ask(work, seen)
    if work.out.as_json:
        from guarded_rollout.status.document import as_json

        work.out.result(**as_json(seen, asked))
        return
    found = rows(seen, asked)
    if seen.session is not None:
        found |= gates(seen, _gates_of(work.environment))
    shown = {name.replace("_", " "): fact.text for name, fact in found.items() if fact is not None}
    wide = max(map(len, shown))
    for name, words in shown.items():  # never cut: a path is copied, a line is searched
        work.out.say(f"{name:<{wide}}  {words}")


def _ask(work: Session, seen: Snapshot) -> Asked:
    """Ask the running programs. A watch does not: one that hangs would stop it."""
    healthy = {one.slot: work.site.answers(one.slot) for one in seen.slots if one.release}
    copies: tuple[CopyRecord, ...] = ()
    if work.environment.copies:
        from guarded_rollout.backup.copies import records

        copies = tuple(records(work.environment))
    asked = Asked(healthy, copies=copies, stream=work.site.stream.state(work.site.clock.now()))
    try:
        serving = work.site.serving()
        if serving is None:
            return asked
        revision = revision_of(work.site, serving)
        return replace(asked, schema=revision, revision=revision)
    except RolloutError as error:
        return replace(asked, schema=f"unknown: {error.sentence}")


def _watch(work: Session) -> None:
    reader = Reader(work.environment, work.site.clock)
    try:
        with interruptible(), _showing(work) as show:
            while _somebody_reads():
                show(reader.read())
                work.site.clock.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:  # whoever read has seen enough; Python would complain once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        reader.close()


def _somebody_reads() -> bool:
    """Return True while the other end of a pipe is open; the next line may be a long time off."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return not any(event & select.POLLERR for _, event in poll.poll(0))


@contextmanager
def _showing(work: Session) -> Iterator[Callable[[Snapshot], None]]:
    """Drawn on a terminal, lines elsewhere, objects for programs."""
    from rich.console import Console

    from guarded_rollout.status.document import as_json

    config, console = _gates_of(work.environment), Console()
    changes = Changes(config)

    def tell(seen: Snapshot) -> None:
        lines = changes.since(seen)
        if work.out.as_json and lines:
            work.out.result(**as_json(seen))
        elif lines:  # in one piece: whoever reads the file never finds half a look
            typer.echo("\n".join(map(work.out.shown, lines)))

    if work.out.as_json or not console.is_terminal or console.is_dumb_terminal:
        yield tell
        return
    from guarded_rollout.status import terminal as view  # a single reading draws nothing

    with view.Terminal(console) as terminal:
        yield lambda seen: terminal.show(
            view.verdicts_of(seen), view.above(seen, config, terminal.width), [*view.below(seen)]
        )


def _gates_of(environment: Environment) -> "EnvironmentGates | None":
    """Load the gates; None if the file cannot be read: the rest of the status is still worth showing."""
    from guarded_rollout.config.gates import gates_of

    try:
        return gates_of(environment)
    except RolloutError:
        return None
