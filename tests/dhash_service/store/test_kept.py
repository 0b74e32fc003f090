"""The lookup that an image was kept with is found by its time, on each database."""

from datetime import UTC, datetime, timedelta

from dhash_service.facts import Decision, Sha256, Source, Verdict, earliest_id, new_id
from dhash_service.store.store import Store
from tests.dhash_service.store.facts import NOON, add, picture, review


def test_an_image_leads_to_the_lookup_that_it_was_kept_with(store: Store) -> None:
    known = add(store, "known")
    source = Source(Sha256("ab" * 32), 3, (0.0, 0.0, 9.0, 9.0))
    kept = [store.add_image(picture(name), review(known), source).result(30) for name in range(50)]
    for one in kept:
        found = store.kept_by(one.image)
        assert found is not None
        assert (found.id, found.image, found.source) == (one.lookup, one.image.id, source)


def test_what_people_decided_is_told_the_newest_first(store: Store) -> None:
    known = add(store, "known")
    kept = store.add_image(picture("a"), review(known)).result(30)
    assert kept.lookup is not None
    for minute, verdict in enumerate((Verdict.UNSURE, Verdict.SAME)):
        when = NOON + timedelta(minutes=minute)
        store.verdicts.record(Decision(new_id(), kept.lookup, verdict, "rita", "", "r1", when)).result(30)
    told = store.verdicts.about(kept.lookup)
    assert [each.decision.verdict for each in told] == [Verdict.SAME, Verdict.UNSURE]
    assert store.verdicts.about(new_id()) == []


def test_ids_are_not_before_the_earliest_of_their_time() -> None:
    now = datetime.now(UTC)
    assert earliest_id(now) <= new_id() < earliest_id(now + timedelta(minutes=1))
    assert earliest_id(now).version == 7
