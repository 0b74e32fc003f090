"""Addresses that nobody's browser makes up: each is answered, on either database, and none by a 500."""

from collections.abc import Callable
from urllib.parse import urlencode

from dhash_service.facts import new_id
from tests.dhash_service.web.browsing import Browsing
from tests.dhash_service.web.conftest import Reviewed

ODD = (
    "/?q=%00",
    "/?tag=%00",
    "/?after=99999999999999999999999",
    "/?until=9999-12-31",
    "/?since=0001-01-01",
    "/duplicates?within=%00",
    "/duplicates/export.csv?within=%00",
    "/api/dhash/duplicates?within=%00",
    "/api/dhash/queue?reason=%00",
    "/review?reason=%00",
    "/review/history?reviewer=%00",
    "/review/progress?day=0001-01-01T00:00:00%2B14:00",
    "/review/progress?day=0001-01-01T00:00:00",
    "/review/progress?day=9999-12-31T23:59:59-14:00",
)


def test_an_odd_address_is_no_failure_of_the_service(reviewed: Reviewed) -> None:
    answers = {address: reviewed.server.client.get(address).status_code for address in ODD}
    assert set(answers.values()) <= {200, 422}, answers


def test_a_group_of_what_is_no_id_is_refused(alone: Callable[..., Browsing]) -> None:
    browsing = alone("ursula")
    form = {"members": "a b", "verdict": "same", "csrf": browsing.csrf}
    assert browsing.client.post("/duplicates", data=form).status_code == 422


def test_a_group_within_a_folder_of_a_long_name_is_decided(alone: Callable[..., Browsing]) -> None:
    browsing = alone("uma")
    within = {"within": "\N{CJK UNIFIED IDEOGRAPH-56FE}" * 255}
    form = {"members": f"{new_id()} {new_id()}", "verdict": "same", "csrf": browsing.csrf}
    answer = browsing.client.post("/duplicates", data=form | {"query": urlencode(within)})
    assert "not a group of known pictures" in answer.text  # that is all that is wrong with it
