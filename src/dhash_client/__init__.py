"""A client of the dhash service: `Client` for threads, `AsyncClient` for asyncio. Needs httpx alone."""

from dhash_client.answers import BankHit, Extracted, Near, Sighted, Submitted
from dhash_client.client import AsyncClient, Client
from dhash_client.requests import Item, ProblemError

__all__ = [
    "AsyncClient",
    "BankHit",
    "Client",
    "Extracted",
    "Item",
    "Near",
    "ProblemError",
    "Sighted",
    "Submitted",
]
