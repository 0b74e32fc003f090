"""`python -m chaos.slow_clients`: 500 connections that send ten bytes a second, and how others are served.

The attack is Slowloris (2009) and its POST variant: connections are many and never done. Others submit and
search meanwhile, through the proxy and past it; exit 1 if one of them fails or waits far longer than before.
"""

import argparse
import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.clients import Address, Load, distinct, load
from tests.guarded_rollout.sandbox import Sandbox
from tests.pictures import jpeg

CONNECTIONS = 500
BYTES, EVERY_SECONDS = 10, 1.0
HALF_A_HEAD = b"GET /api/dhash/search?hash=8f0f0f1f3f7fff00 HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
HEAD = (
    b"POST /api/dhash HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    b"Content-Length: 400000\r\n\r\n"
)
WAIT_MOST = 5.0  # times as long as without the attack, at the 99th percentile, or ENOUGH
ENOUGH_SECONDS = 0.1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.slow_clients", description=__doc__)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--requests", type=int, default=2_000, help="of the others, each time")
    chosen = parser.parse_args()
    sandbox = Sandbox(None)
    try:
        sandbox.deploy()
        slot = sandbox.site.traffic.serving()
        assert slot is not None
        ways: dict[str, Address] = {
            "through the proxy": sandbox.port,
            "past it": sandbox.site.slots.socket(slot),
        }
        broken = [
            problem
            for name, address in ways.items()
            for problem in under_attack(name, address, chosen.connections, chosen.requests)
        ]
    finally:
        sandbox.close()
    print("\n".join(broken) or "the others were served")
    return 1 if broken else 0


def under_attack(name: str, address: Address, connections: int, requests: int) -> Iterator[str]:
    """Serve others without and with the attack; what was not as it should be."""
    before = others(address, requests, 0)
    with attack(address, connections) as held:
        during = others(address, requests, requests)
        alive = len(held)
    for label, seen in (("alone", before), (f"beside {alive} slow ones", during)):
        p50, p99 = (1000 * seen.percentile(q) for q in (0.5, 0.99))
        print(f"{name}, {label}: {seen.rate:.0f} requests/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)
    if alive < connections:
        yield f"{name}: only {alive} slow connections could be opened"
    if during.percentile(0.99) > max(ENOUGH_SECONDS, WAIT_MOST * before.percentile(0.99)):
        yield f"{name}: the others' p99 rose to {during.percentile(0.99):.2f} s"


def others(address: Address, count: int, first: int) -> Load:
    """Half submits, half searches; `load` raises if one is not answered 2xx."""
    picture = jpeg(320, 240, 5)
    search = ("GET", "/api/dhash/search?hash=8f0f0f1f3f7fff00", b"")
    submits = [("POST", "/api/dhash", distinct(picture, first + number)) for number in range(count // 2)]
    return load(address, [one for submit in submits for one in (submit, search)], 4)


@contextlib.contextmanager
def attack(address: Address, connections: int) -> Iterator[list[socket.socket]]:
    """Slow connections, half in the middle of their head and half of their body, until the block ends."""
    held: list[socket.socket] = []
    done = threading.Event()
    for number in range(connections):
        with contextlib.suppress(OSError):
            held.append(opened(address))
            held[-1].sendall(HEAD if number % 2 else HALF_A_HEAD)

    def drip() -> None:
        while not done.wait(EVERY_SECONDS):
            for one in held:
                with contextlib.suppress(OSError):  # the server may cut it off: that is its good right
                    one.send(b"x" * BYTES)

    dripping = threading.Thread(target=drip)
    dripping.start()
    time.sleep(3 * EVERY_SECONDS)  # the attack is under way
    try:
        yield held
    finally:
        done.set()
        dripping.join()
        for one in held:
            one.close()


def opened(address: Address) -> socket.socket:
    if isinstance(address, Path):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        connection.connect(str(address))
        return connection
    return socket.create_connection(("127.0.0.1", address), 5)


if __name__ == "__main__":
    sys.exit(main())
