"""`rollout fleet up | status | resume | abort | history`: a rollout over many hosts."""

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from guarded_rollout.cli.app import AsJson, Env, From, Newest, Verbose, Why, app
from guarded_rollout.cli.history import lines, to_json
from guarded_rollout.cli.registry import COMMANDS, INTERRUPTED
from guarded_rollout.cli.session import TALK, Options, Output, configured, settings_file, take
from guarded_rollout.clock import SystemClock
from guarded_rollout.config.environments import load
from guarded_rollout.errors import InventoryError, UsageError
from guarded_rollout.fleet.artifact import prepare
from guarded_rollout.fleet.fleet import Fleet
from guarded_rollout.fleet.hosts import described, is_mixed, one_release
from guarded_rollout.host.release import short
from guarded_rollout.interrupts import interruptible
from guarded_rollout.rollout.engine import operator

commands = typer.Typer(no_args_is_help=True, help=COMMANDS["fleet"].summary)
app.add_typer(commands, name="fleet")

MIXED = 3
Inventory = Annotated[
    Path, typer.Option("--inventory", "-i", help="Ansible's inventory: a file or a folder.")
]
Set = Annotated[
    list[str],
    typer.Option("--set", help="NAME=VALUE for the roles, before the inventory; it may be JSON."),
]


Own = ParamSpec("Own")


def with_fleet(body: Callable[Concatenate[Fleet, Output, Own], None]) -> Callable[..., None]:
    """Give a command its fleet and output, and the options that say which."""

    @wraps(body)
    def command(inventory: Path, env: str, set_: list[str], verbose: bool, as_json: bool, **own: Any) -> None:
        with _fleet(inventory, env, set_, verbose, as_json) as (fleet, out):
            body(fleet, out, **own)  # type: ignore[call-arg]

    own = list(inspect.signature(body).parameters.values())[2:]
    first: Options = {"inventory": (Inventory, Path("hosts.yml")), "env": (Env, "production")}
    return take(command, first | {"set_": (Set, [])}, own, TALK)


@commands.command(epilog="Example: rollout fleet install --inventory hosts.yml")
@with_fleet
def install(fleet: Fleet, out: Output) -> None:
    """Install the guard, rollout.toml, gates and secrets on every host. What serves is not touched."""
    hosts = fleet.install()
    out.say(f"The guard is installed on {', '.join(hosts)}.")
    out.result(environment=fleet.environment, hosts=hosts)


@commands.command(epilog="Example: rollout fleet up --inventory hosts.yml --from dist/app.whl")
@with_fleet
def up(fleet: Fleet, out: Output, source: From = None, why: Why = "") -> None:
    """Roll out over all hosts: one and its whole window first, then a quarter, then the rest.

    Exit codes: 0 every host serves it; 1 refused; 2 taken back on all hosts; 3 the fleet is mixed.
    """
    environment = load(settings_file()).environment(fleet.environment)
    _result(out, fleet, fleet.up(prepare(source, environment, fleet.folder), why))


@commands.command(epilog="Example: rollout fleet resume --inventory hosts.yml")
@with_fleet
def resume(fleet: Fleet, out: Output) -> None:
    """Complete the rollout that a crash or a lost host left half done, or its taking back once begun."""
    _result(out, fleet, fleet.resume())


@commands.command(epilog="Example: rollout fleet abort --inventory hosts.yml --why 'users see wrong matches'")
@with_fleet
def abort(fleet: Fleet, out: Output, why: Why = "aborted by the operator") -> None:
    """Take the open rollout back on every host that it touched, the newest first."""
    fleet.abort(why)
    _result(out, fleet, None)


@commands.command(epilog="Example: rollout fleet status --inventory hosts.yml --json")
@with_fleet
def status(fleet: Fleet, out: Output) -> None:
    """Ask every host, and say whether the fleet is of one release. Changes nothing.

    Exit codes: 0 one release everywhere, or nothing; 3 mixed, or a host cannot be reached.
    """
    hosts, opened = fleet.status(), fleet.open_rollout()
    mixed = is_mixed(hosts)
    wide = max(len(host.name) for host in hosts)
    if not out.as_json:
        for host in hosts:
            out.say(f"{host.name:<{wide}}  {host}" + (f": {host.problem}" if host.problem else ""))
        out.say(f"MIXED: {described(hosts)}" if mixed else f"One release: {one_release(hosts) or 'none'}")
        if opened:
            out.say(
                f"Open: {opened.target}, by {opened.operator} since {opened.started_at:%FT%TZ}; "
                "`rollout fleet resume` completes it, `rollout fleet abort` takes it back."
            )
    out.result(
        environment=fleet.environment,
        release=one_release(hosts),
        mixed=mixed,
        open=to_json(opened) if opened else None,
        hosts=[host.as_json() for host in hosts],
    )
    if mixed:
        raise typer.Exit(MIXED)


@commands.command(epilog="Example: rollout fleet history --inventory hosts.yml --verbose")
def history(
    inventory: Inventory = Path("hosts.yml"),
    env: Env = "production",
    limit: Newest = 20,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """List what was done to the fleet; --verbose has each host."""
    with _fleet(inventory, env, [], verbose, as_json) as (fleet, out):
        found = fleet.history(limit)
        if as_json:
            out.result(environment=env, rollouts=[to_json(rollout) for rollout in found])
        elif not found:
            out.say(f"Nothing was done to {inventory} yet.")
        else:
            for line in lines(found, fleet.clock.now(), verbose=verbose):
                out.say(line)


@contextmanager
def _fleet(
    inventory: Path, env: str, given: list[str], verbose: bool, as_json: bool
) -> Iterator[tuple[Fleet, Output]]:
    with configured(env, as_json=as_json, verbose=verbose) as (_, out), interruptible():
        if not inventory.exists():
            raise InventoryError(path=inventory, reason="there is no such file")
        made = Fleet(inventory.resolve(), env, SystemClock(), out.say, operator(), _variables(given))
        try:
            yield made, out
        except KeyboardInterrupt:
            out.say("Interrupted; hosts go on. `rollout fleet resume` goes on with them, `abort` takes back.")
            raise typer.Exit(INTERRUPTED) from None


def _variables(given: list[str]) -> dict[str, object]:
    if wrong := [one for one in given if "=" not in one]:
        raise UsageError(detail=f"--set takes NAME=VALUE, not {wrong[0]!r}.")
    return {name: _value(text) for name, _, text in (one.partition("=") for one in given)}


def _value(text: str) -> object:
    """A value as JSON says it, and else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _result(out: Output, fleet: Fleet, release: str | None) -> None:
    hosts = fleet.status()
    out.say(f"{short(release)} serves every host." if release else f"Taken back: {described(hosts)}.")
    out.result(environment=fleet.environment, release=release, hosts=[host.as_json() for host in hosts])
