"""A mistake in rollout.toml, at the path of the key that has it."""


class Mistake(Exception):
    """`where` is a dotted path, and the sentence says what is wrong there."""

    def __init__(self, where: str, sentence: str) -> None:
        super().__init__(sentence)
        self.where, self.sentence = where, sentence


def require(holds: bool, where: str, sentence: str) -> None:
    """Raise a `Mistake` unless this holds."""
    if not holds:
        raise Mistake(where, sentence)
