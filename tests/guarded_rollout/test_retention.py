import hashlib
import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_rollout.backup import originals
from guarded_rollout.backup.catalog import BackupEntry, find, latest, name_for, parse
from guarded_rollout.backup.retention import (
    RetentionPlan,
    RetentionRule,
    decide,
    needed_by,
    plan,
    remove,
    remove_originals,
    rule_of,
    surplus,
)
from guarded_rollout.config.environments import parse as parse_environments
from guarded_rollout.config.holding import holding_of
from guarded_rollout.errors import RetentionRuleError
from guarded_rollout.journal.model import Rollout, StepRun
from tests.guarded_rollout.backups import Project

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
GUIDE = RetentionRule(last=10, younger_than=timedelta(hours=72))


def backup(age: timedelta, environment: str = "production") -> BackupEntry:
    moment = (NOW - age).replace(microsecond=0)
    return BackupEntry(Path(f"dhash_{environment}_{moment:%Y%m%d_%H%M%S}.zip"), environment, moment)


def hours(*ages: float) -> list[BackupEntry]:
    return [backup(timedelta(hours=age)) for age in ages]


ages = st.lists(st.integers(-3600, 30 * 86400), unique=True, max_size=40)
entries = ages.map(lambda seconds: [backup(timedelta(seconds=second)) for second in seconds])
rules = st.one_of(
    st.builds(RetentionRule, last=st.integers(1, 20)),
    st.builds(RetentionRule, younger_than=st.timedeltas(timedelta(0), timedelta(days=20))),
    st.builds(RetentionRule, st.integers(1, 20), st.timedeltas(timedelta(0), timedelta(days=20))),
)


def test_the_last_ten_stay_however_old():
    backups = hours(*range(100, 115))
    assert plan(backups, GUIDE, now=NOW).remove == tuple(backups[10:])


def test_what_is_younger_than_the_hours_stays_however_many():
    backups = hours(*range(0, 120, 4))
    assert plan(backups, GUIDE, now=NOW).remove == tuple(hours(*range(72, 120, 4)))


def test_what_an_open_rollout_may_return_to_stays():
    backups = hours(*range(100, 115))
    decided = plan(backups, GUIDE, now=NOW, needed={backups[-1].name})
    assert decided.remove == tuple(backups[10:-1])
    assert decided.keep[-1].reason == "an open rollout may return to it"


def test_age_alone_leaves_the_newest():
    assert plan(hours(500, 900), RetentionRule(younger_than=timedelta(hours=12)), now=NOW).remove == tuple(
        hours(900)
    )


@pytest.mark.parametrize(
    "arguments", [{}, {"last": 0}, {"last": -1}, {"younger_than": timedelta(hours=-1)}], ids=str
)
def test_no_rule_is_an_error_and_not_delete_everything(arguments):
    with pytest.raises(RetentionRuleError):
        RetentionRule(**arguments)


@given(entries, rules, st.randoms())
def test_every_backup_is_decided_once_whatever_their_order(backups, rule, random):
    shuffled = random.sample(backups, len(backups))
    decided = plan(shuffled, rule, now=NOW)
    assert decided == plan(backups, rule, now=NOW)
    assert {kept.entry for kept in decided.keep} | set(decided.remove) == set(backups)
    assert len(decided.keep) + len(decided.remove) == len(backups)


@given(entries, rules, st.data())
def test_nothing_that_the_rule_keeps_is_removed(backups, rule, data):
    needed = {entry.name for entry in backups if data.draw(st.booleans())}
    newest = sorted(backups, key=lambda entry: entry.taken_at, reverse=True)
    for entry in plan(backups, rule, now=NOW, needed=needed).remove:
        assert entry.name not in needed
        assert entry not in newest[: rule.last or 1]
        assert rule.younger_than is None or NOW - entry.taken_at >= rule.younger_than


@given(entries, rules)
def test_pruning_twice_removes_nothing_more(backups, rule):
    left = [kept.entry for kept in plan(backups, rule, now=NOW).keep]
    assert plan(left, rule, now=NOW).remove == ()


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.sampled_from(["production", "a_b"]))
def test_a_name_says_environment_and_time(moment, environment):
    moment = moment.replace(tzinfo=UTC, microsecond=0)
    entry = name_for(Path("/nowhere"), environment, moment)
    assert parse(entry.path) == entry
    assert entry.taken_at == moment


@pytest.mark.parametrize(
    "name",
    [
        "dhash_production_20260230_000000.zip",
        "dhash_production_20260101.zip",
        "dhash__20260101_000000.zip",
        "dhash_production_20260101_000000.zip.sha256",
        "x.dhash_production_20260101_000000.zip",
        ".dhash_production_20260101_000000.zip.abc123",
    ],
)
def test_other_names_are_no_backups(name):
    assert parse(Path(name)) is None


def test_the_latest_is_of_this_environment_and_never_a_safety_copy(tmp_path):
    (tmp_path / "safety").mkdir()
    for name in (
        "dhash_production_20260101_000000.zip",
        "dhash_production_20260102_000000.zip",
        "dhash_staging_20260103_000000.zip",
        "dhash_production_eu_20260103_000000.zip",
        "safety/before-rollback_production_20260104_000000.zip",
    ):
        (tmp_path / name).touch()
    assert latest(tmp_path, "production").name == "dhash_production_20260102_000000.zip"
    assert latest(tmp_path, "development") is None
    assert len(find(tmp_path, "production")) == 2
    assert len(find(tmp_path / "safety", "production")) == 1


def test_a_name_is_never_given_twice_and_always_sorts_last(tmp_path):
    first = name_for(tmp_path, "production", NOW)
    first.path.touch()
    second = name_for(tmp_path, "production", NOW)
    assert second.taken_at - first.taken_at == timedelta(seconds=1)
    second.checksum.touch()  # claimed, not written yet
    earlier = name_for(tmp_path, "production", NOW - timedelta(days=1))  # the clock was set back
    assert first.name < second.name < earlier.name
    assert name_for(tmp_path, "staging", NOW).taken_at == NOW
    assert name_for(tmp_path, "production", NOW, safety=True).taken_at == NOW


def test_another_services_backups_are_not_ours(tmp_path):
    for name in ("dhash_production_20260101_000000.zip", "shop_production_20260102_000000.zip"):
        (tmp_path / name).touch()
    assert latest(tmp_path, "production", "dhash").name == "dhash_production_20260101_000000.zip"
    assert [entry.service for entry in find(tmp_path, "production", "shop")] == ["shop"]
    made = name_for(tmp_path, "production", NOW, service="shop")
    assert made.name.startswith("shop_production_")


# ---- in a folder


def test_each_says_why_it_stays() -> None:
    backups = hours(1, 2, 30, 50, 100)
    decided = plan(backups, RetentionRule(2, timedelta(hours=40)), now=NOW, needed={backups[4].name})
    reasons = [
        "among the last 2",
        "among the last 2",
        "younger than 40 h",
        "an open rollout may return to it",
    ]
    assert [kept.reason for kept in decided.keep] == reasons
    assert decided.remove == (backups[3],)
    by_age = plan(backups[:1], RetentionRule(younger_than=timedelta(minutes=30)), now=NOW)
    assert [kept.reason for kept in by_age.keep] == ["the newest"]
    half = plan(hours(1, 1.25), RetentionRule(1, timedelta(minutes=90)), now=NOW).keep[1]
    assert half.reason == "younger than 1.5 h"


def test_exactly_as_old_as_the_rule_says_is_too_old() -> None:
    rule = RetentionRule(last=1, younger_than=timedelta(hours=72))
    assert plan(hours(1, 72), rule, now=NOW).remove == tuple(hours(72))
    none = RetentionRule(last=1, younger_than=timedelta(0))
    assert plan(hours(-1, 0), none, now=NOW).remove == tuple(hours(0))


def opened(*evidence: dict[str, object] | None, at: datetime = NOW) -> Rollout:
    steps = tuple(StepRun(f"step{n}", at, {}, evidence=found) for n, found in enumerate(evidence))
    return Rollout(UUID(int=0), "production", "up", "me", "a", "b", "", at, steps)


def test_an_open_rollout_may_return_to_its_own_backups_and_to_the_last_one_before_it() -> None:
    backups = hours(-1, 0, 1, 2)
    assert needed_by(opened(), backups) == {backups[1].name}
    assert needed_by(opened(), backups[:1]) == set()
    own = opened(None, {"backup": "/b/own.zip", "size": 3}, {"safety_copy": "/b/safety/copy.zip"})
    assert needed_by(own, backups[2:]) == {"own.zip", "copy.zip", backups[2].name}
    assert needed_by(opened({"backup": backups[1].name}), backups) == {backups[1].name}
    assert needed_by(opened({"backup": None}), []) == set()


def touch(folder: Path, *entries: BackupEntry) -> list[BackupEntry]:
    folder.mkdir(exist_ok=True)
    placed = [replace(entry, path=folder / entry.path, service="dhash") for entry in entries]
    for entry in placed:
        for path in entry.files:
            path.touch()
    return placed


def test_what_no_open_rollout_needs_and_the_rule_gives_up_is_decided_to_go(tmp_path: Path) -> None:
    backups = touch(tmp_path, *hours(100, 200, 300))
    touch(tmp_path, backup(timedelta(hours=400), "staging"))
    rule = RetentionRule(last=1)
    assert decide(tmp_path, "production", rule, None, NOW).remove == tuple(backups[1:])
    rollout = opened(at=NOW - timedelta(hours=150))
    decided = decide(tmp_path, "production", rule, rollout, NOW, service="dhash")
    assert decided.remove == (backups[2],)
    assert decide(tmp_path, "production", rule, None, NOW, service="shop").remove == ()


def test_backups_and_safety_copies_go_by_the_same_rule_the_operators_or_the_files(tmp_path: Path) -> None:
    gates = tmp_path / "quality-gates-config.json"
    watched = {"quality_gates": {}, "auto_rollback": {"backup_retention_hours": 48}}
    gates.write_text(json.dumps({"environments": {"production": watched}}))
    tables = {"project": {"keep_backups": 2}, "environments": {"production": {"port": 3000}}}
    environment = parse_environments(tables, tmp_path / "rollout.toml").environment("production")
    assert rule_of(environment) == RetentionRule(2, timedelta(hours=48))
    assert rule_of(environment, keep=5, hours=1.5) == RetentionRule(5, timedelta(minutes=90))
    environment.backups.mkdir(parents=True)
    backups = touch(environment.backups, *hours(1, 60, 70))
    safety = [
        BackupEntry(Path(f"before-rollback_production_{one.taken_at:%Y%m%d_%H%M%S}.zip"), "production", NOW)
        for one in hours(50, 60, 70)
    ]
    touch(environment.backups / "safety", *safety)
    (folder, plan_), (inner, safe) = surplus(environment, None, NOW)
    assert (folder, inner) == (environment.backups, environment.backups / "safety")
    assert plan_.remove == (backups[2],)
    assert [entry.name for entry in safe.remove] == [safety[2].name]
    assert not [plan_ for _, plan_ in surplus(environment, None, NOW, rule=RetentionRule(9)) if plan_.remove]
    elsewhere = [place for place, _ in surplus(environment, None, NOW, folder=tmp_path)]
    assert elsewhere == [tmp_path, tmp_path / "safety"]


def test_removing_takes_all_files_of_a_backup_and_the_claims_of_killed_writers(tmp_path: Path) -> None:
    gone, kept = touch(tmp_path, *hours(300, 200))
    claims = hours(24.1, 24, 1)
    foreign = [backup(timedelta(hours=99), name) for name in ("development", "staging")]
    for claim in (*claims, *foreign):
        (tmp_path / claim.checksum).touch()
    (tmp_path / "notes.zip.sha256").touch()
    decided = RetentionPlan((), (gone,))
    assert list(remove(decided, tmp_path, "production", NOW)) == [gone]
    left = {path.name for path in kept.files} | {one.checksum.name for one in (*claims[1:], *foreign)}
    assert {path.name for path in tmp_path.iterdir()} == left | {"notes.zip.sha256"}


# ---- what was erased


def kept_originals(project: Project) -> set[str]:
    return {path.name for path in (project.backups / "originals").rglob("*") if path.is_file()}


def test_an_original_goes_with_the_last_backup_that_lists_it(tmp_path):
    """As where it was erased in the service's own folder. What backups name is never touched."""
    project, service = Project(tmp_path), tmp_path / "originals"
    digests = [hashlib.sha256(content).hexdigest() for content in (b"erased", b"stays")]
    for digest, content in zip(digests, (b"erased", b"stays"), strict=True):
        (service / digest).parent.mkdir(exist_ok=True)
        (service / digest).write_bytes(content)
    first = project.take(originals=service).entry
    (service / digests[0]).unlink()
    days_ago = time.time() - 3 * 86400
    os.utime(project.backups / "originals" / digests[0], (days_ago, days_ago))
    project.take(originals=service)
    assert remove_originals(project.backups) == [], "the first backup has it"
    (project.backups / "safety").mkdir()
    moved = [(path, project.backups / "safety" / path.name) for path in first.files if path.exists()]
    for path, copy in moved:
        path.rename(copy)
    assert remove_originals(project.backups) == [], "a safety copy has it"
    for path, copy in moved:
        copy.rename(path)
    damaged = project.backups / "shop_staging_20260101_000000.zip"
    damaged.write_text("not a zip")
    first.path.unlink()
    assert remove_originals(project.backups) == [], "nobody knows what that one lists"
    damaged.unlink()
    list(remove(RetentionPlan((), ()), project.backups, "production", NOW))
    assert kept_originals(project) == {*digests}, "safety copies come last, and then they go"
    list(remove(RetentionPlan((), ()), project.backups / "safety", "production", NOW))
    assert kept_originals(project) == {digests[1]}


@pytest.mark.parametrize("name", ["backups", "taken"])
def test_originals_beside_another_folder_are_none_of_ours(tmp_path: Path, name: str) -> None:
    """As those of a service that keeps its own beside its backups."""
    (tmp_path / name).mkdir()
    (tmp_path / "originals").mkdir()
    for content, days in ((b"old", 9), (b"new", 0)):
        path = tmp_path / "originals" / hashlib.sha256(content).hexdigest()
        path.write_bytes(content)
        os.utime(path, (time.time() - days * 86400,) * 2)
    list(remove(RetentionPlan((), ()), tmp_path / name, "production", NOW))
    assert len([*(tmp_path / "originals").iterdir()]) == 2


def test_an_original_that_a_backup_on_its_way_may_list_stays(tmp_path):
    project, service = Project(tmp_path), tmp_path / "originals"
    assert remove_originals(project.backups) == [], "it keeps none"
    digest = hashlib.sha256(b"new").hexdigest()
    service.mkdir()
    (service / digest).write_bytes(b"new")
    originals.store(service, project.backups)
    assert remove_originals(project.backups) == []
    assert kept_originals(project) == {digest}


@pytest.mark.parametrize(
    ("rules", "stream", "expected"),
    [
        ([], 0, (3, 10)),
        ([], 240, (10, 10)),
        (["--keep-last=20"], 0, (3, 20)),
        (["--keep-daily=14", "--keep-monthly", "--keep-monthly=12"], 0, (None, 14)),
        (["--keep-daily=14", "--keep-monthly=12"], 0, (372, 14)),
        (["--keep-within=1y5m7d2h"], 0, (366 + 5 * 31 + 7 + 1, 10)),
        (["--keep-weekly=unlimited"], 0, (None, 10)),
        (["--keep-tag=forever"], 0, (None, 10)),
    ],
)
def test_how_long_backups_hold_is_the_longest_of_all_rules(tmp_path, rules, stream, expected):
    watched = {"quality_gates": {}, "auto_rollback": {"backup_retention_hours": 72}}
    gates = {"environments": {"production": watched}}
    (tmp_path / "quality-gates-config.json").write_text(json.dumps(gates))
    backup = {"stream": {"url": "file:///s", "retention_hours": stream}} if stream else {}
    if rules:
        backup["copies"] = {"far": {"repository": "far", "password": "$P", "keep": rules}}
    tables = {"backup": backup, "environments": {"production": {"port": 3000}}}
    held = holding_of(parse_environments(tables, tmp_path / "rollout.toml").environment("production"))
    assert (held.days, held.count) == expected
