"""Notification templates: a text is a template or refused, and any event fits into every channel."""

import email
import email.policy
import io
import json
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import strategies as st

from fuzz.damage import damaged
from fuzz.engine import Check, Target, require
from guarded_rollout.errors import NotificationTemplateError
from guarded_rollout.notify.channels import discord, pager, slack, teams
from guarded_rollout.notify.channels.console import Console
from guarded_rollout.notify.channels.email import compose
from guarded_rollout.notify.events import Event, Kind, Level, event
from guarded_rollout.notify.message import NAMES, Message, checked, render, shipped

AT = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
PATH = Path("gate_alert.txt")
SHIPPED = [shipped(kind).encode() for kind in Kind]

WORDS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "$gate ${data} $$ $",
            "<!channel> <@U1> @everyone [a](http://x)",
            "\r\nBcc: x@example.org\r\n\r\nbody",
            "\x1b[2J\x07\u202e\u2028\ud83d",
            "&lt;<script>alert(1)</script>",
            "x" * 5000,
            "",
        ]
    ),
)
TEMPLATES = st.one_of(
    damaged(SHIPPED).map(lambda data: data.decode(errors="surrogateescape")),
    st.lists(
        st.one_of(
            st.sampled_from([f"${name}" for name in NAMES]), st.sampled_from(["Gate: ", "\n", "$"]), WORDS
        )
    ).map("".join),
)
FACTS = st.fixed_dictionaries(
    {},
    optional={
        "operator": WORDS,
        "gate": WORDS,
        "reason": WORDS,
        "error": WORDS,
        "backup_file": WORDS,
        "duration_seconds": st.floats(0, 1e9),
        "active_gates": st.lists(WORDS, max_size=3).map(tuple),
        "recipients": st.lists(WORDS, max_size=3).map(tuple),
        "data": st.dictionaries(WORDS, st.one_of(WORDS, st.integers(), st.floats(), st.none()), max_size=3),
    },
)
EVENTS = st.builds(
    lambda kind, environment, message, level, facts: event(
        kind, environment, AT, message=message, level=level, **facts
    ),
    st.sampled_from(Kind),
    WORDS,
    WORDS,
    st.sampled_from(Level),
    FACTS,
)


@contextmanager
def opened() -> Iterator[Check]:
    yield check


def check(drawn: tuple[str, Event]) -> None:
    """The template is refused in words, or renders; then every channel can send what comes of it."""
    text, told = drawn
    try:
        template = checked(text, PATH)
    except NotificationTemplateError as error:
        require(str(PATH) in error.sentence, error.sentence)
        template = shipped(told.kind)
    message = render(told, template)
    require("\n" not in message.title, "a title of two lines")
    odd = {sign for sign in message.plain() if unicodedata.category(sign) in ("Cc", "Cs")} - {"\n", "\t"}
    require(not odd, f"control characters: {odd}")
    for made in (slack.body(message), teams.body(message), discord.body(message), *pager.bodies(message)):
        json.dumps(made, ensure_ascii=False).encode()
    _fits(message)


def _fits(message: Message) -> None:
    """The receivers' own limits, and the headers of a mail."""
    blocks = slack.body(message)["blocks"]
    require(len(blocks[0]["text"]["text"]) <= slack.HEADER, "a header that Slack refuses")
    texts = [block["text"]["text"] for block in blocks if "text" in block]
    require(max(map(len, texts)) <= slack.SECTION, "a text that Slack refuses")
    require(len(blocks) <= slack.BLOCKS, "more blocks than Slack takes")
    size = len(json.dumps(teams.body(message), ensure_ascii=False).encode())
    require(size <= 28 * 1024, f"{size} bytes are too many for Teams")
    (embed,) = discord.body(message)["embeds"]
    fields = [one[part] for one in embed["fields"] for part in ("name", "value")]
    whole = sum(map(len, [embed["title"], embed["description"], embed["footer"]["text"], *fields]))
    require(whole <= discord.WHOLE, f"{whole} characters are too many for Discord")
    require(all(fields), "an empty field, which Discord refuses")
    mail = compose(message, "rollout@example.org", ["ops@example.org"])
    again = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    require(again["To"] == "ops@example.org" and again["Bcc"] is None, "a header that nobody wrote")
    stream = io.StringIO()
    Console(stream).send(message)
    require("\x1b" not in stream.getvalue(), "control characters on a terminal")


TARGET = Target("templates", st.tuples(TEMPLATES, EVENTS), opened)
