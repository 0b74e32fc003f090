"""Tasks on processes of this machine: some under way, those that die fail alone, and are tried with care."""

import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest

from dhash_service.errors import BadRequestError, EngineError, PlaceError
from dhash_service.scale.engines import LocalEngine, opened
from dhash_service.scale.items import Item, Task, cut
from dhash_service.scale.run import index_into_parts
from dhash_service.scale.sources import Source
from tests.dhash_service.scale.making import rows_at, rules


def named(task: Task) -> str:
    return task.items[0].url


def deadly(task: Task) -> str:
    if task.items[0].url == "3" and not task.careful:
        os.kill(os.getpid(), signal.SIGKILL)
    return task.items[0].url


def test_no_more_tasks_are_taken_than_there_is_room_for() -> None:
    taken = itertools.count()
    tasks = (Task((Item(str(next(taken))),), rules()) for _ in range(50))
    with LocalEngine(1) as engine:
        done = engine.run(named, tasks)
        assert next(done)[1] in "012"
        assert next(taken) <= 4
        done.close()


def test_a_process_that_dies_fails_what_was_under_way_and_others_take_its_place() -> None:
    tasks = iter([Task((Item(str(number)),), rules()) for number in range(12)])
    with LocalEngine(2) as engine:
        results = dict(engine.run(deadly, tasks))
    assert len(results) == 12
    failed = [task for task, result in results.items() if isinstance(result, Exception)]
    assert 1 <= len(failed) <= 4
    assert "3" in [task.items[0].url for task in failed]


class Dying:
    """An engine whose worker dies of every task that is not careful: only what reads apart gets through."""

    def __init__(self) -> None:
        self.careful: list[bool] = []

    def run(self, call, tasks: Iterator[Task]):  # type: ignore[no-untyped-def]
        for task in tasks:
            self.careful.append(task.careful)
            yield task, call(task) if task.careful else RuntimeError("its worker died four times")


def test_what_a_worker_died_of_is_read_in_processes_of_their_own(
    tmp_path: Path, pictures: list[bytes]
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(pictures[number])
    items = tuple(Item(str(tmp_path / f"{number}.jpg")) for number in range(3))
    engine = Dying()
    *_, last = index_into_parts(iter([items]), rules(), engine, str(tmp_path / "out"), "")
    assert engine.careful == [False, True]
    assert (last.progress.pictures, last.progress.failed) == (3, 0)
    assert len(rows_at(str(tmp_path / "out"))) == 3


def test_a_task_that_fails_with_care_too_is_told_and_left_for_the_next_run(tmp_path: Path) -> None:
    class Broken(Dying):
        def run(self, call, tasks: Iterator[Task]):  # type: ignore[no-untyped-def]
            for task in tasks:
                yield task, RuntimeError("its worker died")

    groups = iter([(Item("a.jpg"), Item("b.jpg"))])
    steps = list(index_into_parts(groups, rules(), Broken(), str(tmp_path / "out"), ""))
    assert steps[-1].progress.failed == 2
    ((name, why),) = steps[-1].errors
    assert name == "a.jpg … b.jpg"
    assert "its worker died" in why


def test_a_worker_without_the_program_ends_the_run(tmp_path: Path) -> None:
    class Lacking(Dying):
        def run(self, call, tasks: Iterator[Task]):  # type: ignore[no-untyped-def]
            for task in tasks:
                yield task, ModuleNotFoundError("No module", name="dhash_service")

    with pytest.raises(EngineError, match="A worker lacks dhash_service"):
        list(index_into_parts(iter([(Item("a.jpg"),)]), rules(), Lacking(), str(tmp_path), ""))


def test_a_file_that_went_or_changed_leaves_no_rows_behind(tmp_path: Path, pictures: list[bytes]) -> None:
    folder, out = tmp_path / "in", str(tmp_path / "out")
    folder.mkdir()
    items = []
    for number in range(4):
        path = folder / f"{number}.jpg"
        path.write_bytes(pictures[number])
        items.append(Item(str(path), tag="before"))
    with LocalEngine(1) as engine:
        list(index_into_parts(iter([tuple(items[:2]), tuple(items[2:])]), rules(), engine, out, ""))
        assert len(rows_at(out)) == 4
        items[3] = replace(items[3], tag="after")
        list(index_into_parts(iter([tuple(items[:2]), tuple(items[3:])]), rules(), engine, out, ""))
    assert [Path(str(row["name"])).name for row in rows_at(out)].count("3.jpg") == 1
    assert len(rows_at(out)) == 3


def test_parts_of_a_place_that_is_suddenly_empty_stay(tmp_path: Path, pictures: list[bytes]) -> None:
    out, first, second = str(tmp_path / "out"), tmp_path / "first", tmp_path / "second"
    for number, folder in enumerate((first, second)):
        folder.mkdir()
        (folder / "a.jpg").write_bytes(pictures[number])
    source = Source([str(first), str(second)])

    def run(engine: LocalEngine) -> int:
        groups = cut(source.items(), 1)
        *_, last = index_into_parts(groups, rules(), engine, out, "", source.empty)
        return last.progress.files

    with LocalEngine(1) as engine:
        assert run(engine) == 2
        second.rename(tmp_path / "unmounted")
        second.mkdir()
        with pytest.raises(PlaceError, match=r"no files in .*second\. 1 parts of an earlier run were kept"):
            run(engine)
        assert len(rows_at(out)) == 2
        second.rmdir()
        (tmp_path / "unmounted").rename(second)
        (first / "a.jpg").write_bytes(pictures[2])
        assert run(engine) == 2
    assert len(rows_at(out)) == 2


@pytest.mark.system
def test_tasks_that_are_alike_are_each_answered_by_a_cluster() -> None:
    """Where files are named twice, as by `dhash index pictures pictures`."""
    task, another = (Task((Item(name, 1, "1"),), rules()) for name in ("a.jpg", "b.jpg"))
    with opened("dask", 1) as engine:
        ended = list(engine.run(attrgetter("name"), iter([task, task, another, task])))
    assert sorted(name for _, name in ended) == sorted([task.name] * 3 + [another.name])
    assert [one.name for one, _ in ended] == [name for _, name in ended]


def test_an_engine_of_another_name_is_refused() -> None:
    with pytest.raises(BadRequestError, match="no engine spark"), opened("spark", 1):
        pass
