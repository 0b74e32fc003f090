"""`rollout notify --setup`: settings in a file that only this user can read."""

import stat
from pathlib import Path

import pytest

from guarded_rollout.errors import NotificationSettingsError
from guarded_rollout.notify import settings


def test_a_setting_is_written_for_this_user_alone_and_the_other_lines_stay(tmp_path: Path) -> None:
    path = tmp_path / ".env.notifications"
    path.write_text("# the team's\nSLACK_WEBHOOK_URL=https://old.example\nSLACK_CHANNEL='#ops'")
    path.chmod(0o644)
    assert settings.readable_by_others(tmp_path) == 0o644
    settings.write(tmp_path, {"SLACK_WEBHOOK_URL": "https://new.example/it's?a=1#b", "SMTP_HOST": "mail"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert settings.readable_by_others(tmp_path) is None
    assert path.read_text().startswith("# the team's\n")
    found = settings.load(tmp_path, {})
    assert found.text("SLACK_WEBHOOK_URL") == "https://new.example/it's?a=1#b"
    assert (found.text("SLACK_CHANNEL"), found.text("SMTP_HOST")) == ("#ops", "mail")
    assert path.read_text().count("SLACK_WEBHOOK_URL") == 1


def test_what_is_no_setting_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(NotificationSettingsError, match="SLACK_URL"):
        settings.write(tmp_path, {"SLACK_URL": "https://example.org"})
    assert not (tmp_path / ".env.notifications").exists()
