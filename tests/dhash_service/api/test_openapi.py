"""The whole OpenAPI document, by schemathesis: no server error, no answer it does not describe."""

import jsonschema_rs
import schemathesis
from hypothesis import HealthCheck, settings

from dhash_service.api.problems import kinds
from dhash_service.app import create_app
from dhash_service.settings import Settings
from tests.dhash_service.serving import Server

schema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
schema.config.phases.update(phases=["examples", "fuzzing"])  # the system lane has all of them


@schema.parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_keeps_its_word(
    case: schemathesis.Case, server: Server, admin: dict[str, str]
) -> None:
    keeps_its_word(case, server, admin)


def keeps_its_word(case: schemathesis.Case, server: Server, admin: dict[str, str]) -> None:
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


def test_operations_have_ids_tags_and_security_of_their_own() -> None:
    document = create_app(Settings()).openapi()
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    ids = [each["operationId"] for each in operations]
    assert len(set(ids)) == len(ids)
    assert {"submit_picture", "search_by_hash", "queue_status", "thumbnail", "list_problems"} <= set(ids)
    tags = {tag["name"] for tag in document["tags"]}
    assert {tag for each in operations for tag in each["tags"]} == tags
    assert document["servers"][0]["url"] == "/"
    assert {} in document["paths"]["/api/dhash"]["post"]["security"]
    assert {} not in document["paths"]["/api/admin/status"]["get"]["security"]


def test_every_body_has_an_example_that_its_schema_takes() -> None:
    document = create_app(Settings()).openapi()
    components = {"components": document["components"]}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            answers = [answer for status, answer in operation["responses"].items() if status[0] == "2"]
            bodies = [operation["requestBody"], *answers] if "requestBody" in operation else answers
            for contents in (body["content"] for body in bodies if "content" in body):
                if path.endswith("/thumbnail"):  # bytes
                    continue
                assert any("example" in content for content in contents.values()), path
                for content in (each for each in contents.values() if "example" in each):
                    checked = jsonschema_rs.validator_for({**content["schema"], **components})
                    assert [error.message for error in checked.iter_errors(content["example"])] == [], path


def test_bodies_and_answers_have_types_that_client_generators_know() -> None:
    """`make client` runs openapi-python-client itself, which wants another typer than ours."""
    known = {"application/json", "multipart/form-data", "application/octet-stream"}
    for path, methods in create_app(Settings()).openapi()["paths"].items():
        for operation in methods.values():
            assert set(operation.get("requestBody", {"content": {}})["content"]) <= known, path
            for status, answer in operation["responses"].items():
                kinds = set(answer.get("content", {}))
                assert not kinds or status in ("4XX", "5XX") or kinds & {*known, "text/csv"}, path


def test_every_problem_is_in_the_catalogue(server: Server) -> None:
    found = {each["type"] for each in server.client.get("/problems/").json()}
    assert {f"/problems/{kind.type}" for kind in kinds()} == found


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
