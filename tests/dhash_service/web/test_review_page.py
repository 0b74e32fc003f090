"""What the review page is given and what it sends, over HTTP, on both databases."""

import io
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
from PIL import Image as PILImage

from dhash_service.facts import Verdict, new_id
from dhash_service.store.verdicts import Vote
from dhash_service.web.paces import paces
from tests.dhash_service.serving import serving
from tests.dhash_service.web.browsing import Browsing, field
from tests.dhash_service.web.conftest import DOCUMENT, Reviewed
from tests.leftovers import owned_folder
from tests.pictures import encode, jpeg, photo, turned

SignIn = Callable[..., Browsing]


def test_the_page_comes_with_its_first_pairs_and_all_that_is_known_of_them(
    reviewed: Reviewed, alone: SignIn
) -> None:
    start = alone("anna").start()
    assert start["reviewer"] == "anna"
    assert start["progress"]["left"] == len(reviewed.waiting)
    assert [pair["lookup"] for pair in start["pairs"]] == [str(id) for id in reviewed.waiting[:3]]
    pair = start["pairs"][0]
    assert 0 < pair["lease"]["seconds"] <= 60
    lookup = reviewed.store.lookup(reviewed.waiting[0])
    assert lookup is not None
    assert lookup.match.nearest is not None
    nearest = lookup.match.nearest
    assert pair["nearest"]["distance"] == nearest.distance
    assert pair["nearest"]["hash"] == nearest.image.fingerprint.hex
    differs = int(pair["nearest"]["hash"], 16) ^ int(pair["submitted"]["hash"], 16)
    assert differs.bit_count() == nearest.distance
    assert pair["reasons"][0]["words"].startswith("A second picture matches")
    picture = reviewed.server.client.get(pair["submitted"]["picture"])
    assert picture.headers["content-type"] == "image/jpeg"


def test_whoever_has_not_signed_in_only_looks(reviewed: Reviewed) -> None:
    browsing = Browsing(reviewed.server.url)
    start = browsing.start()
    assert start["reviewer"] is None
    assert [pair["lookup"] for pair in start["pairs"]] == [str(id) for id in reviewed.waiting[:3]]
    assert start["pairs"][0]["lease"] is None
    more = browsing.client.get(f"/review/pairs?number=2&after={reviewed.waiting[2]}").json()["pairs"]
    assert [pair["lookup"] for pair in more] == [str(id) for id in reviewed.waiting[3:5]]
    id = new_id()
    assert browsing.decide(reviewed.waiting[0], id=str(id)).status_code == 401
    assert reviewed.store.verdicts.decision(id) is None


def test_two_reviewers_never_get_the_same_pair(reviewed: Reviewed, alone: SignIn) -> None:
    reviewers = [alone(f"pair-{number}") for number in range(3)]
    with ThreadPoolExecutor(3) as threads:
        got = list(threads.map(lambda each: each.pairs(7), reviewers))
    assert [len(each) for each in got] == [7, 7, 7]
    assert len({lookup for each in got for lookup in each}) == 21


def test_two_releases_that_serve_at_once_never_give_the_same_pair(reviewed: Reviewed, alone: SignIn) -> None:
    folder = owned_folder("wb")
    try:
        url = reviewed.server.env["DHASH_STORE"]
        with serving(folder, store=url, release="test-2", lease_seconds=60) as candidate:
            one, two = alone("blue"), alone("green")
            # A session opened at one release holds at the other: traffic may go either way at each request.
            two.client.base_url = httpx.URL(candidate.url)
            two.client.headers["Origin"] = candidate.url
            with ThreadPoolExecutor(2) as threads:
                got = list(threads.map(lambda each: each.pairs(12), (one, two)))
            assert [len(each) for each in got] == [12, 12]
            assert not set(got[0]) & set(got[1])
            two.client.base_url = httpx.URL(reviewed.server.url)
            two.client.headers["Origin"] = reviewed.server.url
    finally:
        shutil.rmtree(folder)


def test_pairs_go_on_from_the_beginning_and_leave_out_what_the_page_has(
    reviewed: Reviewed, alone: SignIn
) -> None:
    browsing = alone("gina")
    waiting = [str(id) for id in reviewed.waiting]
    assert browsing.pairs(3, after=waiting[-2]) == [waiting[-1], *waiting[:2]]
    assert browsing.pairs(2, without=waiting[:5]) == waiting[5:7]
    assert browsing.pairs(20, without=waiting) == []


def test_what_is_given_back_goes_to_the_next(reviewed: Reviewed, alone: SignIn) -> None:
    one, two = alone("hugo"), alone("ines")
    held = one.send("/review/pairs", {"number": 2}).json()["pairs"]
    first = str(reviewed.waiting[0])
    assert first not in two.pairs(1)
    claims = [pair["lease"]["claim"] for pair in held]
    assert one.send("/review/leave", {"claims": claims}).json() == {"given_back": 2}
    assert two.pairs(1) == [first]
    kept = one.send("/review/leases", {"lookups": [first, str(reviewed.waiting[1])]}).json()["leases"]
    assert list(kept) == [str(reviewed.waiting[1])]  # the other is lost


def test_a_decision_is_recorded_once_and_can_be_taken_back(reviewed: Reviewed, alone: SignIn) -> None:
    browsing = alone("jana")
    lookup = browsing.pairs(1)[0]
    before = reviewed.store.verdicts.about(UUID(lookup))
    id = str(new_id())
    first = browsing.decide(lookup, "different", id=id, note="other <b>sky</b>")
    again = browsing.decide(lookup, "different", id=id, note="other <b>sky</b>")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert browsing.decide(lookup, "same", id=id).status_code == 409
    assert len(reviewed.store.verdicts.about(UUID(lookup))) == len(before) + 1
    assert lookup not in browsing.pairs(20)
    page = browsing.client.get("/review/history?reviewer=jana").text
    assert "other &lt;b&gt;sky&lt;/b&gt;" in page

    assert alone("kurt").send("/review/withdrawals", {"id": str(new_id()), "decision": id}).status_code == 403
    back = browsing.send("/review/withdrawals", {"id": str(new_id()), "decision": id})
    assert back.json()["pair"]["lookup"] == lookup
    assert back.json()["pair"]["lease"]["seconds"] > 0
    assert "Taken back by <bdi>jana</bdi>" in browsing.client.get("/review/history?reviewer=jana").text
    assert browsing.start()["progress"]["left"] == len(reviewed.waiting)


def test_an_admin_takes_back_from_the_list(reviewed: Reviewed, alone: SignIn) -> None:
    reviewer, admin = alone("lena"), alone("root", "admin")
    id = str(new_id())
    assert reviewer.decide(reviewer.pairs(1)[0], id=id).status_code == 201
    form = {"csrf": admin.csrf, "decision": id, "query": "reviewer=lena"}
    page = admin.client.post("/review/history", data=form)
    assert str(page.url).endswith("/review/history?reviewer=lena")
    assert "Taken back by <bdi>root</bdi>" in page.text


def test_filters_stand_in_the_address(reviewed: Reviewed, alone: SignIn) -> None:
    browsing = alone("nora")
    margin, document = [str(id) for id in reviewed.waiting[:20]], [str(id) for id in reviewed.waiting[20:]]
    assert browsing.pairs(20, "?reason=low_quality") == document
    assert browsing.pairs(20, f"?document={DOCUMENT}") == document
    assert browsing.pairs(20, "?reason=small_margin") == margin
    assert browsing.pairs(20, "?older=1h") == []
    assert browsing.pairs(20, "?show=unsure") == []
    start = browsing.start(f"/review?document={DOCUMENT}&reason=low_quality")
    assert start["query"] == f"reason=low_quality&document={DOCUMENT}"
    source = start["pairs"][0]["source"]
    assert source == {"document": DOCUMENT, "page": 3, "box": [10, 20, 210, 120]}
    assert start["progress"]["left"] == len(document)
    assert browsing.client.get("/review/progress?reason=small_margin").json()["left"] == len(margin)
    chip = re.search(
        r'<a class="chip" href="([^"]*)"[^>]*>Two match <span>(\d+)</span>',
        browsing.client.get("/review").text,
    )
    assert chip
    assert chip.groups() == ("/review?reason=small_margin", "20")
    for wrong in ("older=never", "document=x", "show=all", "reason=" + "x" * 65):
        assert browsing.client.get(f"/review?{wrong}").status_code == 422


def test_what_was_decided_as_unsure_can_be_looked_at_again(reviewed: Reviewed, alone: SignIn) -> None:
    one, two = alone("olaf"), alone("pia")
    lookup = one.pairs(1)[0]
    first, second = str(new_id()), str(new_id())
    one.decide(lookup, "unsure", id=first)
    assert two.pairs(5, "?show=unsure") == [lookup]
    two.decide(lookup, "same", id=second)
    assert two.pairs(5, "?show=unsure") == []
    two.send("/review/withdrawals?show=unsure", {"id": str(new_id()), "decision": second})
    assert two.pairs(5, "?show=unsure") == [lookup]
    one.send("/review/withdrawals", {"id": str(new_id()), "decision": first})


def test_nonsense_is_refused_with_a_reason(reviewed: Reviewed, alone: SignIn) -> None:
    browsing = alone("quin")
    lookup = str(reviewed.waiting[0])
    assert browsing.decide(lookup, id=str(uuid4())).status_code == 422  # not time-ordered
    assert browsing.decide(new_id()).status_code == 404
    assert browsing.decide(lookup, "perhaps").status_code == 422
    assert browsing.decide(lookup, note="x" * 2001).status_code == 422
    assert browsing.decide(lookup, note="a\0b").status_code == 422
    assert browsing.send("/review/pairs", {"number": 10_000}).status_code == 422
    assert browsing.send("/review/leave", {"claims": ["x"]}).status_code == 422
    assert (
        browsing.send("/review/withdrawals", {"id": str(new_id()), "decision": str(new_id())}).status_code
        == 404
    )
    plain = browsing.client.post(
        "/review/decisions", content="verdict=same", headers={"X-CSRF-Token": browsing.csrf}
    )
    assert plain.status_code == 422


def test_progress_counts_mine_and_everybody_s(reviewed: Reviewed, alone: SignIn) -> None:
    one, two = alone("rosa"), alone("sven")
    before = one.client.get("/review/progress").json()
    ids = [str(new_id()), str(new_id())]
    for browsing, id in ((one, ids[0]), (two, ids[1])):
        browsing.decide(browsing.pairs(1)[0], id=id)
    after = one.client.get("/review/progress").json()
    assert after["left"] == before["left"] - 2
    assert after["today"]["all"] == before["today"]["all"] + 2
    assert after["hour"]["mine"] == 1
    tomorrow = one.client.get("/review/progress?day=2100-01-01T00:00:00.000Z").json()
    assert tomorrow["today"] == {"mine": 0, "all": 0}
    for browsing, id in ((one, ids[0]), (two, ids[1])):
        browsing.send("/review/withdrawals", {"id": str(new_id()), "decision": id})


BYTES = "application/octet-stream"


def test_a_kept_original_is_shown_large_upright_and_without_its_metadata(tmp_path: Path) -> None:
    with serving(tmp_path, keep_originals=True, review_below=1) as server:
        sideways = turned(photo(1800, 1200, 3), 6)
        made = [
            server.client.post("/api/dhash", content=data, headers={"Content-Type": "image/jpeg"}).json()
            for data in (jpeg(300, 200, 3), sideways)
        ]
        answer = server.client.get(f"/pictures/{made[1]['id']}/large")
        assert answer.headers["content-type"] == "image/jpeg"
        small = server.client.get(f"/pictures/{made[1]['id']}/thumbnail")
        for each in (answer, small):  # by browsers, also after it was taken down
            assert each.headers["cache-control"] == "private, max-age=600"
        picture = PILImage.open(io.BytesIO(answer.content))
        assert picture.size == (683, 1024)
        assert not picture.getexif()
        assert server.client.get(f"/pictures/{new_id()}/large").status_code == 404
        for format in ("AVIF", "JPEG2000", "TGA"):  # which browsers may not show
            data = encode(photo(1100, 550, 4), format)
            kept = server.client.post("/api/dhash", content=data, headers={"Content-Type": BYTES}).json()
            answer = server.client.get(f"/pictures/{kept['id']}/large")
            assert answer.headers["content-type"] == "image/jpeg"
            assert PILImage.open(io.BytesIO(answer.content)).size == (1024, 512)
        shown = Browsing(server.url).start()["pairs"]
        assert all(pair["submitted"]["picture"].endswith("/large") for pair in shown)
        assert server.client.get("/openapi.json").json()["paths"].keys().isdisjoint({"/review", "/sign-in"})
        assert shown[-1]["submitted"]["original"] is True
        closer = server.client.get(f"/pictures/{made[1]['id']}/large?close=true")
        assert PILImage.open(io.BytesIO(closer.content)).size == (1200, 1800)


def test_a_pair_can_be_decided_without_scripts(reviewed: Reviewed, alone: SignIn) -> None:
    browsing = alone("tess")
    page = browsing.client.get("/review?reason=low_quality").text
    form = page[page.index("<noscript>") : page.index("</noscript>")]
    fields = {name: field(form, name) for name in ("csrf", "lookup", "query")}
    after = browsing.client.post("/review", data={**fields, "verdict": "same", "note": "by hand"})
    assert str(after.url).endswith("/review?reason=low_quality")
    (made,) = reviewed.store.verdicts.about(UUID(fields["lookup"]))
    assert (made.decision.verdict.value, made.decision.note) == ("same", "by hand")
    assert fields["lookup"] not in after.text.partition("</noscript>")[0].partition("<noscript>")[2]
    assert browsing.client.post("/review", data={**fields, "csrf": "x", "verdict": "same"}).status_code == 403
    browsing.send("/review/withdrawals", {"id": str(new_id()), "decision": str(made.decision.id)})


def test_reviewers_see_their_pace_and_how_often_they_agree() -> None:
    began = datetime(2026, 11, 30, tzinfo=UTC)
    lookups = [new_id() for _ in range(5)]
    same, different, unsure = Verdict.SAME, Verdict.DIFFERENT, Verdict.UNSURE

    def vote(place: int, name: str, verdict: Verdict, seconds: float, stands: bool = True) -> Vote:
        return Vote(lookups[place], verdict, name, began + timedelta(seconds=seconds), stands)

    votes = [vote(place, "ann", same, 10 * place) for place in range(5)]
    votes += [
        vote(0, "bob", same, -3600),
        vote(1, "bob", different, 5),
        vote(2, "bob", unsure, 6),
        vote(3, "bob", different, 7, stands=False),
    ]
    ann, bob = paces(votes, began)
    assert (ann.reviewer, ann.made, ann.today, ann.seconds) == ("ann", 5, 5, 10)
    assert (ann.agreed, ann.shared, ann.agreement) == (1, 2, 50)
    assert (bob.made, bob.today, bob.seconds, bob.taken_back) == (4, 3, None, 1)  # too few without a pause
    assert bob.verdicts == {same: 1, different: 1, unsure: 1}
    assert paces([], began) == []
