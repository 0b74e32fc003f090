"""The variables that every process of ours inherits from the operator's shell, and no others."""

import os

BASE_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")


def base_variables() -> dict[str, str]:
    """Return what a process of ours inherits from the operator's shell."""
    return {name: os.environ[name] for name in BASE_VARIABLES if name in os.environ}
