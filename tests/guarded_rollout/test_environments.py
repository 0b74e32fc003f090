from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

from guarded_rollout.config import environments
from guarded_rollout.config.environments import Checks, load, parse
from guarded_rollout.config.tables import example_tables
from guarded_rollout.errors import ConfigurationError, UnknownEnvironmentError

HERE = Path("/project/rollout.toml")
ROOT = Path(__file__).parents[2]


def test_without_a_file_the_three_environments_stand_on_their_ports():
    project = parse({}, HERE)
    ports = {name: environment.port for name, environment in project.environments.items()}
    assert ports == {"production": 3000, "staging": 3001, "development": 3002}
    production = project.environment("production")
    assert production.root == Path("/project/environments/production")
    assert production.store.reveal() == "sqlite:////project/environments/production/data/dhash.db"
    assert production.confirm
    assert not project.environment("staging").confirm
    assert [step.percent for step in production.traffic] == [10, 50, 100]


def test_the_projects_own_file_is_accepted():
    assert set(load(ROOT / "rollout.toml").environments) == {"production", "staging", "development"}


def test_the_documented_example_names_every_setting():
    checks = {field.name for field in fields(Checks)}
    assert set(example_tables()["defaults"]["checks"]) == checks
    text = (Path(environments.__file__).parent / "rollout.example.toml").read_text()
    lines = text.split("# The environments of a project")[0].splitlines()
    undocumented = [
        line
        for before, line in pairwise(lines)
        if " = " in line and "#" not in line + before and "kind =" not in line and "path =" not in line
    ]
    assert undocumented == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"enviroments": {}}, "enviroments: unknown key (did you mean environments?)"),
        (
            {"environments": {"production": {"prot": 1}}},
            "environments.production.prot: unknown key (did you mean root or port?)",
        ),
        (
            {"environments": {"qa": {"port": 3005, "checks": {"consecutiv": 1}}}},
            "environments.qa.checks.consecutiv",
        ),
        ({"environments": {"qa": {"port": "3005"}}}, "'3005' is not a whole number"),
        ({"environments": {"qa": {"port": True}}}, "True is not a whole number"),
        ({"environments": {"qa": {"port": 70000}}}, "a port is 1 to 65535"),
        ({"environments": {"qa": {"port": 3000}}}, "3000 is production's already"),
        ({"environments": {"qa": {"port": 3005, "root": "environments/staging"}}}, "is staging's already"),
        ({"environments": {"Q A": {"port": 3005}}}, "a name is lower-case"),
        ({"environments": {"qa": {"port": 3005, "workers": 0}}}, "there are 1 to 64 workers"),
        ({"environments": {"qa": {"port": 3005, "traffic": []}}}, "the percents rise from above 0 to 100"),
        (
            {"environments": {"qa": {"port": 3005, "traffic": [{"percent": 10}]}}},
            "traffic[0]: needs hold_seconds",
        ),
        (
            {"environments": {"qa": {"port": 3005, "traffic": [{"percent": 60, "hold_seconds": 1}]}}},
            "the percents rise from above 0 to 100",
        ),
        ({"service": {"commands": {"serve": "dhash serve"}}}, "'dhash serve' is not a list"),
        ({"service": {"variables": {"X": 1}}}, "service.variables.X: 1 is not a string"),
        ({"project": []}, "project: [] is not a table"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(given, says):
    with pytest.raises(ConfigurationError) as error:
        parse(given, HERE)
    assert says in str(error.value)
    assert str(HERE) in str(error.value)


def test_broken_toml_is_a_sentence_and_no_traceback(tmp_path):
    (tmp_path / "rollout.toml").write_text("[environments\n")
    with pytest.raises(ConfigurationError, match="syntax"):
        load(tmp_path / "rollout.toml")
    (tmp_path / "rollout.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="syntax"):
        load(tmp_path / "rollout.toml")


def test_an_unknown_environment_is_answered_with_those_there_are():
    with pytest.raises(UnknownEnvironmentError, match="production, staging, development"):
        parse({}, HERE).environment("prod")


def test_environment_variables_of_the_service_may_have_any_name_and_passwords_do_not_show(monkeypatch):
    monkeypatch.setenv("STORE_URL", "postgresql://dhash:hunter2@db/dhash")
    given = {"service": {"variables": {"ANY": "thing"}}, "defaults": {"store": "$STORE_URL"}}
    environment = parse(given, HERE).environment("staging")
    assert environment.store.reveal() == "postgresql://dhash:hunter2@db/dhash"
    assert "hunter2" not in repr(environment)
    assert environment.service.variables["ANY"] == "thing"
    assert "DHASH_UDS" in environment.service.variables


def test_several_environments_know_each_others_folders():
    project = parse({}, HERE)
    assert [root.name for root in project.environment("staging").other_roots] == ["development", "production"]


@pytest.mark.parametrize(
    ("given", "store"),
    [
        ("sqlite:///data/own.db", "sqlite:////project/data/own.db"),
        ("sqlite:////data/own.db", "sqlite:////data/own.db"),
        ("sqlite:///{root}/own.db", "sqlite:////project/environments/production/own.db"),
        ("sqlite:///$FILE", "sqlite:////project/from/the/environment.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://u@h/sqlite:///x", "postgresql://u@h/sqlite:///x"),
    ],
)
def test_a_store_is_the_same_file_for_a_release_in_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch, given: str, store: str
) -> None:
    monkeypatch.setenv("FILE", "from/the/environment.db")
    service = {"name": "orders", "commands": {"serve": ["serve"]}, "store": {"kind": "commands"}}
    tables = {"service": service, "environments": {"production": {"store": given}}}
    assert parse(tables, HERE).environment("production").store.reveal() == store
