"""The whole OpenAPI document, by schemathesis: no server error, no answer it does not describe."""

import schemathesis
from hypothesis import HealthCheck, settings

from dhash_service.app import create_app
from dhash_service.settings import Settings
from tests.dhash_service.serving import Server

schema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_keeps_its_word(
    case: schemathesis.Case, server: Server, admin: dict[str, str]
) -> None:
    answer = case.call(base_url=server.url, headers=admin)
    case.validate_response(
        answer,
        excluded_checks=[
            # A picture's schema is only "binary": most of what it generates is rightly refused, and some of
            # what it calls invalid is a valid picture or a header nobody reads.
            schemathesis.checks.positive_data_acceptance,
            schemathesis.checks.negative_data_rejection,
        ],
    )


def test_every_operation_of_the_contract_is_described() -> None:
    described = set(create_app(Settings()).openapi()["paths"])
    assert described >= {
        "/health",
        "/metrics",
        "/api/dhash",
        "/api/dhash/batch",
        "/api/dhash/extract",
        "/api/dhash/search",
        "/api/dhash/queue/status",
        "/api/config",
        "/api/admin/status",
    }


def test_every_operation_has_a_summary_and_its_problems() -> None:
    for path, operations in create_app(Settings()).openapi()["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)
            if path.startswith("/api"):
                assert {"4XX", "5XX"} <= set(operation["responses"]), (method, path)
