"""Releases by commit and subject."""

import subprocess
from pathlib import Path

from guarded_rollout.config.environments import load
from guarded_rollout.ui.identity import ReleaseName, ReleaseNames


def test_a_release_is_named_by_its_commit_and_subject(tmp_path: Path) -> None:
    (tmp_path / "rollout.toml").write_text('[environments.production]\nport = 3999\nroot = "p"\n')
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "Show <b>large</b> pictures"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run(
        [*git, "rev-parse", "--short=8", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    name = ReleaseNames()
    name.know(load(tmp_path / "rollout.toml"))
    whole = f"1.4.0-{commit}-dirty-0d4e15aa"
    assert name(whole) == ReleaseName(whole, f"{commit[:7]}+0d4e", "Show <b>large</b> pictures", True)
    assert name("1.4.0-00000000-0d4e15aa").subject == ""
    assert name("1.0.0-wheel-aaaaaaaa").short == "1.0.0+aaaa"
    assert name("by hand").short == "by hand"
