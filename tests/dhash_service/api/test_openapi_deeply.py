"""The whole OpenAPI document, by all that schemathesis has: its systematic cases, and more at random."""

import schemathesis
from hypothesis import HealthCheck, settings

from dhash_service.app import create_app
from dhash_service.settings import Settings
from tests.dhash_service.api.test_openapi import keeps_its_word
from tests.dhash_service.serving import Server

schema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_keeps_its_word_in_every_case(
    case: schemathesis.Case, server: Server, admin: dict[str, str]
) -> None:
    keeps_its_word(case, server, admin)
