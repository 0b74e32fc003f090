"""`dhash bank`, over a real store."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dhash_service.cli import main  # noqa: F401  (registers the commands)
from dhash_service.cli.app import app
from tests.pictures import jpeg


def bank(*arguments: str, code: int = 0, given: str | None = None) -> str:
    result = CliRunner().invoke(app, ["bank", *arguments], input=given)
    assert result.exit_code == code, result.output
    return result.stdout


def test_a_bank_is_made_filled_listed_exported_and_emptied(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DHASH_STORE", store_url)
    from dhash_service.settings import Settings
    from dhash_service.store.store import Store

    Store.open_from(Settings.load(), migrate=True).close()
    bank("set", "logos", "--action", "queued", "--radius", "6")
    assert "within 5 bits are queued" in bank("set", "logos", "--radius", "5")  # the action stays
    bank("set", "logos", "--radius", "6")
    (tmp_path / "a.jpg").write_bytes(jpeg(200, 100, 3))
    assert (
        json.loads(bank("add", "logos", str(tmp_path / "a.jpg"), "--label", "Acme", "--json"))["changed"] == 2
    )
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    both = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    assert "b.jpg" in str(CliRunner().invoke(app, ["bank", "add", "logos", *both]).exception)
    (line,) = [json.loads(line) for line in bank("list", "--json").splitlines()]
    assert (line["name"], line["action"], line["radius"], line["entries"]) == ("logos", "queued", 6, 2)
    text = bank("export", "logos")
    assert text.count("Acme") == 2
    assert "refused" in bank("import", "logos", "-", given="kind,value\nmd5,zz\n", code=1)
    (tmp_path / "list.csv").write_text(text)
    assert "2 entries changed" in bank("import", "logos", str(tmp_path / "list.csv"), "--remove")
    assert bank("export", "logos") == "kind,value,label,severity,note,expires_at\n"
