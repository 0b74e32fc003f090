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
    assert "logos &lt;b&gt;&amp;" in admin.client.get("/banks").text
    page = admin.client.post("/banks/entries", data=sent | {"remove": "true"}, files={"file": ("a", text)})
    assert "1 entries changed" in page.text
    binary = admin.client.post("/banks/entries", data=sent, files={"file": ("a", b"\xff\xfe\0")})
    assert binary.status_code == 422
    assert "not UTF-8" in binary.text


def test_entries_are_listed_found_and_taken_out_by_hand(alone: Callable[..., Browsing]) -> None:
    admin = alone("ada-entries", "admin")
    name = "hotline"
    sent = {"csrf": admin.csrf, "name": name}
    admin.client.post("/banks", data=sent | {"action": "queued", "radius": "2"})
    lines = [
        f"sha256,{number:064x},{'old' if number < 3 else 'case'} {number},{number % 11},note,"
        + ("2020-01-01" if number < 3 else "2090-01-01" if number == 3 else "")
        for number in range(105)
    ]
    text = "\n".join(["kind,value,label,severity,note,expires_at", *lines])
    admin.client.post("/banks/entries", data=sent, files={"file": ("a.csv", text)})
    row = told(admin, "/banks").split('name=hotline"')[1].split("</tr>")[0]
    for part in (">105<", ">10<", "3 expired", "2090-01-01", "queued", "2 bits"):
        assert part in row, part
    page = told(admin, "/banks/bank", name=name)
    assert page.count("Take out case") + page.count("Take out old") == 100
    assert "1 to 100 of 105" in page
    assert "3 expired and match nothing" in page
    assert page.index("case 10") < page.index("case 9"), "the severest first"
    assert told(admin, "/banks/bank", name=name, find="OLD 2").count("Take out ") == 1
    assert "No entry has “<bdi>nothing</bdi>”" in told(admin, "/banks/bank", name=name, find="nothing")
    put = sent | {
        "kind": "md5",
        "value": "A" * 32,
        "label": "<i>",
        "severity": "3",
        "expires_at": "2031-05-06",
    }
    page = admin.client.post("/banks/entry", data=put).text
    assert "&lt;i&gt; is in it." in page
    assert "<i>" not in page
    assert f"md5,{'a' * 32},<i>,3,,2031-05-06T00:00:00+00:00" in told(admin, "/banks/list", name=name)
    wrong = admin.client.post("/banks/entry", data=put | {"value": "zz"})
    assert (wrong.status_code, "is no md5" in wrong.text) == (422, True)
    admin.client.post("/banks/entry", data=put | {"remove": "true"})
    assert "md5," not in told(admin, "/banks/list", name=name)


def told(visitor: Browsing, path: str, **query: str) -> str:
    return visitor.client.get(path, params=query).raise_for_status().text


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
    assert nobody.get("/banks/bank", params={"name": "nowhere"}).status_code == 404
    admin.client.post("/banks", data=asked | {"csrf": admin.csrf})
    put = {"name": "mine", "kind": "md5", "value": "b" * 32}
    assert reviewer.client.post("/banks/entry", data=put | {"csrf": reviewer.csrf}).status_code == 403
    admin.client.post("/banks/entry", data=put | {"csrf": admin.csrf})
    assert "b" * 32 in told(reviewer, "/banks/bank", name="mine")
    assert 'action="/banks' not in told(reviewer, "/banks/bank", name="mine")
    assert "b" * 16 not in told(alone("gone-2", "client"), "/banks/bank", name="mine")
