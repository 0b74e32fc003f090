"""`dhash token`: who may decide and administer."""

import hashlib
import json
import secrets
from datetime import UTC, datetime
from typing import Annotated

import typer

from dhash_service.cli.app import AsJson, app, open_store
from dhash_service.facts import Role, Sha256, Token, new_id

token = typer.Typer(no_args_is_help=True, help="Bearer tokens: create, list, revoke.")
app.add_typer(token, name="token")

LONGEST_NAME = 200
"""Characters, as many as the page of decisions looks for."""


@token.command(epilog="Example: dhash token create rita --role reviewer")
def create(
    name: Annotated[str, typer.Argument(help="Whose it is; no two tokens in force share a name.")],
    role: Annotated[Role, typer.Option(help="What it allows.")] = Role.CLIENT,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, once: only its hash is kept."""
    from dhash_service.errors import BadRequestError
    from dhash_service.settings import Settings
    from dhash_service.store.sightings import require_words
    from dhash_service.store.store import Store

    require_words("name", name, LONGEST_NAME)
    if not name.strip():
        raise BadRequestError("The token has no name.", "Give it one: decisions are told by it.")
    settings = Settings.load()
    secret = f"dhash_{secrets.token_urlsafe(32)}"
    digest = Sha256(hashlib.sha256(secret.encode()).hexdigest())
    with Store.open_from(settings) as store:
        made = Token(new_id(), name, role, digest, settings.release, datetime.now(UTC))
        store.add_token(made).result()
    if as_json:
        typer.echo(json.dumps({"name": name, "role": role.value, "token": secret}))
        return
    typer.echo(f"{name} is {role.value}. The token, which is not shown again:", err=True)
    typer.echo(secret)


@token.command("list", epilog="Example: dhash token list --json")
def list_(as_json: AsJson = False) -> None:
    """Show every token ever made, without its secret."""

    with open_store() as store:
        tokens = store.tokens()
    for each in tokens:
        revoked = each.revoked_at.isoformat() if each.revoked_at else None
        if as_json:
            line = {"name": each.name, "role": each.role.value, "created_at": each.created_at.isoformat()}
            typer.echo(json.dumps({**line, "revoked_at": revoked}))
        else:
            state = f"revoked {revoked}" if revoked else "in force"
            typer.echo(f"{each.name:20} {each.role.value:10} since {each.created_at:%Y-%m-%d %H:%M}  {state}")


@token.command(epilog="Example: dhash token revoke rita")
def revoke(name: Annotated[str, typer.Argument(help="Whose token.")]) -> None:
    """Stop a token from working, at once and for good."""

    with open_store() as store:
        store.revoke_token(name).result()
    typer.echo(f"The token of {name} works no more.")
