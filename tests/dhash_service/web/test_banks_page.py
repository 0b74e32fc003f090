"""The page of banks: read by anybody, changed by admins, and words that are not believed."""

import hashlib
from collections.abc import Callable

from tests.dhash_service.web.browsing import Browsing
from tests.pictures import jpeg


def test_an_admin_makes_a_bank_fills_it_and_takes_it_out_again(alone: Callable[..., Browsing]) -> None:
    admin = alone("ada-banks", "admin")
    name = "logos <b>&"
    asked = {"csrf": admin.csrf, "name": name, "action": "refused", "radius": "0", "note": "<i>"}
    page = admin.client.post("/banks", data=asked)
    assert "logos &lt;b&gt;&amp;" in page.text
    assert "<i>" not in page.text
    data = jpeg(200, 150, 77)
    text = f"kind,value\nsha256,{hashlib.sha256(data).hexdigest()}\nmd5,nonsense\n"
    sent = {"csrf": admin.csrf, "name": name}
    page = admin.client.post("/banks/entries", data=sent, files={"file": ("a.csv", text)})
    assert "2 lines read, 1 entries changed, 1 refused. Line 3:" in page.text
    refused = admin.client.post("/api/dhash", content=data, headers={"Accept": "application/json"})
    assert refused.json()["type"] == "/problems/refused-by-bank"
    listed = admin.client.get("/banks/list", params={"name": name})
    assert listed.text.count("sha256,") == 1
    page = admin.client.post("/banks/entries", data=sent | {"remove": "true"}, files={"file": ("a", text)})
    assert "1 entries changed" in page.text
    binary = admin.client.post("/banks/entries", data=sent, files={"file": ("a", b"\xff\xfe\0")})
    assert binary.status_code == 422
    assert "not UTF-8" in binary.text


def test_others_see_banks_and_change_none(alone: Callable[..., Browsing]) -> None:
    reviewer = alone("rita-banks")
    assert '<form method="post" action="/banks' not in reviewer.client.get("/banks").text
    asked = {"csrf": reviewer.csrf, "name": "mine", "action": "told", "radius": "0"}
    assert reviewer.client.post("/banks", data=asked).status_code == 403
    admin = alone("ada-forged", "admin")
    assert admin.client.post("/banks", data=asked | {"csrf": "0" * 64}).status_code == 403
    nobody = alone("gone", "client").client
    assert nobody.get("/banks").status_code == 200
    assert nobody.get("/banks/list", params={"name": "mine"}).status_code == 403
