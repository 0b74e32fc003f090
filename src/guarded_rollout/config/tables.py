"""The tables of rollout.toml: read, checked, and filled up with what they leave out.

The documented example beside this module is the validator: it names every key, and its values are the
defaults and show the types. Pydantic, which validates the gates file, would cost every command 0.2 s of CPU,
four times what this module takes. Both say a mistake in the same words.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from guarded_rollout.config.explain import TYPES, unknown_key
from guarded_rollout.config.mistake import Mistake, require
from guarded_rollout.config.service import VARIABLE
from guarded_rollout.config.service_checks import CheckProblem, parse_check
from guarded_rollout.errors import ConfigurationError

Table = dict[str, Any]

BYTES_MOST = 2**20  # of a rollout.toml
TEXT_MOST = 4096  # characters of one string in it
NUMBER_MOST = 10**9
SHOWN_MOST, SENTENCE_MOST = 80, 400  # characters
STRANGE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
NOT_BEFORE = ("health", "store")  # what no file of the version before has
LISTS: Mapping[str, list[Any]] = {  # what is in the lists that are empty in the example
    "service.left_out": [""],
    "service.prepare": [[""]],
    "service.build_command": [""],
    "service.retry_posts": [""],
    "service.routes": [""],
    "service.writes.routes": [""],
    "service.prometheus.panels": [{"title": "", "metric": "", "by": "", "unit": ""}],
    "service.questions": [{"ask": "", "fields": [""]}],
}
_VARIABLES = re.compile(r"backup\.copies\.[^.]+\.variables|backup\.stream\.variables")
_WANTED = {
    dict: "a table",
    list: TYPES["array"],
    str: TYPES["string"],
    bool: TYPES["boolean"],
    int: TYPES["integer"],
    float: TYPES["number"],
}


def read(path: Path) -> Table:
    """The tables as they stand in a file; none where there is no file. Raises `ConfigurationError`."""
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MOST + 1)
        if len(content) > BYTES_MOST:
            raise ValueError(f"it is larger than {BYTES_MOST >> 20} MiB")
        return tomllib.loads(content.decode())
    except FileNotFoundError:
        return {}
    except RecursionError:
        raise ConfigurationError(path=path, where="syntax", problem="it is nested too deeply") from None
    except ValueError as error:
        raise ConfigurationError(path=path, where="syntax", problem=str(error)) from None
    except OSError as error:
        raise ConfigurationError(path=path, where="file", problem=error.strerror) from None


@cache
def example_tables() -> Table:
    """Return the documented example: help text, defaults and schema at once."""
    return _beside("rollout.example.toml")


@cache
def version_before() -> Table:
    """Return what a rollout.toml without a `[service] name` means: see the file."""
    return _beside("version_before.toml")


def _beside(name: str) -> Table:
    return tomllib.loads(files("guarded_rollout.config").joinpath(name).read_text())


def completed(given: Table) -> Table:
    """The tables, checked, with every key. A file that names no service is one of the version before.

    Raises a `Mistake`.
    """
    check(given, example_tables())
    service, example = given.get("service", {}), example_tables()
    if "name" in service:
        named = given.get("environments", {})
        require(bool(named), "environments", "are missing; write one, such as [environments.production]")
        known = {name: table for name, table in example["environments"].items() if name in named}
        return merged({**example, "environments": known}, given)
    for key in NOT_BEFORE:
        require(key not in service, "service.name", f"is missing: service.{key} stands there")
    tables = merged(merged(example, version_before()), given)
    if "checks" in service:  # one's own checks stand in for those
        tables["service"]["checks"] = service["checks"]
    return tables


def merged(base: Table, over: Table) -> Table:
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def check(given: Table, example: Table, where: str = "") -> None:
    """Raise a `Mistake` for the first key or value that the example does not allow."""
    for key, value in given.items():
        place = f"{where}.{shown(key)}" if where else shown(key)
        if where == "environments":  # any name; each as the defaults are
            _check_value(value, example_tables()["defaults"], place)
        elif where == "backup.copies":  # any name; each as the documented one is
            _check_value(value, example["offsite"], place)
        elif where == "backup.stream.settings":  # litestream's own
            _check_value(value, "", place)
        elif where == "service.variables" or _VARIABLES.fullmatch(where):  # any name
            _check_value(value, "", place)
            require(bool(VARIABLE.fullmatch(key)), place, "is no name of an environment variable")
        elif where == "service.prometheus.names":  # any name
            _check_value(value, "", place)
        elif where == "service.checks":  # any name
            _check_service_check(key, value, place)
        elif where == "service.commands" and key in example:
            _check_value(value, [""], place)
            require(bool(value), place, "an empty list is no command; leave the key out")
        elif key not in example:
            raise Mistake(place, unknown_key(shown(key), list(example)))
        else:
            _check_value(value, LISTS.get(place, example[key]), place)


def _check_service_check(name: str, table: object, place: str) -> None:
    if not isinstance(table, dict):
        raise Mistake(place, f"{table!r} is not a table")
    try:
        parse_check(name, table)
    except CheckProblem as problem:
        raise Mistake(f"{place}.{problem.key}" if problem.key else place, problem.sentence) from None


def _check_value(value: object, example: object, where: str) -> None:
    if isinstance(example, dict) and isinstance(value, dict):
        check(value, example, where)
    elif isinstance(example, list) and isinstance(value, list):
        for position, item in enumerate(value):
            _check_value(item, example[0], f"{where}[{position}]")
            if isinstance(item, dict) and (missing := example[0].keys() - item.keys()):
                raise Mistake(f"{where}[{position}]", f"needs {', '.join(sorted(missing))}")
    elif type(value) is not type(example) and not (isinstance(example, float) and type(value) is int):
        such = f", such as {example!r}" if example not in ("", [""], [[""]], {}) else ""
        raise Mistake(where, f"{shown(repr(value))} is not {_WANTED[type(example)]}{such}")
    elif isinstance(value, str):
        require(len(value) <= TEXT_MOST, where, f"is longer than {TEXT_MOST} characters")
        strange = STRANGE.search(value)
        require(strange is None, where, f"has the character {strange[0]!r}" if strange else "")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        least = min(0, example) if isinstance(example, int | float) else 0  # -1 where that is the default
        within = least <= value <= NUMBER_MOST
        require(within, where, f"{shown(repr(value))} is not from {least} to {NUMBER_MOST}")


def shown(text: str, most: int = SHOWN_MOST) -> str:
    """A key, value or sentence as a line can hold it."""
    plain = text if text.isprintable() else repr(text)
    return plain if len(plain) <= most else plain[: most - 1] + "…"
