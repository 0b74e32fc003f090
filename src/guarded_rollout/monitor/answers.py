"""The same question asked of both releases, off the clients' path; answers compared by declared fields.

Questions are what clients asked: paths from the edge's log, and files that were submitted, sent to a form
that looks up and keeps nothing. As Twitter's Diffy does, stable is asked twice: where it does not agree with
itself the answer differs by nature, and nothing is counted.
"""

import json
import random
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from guarded_rollout.config.service import DeclaredQuestion
from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.host.endpoint import Answer, Endpoint
from guarded_rollout.monitor.routes import Routes

QUESTIONS, DIFFERENCES, UNSTABLE = "questions_total", "differences_total", "undecidable_total"
PER_POLL = 4  # each asked of stable twice
IN_DOUBT = 12  # while something has differed in one of the last polls
DOUBTFUL_POLLS = 6
ASKED_AGAIN = 5  # a difference counts if one of so many more answers differs as well
REMEMBERED = 1000
TAIL_BYTES = 65_536
MAX_BODY = 20_000_000
LARGEST_OF = 16  # of so many originals the largest is asked: what is rare is seldom small
RANDOM = "{random}"
_FILLED = re.compile(r"\{(/[^}]*)\}")


@dataclass(frozen=True, slots=True)
class AskedRequest:
    """One request, and the fields of its answer that count."""

    method: str
    path: str
    fields: tuple[str, ...]
    body: bytes | None = None
    of_stable: str = ""  # the path that stable is asked, where it is another one


@dataclass(slots=True)
class AnswersSource:
    """Asks a few questions at each poll.

    Counters `questions_total`, `differences_total`, `undecidable_total`; `example` is the newest difference.
    """

    candidate: Endpoint
    stable: Endpoint
    questions: tuple[DeclaredQuestion, ...]
    edge_log: Path
    submitted: tuple[Path, ...]  # folders of submitted files; the first is made, so that it is filled
    headers: Mapping[str, str] = field(default_factory=dict)
    side: Side = Side.CANDIDATE
    source: Source = Source.ANSWERS
    chance: random.Random = field(default_factory=random.Random)
    _counts: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys((QUESTIONS, DIFFERENCES, UNSTABLE), 0.0)
    )
    _recent: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _example: str = ""
    _doubt: int = 0  # polls that ask more, from now on
    _doubtful: str = ""  # what was asked about a file then

    def sample(self) -> Sample:
        if self.submitted:
            with suppress(OSError):
                self.submitted[0].mkdir(mode=0o700, exist_ok=True)
        self._doubt -= 1
        most = IN_DOUBT if self._doubt >= 0 else PER_POLL
        for first, follow in islice(self._drawn(), most):
            before = self._counts[DIFFERENCES]
            answer = self._compare(first)
            for question in follow:
                if (path := _fill(question.path, answer)) is not None:
                    self._compare(AskedRequest(question.method, path, question.fields))
            if self._counts[DIFFERENCES] > before:
                self._doubt, self._doubtful = DOUBTFUL_POLLS, first.path if first.body is not None else ""
        return Sample(self.source, 0.0, self.side, counters=dict(self._counts), example=self._example)

    # ---- what is asked

    def _drawn(self) -> Iterator[tuple[AskedRequest, Sequence[DeclaredQuestion]]]:
        """Yield questions, each with those that follow from its answer; files and paths by turns.

        While a question about files makes a difference it alone is asked: what does not differ is no news.
        """
        doubtful = self._doubtful if self._doubt >= 0 else ""
        kinds = [self._files(doubtful)] if doubtful else [self._files(), self._paths()]
        while True:
            drawn = [one for one in (next(kind, None) for kind in kinds) if one is not None]
            if not drawn:
                return
            yield from drawn

    def _files(self, path: str = "") -> Iterator[tuple[AskedRequest, Sequence[DeclaredQuestion]]]:
        posts = [n for n, one in enumerate(self.questions) if one.method == "POST" and path in ("", one.path)]
        while posts and (found := self._original()) is not None:
            at = self.chance.choice(posts)
            question, follow = self.questions[at], []
            for later in self.questions[at + 1 :]:
                if not _FILLED.search(later.path):
                    break
                follow.append(later)
            self._recent.append(found.name)
            with suppress(OSError):
                content, other = found.read_bytes(), question.of_stable
                yield AskedRequest("POST", question.path, question.fields, content, other), follow

    def _original(self) -> Path | None:
        """Draw some files that were not asked about lately; return the largest that is not too large."""
        for folder in self.submitted:
            drawn = {path for _ in range(LARGEST_OF) if (path := self._drawn_file(folder)) is not None}
            fitting: list[tuple[int, Path]] = []
            for path in drawn:
                with suppress(OSError):  # the service lets go of the oldest meanwhile
                    if path.name not in self._recent and (size := path.stat().st_size) <= MAX_BODY:
                        fitting.append((size, path))
            if fitting:
                return max(fitting)[1]
        return None

    def _drawn_file(self, folder: Path) -> Path | None:
        while True:
            try:
                entries = [one for one in folder.iterdir() if not one.name.startswith(".")]
            except OSError:
                return None
            if not entries:
                return None
            folder = self.chance.choice(entries)
            if not folder.is_dir():
                return folder

    def _paths(self) -> Iterator[tuple[AskedRequest, Sequence[DeclaredQuestion]]]:
        drawn = [one for one in self.questions if one.method == "GET" and RANDOM in one.path]
        for one in drawn:
            yield (
                AskedRequest(
                    "GET", one.path.replace(RANDOM, f"{self.chance.getrandbits(64):016x}"), one.fields
                ),
                (),
            )
        gets = {
            one.path: one
            for one in self.questions
            if one.method == "GET" and not _FILLED.search(one.path) and one not in drawn
        }
        routes = Routes([f"GET {path}" for path in gets])
        asked = [path for path in self._logged() if routes.of("GET", path) in routes.names[:-1]]
        self.chance.shuffle(asked)
        for path in asked:
            question = gets[routes.of("GET", path).removeprefix("GET ")]
            yield AskedRequest("GET", path, question.fields), ()

    def _logged(self) -> list[str]:
        """Return the paths of the newest GET requests in the edge's log that were answered 200, each once."""
        try:
            with self.edge_log.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - TAIL_BYTES))
                tail = file.read().decode(errors="replace")
        except OSError:
            return []
        found: dict[str, None] = {}
        for line in tail.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                record = json.loads(line)
                if record["request"]["method"] == "GET" and record["status"] == 200:
                    found[str(record["request"]["uri"])] = None
        return list(found)

    # ---- asking

    def _compare(self, asked: AskedRequest) -> Answer:
        """Ask both and count; returns stable's answer."""
        stable, candidate = self._ask_stable(asked), self._ask(asked)
        if stable.problem or candidate.problem or stable.status >= 500:
            return stable  # silence and failures are for other gates
        again = self._ask_stable(asked)
        wanted = seen(stable, asked.fields)
        if wanted != seen(again, asked.fields):
            self._counts[UNSTABLE] += 1
            return stable
        self._counts[QUESTIONS] += 1
        found = seen(candidate, asked.fields)
        if found != wanted and self._still_differs(asked):
            self._counts[DIFFERENCES] += 1
            field_ = next((one for one in wanted if found.get(one) != wanted[one]), "status")
            self._example = (
                f"{asked.method} {asked.path[:80]}: {field_} is {_short(found.get(field_))}, "
                f"stable's {_short(wanted[field_])}"
            )
        return stable

    def _still_differs(self, asked: AskedRequest) -> bool:
        """Ask again, as one side may just have learned what the other will know in a moment.

        Who is right nine times in ten differs once more. Stable has to say the same before and after the
        candidate: what was written between two questions is nobody's fault.
        """
        for _ in range(ASKED_AGAIN):
            before, candidate, after = self._ask_stable(asked), self._ask(asked), self._ask_stable(asked)
            wanted, found = seen(before, asked.fields), seen(candidate, asked.fields)
            if not candidate.problem and found != wanted == seen(after, asked.fields):
                return True
        return False

    def _ask(self, asked: AskedRequest) -> Answer:
        return self.candidate.fetch(asked.method, asked.path, body=asked.body, headers=self.headers)

    def _ask_stable(self, asked: AskedRequest) -> Answer:
        path = asked.of_stable or asked.path
        return self.stable.fetch(asked.method, path, body=asked.body, headers=self.headers)


def seen(answer: Answer, fields: Sequence[str]) -> dict[str, object]:
    """Return what counts of an answer: its status, and the values at JSON pointers (`*` is every item)."""
    document = answer.json() if answer.ok else None
    return {"status": answer.status, **{pointer: values_at(document, pointer) for pointer in fields}}


def values_at(document: object, pointer: str) -> list[object]:
    """Return the values at a JSON pointer; those that are not there are left out."""
    found = [document]
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = [value for one in found for value in _inside(one, name)]
    return found


def _inside(value: object, name: str) -> Sequence[object]:
    if isinstance(value, list):
        if name == "*":
            return value
        return value[int(name) : int(name) + 1] if name.isdigit() else ()
    return (value[name],) if isinstance(value, dict) and name in value else ()


def _fill(template: str, answer: Answer) -> str | None:
    """Fill a path's pointers from an answer; None if a value is not there."""
    document = answer.json() if answer.ok else None
    values: dict[str, list[object]] = {one: values_at(document, one) for one in _FILLED.findall(template)}
    if not all(values.values()):
        return None
    return _FILLED.sub(lambda found: str(values[found[1]][0]), template)


def _short(value: object) -> str:
    text = str(value[0] if isinstance(value, list) and len(value) == 1 else value)
    return text if len(text) <= 60 else f"{text[:57]}…"
