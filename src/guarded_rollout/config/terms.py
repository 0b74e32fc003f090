"""The terms of a gates file: where samples come from, what follows, and the scalars with their ranges."""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Source(StrEnum):
    """The origin of samples."""

    PROBE = "probe"  # asking the health endpoint
    SERVICE = "service"  # what the service counts itself
    PROXY = "proxy"  # what the proxy in front of it counts, each attempt by itself
    EDGE = "edge"  # what the proxy's log says: what clients got
    SYSTEM = "system"  # what the operating system says of its processes
    ANSWERS = "answers"  # the same questions, asked of both releases
    WRITES = "writes"  # what was confirmed to clients against the store's rows
    STALL = "stall"  # requests that the proxy waits for
    CRASHES = "crashes"  # server processes that end while clients come
    CHECKS = "checks"  # the checks that a release declares for the window, by the way that clients come


Counting = Literal[Source.SERVICE, Source.PROXY, Source.EDGE, Source.SYSTEM, Source.ANSWERS]


class Action(StrEnum):
    """The response to a breach."""

    ALERT = "alert"
    AUTO_ROLLBACK = "auto_rollback"


class Decision(StrEnum):
    """The rule by which a rate is compared with its limit."""

    LITERAL = "literal"  # the rate so far, once there are enough samples
    GUARDED = "guarded"  # early only on conclusive evidence; the plain words once the window is full


def _selectable(name: str) -> str:
    """Check the patterns of a name's labels, before the monitor uses them."""
    for label, pattern in re.findall(r'(\w+)=~"([^"]*)"', name):
        try:
            re.compile(pattern)
        except (re.error, OverflowError) as error:
            raise ValueError(f'{label}=~"{pattern}" is no pattern: {error}') from None
    return name


RETENTION_MOST = 8_784_000
"""Hours that a backup may have to stay: a thousand years, which a date before today still has."""

Percent = Annotated[float, Field(ge=0, le=100)]
Seconds = Annotated[float, Field(ge=0.01, le=86_400)]
Minutes = Annotated[float, Field(gt=0, le=1440)]
Metric = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_selectable)]
Metrics = Annotated[tuple[Metric, ...], Field(min_length=1, max_length=20)]


class Model(BaseModel):
    """Frozen; a key that is not here is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
