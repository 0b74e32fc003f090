"""The contrast of colours that stand on one another, measured in both themes (WCAG 2.2, 1.4.3 and 1.4.11)."""

import re
from dataclasses import dataclass

TOKEN = re.compile(r"--([\w-]+): (#[0-9a-f]{6})\b")
DARK = "prefers-color-scheme: dark"

TEXT, EDGE = 4.5, 3.0
"""The least ratios of text and of the edges of controls."""

GROUNDS = ("ground", "surface", "raised")
ON = {
    "text": (*GROUNDS, "good-ground", "warn-ground", "bad-ground", "accent-ground"),
    "muted": (*GROUNDS, "accent-ground"),
    "accent": (*GROUNDS, "accent-ground"),
    "good": (*GROUNDS, "good-ground"),
    "warn": (*GROUNDS, "warn-ground"),
    "bad": (*GROUNDS, "bad-ground"),
    "accent-text": ("accent",),
    "control-edge": GROUNDS,
}
"""What each colour stands on."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """A colour on a ground, and their ratio, from 1 to 21."""

    colour: str
    ground: str
    ratio: float

    @property
    def least(self) -> float:
        return EDGE if self.colour == "control-edge" else TEXT


def pairings(css: str) -> dict[str, list[Pairing]]:
    """Every pairing of each theme, by the colours that a stylesheet's tokens have."""
    light, _, rest = css.partition(DARK)
    by_theme = {"light": dict(TOKEN.findall(light)), "dark": dict(TOKEN.findall(rest))}
    return {
        theme: [
            Pairing(colour, ground, contrast(tokens[colour], tokens[ground]))
            for colour, grounds in ON.items()
            for ground in grounds
        ]
        for theme, tokens in by_theme.items()
    }


def contrast(one: str, two: str) -> float:
    """The contrast ratio of two colours in six hex digits."""
    lighter, darker = sorted((luminance(one), luminance(two)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """The relative luminance of a colour, from 0 to 1."""
    shares = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
