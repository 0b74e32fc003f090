"""The gates as Grafana dashboards: whole, and with the limits of the gates file."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from guarded_rollout.cli.app import app
from guarded_rollout.config.gates import GatesFile, load
from guarded_rollout.export.grafana import dashboard
from guarded_rollout.export.panels import GRAFANA_UNITS, SOURCE, WIDTH
from tests.guarded_rollout.gatekit import SHIPPED, gates_file
from tests.guarded_rollout.test_export import EXPORTED, OWN, exported

ROOT = Path(__file__).parents[2]
FILE = load(SHIPPED)


@pytest.mark.parametrize("name", list(FILE.environments))
def test_the_dashboards_are_what_the_command_prints(name: str) -> None:
    path = ROOT / "deploy" / "grafana" / f"{name}.json"
    words = ["gates", "export", "grafana", "--config", str(SHIPPED), "--env", name]
    assert CliRunner().invoke(app, words).output == path.read_text(), (
        f"run: rollout {' '.join(words)} > {path}"
    )


@pytest.fixture(params=[*FILE.environments, "own"])
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    file: GatesFile = gates_file(**OWN) if request.param == "own" else FILE
    name = "production" if request.param == "own" else request.param
    made: dict[str, Any] = json.loads(json.dumps(dashboard(name, file.environment(name), EXPORTED)))
    return made


def test_panels_have_ids_and_places_of_their_own(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= WIDTH - place["w"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert cells.isdisjoint(taken)
        taken |= cells


def test_every_query_asks_the_chosen_data_source(board: dict[str, Any]) -> None:
    (variable,) = board["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            assert target["datasource"] == panel["datasource"] == SOURCE
            assert target["expr"]
        refs = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(refs)) == len(refs)


def test_every_unit_is_one_that_grafana_knows(board: dict[str, Any]) -> None:
    for panel in board["panels"]:
        if "fieldConfig" in panel:
            unit = panel["fieldConfig"]["defaults"]["unit"]
            assert unit in GRAFANA_UNITS or unit.startswith("suffix:")


@pytest.mark.parametrize("environment", list(FILE.environments))
def test_a_gates_panel_shows_its_limit_for_both_slots(environment: str) -> None:
    made = dashboard(environment, FILE.environment(environment), EXPORTED)
    panels = {panel["title"]: panel for panel in made["panels"]}
    for name, gate in FILE.environment(environment).quality_gates.enabled():
        if name not in exported(environment):
            assert "Not shown: " in panels[name]["options"]["content"]
            continue
        steps = panels[name]["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert [step["value"] for step in steps] == [None, gate.threshold.limit]  # type: ignore[attr-defined]
        assert panels[name]["targets"][0]["legendFormat"] == "{{slot}}"
        colours = {one["matcher"]["options"]: one for one in panels[name]["fieldConfig"]["overrides"]}
        assert set(colours) == {"blue", "green"}
        assert gate.description in panels[name]["description"]


def test_a_gate_that_cannot_be_drawn_says_so() -> None:
    made = dashboard("production", gates_file(**OWN).environment("production"), EXPORTED)
    panels = {panel["title"]: panel for panel in made["panels"]}
    assert "Not shown: 'queue-depth'" in panels["depth"]["options"]["content"]
    assert "thresholds" in panels["rejected_share"]["fieldConfig"]["defaults"]  # both slots, no limit
    assert len(panels["rejected_share"]["fieldConfig"]["defaults"]["thresholds"]["steps"]) == 1
