"""The checks that a service declares in `[service.checks.NAME]` of rollout.toml. Values alone, no I/O.

Names follow Prometheus's blackbox exporter where it has one (`valid_status_codes`,
`fail_if_body_matches_regexp`, `fail_if_body_not_matches_regexp`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

TEXT_MOST = 10_000  # of one string; what is longer is a file's
POINTER = re.compile(r"(/([^~/]|~[01])*)*")


class When(StrEnum):
    """The moments at which a check is asked."""

    VERIFY = "verify"  # the candidate, on its private socket, before any traffic
    SMOKE = "smoke"  # the public port: `rollout smoke`
    MIGRATE = "migrate"  # what serves, after a migration
    ROLLBACK = "rollback"  # what serves, after a rollback
    WINDOW = "window"  # both sides, all through the window


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCheck:
    """The settings that every check has. Times in seconds."""

    name: str
    critical: bool = True
    when: tuple[When, ...] = (When.VERIFY, When.SMOKE, When.MIGRATE, When.ROLLBACK)
    every_seconds: float = 30.0
    timeout_seconds: float = 5.0
    describes: str = ""
    by_stable: bool = False  # a candidate is asked by the old release's own check as well

    @property
    def sentence(self) -> str:
        """The claim it checks, to follow "check that"."""
        return self.describes or f"{self.name} passes"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck(ServiceCheck):
    """One request and what its answer must be. `{name}` in path, headers and body is what a check before
    it captured; `capture` and `json` take JSON pointers (RFC 6901)."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str]
    body: str = ""
    body_file: str = ""
    valid_status_codes: tuple[int, ...] = ()  # empty: 200 to 299
    fail_if_body_matches_regexp: tuple[str, ...] = ()
    fail_if_body_not_matches_regexp: tuple[str, ...] = ()
    json: Mapping[str, object]
    capture: Mapping[str, str]
    max_seconds: float = 0.0  # 0: no limit but the timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCheck(ServiceCheck):
    """A command of the release that asks where `{uds}` or `{url}` says: exit code 0, and one JSON object a
    line for each result, with `name` and `passed`, and `critical`, `seconds` and `detail` if it likes."""

    command: tuple[str, ...]
    quick: tuple[str, ...] = ()  # what is added where only the critical results are asked for


class CheckProblem(ValueError):
    """A mistake in a declared check; `key` is relative to it, empty for the check itself."""

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(sentence)
        self.key, self.sentence = key, sentence


def parse_check(name: str, table: Mapping[str, Any]) -> HttpCheck | CommandCheck:
    """The check that a table of rollout.toml means. Raises `CheckProblem`."""
    kind = CommandCheck if "command" in table else HttpCheck
    if kind is HttpCheck and "path" not in table:
        raise CheckProblem("", "needs `path` (an HTTP check) or `command`")
    known = {field.name: field for field in fields(kind) if field.name != "name"}
    for key in table:
        if key not in known:
            raise CheckProblem(key, f"unknown key (known are {', '.join(known)})")
    values = {key: _value(key, value) for key, value in table.items()}
    for key in ("headers", "json", "capture"):
        if kind is HttpCheck:
            values.setdefault(key, {})
    check = kind(name=name, **values)
    _require_sense(check)
    return check


def _value(key: str, value: object) -> Any:
    """A key's value in its type."""
    match key:
        case "critical" | "by_stable":
            return _typed(key, value, bool, "true or false")
        case "every_seconds" | "timeout_seconds" | "max_seconds":
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
                raise CheckProblem(key, f"{value!r} is not a number of seconds from 0 to 3600")
            return float(value)
        case "valid_status_codes":
            codes = _typed(key, value, list, "a list of status codes, such as [200]")
            if any(type(code) is not int or not 100 <= code <= 599 for code in codes):
                raise CheckProblem(key, f"{value!r} is not a list of status codes, such as [200]")
            return tuple(codes)
        case "when":
            moments = _strings(key, value)
            if wrong := [one for one in moments if one not in set(When)]:
                raise CheckProblem(key, f"{wrong[0]!r} is none of {', '.join(When)}")
            return tuple(When(one) for one in moments)
        case "command":
            if not (words := _strings(key, value)):
                raise CheckProblem(key, "an empty list is no command; leave the check out instead")
            return words
        case "quick":
            return _strings(key, value)
        case "fail_if_body_matches_regexp" | "fail_if_body_not_matches_regexp":
            return tuple(_pattern(key, one) for one in _strings(key, value))
        case "json":
            return {_pointer(key, at): wanted for at, wanted in _table(key, value).items()}
        case "capture":
            return {name: _pointer(f"{key}.{name}", at) for name, at in _table(key, value).items()}
        case "headers":
            return {name: _string(f"{key}.{name}", text) for name, text in _table(key, value).items()}
        case _:
            return _string(key, value)


def _require_sense(check: HttpCheck | CommandCheck) -> None:
    if check.timeout_seconds <= 0:
        raise CheckProblem("timeout_seconds", "must be above 0")
    if isinstance(check, CommandCheck):
        return
    if not check.path.startswith("/"):
        raise CheckProblem("path", f"{check.path!r} does not begin with /")
    if not check.method.isalpha() or not check.method.isupper():
        raise CheckProblem("method", f"{check.method!r} is no method such as GET")
    if check.body and check.body_file:
        raise CheckProblem("body_file", "stands beside `body`; give one of them")


def _typed(key: str, value: object, kind: type, words: str) -> Any:
    if type(value) is not kind:
        raise CheckProblem(key, f"{value!r} is not {words}")
    return value


def _string(key: str, value: object) -> str:
    text = _typed(key, value, str, "a string")
    if any(sign < " " and sign not in "\n\t" for sign in text):
        raise CheckProblem(key, "has a control character")
    if len(text) > TEXT_MOST:
        raise CheckProblem(key, f"is longer than {TEXT_MOST} characters")
    return str(text)


def _strings(key: str, value: object) -> tuple[str, ...]:
    found = _typed(key, value, list, "a list of strings")
    return tuple(_string(f"{key}[{number}]", one) for number, one in enumerate(found))


def _table(key: str, value: object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _typed(key, value, dict, "a table")
    return found


def _pointer(key: str, at: object) -> str:
    pointer = _string(key, at)
    if not POINTER.fullmatch(pointer):
        raise CheckProblem(key, f"{pointer!r} is no JSON pointer such as /status")
    return pointer


def _pattern(key: str, text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise CheckProblem(key, f"{text!r} is no regular expression: {error}") from None
    return text
