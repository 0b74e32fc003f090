"""All that a `dhash` command may import, for the process that others are forked from."""

import dhash_service.app
import dhash_service.bulk
import dhash_service.cli
import dhash_service.store.migrate  # noqa: F401
