"""`make demo`: the whole story on a terminal, with the real proxy, supervisor, service and gates.

Version 1 serves. Under load, version 2 replaces it and nobody notices. Version 3 passes every check and
then begins to fail a third of its submits: the gates see it, and it is taken back without anybody's help.
At the end, every picture that was acknowledged is looked for.
"""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from rich.console import Console
from tests.guarded_rollout.load import GET, POST, Load
from tests.guarded_rollout.sandbox import Sandbox

from guarded_rollout.host.store_file import store_file

ROOT = Path(__file__).parents[1]
SEARCH = GET | {
    "name": "search",
    "path": "/api/dhash/search?hash=8f0f0f1f3f7fff00",
    "clients": 4,
    "pause": 0.05,
}
SUBMIT = POST | {"name": "submit", "clients": 4, "pause": 0.05}
ANSWERED = "        return await self._answered(wish, register, as_admin)\n"
BREAKS = """\
        submission = await self._answered(wish, register, as_admin)
        if submission.created and next(submitted) > 60 and next(submitted) % 3 == 0:
            raise RuntimeError("the cache is inconsistent")
        return submission
"""
PATIENCE = 120

console = Console(highlight=False)


class Demo:
    """One project in a folder of its own, and an operator who types into it."""

    def __init__(self) -> None:
        self.sandbox = Sandbox(None)
        self.sandbox.configure(steps=((10, 1.0), (50, 1.0), (100, 0.0)))
        shipped = (ROOT / "quality-gates-config.json").read_text()
        (self.sandbox.folder / "quality-gates-config.json").write_text(shipped)

    def tell(self, text: str) -> None:
        console.print(f"\n[bold]{text}[/]")

    def type(self, *words: str) -> None:
        """Run `rollout …` where the operator sees it. Raises `CalledProcessError` when it fails."""
        console.print(f"[cyan]$ rollout {' '.join(words)}[/]")
        subprocess.run(self.sandbox.command(*words), cwd=self.sandbox.folder, check=True)

    def version(self, version: str) -> None:
        self.sandbox.version(version)

    def break_submits(self) -> None:
        """From its 60th new picture on, this release fails every other third one."""
        self.sandbox.edit(
            "src/dhash_service/service.py",
            lambda text: text.replace(ANSWERED, BREAKS, 1).replace(
                "\nimport ", "\nfrom itertools import count\n\nsubmitted = count()\nimport ", 1
            ),
        )

    def wait_for(self, release: str) -> None:
        """Until this release serves again, and the journal is closed."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with self.sandbox.engine() as engine:
                if engine.journal.open_rollout("production") is None and self.sandbox.served_by() == release:
                    return
            time.sleep(0.5)
        raise TimeoutError(f"{release} was not back within {PATIENCE} s")

    def kept(self) -> set[str]:
        """The SHA-256 of every picture in the store."""
        found = store_file(self.sandbox.site)
        assert found is not None
        path = found.path
        assert path is not None
        with closing(sqlite3.connect(path)) as store:
            return {digest.hex() for (digest,) in store.execute("SELECT sha256 FROM images")}


def main() -> int:
    began = time.monotonic()
    demo = Demo()
    try:
        demo.tell("1. Version 1 on an empty machine: built, verified, serving.")
        demo.type("up")
        with Load(demo.sandbox.port, [SEARCH, SUBMIT]) as load:
            demo.tell("2. Eight clients search and submit without pause. Version 2 replaces version 1.")
            demo.version("2.0.0")
            demo.type("deploy", "--backup-first")
            demo.type("promote")
            console.print(f"{load.count():,} requests so far.")
            second = demo.sandbox.served_by()
        calm = load.report
        console.print(f"{load.requests:,} requests, {sum(calm['failed'].values())} failed.")

        with Load(demo.sandbox.port, [SEARCH, SUBMIT]) as load:
            demo.tell("3. Version 3 passes every check, and then fails a third of its submits.")
            demo.version("3.0.0")
            demo.break_submits()
            demo.type("up")
            console.print("Nobody does anything now: the monitor watches.")
            demo.wait_for(second)
        stormy = load.report
        demo.type("history")
        demo.tell(f"4. {second} is back by itself. Was any acknowledged write lost?")
        console.print(f"{load.requests:,} requests, {sum(stormy['failed'].values())} answered with an error.")
        acknowledged = {*calm["acknowledged"], *stormy["acknowledged"]}
        lost = acknowledged - demo.kept()
        console.print(f"{len(acknowledged):,} pictures were acknowledged, {len(lost)} of them are missing.")
        console.print(f"\n{time.monotonic() - began:.0f} s in all.")
        well = not calm["failed"] and not lost and stormy["failed"]
        return 0 if well else 1
    finally:
        demo.sandbox.close()


if __name__ == "__main__":
    sys.exit(main())
