"""Asking a service over HTTP, where anything but the expected answer is a failure in one sentence."""

from collections.abc import Iterable
from typing import Any

import httpx

from guarded_rollout.secret import Secret


class SmokeFailure(Exception):
    """Why a check failed, in one sentence."""


class Probe:
    """Asks one service. `limit_ms` is what a lookup may take."""

    def __init__(
        self, client: httpx.Client, *, token: Secret | None = None, limit_ms: float = 2000.0
    ) -> None:
        self._client = client
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
        **request: Any,
    ) -> Any:
        """The answer's JSON (None without any). Raises `SmokeFailure` unless its status is expected."""
        headers = dict(request.pop("headers", {}))
        if credentials and self._token:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        try:
            answer = self._client.request(method, path, headers=headers, **request)
        except httpx.ConnectError as error:
            raise SmokeFailure(f"nothing answers at {self._client.base_url} ({error})") from None
        except httpx.TimeoutException:
            limit = self._client.timeout.read
            raise SmokeFailure(f"{method} {path} gave no answer within {limit:g} s") from None
        except httpx.HTTPError as error:
            raise SmokeFailure(f"{method} {path} broke off: {error or type(error).__name__}") from None
        wanted = tuple(expect)
        if answer.status_code not in wanted:
            shown = " or ".join(map(str, wanted))
            raise SmokeFailure(
                f"{method} {path} answered {answer.status_code} instead of {shown}: {brief(answer.text)}"
            )
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise SmokeFailure(
                f"{method} {path} answered {answer.status_code} with no JSON: {brief(answer.text)}"
            ) from None


def brief(text: str) -> str:
    """The beginning of a text, on one line."""
    return " ".join(text[:300].split()) or "nothing"
