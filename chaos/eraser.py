"""Somebody who wants pictures to be forgotten, and asks until it is so."""

import http.client
import json
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.clients import SUBMIT, Entry, read_ledger
from chaos.operating import HURT
from chaos.plan import Target
from chaos.stack import Stack

COMMAND_SECONDS = 60.0
"""`dhash erase` takes a second; one that takes so long hangs."""


@dataclass(slots=True)
class Wish:
    """A picture that is to be forgotten: asked for first, and granted (None: not yet)."""

    picture: Entry
    asked: float
    granted: float | None = None


class Eraser:
    """`wishes` is all that was asked for, `hurt` what of it ended in a traceback or hung.

    What was granted is told to the clients in a file: they look whether it is so.
    """

    def __init__(self, stack: Stack, ledger: Path, told: Path) -> None:
        self.wishes: list[Wish] = []
        self.hurt: list[str] = []
        self._stack, self._ledger, self._told = stack, ledger, told
        self._token = ""
        self._choosing = threading.Lock()

    def sign_in(self) -> None:
        """Get what the service asks for when somebody erases over HTTP."""
        made = self._dhash("token", "create", "eraser", "--role", "admin", "--json")
        self._token = str(json.loads(made.stdout)["token"])

    def wish(self) -> list[Wish]:
        """Choose of what was acknowledged the oldest, which backups have, one between, and the newest."""
        with self._choosing:
            chosen = {wish.picture.number for wish in self.wishes}
            known = [
                entry
                for entry in read_ledger(self._ledger)
                if entry.kind == SUBMIT and entry.acknowledged and entry.number not in chosen
            ]
            places = sorted({0, len(known) // 2, len(known) - 1}) if known else []
            new = [Wish(known[place], time.time()) for place in places]
            self.wishes += new
        return new

    def ask(self, way: Target, wishes: Sequence[Wish]) -> bool:
        """Ask once for what was not granted yet; whether all is granted now."""
        left = [wish for wish in wishes if wish.granted is None]
        if way is Target.BY_COMMAND and left:
            done = self._dhash("erase", *(wish.picture.id for wish in left), "--reason", "asked for")
            self._grant(left if done.returncode == 0 else [])
        elif left:
            self._grant([wish for wish in left if self._delete(wish)])
        return all(wish.granted is not None for wish in wishes)

    def _grant(self, wishes: Sequence[Wish]) -> None:
        for wish in wishes:
            wish.granted = time.time()
            about = {name: getattr(wish.picture, name) for name in ("number", "id", "hash")}
            with self._told.open("a") as file:
                file.write(json.dumps(about) + "\n")

    def _delete(self, wish: Wish) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._stack.port, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {self._token}"}
            connection.request("DELETE", f"/api/dhash/{wish.picture.id}?erase=true", headers=headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _dhash(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """One of the first release's own commands, on the store."""
        stack = self._stack
        program = stack.shop.releases / stack.shop.first.release / "venv" / "bin" / "dhash"
        root = stack.root / "data"
        settings = {
            "DHASH_STORE": stack.store or f"sqlite:///{root / 'dhash.db'}",
            "DHASH_ORIGINALS": str(root / "originals"),
            "DHASH_RELEASE": stack.shop.first.release,
        }
        try:
            done = subprocess.run(
                [str(program), *words],
                cwd=stack.project,
                env={**stack.environment(), **settings},
                capture_output=True,
                text=True,
                check=False,
                timeout=COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            self.hurt.append(f"dhash {words[0]} hung")
            return subprocess.CompletedProcess(error.cmd, 1, "", "")
        if HURT.search(done.stderr):
            last = done.stderr.strip().splitlines()[-1]
            self.hurt.append(f"dhash {words[0]} ended in a traceback: {last}")
        return done
