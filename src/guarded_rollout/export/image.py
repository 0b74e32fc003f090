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
# `.dockerignore` names what of that folder shall not be sent: data, backups, secrets, environments.
#   {build} -f Containerfile -t {name}:TAG .
FROM python:{python}-slim AS build
WORKDIR /build
COPY {lock} {lock}
RUN python -m venv --without-pip /app \\
 && python -m pip --python /app/bin/python install --no-cache-dir --no-deps --require-hashes -r {lock}
COPY . .
RUN python -m pip --python /app/bin/python install --no-cache-dir --no-deps . \\
 && python -m pip --python /app/bin/python check

FROM python:{python}-slim
COPY --from=build /app /app
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
