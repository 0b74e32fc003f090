"""The PostgreSQL server dies: it is started again, or its synchronous standby takes over."""

from collections.abc import Iterator

from chaos.faults.base import Scene
from chaos.plan import Fault, Target


def kill(scene: Scene, fault: Fault) -> Iterator[str]:
    servers = scene.servers
    assert servers is not None
    servers.kill()
    yield "the primary and all that it had started"
    if fault.target is Target.STANDBY:
        servers.promote()
    else:
        servers.start_again()
