"""Matching pictures against banks, and the lists that banks are exchanged as: CSV and JSON lines."""

import csv
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from dhash_service.errors import BadRequestError, NotFoundError, RefusedByBankError
from dhash_service.facts import BankAction, BankEntry, BankMatch, Match, PictureBank, Status
from dhash_service.search.confidence import Reason
from dhash_service.search.index import HammingIndex
from dhash_service.store.banks import Banks, Mark
from dhash_service.store.sightings import require_words

FRESH = 0.5
"""Seconds for which the banks are taken to be unchanged by others."""

MOST = 16
"""Matches told of one picture."""

USUAL = 1_000
"""Entries near a picture, up to which one search finds them all."""

ORDER = tuple(BankAction)
"""The actions, the strictest last."""

COLUMNS = ("kind", "value", "label", "severity", "note", "expires_at")
MD5, SHA256 = "md5", "sha256"
DIGITS = {MD5: 32, SHA256: 64}
HEX = re.compile(r"[0-9a-f]+", re.ASCII)
REPORTED = 100
"""Refused lines that a report names; the rest are counted."""

GROUP = 1_000
"""Entries in one commit."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import: lines read, entries changed, lines refused, and the first of them with why."""

    read: int
    changed: int
    refused: int
    faults: Sequence[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class BankSummary:
    """A bank in numbers: its entries, those of them that have expired, when the next one does, and the
    highest severity (0 where there is none)."""

    bank: PictureBank
    entries: int = 0
    expired: int = 0
    next_expiry: datetime | None = None
    severest: int = 0

    def counting(self, entry: BankEntry, now: datetime) -> "BankSummary":
        """The same with one entry more."""
        expires, next_expiry = entry.expires_at, self.next_expiry
        expired = expires is not None and expires <= now
        if expires is not None and not expired:
            next_expiry = min(expires, next_expiry or expires)
        severest = max(self.severest, entry.severity)
        return BankSummary(self.bank, self.entries + 1, self.expired + expired, next_expiry, severest)


@dataclass(slots=True)
class _Known:
    """The banks as they were read, and the ways into them."""

    mark: Mark = (0, 0)
    banks: dict[str, PictureBank] = field(default_factory=dict)
    entries: dict[tuple[str, str, str], BankEntry] = field(default_factory=dict)
    orders: dict[tuple[str, str, str], tuple[datetime, UUID]] = field(default_factory=dict)
    banks_of: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # by kind and value
    values: list[str] = field(default_factory=list)  # fingerprints by the index's key
    keys: dict[str, int] = field(default_factory=dict)
    index: HammingIndex = field(default_factory=HammingIndex)
    md5s: int = 0


class BankMatcher:
    """Follows the banks of one store and matches pictures against them. Any thread may ask."""

    def __init__(self, banks: Banks, algorithm: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = banks
        self.algorithm = algorithm
        self._clock = clock
        self._lock = threading.Lock()
        self._known = _Known()
        self._read_at: float | None = None

    def all(self) -> list[tuple[PictureBank, int]]:
        """Every bank by name, and the number of its entries in force or expired."""
        known = self._fresh(now=True)
        with self._lock:
            counts = dict.fromkeys(known.banks, 0)
            for bank, _, _ in known.entries:
                counts[bank] = counts.get(bank, 0) + 1
            return [(known.banks[name], counts[name]) for name in sorted(known.banks)]

    def summaries(self, now: datetime) -> list[BankSummary]:
        """Every bank by name, in numbers."""
        known = self._fresh(now=True)
        with self._lock:
            found = {name: BankSummary(known.banks[name]) for name in sorted(known.banks)}
            for (bank, _, _), entry in known.entries.items():
                if bank in found:
                    found[bank] = found[bank].counting(entry, now)
            return list(found.values())

    def entries(self, name: str) -> list[BankEntry]:
        """The entries of a bank, expired ones too. Raises `NotFoundError`."""
        known = self._fresh(now=True)
        with self._lock:
            if name not in known.banks:
                raise NotFoundError(f"There is no bank {name}.", "`dhash bank list` shows them.")
            return sorted(
                (entry for key, entry in known.entries.items() if key[0] == name),
                key=lambda entry: (entry.kind, entry.value),
            )

    def wants_md5(self) -> bool:
        """True while some bank holds an MD5."""
        return self._fresh().md5s > 0

    def matches(self, value: int | None, digests: Mapping[str, str], now: datetime) -> list[BankMatch]:
        """The entries in force that a fingerprint or the digests of a file match, the nearest first."""
        known = self._fresh()
        with self._lock:
            if not known.entries:
                return []
            found = [(kind, digest, 0) for kind, digest in digests.items()]
            if value is not None and known.values:
                widest = max((bank.radius for bank in known.banks.values()), default=0)
                near = known.index.search(value, widest, USUAL)
                if near.total > USUAL:  # the strictest bank's entry may be the farthest
                    near = known.index.search(value, widest, near.total)
                found += [(self.algorithm, known.values[hit.key], hit.distance) for hit in near.hits]
            made = [
                BankMatch(known.banks[name], known.entries[name, kind, hash], distance)
                for kind, hash, distance in found
                for name in known.banks_of.get((kind, hash), ())
                if name in known.banks and distance <= known.banks[name].radius
            ]
        in_force = [each for each in made if each.entry.expires_at is None or each.entry.expires_at > now]
        in_force.sort(key=lambda each: (each.distance, each.bank.name))
        # What is left out decides nothing: the strictest stay, however many others are nearer.
        places = sorted(range(len(in_force)), key=lambda place: -ORDER.index(in_force[place].bank.action))
        return [in_force[place] for place in sorted(places[:MOST])]

    def set(self, bank: PictureBank) -> None:
        """Make a bank, or change its settings. Raises `BadRequestError`, `StoreError`."""
        require_words("bank's name", bank.name, 64)
        require_words("note", bank.note, 2000)
        if not bank.name.strip():
            raise BadRequestError("The bank has no name.", "Give it one.")
        if "/" in bank.name or bank.name in (".", ".."):
            raise BadRequestError(
                f"{bank.name} cannot stand in an address.", "Choose a name without a slash."
            )
        self._store.set(bank, datetime.now(UTC)).result()
        self._read_at = None

    def load(self, name: str, text: str, *, removed: bool = False) -> Imported:
        """Put a list of hashes (CSV with a head, or JSON lines) into a bank, or take them out of it.

        Lines that are no entry are refused and reported; the others are taken. Raises `NotFoundError`.
        """
        self.entries(name)
        good: list[BankEntry] = []
        faults: list[tuple[int, str]] = []
        read = changed = 0
        for number, row in lines(text):
            read += 1
            try:
                good.append(self.entry(name, row))
            except BadRequestError as error:
                faults.append((number, error.detail))
            if len(good) == GROUP:
                changed += self._store.put(good, datetime.now(UTC), removed=removed).result()
                good = []
        changed += self._store.put(good, datetime.now(UTC), removed=removed).result()
        self._read_at = None
        return Imported(read, changed, len(faults), faults[:REPORTED])

    def entry(self, bank: str, row: Mapping[str, Any] | str) -> BankEntry:
        """An entry from a line of a list. Raises `BadRequestError`."""
        if isinstance(row, str):
            raise BadRequestError(row)
        if unknown := row.keys() - set(COLUMNS):
            raise BadRequestError(f"There is no column {min(map(str, unknown))!r}.")
        kind, value = (str(row.get(column) or "").strip().lower() for column in ("kind", "value"))
        kind = {"dhash": self.algorithm, "sha-256": SHA256, "sha_256": SHA256}.get(kind, kind)
        if kind not in DIGITS and kind != self.algorithm:
            raise BadRequestError(f"{kind!r} is no kind; this store takes {self.algorithm}, md5 and sha256.")
        digits = DIGITS.get(kind, 16)
        if len(value) != digits or not HEX.fullmatch(value):
            raise BadRequestError(f"{value[:80]!r} is no {kind}: {digits} hex digits are.")
        label, note = str(row.get("label") or ""), str(row.get("note") or "")
        require_words("label", label, 255)
        require_words("note", note, 2000)
        severity = str(row.get("severity") or 0)
        if not (severity.isascii() and severity.isdigit() and int(severity[:3]) <= 10 and len(severity) < 4):
            raise BadRequestError(f"The severity {severity[:20]!r} is no number from 0 to 10.")
        return BankEntry(bank, kind, value, label, int(severity), note, _moment(row.get("expires_at")))

    def _fresh(self, *, now: bool = False) -> _Known:
        with self._lock:
            read_at, moment = self._read_at, self._clock()
            if now or read_at is None or moment - read_at > FRESH:
                self._read_at = moment
                if self._store.mark() != self._known.mark:
                    self._read()
            return self._known

    def _read(self) -> None:
        known = self._known
        known.mark, settings, changes = self._store.since(known.mark)
        for bank in settings:
            known.banks[bank.name] = bank
        new: dict[int, int] = {}
        for change in changes:
            key = (change.entry.bank, change.entry.kind, change.entry.value)
            if key in known.orders and known.orders[key] > change.order:
                continue  # a merge brought an older word
            known.orders[key] = change.order
            self._apply(key, change.entry, change.removed, new)
        known.index.append(list(new), list(new.values()))

    def _apply(self, key: tuple[str, str, str], entry: BankEntry, removed: bool, new: dict[int, int]) -> None:
        known, (bank, kind, value) = self._known, key
        holders = known.banks_of.setdefault((kind, value), set())
        known.md5s += (kind == MD5) * (int(not removed) - int(key in known.entries))
        if removed:
            known.entries.pop(key, None)
            holders.discard(bank)
            return
        known.entries[key] = entry
        holders.add(bank)
        if kind == self.algorithm and value not in known.keys:
            known.keys[value] = len(known.values)
            new[len(known.values)] = int(value, 16)
            known.values.append(value)


def lines(text: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """The rows of a list with their line numbers; a string says why a line is no row."""
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        for number, line in enumerate(text.split("\n"), 1):  # splitlines would cut at U+2028 in a label
            if line.strip():
                yield number, _json_row(line)
        return
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="too many columns", restval="")
    while True:
        try:
            row: Mapping[str, Any] | str = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # the reader goes on with the next line
            row = f"It is no CSV: {error}."
        yield reader.reader.line_num, row


def _json_row(line: str) -> Mapping[str, Any] | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return "It is no JSON."
    return row if isinstance(row, dict) else "It is no JSON object."


def _moment(given: object) -> datetime | None:
    if not given:
        return None
    try:
        moment = datetime.fromisoformat(str(given))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequestError(f"{str(given)[:40]!r} is no time like 2030-01-31T12:00:00Z.") from None


def exported(entries: Iterable[BankEntry], *, as_json: bool) -> Iterator[str]:
    """The lines of a list, which `BankMatcher.load` reads again."""
    if not as_json:
        yield ",".join(COLUMNS) + "\n"
    for entry in entries:
        expires = entry.expires_at.isoformat() if entry.expires_at else ""
        row = [entry.kind, entry.value, entry.label, entry.severity, entry.note, expires]
        if as_json:
            yield json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n"
        else:
            line = io.StringIO()
            csv.writer(line, lineterminator="\n").writerow(row)
            yield line.getvalue()


def require_admitted(matches: Sequence[BankMatch]) -> None:
    """Raises `RefusedByBankError` where a bank refuses the picture."""
    if strictest(matches) is BankAction.REFUSED:
        names = sorted({each.bank.name for each in matches if each.bank.action is BankAction.REFUSED})
        raise RefusedByBankError(f"It matches {', '.join(names)}.")


def queued_by(matches: Sequence[BankMatch], match: Match) -> Match:
    """The match, waiting for a person if a bank says so."""
    if strictest(matches) in (None, BankAction.TOLD):
        return match
    return replace(match, status=Status.REVIEW, reasons=(Reason.BANKED, *match.reasons))


def strictest(matches: Sequence[BankMatch]) -> BankAction | None:
    """The action to take: refused goes before queued, queued before told."""
    if not matches:  # as most often
        return None
    return max((match.bank.action for match in matches), key=ORDER.index)
