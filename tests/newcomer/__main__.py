"""`python -m tests.newcomer [STORY…]`: what a newcomer does in a day, as a fresh user in fresh clones.

readme   README from top to bottom: install, run, the commands and what they print
own      the own service of docs/your-own-service.md: from `init` over a faulty release to the way back
guide    the blocks of the operations guide, by its test, in a clone of their own
upgrade  a system of 71f905f with pictures, backups and an open window goes on under this commit, and back

Exit code 1 where something did not go as the documents say; what was typed and printed stands above.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.dhash_service.serving import free_port
from tests.newcomer.person import Person, UnexpectedError, newcomer
from tests.test_readme import ROOT, sessions, settled

BEFORE = "71f905f"  # the first wave's last commit
HASH = "b0c696b61a4889cb"  # of photo.jpg, under every fast algorithm
GIT = "git -c user.name=newcomer -c user.email=newcomer@example.org"


def clone(person: Person, name: str, revision: str = "HEAD") -> Path:
    """A clone at a revision, on ports that nobody uses."""
    origin, folder = person.home / "origin.git", person.home / name
    if not origin.exists():
        subprocess.run(["git", "clone", "-q", "--bare", "--no-hardlinks", str(ROOT), str(origin)], check=True)
        subprocess.run(["chown", "-R", person.name, str(origin)], check=True)
    person.run(f"git clone -q {origin} {folder}", person.home)
    person.run(f"git checkout -q -B day {_head() if revision == 'HEAD' else revision}", folder)
    move_ports(person, folder)
    return folder


def move_ports(person: Person, folder: Path, ports: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Write free ports into rollout.toml, as somebody would whose port 3000 is taken, and commit that."""
    path = folder / "rollout.toml"
    found = iter(ports or (free_port(), free_port(), free_port()))
    used: list[int] = []

    def free(match: re.Match[str]) -> str:
        used.append(next(found))
        return f"{match[1]}{used[-1]}"

    person.write(path, re.sub(r"(?m)^(port = )30\d\d", free, path.read_text()))
    person.run(f"{GIT} commit -qam 'Our ports'", folder)
    return tuple(used)


def port_of(folder: Path) -> int:
    """The port of production."""
    found = re.search(r"(?m)^port = (\d+)", (folder / "rollout.toml").read_text())
    assert found is not None
    return int(found[1])


def expect(condition: object, what: str) -> None:
    """Raise `UnexpectedError` unless it holds."""
    if not condition:
        raise UnexpectedError(what)


def readme(person: Person) -> None:
    """Install, run, and type the commands of README in the folder of the golden pictures."""
    folder = clone(person, "dhash")
    url = f"http://localhost:{port_of(folder)}"
    printed = person.run("make run", folder)
    expect(url in printed, f"make run does not print {url}")
    pictures = person.home / "pictures"
    person.run(
        f"mkdir {pictures} && cp src/dhash_service/golden/files/* {pictures} && rm {pictures}/*.json", folder
    )
    commands, requests = sessions()[:2]
    for command, shown in commands:
        here = f"export PATH={folder}/.venv/bin:$PATH DHASH_STORE=sqlite:///try.db; {command}"
        printed = person.run(here, pictures)
        expect(settled(printed) == settled(shown), f"{command} printed\n{printed}\nand README says\n{shown}")
    for command, _ in requests:  # answered by a release, whose id README cannot know
        expect(person.run(command.replace("http://localhost:3000", url), pictures), command)
    person.run(".venv/bin/rollout down --force", folder)


def own(person: Person) -> None:
    """The single file with SQLite: `init`, a release, a better one, a faulty one, and the way back."""
    tool = clone(person, "tool")
    person.run("make install", tool)
    folder, rollout = person.home / "notes", f"{tool}/.venv/bin/rollout"
    person.run(
        f"cp -r {tool}/examples/notes {folder} && cd {folder} && rm rollout.toml quality-gates-config.json",
        tool,
    )
    port = free_port()
    person.run(f"{rollout} init --yes --port {port}", folder)
    person.run(f"{rollout} up", folder)
    expect(
        "200" in person.run(f"curl -s -o /dev/null -w '%{{http_code}}' localhost:{port}/health", folder),
        "health",
    )
    hurried = (folder / "rollout.toml").read_text() + "traffic = [{ percent = 100, hold_seconds = 0.0 }]\n"
    person.write(folder / "rollout.toml", hurried)
    source = folder / "notes.py"
    person.write(source, source.read_text() + "\n# A change of no consequence.\n")
    person.run(f"{rollout} up", folder)
    person.run(f"{rollout} promote", folder)
    sound = source.read_text()
    person.write(source, "raise SystemExit('broken')\n" + sound)
    person.run(f"{rollout} up", folder, ends_with=1)
    expect(
        "200" in person.run(f"curl -s -o /dev/null -w '%{{http_code}}' localhost:{port}/health", folder),
        "health",
    )
    person.run(f"{rollout} rollback --to previous --force", folder)
    person.run(f"{rollout} history", folder)
    person.run(f"{rollout} down --force", folder)


def guide(person: Person) -> None:
    """Every block of the operations guide, on the system that the blocks deploy."""
    folder = clone(person, "guide")
    person.run("make .venv/.development", folder)
    person.run(
        ".venv/bin/python -m pytest -q -n0 -m '' -p no:cacheprovider tests/test_operations_guide.py", folder
    )


def upgrade(person: Person) -> None:
    """A system of the first wave goes on under this commit with its open window and backups, and back."""
    folder = clone(person, "site", BEFORE)
    ports = tuple(
        int(port) for port in re.findall(r"(?m)^port = (\d+)", (folder / "rollout.toml").read_text())
    )
    rollout = ".venv/bin/rollout"

    def found() -> None:
        answer = person.run(f"curl -s 'localhost:{ports[0]}/api/dhash/search?hash={HASH}&radius=0'", folder)
        expect(json.loads(answer)["total"] >= 1, f"the picture is not found: {answer}")

    person.run("make install", folder)
    person.run(f"{rollout} up", folder)
    files = person.run("ls src/dhash_service/golden/files/*.jpg", folder).split()
    for name in files:
        person.run(f"curl -s -o /dev/null -F file=@{name} localhost:{ports[0]}/api/dhash", folder)
    found()
    person.run(f"{rollout} backup", folder)
    person.run(f"echo >> README.md && {GIT} commit -qam 'A second release'", folder)
    person.run(f"{rollout} up", folder)

    person.run(f"git branch before && git checkout -q -B day {_head()}", folder)
    move_ports(person, folder, ports)
    person.run("make install", folder)
    status = json.loads(person.run(f"{rollout} status --json", folder))
    expect(status["phase"] == "watching", f"the window is not open any more: {status['phase']}")
    found()
    person.run(f"{rollout} abort", folder)
    found()
    person.run(f"{rollout} up", folder)
    found()
    person.run(f"{rollout} promote", folder)
    found()
    backup = person.run("ls backups/dhash_production_*.zip | head -n 1", folder).strip()
    person.run(f"{rollout} verify {backup}", folder)
    person.run(f"{rollout} rollback --backup {backup} --force", folder)
    found()

    person.run("git checkout -q before && make install", folder)
    person.run(f"{rollout} status", folder)
    found()
    person.run(f"{rollout} up --restart", folder)
    found()
    person.run(f"{rollout} down --force", folder)


def _head() -> str:
    """The commit that this checkout has."""
    return subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()


STORIES: dict[str, Callable[[Person], None]] = {
    story.__name__: story for story in (readme, own, guide, upgrade)
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.newcomer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stories", nargs="*", choices=[*STORIES, []], help="all of them unless named")
    chosen = parser.parse_args().stories or list(STORIES)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = []
    for name in chosen:
        print(f"{name}: {STORIES[name].__doc__}", flush=True)
        began = time.monotonic()
        with newcomer() as person:
            try:
                STORIES[name](person)
            except UnexpectedError as error:
                failed.append(name)
                print(error, flush=True)
        ended = "NOT as documented" if name in failed else "as documented"
        print(f"{name}: {ended}, {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
