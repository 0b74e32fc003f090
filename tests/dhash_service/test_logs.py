"""Logs of the service: lines that cannot be written cost nobody an answer."""

import subprocess
import sys

SAYS = (
    "import logging, structlog\n"
    "from dhash_service.logs import configure\n"
    "configure('info', '1.0')\n"
    "structlog.get_logger().warning('request failed')\n"
    "logging.getLogger('uvicorn.error').warning('request failed')\n"
    "print('answered')\n"
)


def test_a_log_on_a_full_disk_fails_nothing_but_the_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", SAYS], stderr=full, stdout=subprocess.PIPE, text=True, check=False
        )
    assert done.stdout == "answered\n"


def test_lines_go_to_stderr_as_json():
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True)
    first, second = done.stderr.splitlines()
    assert first.startswith('{"timestamp"')
    assert '"message": "request failed", "release": "1.0"' in first
    assert '"release": "1.0"' in second
