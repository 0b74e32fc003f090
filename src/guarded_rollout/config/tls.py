"""TLS on the public port: none, a certificate of the operator's, or one that the proxy gets by ACME."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from guarded_rollout.config.mistake import require

DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)


class TlsMode(StrEnum):
    """Where the certificate of the public port comes from."""

    OFF = "off"
    FILES = "files"
    ACME = "acme"


@dataclass(frozen=True, slots=True)
class Tls:
    """How the public port is encrypted; the other fields count only unless it is off."""

    mode: TlsMode
    domain: str
    certificate: Path | None
    key: Path | None
    root: Path | None  # of the CA that signed it, where the machine does not know that one
    email: str
    directory: str  # of the ACME CA; empty: Let's Encrypt's
    redirect_port: int  # whose requests are sent on to https; 0: none

    @property
    def on(self) -> bool:
        return self.mode is not TlsMode.OFF


def tls_of(given: str, table: Mapping[str, Any], folder: Path, where: str) -> Tls:
    """Return what `tls` and `[….certificate]` of an environment say. Raises `Mistake`."""
    place = f"{where}.certificate"
    require(given in set(TlsMode), f"{where}.tls", f"{given!r} is none of {', '.join(TlsMode)}")
    mode, domain = TlsMode(given), table["domain"].lower()
    port, directory, email = table["redirect_port"], table["directory"], table["email"]
    if mode is not TlsMode.OFF:
        wanted = "is missing: the name by which clients reach it, which the certificate is for"
        require(bool(domain), f"{place}.domain", wanted)
        require(bool(DOMAIN.fullmatch(domain)), f"{place}.domain", f"{domain!r} is no name of a host")
    if mode is TlsMode.FILES:
        for key in ("file", "key"):
            require(bool(table[key]), f"{place}.{key}", f'is missing: tls = "{mode}" reads it')
    require(0 <= port <= 65535, f"{place}.redirect_port", "a port is 1 to 65535, 0 is none")
    require(not email or "@" in email, f"{place}.email", f"{email!r} is no address")
    url = urlsplit(directory) if directory.isprintable() else urlsplit("")
    known = not directory or (url.scheme == "https" and bool(url.hostname))
    require(known, f"{place}.directory", f"{directory!r} is no address that begins with https://")
    paths = {key: folder / table[key] if table[key] else None for key in ("file", "key", "root")}
    return Tls(mode, domain, paths["file"], paths["key"], paths["root"], email, directory, port)
