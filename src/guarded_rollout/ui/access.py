"""Access: a token of the project, a cookie that proves it, and no way in from elsewhere.

Reading is open on loopback. Acting needs the token: it makes a session whose cookie no script can read, and
a form carries a second proof, so that no other site's page can act in an operator's name.
"""

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from guarded_rollout.clock import Clock, SystemClock
from guarded_rollout.config.environments import DASHBOARD_FOLDER
from guarded_rollout.errors import NotWritableError
from guarded_rollout.files import write_atomic

FOLDER = DASHBOARD_FOLDER
SESSION_SECONDS = 12 * 3600
ONCE_SECONDS = 15 * 60


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in operator: the cookie that says so, and what their forms must carry."""

    cookie: str
    csrf: str


class Access:
    """The rules of one dashboard. `names` are the host names that it answers to, beside addresses."""

    def __init__(
        self, token: str, port: int, *, loopback: bool, names: frozenset[str], clock: Clock | None = None
    ) -> None:
        self._token = token
        self._clock = clock or SystemClock()
        self._names = names | {"localhost"}
        self._once: dict[str, float] = {}
        self.open_to_read = loopback
        self.cookie_name = f"rollout_ui_{port}"  # cookies know no ports: two dashboards must not meet

    # ---- signing in

    def once(self) -> str:
        """A code that signs in one browser, once, within a quarter of an hour."""
        code = secrets.token_urlsafe(24)
        self._once[code] = self._clock.monotonic() + ONCE_SECONDS
        return code

    def by_code(self, code: str) -> Visitor | None:
        """Sign in with a one-time code."""
        until = self._once.pop(code, 0.0)
        return self._welcome() if self._clock.monotonic() < until else None

    def by_token(self, token: str) -> Visitor | None:
        """Sign in with the token."""
        given = token.strip().encode()
        return self._welcome() if hmac.compare_digest(given, self._token.encode()) else None

    def by_cookie(self, cookies: Mapping[str, str]) -> Visitor | None:
        """Return the signed-in visitor of a cookie, or None. Sessions survive a restart of the dashboard."""
        cookie = cookies.get(self.cookie_name, "")
        expires, _, rest = cookie.partition(".")
        nonce, _, proof = rest.partition(".")
        if not hmac.compare_digest(proof.encode(), self._proof("session", f"{expires}.{nonce}").encode()):
            return None
        if not expires.isdecimal() or self._clock.now().timestamp() > int(expires):
            return None
        return Visitor(cookie, self._proof("form", cookie))

    def _welcome(self) -> Visitor:
        expires = int(self._clock.now().timestamp()) + SESSION_SECONDS
        words = f"{expires}.{secrets.token_hex(16)}"
        cookie = f"{words}.{self._proof('session', words)}"
        return Visitor(cookie, self._proof("form", cookie))

    def _proof(self, purpose: str, of: str) -> str:
        return hmac.new(self._token.encode(), f"{purpose}:{of}".encode(), hashlib.sha256).hexdigest()

    # ---- what is let in

    def refusal(self, method: str, headers: Mapping[str, str]) -> str:
        """Return why a request must be refused, or an empty string."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            return f"This dashboard does not answer to the name {host!r}."
        if method in ("GET", "HEAD"):
            return "" if _is_invited(headers) else "Other pages cannot ask this dashboard."
        origin = headers.get("origin", "")
        ours = origin in (f"http://{host}", f"https://{host}")  # https: somebody put TLS in front
        if not ours or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return "This came from another page: nothing was done."
        return ""

    def _is_ours(self, host: str) -> bool:
        """A name that somebody else's DNS points here is not ours; an address cannot be pointed.

        Any port will do: a tunnel may have given us another one.
        """
        try:
            parts = urlsplit(f"//{host}")
            name = (parts.hostname or "") if parts.port != 0 else ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _is_invited(headers: Mapping[str, str]) -> bool:
    """Another page may link here, and nothing else: what it asks for itself would only cost us time.

    Fetch Metadata, <https://www.w3.org/TR/fetch-metadata/>.
    """
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return True
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def token_of(project: Path) -> str:
    """The project's token, made at the first start and kept where only its owner can read it.

    Raises `NotWritableError`.
    """
    path = project / FOLDER / "token"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            with suppress(FileExistsError):  # another one was first: theirs counts
                write_atomic(path, secrets.token_urlsafe(32) + "\n", mode=0o600, overwrite=False)
        found = path.read_text().strip()
        if len(found) < 32:
            raise NotWritableError(path=path, reason="it holds no token: remove it, and a new one is made")
        path.chmod(0o600)
    except (OSError, UnicodeDecodeError) as error:
        raise NotWritableError(path=path, reason=getattr(error, "strerror", error)) from None
    return found


def is_loopback(host: str) -> bool:
    """Return True if an address is loopback; a name if all of its addresses are."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_loopback for one in found)
