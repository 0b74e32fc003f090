"""Secrets in a service's variables: `$NAME` or `${NAME}`, resolved when it is started and kept nowhere.

A release holds the name alone. The value comes from the operator's environment, or from the file that
`env_file` in rollout.toml names; the environment wins. `$$` is a dollar sign.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from guarded_rollout.errors import ReadableSecretsError, UnsetVariableError

NAMED = re.compile(r"\$(?:\$|\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


def expand(text: str, secrets: Mapping[str, str], *, variable: str) -> str:
    """A variable's value with each `$NAME` filled in. Raises `UnsetVariableError`."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name is None:
            return "$"
        if name not in secrets:
            raise UnsetVariableError(name=name, variable=variable)
        return secrets[name]

    return NAMED.sub(value, text)


def names_in(text: str) -> list[str]:
    """The names that a value needs."""
    return [found[1] or found[2] for found in NAMED.finditer(text) if found[0] != "$$"]


def secrets_of(env_file: Path | None) -> Mapping[str, str]:
    """Collect what `$NAME` can be. Raises `ReadableSecretsError` for a file that others may read."""
    if env_file is None or not env_file.exists():
        return os.environ
    if stat.S_IMODE(env_file.stat().st_mode) & 0o077:
        raise ReadableSecretsError(path=env_file)
    from dotenv import dotenv_values

    read = {
        name: value for name, value in dotenv_values(env_file, interpolate=False).items() if value is not None
    }
    return {**read, **os.environ}
