"""Mutants that no test can tell from the code: by room and reason, the lines as the change makes them."""

from collections.abc import Mapping

EQUIVALENT: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "verdict": {
        "a cache changes nothing but how long it takes": ("without @cache",),
        "it is called on the class alone, where a plain function does the same": ("without @staticmethod",),
    },
}
