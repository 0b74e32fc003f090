"""E-mail: text and HTML over SMTP, with TLS and a login if configured."""

import smtplib
import ssl
from collections.abc import Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from html import escape

from guarded_rollout.errors import NotificationSettingsError
from guarded_rollout.notify.channels import Refused, Unavailable
from guarded_rollout.notify.events import Level
from guarded_rollout.notify.message import Message, shorten
from guarded_rollout.notify.settings import Settings

COLOURS = {Level.INFO: "#1f6feb", Level.WARNING: "#9a6700", Level.ERROR: "#cf222e", Level.CRITICAL: "#a40e26"}
SUBJECT, TEXT, FACT = 200, 100_000, 10_000
SECURITIES = ("auto", "starttls", "tls", "none")


class Email:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._host = settings.text("SMTP_HOST")
        self._port = settings.port("SMTP_PORT")
        self._security = settings.text("SMTP_SECURITY")
        self._sender = settings.text("EMAIL_FROM")
        self._to = addresses(settings.text("EMAIL_TO"))
        self._names = recipients(settings.text("NOTIFICATION_RECIPIENTS"))
        if self._security not in SECURITIES:
            settings.reject(
                "SMTP_SECURITY", f"is {self._security!r}; one of {', '.join(SECURITIES)} is meant"
            )
        for name, given in (("EMAIL_FROM", [self._sender]), ("EMAIL_TO", self._to)):
            for address in given or [""]:
                if not is_address(address):
                    settings.reject(name, f"has {address!r}, which is not an address such as ops@example.org")

    def send(self, message: Message) -> None:
        called = (self._names.get(name, name) for name in message.event.facts.get("recipients", ()))
        to = list(dict.fromkeys([*self._to, *(name for name in called if is_address(name))]))
        try:
            with self._connected() as server:
                refused = server.send_message(compose(message, self._sender, to), self._sender, to)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise _failure(min(codes), f"no recipient was accepted: {_first(error.recipients)}") from None
        except smtplib.SMTPResponseException as error:
            raise _failure(error.smtp_code, _words(error.smtp_code, error.smtp_error)) from None
        except ssl.SSLCertVerificationError as error:
            raise Refused(f"its certificate is not trusted: {error.verify_message}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise Unavailable(str(error) or type(error).__name__) from None
        if refused and len(refused) == len(to):
            raise Refused(_first(refused))

    def _connected(self) -> smtplib.SMTP:
        timeout = self._settings.seconds("NOTIFICATION_TIMEOUT")
        context = ssl.create_default_context(cafile=self._settings.text("SMTP_CA_FILE") or None)
        implicit = self._security == "tls" or (self._security == "auto" and self._port == 465)
        server: smtplib.SMTP = (
            smtplib.SMTP_SSL(self._host, self._port, timeout=timeout, context=context)
            if implicit
            else smtplib.SMTP(self._host, self._port, timeout=timeout)
        )
        try:
            server.ehlo()
            offered = server.has_extn("starttls")
            if self._security == "starttls" and not offered:
                raise Refused("the server offers no STARTTLS")
            encrypted = implicit
            if offered and not implicit and self._security != "none":
                server.starttls(context=context)
                server.ehlo()
                encrypted = True
            self._log_in(server, encrypted)
        except BaseException:
            with suppress(OSError):
                server.close()
            raise
        return server

    def _log_in(self, server: smtplib.SMTP, encrypted: bool) -> None:
        user = self._settings.text("SMTP_USER")
        if not user:
            return
        if not encrypted and self._security != "none":
            raise Refused("the server offers no TLS, and a password is not sent without it")
        server.login(user, self._settings.secret("SMTP_PASS").reveal())


def compose(message: Message, sender: str, to: list[str]) -> EmailMessage:
    """Compose a mail. Its Message-ID is the event's, so that mail systems recognise a second copy."""
    event = message.event
    mail = EmailMessage()
    mail["Subject"] = shorten(f"[{event.level}] {message.title}", SUBJECT)
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(event.at)
    mail["Message-ID"] = f"<{event.id}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    mail["X-Event-Id"] = event.id
    mail["Auto-Submitted"] = "auto-generated"
    if event.level.rank >= Level.ERROR.rank:
        mail["Importance"] = "high"
    mail.set_content(shorten(message.plain(), TEXT))
    mail.add_alternative(html(message), subtype="html")
    return mail


def html(message: Message) -> str:
    """Return the message as one HTML page."""
    rows = "".join(
        f'<tr><th align="left" valign="top" style="padding:2px 16px 2px 0">{escape(label)}</th>'
        f'<td style="white-space:pre-wrap">{escape(shorten(value, FACT))}</td></tr>'
        for label, value in (*message.facts, ("Event", message.event.id))
    )
    return (
        f'<html><body style="font-family:sans-serif"><h2 style="color:{COLOURS[message.level]}">'
        f"{escape(message.title)}</h2>"
        f'<p style="white-space:pre-wrap">{escape(shorten(message.text, TEXT))}</p>'
        f"<table>{rows}</table></body></html>"
    )


def addresses(text: str) -> list[str]:
    """Split a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def recipients(text: str) -> Mapping[str, str]:
    """Parse `@ops=ops@example.org,@on-call=…` into a mapping. Raises `NotificationSettingsError`."""
    found = {}
    for part in addresses(text):
        name, equals, address = part.partition("=")
        if not equals or not is_address(address.strip()):
            problem = f"has {part!r}; @name=address is meant"
            raise NotificationSettingsError(path="NOTIFICATION_RECIPIENTS", problem=problem)
        found[name.strip()] = address.strip()
    return found


def is_address(text: str) -> bool:
    """Return True for what looks like a mail address; a plain check, for settings."""
    address = parseaddr(text)[1]
    local, at, domain = address.rpartition("@")
    return bool(local and at and domain) and not any(c.isspace() or c in "<>,;" for c in address)


def _failure(code: int, problem: str) -> Refused | Unavailable:
    # SMTP's own rule: 4xx may pass, 5xx will not.
    return Refused(problem) if code >= 500 else Unavailable(problem)


def _first(refused: Mapping[str, tuple[int, bytes]]) -> str:
    address, (code, words) = next(iter(refused.items()))
    return f"{address}: {_words(code, words)}"


def _words(code: int, words: bytes | str) -> str:
    text = words.decode(errors="replace") if isinstance(words, bytes) else words
    return f"{code} {text[:200]}"
