"""`RESTORE.md`: how to bring an archive back with `unzip` and `python3 -m venv` alone."""

from guarded_rollout.host.release import REQUIREMENTS, Release
from guarded_rollout.host.site import Site

GUIDE = """\
# Restoring this backup by hand

Environment **{environment}**, release **{release}**.

For the day when `rollout rollback --backup FILE` cannot run: what follows needs `unzip`, Python {python} or
later with venv, and a package index for the requirements. Set `BACKUP` to the archive's full path, then go
through the blocks in order, in an empty folder.

Check that it is whole. (A checksum detects accidents only; a signature, if there is one, is checked with
`ssh-keygen -Y verify`.)

```sh
test "$(sha256sum < "$BACKUP" | cut -c 1-64)" = "$(cut -c 1-64 "$BACKUP.sha256")"
unzip -q "$BACKUP"
```

Install the release exactly as it was: every requirement is locked with its hashes.

```sh
python3 -m venv venv
venv/bin/python -m pip install --quiet --require-hashes -r release/{requirements}
venv/bin/python -m pip install --quiet --no-deps release/{wheel}
```

The snapshot is a whole store. Start with a copy of it, so that it stays as it is.

```sh
mkdir store
cp data/snapshot store/restored.db
chmod 600 store/restored.db
```

Start the service; stop whatever else has its port before.

```sh
{exports}
exec {serve}
```

Data written after this backup may still be in the environment's own store, and nothing of it has to be lost:
with the variables above, merge that store into this one, or the snapshot into that one. A merge is a union.

    {merge} OTHER_FILE

`configuration/` holds the rollout's own settings as they were.
"""

LITERAL = str.maketrans({character: "\\" + character for character in '"\\`$'})
"""Characters that the shell interprets between double quotes."""


def restore_guide(site: Site, release: Release) -> str:
    """The guide for one archive, with this service's own commands and variables in it."""
    service = site.environment.service
    values = {
        "bin": "venv/bin",
        "release": release.id,
        "store": "sqlite:///$PWD/store/restored.db",
        "root": "$PWD",
        "workers": str(site.environment.workers),
        "drain": str(site.environment.checks.drain_seconds),
        "uds": "",  # by hand it serves on its own port
    }
    exports = (
        f'export {name}="{word.translate(LITERAL).format_map(values)}"'
        for name, word in service.variables.items()
        if "{uds}" not in word
    )
    return GUIDE.format(
        environment=site.environment.name,
        release=release.id,
        python="3.11",
        requirements=REQUIREMENTS,
        wheel=release.artifact,
        exports="\n".join(exports),
        serve=" ".join(word.format_map(values) for word in service.commands["serve"]),
        merge=" ".join(
            word.format_map(values) for word in service.commands["store_merge"] if not word.startswith("--")
        ),
    )
