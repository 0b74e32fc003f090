"""A container image of a release: its wheel and its hash-locked requirements, and a user without rights."""

import json
from collections.abc import Sequence

from guarded_rollout.config.environments import Environment
from guarded_rollout.config.recipe import BuildKind
from guarded_rollout.errors import NoImageError
from guarded_rollout.export.cluster import BIN, PORT, USER, served_by

TEXT = """\
# Made by `rollout export containerfile` from rollout.toml: edit that and export this again.
# Build it in the service's folder, where {lock} is: TAG is what its rows will be stamped with.
#   {build} -f Containerfile -t {name}:TAG .
FROM python:{python}-slim AS build
WORKDIR /build
COPY . .
RUN python -m venv /app \\
 && /app/bin/pip install --no-cache-dir --no-deps --require-hashes -r {lock} \\
 && python -m venv /build/tools \\
 && /build/tools/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /build/wheel . \\
 && /app/bin/pip install --no-cache-dir --no-deps --no-index /build/wheel/*.whl \\
 && /app/bin/pip check

FROM python:{python}-slim
COPY --from=build --chown=root:root /app /app
ENV PATH={bin}:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER {user}:{user}
EXPOSE {port}
ENTRYPOINT {serve}
"""


def containerfile(environment: Environment, python: str, serve: Sequence[str] = ()) -> str:
    """The Containerfile of a service in Python, which `serve` serves if it is given.

    Raises `NoImageError` for another, and `PodCommandError` for one that serves on a unix socket alone.
    """
    service = environment.service
    if service.build is not BuildKind.WHEEL:
        raise NoImageError(kind=service.build.value)
    return TEXT.format(
        name=service.name,
        lock=service.lock,
        python=service.python or python,
        build="docker build",
        bin=BIN,
        user=USER,
        port=PORT,
        serve=json.dumps(served_by(service, serve)),
    )
