"""Settings from the environment or `.env.notifications`, and their documentation."""

import re
from pathlib import Path

import pytest

from guarded_rollout.errors import NotificationSettingsError
from guarded_rollout.notify import settings

ROOT = Path(__file__).parents[3]


def write(folder: Path, text: str | bytes) -> None:
    (folder / ".env.notifications").write_bytes(text if isinstance(text, bytes) else text.encode())


def test_the_environment_wins_also_when_it_switches_a_channel_off(tmp_path: Path) -> None:
    write(
        tmp_path, "SLACK_WEBHOOK_URL=https://file.example.org/\nTEAMS_WEBHOOK_URL=https://file.example.org/\n"
    )
    found = settings.load(tmp_path, {"SLACK_WEBHOOK_URL": "", "DISCORD_USERNAME": "me"})
    assert found.text("SLACK_WEBHOOK_URL") == ""
    assert found.text("TEAMS_WEBHOOK_URL") == "https://file.example.org/"
    assert found.text("DISCORD_USERNAME") == "me"
    assert found.port("SMTP_PORT") == 587


def test_a_line_that_the_guide_appends_is_read_as_it_stands(tmp_path: Path) -> None:
    write(
        tmp_path, "# mine\nexport SMTP_PASS='a $x #y'\nSLACK_WEBHOOK_URL=https://h.example.org/s?a=1&b=2#c\n"
    )
    found = settings.load(tmp_path, {})
    assert found.text("SMTP_PASS") == "a $x #y"
    assert found.text("SLACK_WEBHOOK_URL") == "https://h.example.org/s?a=1&b=2#c"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SMTP_HOST=x\nthis is nothing\n", "line 2 is not a setting"),
        ("SMTP_HOST\n", "line 1 is not a setting"),
        (b"SMTP_HOST=\xff\xfe\n", "cannot be read"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(tmp_path: Path, text: str | bytes, problem: str) -> None:
    write(tmp_path, text)
    with pytest.raises(NotificationSettingsError, match=rf"\.env\.notifications: .*{problem}"):
        settings.load(tmp_path, {})
    lenient = settings.load_what_can_be(tmp_path, {"SLACK_CHANNEL": "#ops"})
    assert re.search(problem, lenient.problem)
    assert lenient.text("SLACK_CHANNEL") == "#ops"


def test_secrets_show_in_no_representation(tmp_path: Path) -> None:
    environ = {
        "SMTP_PASS": "hunter2-hunter2",
        "SLACK_WEBHOOK_URL": "https://h.example.org/T0/B0/abcdef012345?sig=q",
    }
    found = settings.load(tmp_path, environ)
    assert "hunter2" not in repr(found)
    assert f"{found.secret('SMTP_PASS')}" == "***"
    said = "at https://h.example.org/T0/B0/abcdef012345?sig=q with hunter2-hunter2, path /T0/B0/abcdef012345"
    assert found.redact(said) == "at *** with ***, path /***"


def test_the_example_documents_every_setting_and_no_other() -> None:
    text = (ROOT / ".env.notifications.example").read_text()
    named = re.findall(r"^# ([A-Z_]+)=", text, re.MULTILINE)
    assert named == [setting.name for setting in settings.SETTINGS]


def test_the_example_can_be_copied_as_it_is(tmp_path: Path) -> None:
    uncommented = re.sub(
        r"^# (?=[A-Z_]+=)", "", (ROOT / ".env.notifications.example").read_text(), flags=re.MULTILINE
    )
    write(tmp_path, uncommented)
    assert settings.load(tmp_path, {}).unknown == ()


def test_the_contract_s_names_are_all_there() -> None:
    contract = """
        SLACK_WEBHOOK_URL SLACK_CHANNEL SLACK_USERNAME SLACK_ICON TEAMS_WEBHOOK_URL DISCORD_WEBHOOK_URL
        DISCORD_USERNAME SMTP_HOST SMTP_PORT SMTP_USER SMTP_PASS EMAIL_FROM EMAIL_TO APPRISE_URLS
    """
    assert set(contract.split()) <= {setting.name for setting in settings.SETTINGS}
