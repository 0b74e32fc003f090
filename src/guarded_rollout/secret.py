"""Secrets: strings that do not show themselves, and `$NAME` or `${NAME}` for what is kept nowhere.

A release holds the name alone. The value comes from the operator's environment, or from the file that
`env_file` in rollout.toml names; the environment wins. `$$` is a dollar sign.
"""

import hmac
import io
import os
import re
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from guarded_rollout.errors import ReadableSecretsError, SecretsFileError, UnsetVariableError

NAMED = re.compile(r"\$(?:\$|\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
HOLE = re.compile(rf"{NAMED.pattern}|\{{(?P<hole>[a-z_]+)\}}")


class Secret:
    """Prints as `***` wherever it ends up: logs, errors, dry runs. `reveal()` is the one way to the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "Secret('***')"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


def expand(
    text: str, secrets: Mapping[str, str], *, variable: str, values: Mapping[str, str] | None = None
) -> str:
    """A variable's value with each `$NAME` filled in, and each `{name}` of `values`; neither is read again.

    Raises `UnsetVariableError`.
    """
    known = values or {}

    def value(found: re.Match[str]) -> str:
        if hole := found["hole"]:
            return known.get(hole, found[0])
        name = found[1] or found[2]
        if name is None:
            return "$"
        if name not in secrets:
            raise UnsetVariableError(name=name, variable=variable)
        return secrets[name]

    return HOLE.sub(value, text)


def filled(text: str, values: Mapping[str, str]) -> str:
    """A template with each `{name}` that is known filled in; other braces stay."""
    return re.sub(r"\{([a-z_]+)\}", lambda found: values.get(found[1], found[0]), text)


def names_in(text: str) -> list[str]:
    """The names that a value needs."""
    return [found[1] or found[2] for found in NAMED.finditer(text) if found[0] != "$$"]


def secrets_of(env_file: Path | None) -> Mapping[str, str]:
    """Collect what `$NAME` can be.

    Raises `ReadableSecretsError` for a file that others may read, `SecretsFileError` for one that this user
    cannot read.
    """
    try:
        if env_file is None or not env_file.exists():
            return os.environ
        if stat.S_IMODE(env_file.stat().st_mode) & 0o077:
            raise ReadableSecretsError(path=env_file, quoted=shlex.quote(str(env_file)))
        text = env_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SecretsFileError(path=env_file, reason=reason) from None
    from dotenv import dotenv_values

    read = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {**{name: value for name, value in read.items() if value is not None}, **os.environ}
