"""The guard knows nothing of the service that this repository is about: that stands in rollout.toml."""

import re
from collections.abc import Iterator
from pathlib import Path

from guarded_rollout.config.environments import load, parse

ROOT = Path(__file__).parents[1]
GUARD = ROOT / "src" / "guarded_rollout"
WORDS = re.compile(r"dhash|picture|golden|fingerprint", re.IGNORECASE)
EXAMPLE = re.compile(r"epilog=|Example: ")

FRONTS = {
    "config/version_before.toml": "what a rollout.toml of the version before means, which guarded it alone",
    "backup/signing.py": "the namespace of the signatures that backups of the version before have",
    "cli/app.py": "the distribution that both programs are installed with, asked for its version",
}
"""The files that may name the service, each with the reason."""


def named(folder: Path) -> Iterator[tuple[str, str]]:
    """Each line that names the service, but for the examples of the documentation, with its file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            for line in path.read_text(errors="replace").splitlines():
                if WORDS.search(line) and not EXAMPLE.search(line):
                    yield str(path.relative_to(folder)), line.strip()


def test_the_guard_names_the_service_in_its_compatibility_fronts_alone() -> None:
    found = list(named(GUARD))
    assert [f"{file}: {line}" for file, line in found if file not in FRONTS] == []
    assert {file for file, _ in found} == set(FRONTS), "a front that is not needed any more"


def test_a_line_that_names_the_service_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        'PATH = "/api/Dhash"\n@command(epilog="Example: rollout verify dhash.zip")\n'
    )
    assert list(named(tmp_path)) == [("a.py", 'PATH = "/api/Dhash"')]


def test_a_file_of_the_version_before_means_the_service_as_this_repository_describes_it() -> None:
    """Byte for byte what a release is built of: an upgrade alone must not make another release."""
    before = parse({}, ROOT / "rollout.toml").environments
    today = load(ROOT / "rollout.toml").environments
    assert before == today
