"""The route templates of `[service] routes`: what a request was for, in a bounded number of words. Pure."""

import re
from collections.abc import Iterable

OTHER = "other"
REMEMBERED = 4096  # paths whose route is known without looking


class Routes:
    """Templates such as `POST /api/items` and `/items/{id}`; a request is of the first that fits it.

    Without a method a template takes all of them; `{name}` is one step of a path, a last `*` any rest.
    """

    def __init__(self, templates: Iterable[str]) -> None:
        self.names = (*dict.fromkeys(templates), OTHER)
        self._patterns = [(name, *_read(name)) for name in self.names[:-1]]
        self._known: dict[tuple[str, str], str] = {}

    def of(self, method: str, path: str) -> str:
        """Return the template that fits, `other` if none does."""
        found = self._known.get((method, path))
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[method, path] = self._find(method, path)
        return found

    def _find(self, method: str, path: str) -> str:
        for name, wanted, pattern in self._patterns:
            if wanted in ("", method) and pattern.fullmatch(path):
                return name
        return OTHER


def _read(template: str) -> tuple[str, re.Pattern[str]]:
    method, _, path = template.rpartition(" ")
    steps = re.split(r"(\{[a-z_]+\}|\*$)", path)
    kinds = {"*": ".*"}
    pattern = "".join(kinds.get(step, "[^/]+" if step.startswith("{") else re.escape(step)) for step in steps)
    return method, re.compile(pattern)
