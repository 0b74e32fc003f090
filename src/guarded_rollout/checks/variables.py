"""What a deployment changes in the service's environment variables. Of secrets only the names are shown."""

import re
from collections.abc import Iterator, Mapping

from guarded_rollout.host.release import Release
from guarded_rollout.host.site import Site

SECRET = re.compile(r"PASS|TOKEN|SECRET|KEY|CREDENTIAL|AUTH", re.IGNORECASE)
LOGIN = re.compile(r"(?<=://)[^/@\s]*(?=@)")


def variable_changes(site: Site, release: Release) -> list[str]:
    """The variables of a release beside those of the one that serves; empty if they are the same."""
    serving = site.serving()
    if serving is None or serving.id == release.id:
        return []
    return list(changes(site.plan(serving).variables, site.plan(release).variables))


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Each variable that was added, removed or changed, in the order of their names. Pure."""
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if old is None:
            yield f"{name} = {_shown(name, new or '')} is new"
        elif new is None:
            yield f"{name} = {_shown(name, old)} is gone"
        else:
            yield f"{name} = {_shown(name, new)}, it was {_shown(name, old)}"


def _shown(name: str, value: str) -> str:
    """A value as it stands in rollout.toml, where `$NAME` is a secret's name; a secret itself is hidden."""
    if SECRET.search(name) and value and "$" not in value and "{" not in value:
        return "***"
    plain = LOGIN.sub(lambda found: found[0] if "$" in found[0] else "***", value)
    return repr(plain) if not plain.isprintable() or len(plain) > 200 else f'"{plain}"'
