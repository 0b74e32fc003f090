"""Asks a service over HTTP; anything but the expected answer is a failure in one sentence."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.secret import Secret


class SmokeFailure(Exception):
    """The reason for a failed check, in one sentence."""


class SmokeProbe:
    """Asks one service. `limit_ms` is what a lookup may take."""

    def __init__(self, endpoint: Endpoint, *, token: Secret | None = None, limit_ms: float = 2000.0) -> None:
        self._endpoint = endpoint
        self._token = token
        self.limit_ms = limit_ms

    @property
    def has_token(self) -> bool:
        return bool(self._token)

    def ask(
        self,
        method: str,
        path: str,
        *,
        expect: Iterable[int],
        credentials: bool = True,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The answer's JSON (None without any). Raises `SmokeFailure` unless its status is expected."""
        headers = dict(headers or {})
        if credentials and self._token:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        target = f"{path}?{urlencode(params)}" if params else path
        answer = self._endpoint.fetch(method, target, body=content, headers=headers)
        if answer.problem:
            raise SmokeFailure(f"{method} {path}: {self._endpoint} {answer.problem}")
        wanted = tuple(expect)
        if answer.status not in wanted:
            shown = " or ".join(map(str, wanted))
            raise SmokeFailure(
                f"{method} {path} answered {answer.status} instead of {shown}: {brief(answer.text)}"
            )
        if not answer.body:
            return None
        try:
            return json.loads(answer.body)
        except ValueError:
            raise SmokeFailure(
                f"{method} {path} answered {answer.status} with no JSON: {brief(answer.text)}"
            ) from None

    def post(
        self, path: str, content: bytes, kind: str, *, expect: Iterable[int], register: bool = True
    ) -> Any:
        """Post content, to be kept or (without `register`) only looked up. Raises as `ask` does."""
        params = None if register else {"register": "false"}
        return self.ask(
            "POST", path, params=params, content=content, headers={"Content-Type": kind}, expect=expect
        )


def brief(text: str) -> str:
    """The beginning of a string, on one line."""
    return " ".join(text[:300].split()) or "nothing"
