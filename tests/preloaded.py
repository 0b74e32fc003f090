"""All that a `dhash` or `rollout` command may import, for the process that others are forked from."""

from importlib import import_module
from pkgutil import walk_packages

import dhash_service.app
import dhash_service.bulk
import dhash_service.cli
import dhash_service.store.migrate  # noqa: F401
import guarded_rollout

for module in walk_packages(guarded_rollout.__path__, "guarded_rollout."):
    if not module.name.endswith("__main__"):
        import_module(module.name)
