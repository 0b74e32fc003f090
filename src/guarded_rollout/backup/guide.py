"""`RESTORE.md`: how to bring an archive back by hand, by the archived release's own commands."""

import re
import shlex
from collections.abc import Iterator, Mapping

from guarded_rollout.config.environments import SETTINGS_FILE
from guarded_rollout.config.recipe import BuildKind
from guarded_rollout.config.service import StoreKind
from guarded_rollout.host.release import REQUIREMENTS, Release
from guarded_rollout.host.site import Site, held_values
from guarded_rollout.secret import HOLE, names_in

BEGINNING = """\
# Restoring this backup by hand

Environment **{environment}**, release **{release}**.

For the day when `rollout rollback --backup FILE` cannot run: what follows needs
{needs}.
Set `BACKUP` to the archive's full path, then go through the blocks in order, in an empty folder.

Check that it is whole. (A checksum detects accidents only; a signature, if there is one, is checked with
`ssh-keygen -Y verify`.)

```sh
test "$(sha256sum < "$BACKUP" | cut -c 1-64)" = "$(cut -c 1-64 "$BACKUP.sha256")"
{unzip} "$BACKUP"{here}
```
"""
INDEX_NEEDS = "`unzip`, Python 3.11 or later with venv, and a package index for the requirements"
WHEELS_NEEDS = "the Python that the release was built for (its wheels say which) alone, and no network"
FILES_NEEDS = "`unzip`, `tar`, and what the service itself runs on"
WHEEL = """
Install the release exactly as it was: every requirement is locked with its hashes.

```sh
python3 -m venv venv
venv/bin/python -m pip install --quiet --require-hashes -r release/{requirements}
venv/bin/python -m pip install --quiet --no-deps release/{artifact}
```
"""
WHEELS = """
Install the release exactly as it was, from the wheels in the archive: every requirement is locked with its
hashes.

```sh
python3 -m venv --without-pip venv
pip() {{ venv/bin/python "$(ls release/wheels/pip-*.whl)/pip" "$@"; }}
pip install --quiet --no-index --find-links release/wheels --require-hashes -r release/{requirements}
pip install --quiet --no-index --no-deps release/{artifact}
```
"""
FILES = """
Unpack the release's files{prepared}.

```sh
here=$PWD
mkdir app
tar -xzf release/{artifact} -C app
cd app
{prepare}
```
"""
STORES = {
    StoreKind.NONE: "\nThe service keeps no data.\n",
    StoreKind.POSTGRESQL: """
The snapshot is a dump by pg_dump. Set `RESTORED_URL` to the URL of a new, empty database.

```sh
: "${RESTORED_URL:?set it to the URL of an empty database}"
plain=$(echo "$RESTORED_URL" | sed 's/^\\([a-z]*\\)+[a-z0-9]*:/\\1:/')
pg_restore --no-owner --exit-on-error -d "$plain" data/snapshot
```
""",
}
FILE = """
The snapshot is a whole store. Start with a copy of it, so that it stays as it is.

```sh
mkdir store
cp data/snapshot store/restored.db
chmod 600 store/restored.db
```
"""
SECRETS = """
The service needs secrets that no backup holds. Set {names} first.
"""
START = """
Start the service; stop whatever else has its {place} before.

```sh
{lines}
exec {serve}
```
"""
MERGE = """
Data written after this backup may still be in the environment's own store, and nothing of it has to be lost:
with the variables above, merge that store into this one, or the snapshot into that one. A merge is a union.

    {merge} OTHER_FILE
"""
END = """
## Back under `rollout`

`configuration/` holds the rollout's own settings as they were. Where `rollout` is installed (on this machine
or another, with Python and its extra `rollout`), put them into a folder, stop the service that you started
by hand, and let the archive bring its release{offline} and its data back:

    cp configuration/* FOLDER/ && cd FOLDER
    {named}rollout rollback --backup "$BACKUP" --env {environment} --force
"""
MEANWHILE = """
Data written meanwhile to the store that you served by hand is in no backup: {bring} before you remove it.
"""
UNITE = "merge that store into the\nenvironment's own, whose place `rollout.toml` says,"
TAKE = "take from\nthat store what is needed"

PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
LITERAL = str.maketrans({character: "\\" + character for character in '"\\`$'})
"""Characters that the shell interprets between double quotes."""


def restore_guide(site: Site, release: Release, *, with_wheels: bool = False) -> str:
    """The guide for one archive: as this release was built and is run, whatever rollout.toml says today.

    `with_wheels`: the archive carries the wheels of all requirements, so that no index is needed.
    """
    return "".join(_parts(site, release, with_wheels=with_wheels))


def _parts(site: Site, release: Release, *, with_wheels: bool) -> Iterator[str]:
    plan, service, values = site.plan(release), site.environment.service, _values(site, release)
    wheel = release.build is BuildKind.WHEEL
    name = site.environment.name
    needs = (WHEELS_NEEDS if with_wheels else INDEX_NEEDS) if wheel else FILES_NEEDS
    unzip, here = ("python3 -m zipfile -e", " .") if with_wheels else ("unzip -q", "")
    yield BEGINNING.format(environment=name, release=release.id, needs=needs, unzip=unzip, here=here)
    if wheel:
        yield (WHEELS if with_wheels else WHEEL).format(requirements=REQUIREMENTS, artifact=release.artifact)
    else:
        prepare = "\n".join([*(_command(words, values) for words in plan.prepare), 'cd "$here"'])
        prepared = ", and prepare them as they were" if plan.prepare else ""
        yield FILES.format(artifact=release.artifact, prepared=prepared, prepare=prepare)
    yield STORES.get(service.store, FILE)
    by_port = bool(service.port_variable)
    kept = {name: text for name, text in plan.variables.items() if not (by_port and "{uds}" in text)}
    secrets = sorted({secret for text in kept.values() for secret in names_in(text)})
    if secrets:
        yield SECRETS.format(names=", ".join(f"`{name}`" for name in secrets))
    lines = [f': "${{{name}:?is a secret: set it first}}"' for name in secrets]
    lines += [f"export {name}={_word(text, values, secrets=True)}" for name, text in kept.items()]
    if by_port:
        default = f"${{{service.port_variable}:-{site.environment.port}}}"
        lines.append(f'export {service.port_variable}="{default}"')
    if not wheel:
        lines.append("cd app")
    place = "port" if by_port else "socket, `service.sock`,"
    yield START.format(place=place, lines="\n".join(lines), serve=_command(plan.commands["serve"], values))
    if merge := plan.commands.get("store_merge"):
        words = [word for word in merge if not word.startswith("--")]
        yield MERGE.format(merge=_command(words, values))
    settings = site.environment.settings.name
    named = "" if settings == SETTINGS_FILE else f"ROLLOUT_TOML={shlex.quote(settings)} "
    yield END.format(environment=name, named=named, offline=", without an index," if with_wheels else "")
    if service.store is not StoreKind.NONE:
        yield MEANWHILE.format(bring=UNITE if merge else TAKE)


def _values(site: Site, release: Release) -> Mapping[str, str]:
    """What stands for each `{name}`, for the shell, in the folder where the archive was unpacked."""
    wheel = release.build is BuildKind.WHEEL
    here = "$PWD" if wheel else "$here"
    database = site.environment.service.store is StoreKind.POSTGRESQL
    return {
        "bin": "venv/bin" if wheel else "",
        "app": f"{here}/app",
        "python": "python3",
        "release": release.id,
        "store": "$RESTORED_URL" if database else f"sqlite:///{here}/store/restored.db",
        "store_file": f"{here}/store/restored.db",
        "root": here,
        "workers": str(site.environment.workers),
        "drain": str(site.environment.checks.drain_seconds),
        "uds": f"{here}/service.sock",
        **held_values(site.environment),
    }


def _command(words: tuple[str, ...] | list[str], values: Mapping[str, str]) -> str:
    return " ".join(_word(word, values, secrets=False) for word in words)


def _word(text: str, values: Mapping[str, str], *, secrets: bool) -> str:
    """One word for the shell. A secret's name is left for the shell to fill in, and nothing else is."""
    made, end = "", 0
    for found in HOLE.finditer(text):
        made += text[end : found.start()].translate(LITERAL)
        name = found[1] or found[2]
        if hole := found["hole"]:
            made += values.get(hole, found[0])
        elif secrets:
            made += f"${{{name}}}" if name else r"\$"
        else:
            made += found[0].translate(LITERAL)
        end = found.end()
    made += text[end:].translate(LITERAL)
    return made if PLAIN.fullmatch(made) else f'"{made}"'
