"""Sketch of a service from what its folder says. Reads, never changes."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

PORT = 3000
LOCK = "requirements.lock"
OURS = ("environments/", "releases/", "backups/", "monitor_logs/", "premerge_artifacts/", ".rollout-ui/")
"""The folders that the guard fills: no source of a service."""
DRIVERS = {
    "postgresql": r"psycopg|asyncpg|pg8000|postgres|\bpg\b|pgx",
    "sqlite": r"sqlite",
}
APPLICATION = re.compile(r"^(\w+)(?:\s*:[^=]+)?\s*=\s*(?:FastAPI|Starlette|Quart|Litestar)\(", re.MULTILINE)
HEALTH = re.compile(r"""["'](/(?:health|healthz|health/live|ready|readyz|up|ping))["'/?]""")
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
LITTER = {
    ".git",
    ".venv",
    "node_modules",
    "__pycache__",
    "dist",
    "build",
    *(name.rstrip("/") for name in OURS),
}
READ_MOST = 200  # files that are looked into
SIZE_MOST = 200_000  # bytes of one


@dataclass(frozen=True, slots=True)
class ServiceSketch:
    """The service as far as its folder tells; what it does not is empty. `because` names what told it."""

    name: str
    build: str  # wheel or directory
    serve: tuple[str, ...] = ()
    store: str = "none"
    health: str = ""
    port: int = PORT
    lock: str = ""
    prepare: tuple[tuple[str, ...], ...] = ()
    variables: Mapping[str, str] | None = None
    because: tuple[str, ...] = ()

    def answered(self, name: str, serve: str, port: int, store: str) -> "ServiceSketch":
        """The same with the operator's answers. Raises `ValueError` for a command whose quotes do not end."""
        settings, words = _settings(tuple(shlex.split(serve)))
        sketch = replace(self, name=name, serve=words, port=port, store=store)
        if (words, store) == (self.serve, self.store):
            return sketch
        return replace(sketch, variables=settings | _variables(words, store))


def sketch(folder: Path) -> ServiceSketch:
    """Look at pyproject.toml, package.json, Procfile, a compose file and the sources. Changes nothing."""
    project, package = _toml(folder / "pyproject.toml"), _json(folder / "package.json")
    sources = dict(_sources(folder))
    compose = next((_text(folder / name) for name in COMPOSE if (folder / name).is_file()), "")
    because = [
        name for name in ("pyproject.toml", "package.json", "Procfile", *COMPOSE) if (folder / name).is_file()
    ]
    build = "wheel" if _table(project, "project").get("name") and "build-system" in project else "directory"
    settings, served = _settings(_served(folder, project, package, sources, build))
    serve = socket_words(served)
    said = json.dumps([project, package]) + compose + "".join(sources.values())
    store = next(
        (kind for kind, pattern in DRIVERS.items() if re.search(pattern, said, re.IGNORECASE)), "none"
    )
    health = next((found[1] for text in sources.values() if (found := HEALTH.search(text))), "")
    published = re.search(r"""^\s*-\s*["']?(?:[\d.]+:)?(\d{2,5}):\d+""", compose, re.MULTILINE)
    return ServiceSketch(
        name=_name(_table(project, "project").get("name") or package.get("name") or folder.resolve().name),
        build=build,
        serve=serve,
        store=store,
        health=health,
        port=int(published[1]) if published else PORT,
        lock=_lock(folder) if build == "wheel" else "",
        prepare=_prepare(folder, package) if build == "directory" else (),
        variables=settings | _variables(serve, store),
        because=tuple(because or sorted(sources)[:1]),
    )


def socket_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """The same command on the unix socket that the guard gives a release instead of a port."""
    if not words:
        return ()
    program = words[0].rsplit("/")[-1]
    options = {
        "uvicorn": ["--uds", "{uds}"],
        "hypercorn": ["--bind", "unix:{uds}"],
        "gunicorn": ["--bind", "unix:{uds}"],
    }
    if program not in options:
        return words
    kept, skipped = [], False
    for word in words:
        if skipped:
            skipped = False
        elif word in ("--host", "--port", "--bind", "-b", "--uds"):
            skipped = True
        elif not re.match(r"--(?:host|port|bind|uds)=|--reload$", word):
            kept.append(word)
    return (*kept, *options[program])


# ---- what a folder says


def _served(
    folder: Path, project: dict[str, Any], package: dict[str, Any], sources: Mapping[str, str], build: str
) -> tuple[str, ...]:
    """The command that serves: the Procfile's, package.json's, an ASGI application, a script, a program."""
    found = re.search(r"^web:[ \t]*(\S.*)$", _text(folder / "Procfile"), re.MULTILINE)
    if found:
        return _own(_split(found[1]), build)
    if package:
        start = str(_table(package, "scripts").get("start", "")) or f"node {package.get('main', 'index.js')}"
        return _split(start)
    for name, text in sources.items():
        if name.endswith(".py") and (application := APPLICATION.search(text)):
            module = name.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            return _own(("uvicorn", f"{module}:{application[1]}"), build)
    scripts = list(_table(_table(project, "project"), "scripts"))
    if build == "wheel" and scripts:
        return ("{bin}/" + scripts[0],)
    programs = [name for name in sources if name.endswith(".py") and "/" not in name]
    likely = [name for name in programs if name in ("server.py", "app.py", "main.py")] or programs
    return ("{python}", likely[0]) if len(programs) == 1 or likely != programs else ()


def _split(command: str) -> tuple[str, ...]:
    """The words of a command; none where its quotes do not end."""
    try:
        return tuple(shlex.split(command))
    except ValueError:
        return ()


def _settings(words: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variables that a shell would set for a command, and the command without them."""
    number = next((at for at, word in enumerate(words) if not ASSIGNMENT.match(word)), len(words))
    return dict(word.split("=", 1) for word in words[:number]), words[number:]


def _own(words: tuple[str, ...], build: str) -> tuple[str, ...]:
    """A program of the release's environment by its place there."""
    if not words:
        return ()
    if build == "wheel" and "/" not in words[0]:
        return ("{bin}/" + words[0], *words[1:])
    return ("{python}", *words[1:]) if words[0] in ("python", "python3") else words


def _variables(serve: tuple[str, ...], store: str) -> dict[str, str]:
    """What it reads: its store, and where it listens if no option says so. Node takes a path for a port."""
    found = {"DATABASE_URL": "{store}"} if store != "none" else {}
    if not any("{uds}" in word for word in serve):
        found["PORT" if serve[:1] in (("node",), ("npm",)) else "SOCKET"] = "{uds}"
    return found


def _prepare(folder: Path, package: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
    if package.get("dependencies") and (folder / "package-lock.json").is_file():
        return (("npm", "ci", "--omit=dev"),)
    return ()


def _lock(folder: Path) -> str:
    """The file with hashes that is there already, or the one that `init` makes."""
    found = sorted([*folder.glob("*requirements*"), *folder.glob("*.lock"), *folder.glob("locks/*.txt")])
    for path in (folder / "requirements.txt", folder / LOCK, *found):
        if "--hash=" in _text(path) and not re.search("dev|test|doc|lint", path.name):
            return str(path.relative_to(folder))
    return LOCK


def _name(given: object) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", str(given).rsplit("/")[-1].lower()).strip("-")
    return re.sub(r"^[^a-z]+", "", plain)[:40] or "service"


def _sources(folder: Path) -> Iterator[tuple[str, str]]:
    """The first sources, the ones at the top before those below."""
    found = []
    for pattern in ("*", "*/*", "src/*/*"):
        found += [
            path for path in sorted(folder.glob(pattern)) if path.suffix in (".py", ".js", ".mjs", ".ts")
        ]
    for path in found[:READ_MOST]:
        if path.is_file() and not LITTER & set(path.relative_to(folder).parts):
            yield path.relative_to(folder).as_posix(), _text(path)


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    found = table.get(key)
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(SIZE_MOST).decode(errors="replace")
    except OSError:
        return ""


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError:
        return {}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
