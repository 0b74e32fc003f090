"""Settings come from the environment, say clearly what is wrong, and never show a secret."""

from pathlib import Path

import pytest

from dhash_service.errors import SettingError
from dhash_service.settings import Settings
from tests.dhash_service.serving import dhash


def test_a_variable_sets_its_field_and_an_argument_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHASH_PORT", "4000")
    assert Settings.load().port == 4000
    assert Settings.load(port=5000).port == 5000
    assert Settings.load(port=None).port == 4000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DHASH_PORT", "eighty"),
        ("DHASH_PORT", "70000"),
        ("DHASH_ALGORITHM", "phash"),
        ("DHASH_MAX_PIXELS", "0"),
        ("DHASH_REVIEW_BELOW", "nan"),
        ("DHASH_MATCH_RADIUS", "-1"),
        ("DHASH_DOCUMENT_SECONDS", "inf"),
        ("DHASH_BODY_SECONDS", "100000000000"),
        ("DHASH_BACKUP_DAYS", "999999999"),
        ("DHASH_MAX_BODY_BYTES", "99999999999999999999"),
        ("DHASH_DOCUMENT_WORKERS", "100000"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=f"{name}='{value}'") as error:
        Settings.load()
    assert error.value.exit_code == 2


def test_a_store_that_is_no_url_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHASH_STORE", "hunter2-is-no-url")
    with pytest.raises(SettingError, match="DHASH_STORE") as error:
        Settings.load()
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://dhash:hunter2@db/pictures", "postgresql://dhash:***@db/pictures"),
        ("postgresql+psycopg://dhash:hunter2%40x@db:5432/p", "postgresql+psycopg://dhash:***@db:5432/p"),
        ("postgresql://db/p?user=dhash&password=hunter2", "postgresql://db/p?user=dhash&password=***"),
        ("postgresql://dhash@db/pictures", "postgresql://dhash@db/pictures"),
        ("sqlite:////srv/dhash.db", "sqlite:////srv/dhash.db"),
    ],
)
def test_a_password_is_nowhere_to_be_read(monkeypatch: pytest.MonkeyPatch, url: str, shown: str) -> None:
    monkeypatch.setenv("DHASH_STORE", url)
    settings = Settings.load()
    assert "hunter2" not in f"{settings!r} {settings} {settings.public()}"
    assert settings.public()["store"] == shown


def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHASH_PORT", "")
    assert Settings.load().port == 3000


def test_the_document_is_what_the_command_prints() -> None:
    document = Path(__file__).parents[2] / "docs" / "settings.md"
    assert dhash("settings", "--markdown", env={"DHASH_PORT": "4000"}).stdout == document.read_text()


def test_the_command_shows_what_is_in_force_without_secrets() -> None:
    env = {"DHASH_PORT": "4000", "DHASH_STORE": "postgresql://dhash:hunter2@db/pictures"}
    for form in ([], ["--json"]):
        shown = dhash("settings", *form, env=env).stdout
        assert "4000" in shown
        assert "hunter2" not in shown
