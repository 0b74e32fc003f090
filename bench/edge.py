"""The edge's log: what does it cost to know what clients got?"""

import json
import tempfile
import time
from pathlib import Path

from bench.table import Table, Target, share
from guarded_rollout.config.environments import load
from guarded_rollout.monitor.edge_log import EdgeLog, Writes
from guarded_rollout.monitor.routes import Routes

ROOT = Path(__file__).parents[1]
RATE = 1000  # requests a second
METHODS = ("GET", "GET", "POST")


def tables(quick: bool) -> list[Table]:
    """Lines as Caddy writes them, read in one go."""
    lines = 50_000 if quick else 500_000
    service = load(ROOT / "rollout.toml").environments["production"].service
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "edge.log"
        size = write(path, lines)
        writes = Writes(service.writes.routes, service.writes.statuses)
        log = EdgeLog(
            path, Routes(service.routes), {"unix//in-blue": "blue", "unix//in-green": "green"}, writes
        )
        log.begin(0.0)
        begin = time.process_time()
        counted = (
            log.counts("green").counters["requests_total"] + log.counts("blue").counters["requests_total"]
        )
        spent = (time.process_time() - begin) / lines
    assert counted == lines
    return [
        Table(
            f"What does reading the edge's log cost at {RATE:,} requests/s?",
            ("", "a line", "of a core", "written"),
            [
                (
                    "counted per slot and route",
                    f"{spent * 1e6:.1f} µs",
                    share(spent * RATE),
                    f"{size / lines * RATE / 1e6:.2f} MB/s",
                )
            ],
            [Target("reading the edge's log", "≤ 3 % of a core", share(spent * RATE), spent * RATE <= 0.03)],
        )
    ]


def write(path: Path, lines: int) -> int:
    """Write so many lines of requests of all routes; return their size in bytes."""
    with path.open("w") as file:
        for number in range(lines):
            slot = "green" if number % 2 else "blue"
            request = {"method": METHODS[number % 3], "uri": f"/api/dhash/{number % 5000}"}
            record = {
                "ts": 1.0 + number,
                "logger": "http.log.access.edge",
                "request": request,
                "bytes_read": 0,
                "duration": 0.001 + number % 100 / 1000,
                "size": 420,
                "status": 200 if number % 50 else 503,
                "slot": slot,
                "upstream": f"unix//in-{slot}",
                "retries": 0,
            }
            file.write(json.dumps(record) + "\n")
    return path.stat().st_size
