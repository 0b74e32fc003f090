"""Collections are cut where their own names say, and tasks are named by what they answer for."""

from dataclasses import replace

import pytest

from dhash_service.scale.items import Item, Task, cut
from tests.dhash_service.scale.making import rules

ITEMS = [Item(f"s3://bucket/{n:06}.jpg", 1000, f"tag {n}") for n in range(5_000)]


def test_nothing_is_lost_by_cutting_and_groups_have_the_size_that_was_asked_for() -> None:
    groups = list(cut(ITEMS, 100))
    assert [item for group in groups for item in group] == ITEMS
    assert max(map(len, groups)) <= 400
    assert 70 <= len(ITEMS) / len(groups) <= 140


@pytest.mark.parametrize("place", [0, 777, 2_500, 5_000])
def test_a_file_that_is_added_changes_one_group_and_leaves_the_others(place: int) -> None:
    more = [*ITEMS[:place], Item(f"s3://bucket/{place:06}-new.jpg", 10, "x"), *ITEMS[place:]]
    before, after = (set(cut(items, 100)) for items in (ITEMS, more))
    assert len(before - after) <= 2


def test_a_group_of_large_files_ends_early() -> None:
    large = [replace(item, size=500) for item in ITEMS[:100]]
    assert max(len(group) for group in cut(large, 100, most_bytes=2_000)) <= 4


def test_one_file_a_task_is_one_file_a_task() -> None:
    assert {len(group) for group in cut(ITEMS[:50], 1)} <= {1, 2, 3, 4}


def test_a_task_is_named_by_its_files_their_tags_and_the_rules() -> None:
    asked = Task(tuple(ITEMS[:3]), rules())
    assert Task(tuple(ITEMS[:3]), rules()).name == asked.name
    assert replace(asked, careful=True).name == asked.name  # the same part, whoever makes it
    others = [
        Task(tuple(ITEMS[:2]), rules()),
        Task((*ITEMS[:2], replace(ITEMS[2], tag="changed")), rules()),
        Task(tuple(ITEMS[:3]), rules(max_pixels=1_000)),
        Task(tuple(ITEMS[:3]), rules(take_cut=True)),
        Task(tuple(ITEMS[:3]), rules(), root="/data"),
    ]
    assert len({asked.name, *(other.name for other in others)}) == 6
