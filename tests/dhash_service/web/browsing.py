"""A browser without a screen: cookies, forms, and what browsers say of themselves."""

import html
import json
import re
from typing import Any
from uuid import UUID

import httpx

from dhash_service.facts import new_id

Json = dict[str, Any]


class Browsing:
    """One browser at one service. Redirects are followed; `https` as behind a proxy that ends TLS."""

    def __init__(self, url: str, *, https: bool = False) -> None:
        headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin", "Origin": url}
        if https:
            headers["X-Forwarded-Proto"] = "https"
        self.client = httpx.Client(base_url=url, headers=headers, follow_redirects=True, timeout=30)
        self.csrf = ""

    def sign_in(self, token: str, then: str = "/review") -> httpx.Response:
        """Fill in the form and send it; the page it leads to."""
        page = self.client.get("/sign-in", params={"next": then})
        fields = {"csrf": field(page.text, "csrf"), "next": field(page.text, "next"), "token": token}
        answer = self.client.post("/sign-in", data=fields)
        if answer.is_success:
            self.csrf = field(answer.text, "csrf")
        return answer

    def start(self, path: str = "/review") -> Json:
        """What the review page begins with."""
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        found = re.search(r'data-start="([^"]*)"', answer.text)
        assert found
        start: Json = json.loads(html.unescape(found[1]))
        return start

    def send(self, path: str, body: Json, **headers: str) -> httpx.Response:
        """Post as the page's script does."""
        sent = {"Accept": "application/json", "X-CSRF-Token": self.csrf} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return self.client.post(path, json=body, headers=sent)

    def pairs(self, number: int, query: str = "", **wanted: object) -> list[str]:
        """The next pairs; their lookups."""
        answer = self.send(f"/review/pairs{query}", {"number": number, **wanted})
        assert answer.status_code == 200, answer.text
        return [pair["lookup"] for pair in answer.json()["pairs"]]

    def decide(self, lookup: str | UUID, verdict: str = "same", **more: object) -> httpx.Response:
        """Send a decision under a new id, or the one given."""
        body = {"id": str(new_id()), "lookup": str(lookup), "verdict": verdict} | more
        return self.send("/review/decisions", body)


def field(page: str, name: str) -> str:
    """A hidden field's value."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, f"no {name} in {page[:2000]}"
    return html.unescape(found[1])
