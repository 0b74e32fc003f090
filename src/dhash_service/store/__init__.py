"""The store: where facts are kept. `Store.open` is the way in."""

from dhash_service.store.recorder import NewImage, Registered
from dhash_service.store.review import QueuePage, QueueStatus
from dhash_service.store.store import Store

__all__ = ["NewImage", "QueuePage", "QueueStatus", "Registered", "Store"]
