"""Made-up facts for the store's tests: pictures of given bytes and bits, and what matching said of them."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from sqlalchemy import delete

from dhash_service.facts import (
    Algorithm,
    BankAction,
    BankEntry,
    Decision,
    Fingerprint,
    GroupDecision,
    Image,
    Label,
    Match,
    Neighbour,
    Picture,
    PictureBank,
    Role,
    Session,
    Sha256,
    Source,
    Status,
    Subject,
    Token,
    Tombstone,
    Verdict,
    Withdrawal,
    new_id,
)
from dhash_service.store.engine import writing
from dhash_service.store.groups import group_id
from dhash_service.store.leases import Request
from dhash_service.store.store import Store
from dhash_service.store.tables import FACTS

FAST = Algorithm("dhash-64-fast", 1)
NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
NEW = Match(Status.NEW, 0.99, (), None, None, 0)


def picture(name: str | int, value: int | None = None, *, content: bool = False) -> Picture:
    """A picture whose bytes are its name; its bits follow from them unless given."""
    data = str(name).encode()
    digest = hashlib.sha256(data).hexdigest()
    bits = int(digest[:16], 16) if value is None else value
    fingerprint = Fingerprint(bits, FAST, 0.75, ("tiny",), 640, 480)
    return Picture(Sha256(digest), "JPEG", len(data), fingerprint, b"RIFF" + data, data if content else None)


def review(nearest: Image, *reasons: str, distance: int = 7) -> Match:
    """A match that a person has to look at."""
    return Match(Status.REVIEW, 0.4, reasons or ("close runner-up",), Neighbour(nearest, distance), 9, 12)


def add(store: Store, name: str | int, match: Match = NEW, source: Source | None = None) -> Image:
    """Keep a picture and wait until it is."""
    return store.add_image(picture(name), match, source).result(30).image


def queued(store: Store, name: str | int, nearest: Image, *reasons: str, source: Source | None = None):  # type: ignore[no-untyped-def]
    """Keep a picture that needs a person; its lookup's id."""
    return store.add_image(picture(name), review(nearest, *reasons), source).result(30).lookup


def decision(lookup, verdict: Verdict = Verdict.SAME, note: str = "", at: datetime = NOON) -> Decision:  # type: ignore[no-untyped-def]
    """A verdict on a lookup."""
    return Decision(new_id(), lookup, verdict, "ada", note, "r1", at)


def hide_image(image: Image, hidden: bool = True, at: datetime = NOON) -> Tombstone:
    """Takes an image out of search, or brings it back."""
    return Tombstone(new_id(), Subject.IMAGE, str(image.id), hidden, "asked for", "ada", "r1", at)


def quarantine(release: str, hidden: bool = True, at: datetime = NOON) -> Tombstone:
    """Takes a release's fingerprints out of search, or brings them back."""
    return Tombstone(new_id(), Subject.RELEASE, release, hidden, "wrong bits", "ada", "r1", at)


def in_search(store: Store) -> dict[int, int]:
    """Everything the feed tells from its beginning: key to value."""
    changes = store.feed.changes(None)
    assert len(changes.removed) == 0
    return dict(zip(changes.keys.tolist(), changes.values.tolist(), strict=True))


def emptied(store: Store) -> Store:
    """The same store without its facts."""
    with writing(store.engine) as connection:
        for table in reversed(FACTS):
            connection.execute(delete(table))
    return store


Step = tuple[str, int]
PICTURES = ["add", "see", "queue", "hide", "show", "quarantine", "lift"]
REVIEW = ["decide", "withdraw", "claim", "token", "revoke", "sign in", "sign out", "bank", "group"]
STEPS = st.lists(st.tuples(st.sampled_from(PICTURES + REVIEW), st.integers(0, 4)), max_size=12)


def play(store: Store, steps: Sequence[Step]) -> None:
    """Let things happen in a store; what cannot happen there is passed over."""
    lookups = []
    made: list[Decision] = []
    sessions: list[Session] = []
    for number, (step, which) in enumerate(steps):
        at = NOON + timedelta(seconds=number)
        image = store.image(picture(which).id)
        if step == "add":
            store.add_image(picture(which), NEW, as_admin=True).result(30)
        elif step == "see" and image:
            label = Label(f"{which}.jpg", f"/{number % 2}/{which}.jpg", (f"t{number % 3}",))
            place = Source(Sha256("ab" * 32), number + 1, (0, 0, 1, 1)) if number % 2 else None
            store.see(image.id, label, place).result(10)
        elif step == "group" and image and (other := store.image(picture((which + 1) % 5).id)):
            members = [image.id, other.id]
            verdict = list(Verdict)[number % 3]
            group = GroupDecision(new_id(), group_id(members), image.id, verdict, "ada", "", "r1", at)
            store.groups.record(group, members).result(10)
        elif step == "bank":
            store.banks.set(PictureBank(f"b{which}", list(BankAction)[which % 3], which, ""), at).result(10)
            entry = BankEntry(f"b{which}", "sha256", "ab" * 32, str(number % 2), 0, "", None)
            store.banks.put([entry], at, removed=number % 3 == 2).result(10)
        elif step == "queue" and image:
            lookups.append(queued(store, f"{which}-{number % 3}", image, "close"))
        elif step == "decide" and lookups and lookups[-1]:
            new = decision(lookups[-1], list(Verdict)[which % 3], at=at)
            made.append(store.verdicts.record(new).result(10)[0])
        elif step == "withdraw" and made:
            store.verdicts.withdraw(Withdrawal(new_id(), made[-1].id, "ada", "r1", at)).result(10)
        elif step == "sign in" and any(not token.revoked_at for token in store.tokens()):
            sessions.append(store.sessions.open(session(store, at)).result(10))
        elif step == "sign out" and sessions:
            store.sessions.end(sessions[which % len(sessions)].id, at).result(10)
        elif step == "claim" and sessions and lookups:
            asked = Request(sessions[-1].id, lookups, which, at, at + timedelta(minutes=1))
            store.leases.take(asked).result(10)
        elif step in ("hide", "show") and image:
            store.add_tombstone(hide_image(image, hidden=step == "hide", at=at)).result(10)
        elif step in ("quarantine", "lift"):
            store.add_tombstone(quarantine(f"r{which % 3}", hidden=step == "quarantine", at=at)).result(10)
        elif step == "token":
            name = f"t{which}"
            if all(token.revoked_at for token in store.tokens() if token.name == name):
                token = Token(new_id(), name, Role.ADMIN, Sha256(new_id().hex * 2), store.release, at)
                store.add_token(token).result(10)
        elif step == "revoke" and any(not token.revoked_at for token in store.tokens()):
            store.revoke_token(next(t.name for t in store.tokens() if not t.revoked_at)).result(10)


def session(store: Store, at: datetime) -> Session:
    """A browser that signs in with a token in force."""
    token = next(token for token in store.tokens() if not token.revoked_at)
    digest = Sha256(new_id().hex * 2)
    return Session(
        new_id(), token.id, token.name, token.role, digest, at + timedelta(hours=1), store.release, at
    )
