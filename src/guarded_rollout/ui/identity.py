"""Releases as people name them: a short commit and its subject; the whole id is for copying."""

from dataclasses import dataclass
from pathlib import Path

from guarded_rollout.config.environments import Project
from guarded_rollout.host.git import git
from guarded_rollout.host.release import ID, short


@dataclass(frozen=True, slots=True)
class ReleaseName:
    """A release's short name, the subject of its commit (empty where git does not know it), and `dirty`."""

    id: str
    short: str
    subject: str
    dirty: bool


class ReleaseNames:
    """Names releases by the checkouts of the projects it knows; git is asked once for each commit."""

    def __init__(self) -> None:
        self._sources: list[Path] = []
        self._subjects: dict[str, str] = {}

    def know(self, project: Project) -> None:
        """Ask the checkouts of this project's environments from now on."""
        for environment in project.environments.values():
            if environment.service.source not in self._sources:
                self._sources.append(environment.service.source)
                self._subjects.clear()

    def __call__(self, identity: str) -> ReleaseName:
        """Name the release with this id."""
        found = ID.fullmatch(identity)
        if found is None or found["commit"] in ("wheel", "files"):
            return ReleaseName(identity, short(identity), "", False)
        subject = self._subject(found["commit"])
        return ReleaseName(identity, short(identity), subject, bool(found["dirty"]))

    def _subject(self, commit: str) -> str:
        if commit not in self._subjects:
            asked = (git(source, "log", "-1", "--format=%s", commit, "--") for source in self._sources)
            self._subjects[commit] = next((found for found in asked if found), "")
        return self._subjects[commit]
