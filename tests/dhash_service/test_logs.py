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


BOTH = (
    "import structlog\n"
    "from dhash_service import logs\n"
    "logs.configure({level!r}, '1.0\"')\n"
    "structlog.contextvars.bind_contextvars(request='ab-1')\n"
    "structlog.get_logger().info('request', method='GET', path='/ä\"\\\\\\n', code=200, ms=1.52)\n"
    "logs.answered('ab-1', 'GET', '/ä\"\\\\\\n', 200, 0.00152)\n"
)


def test_a_request_s_line_is_the_one_that_structlog_would_write():
    said = subprocess.run([sys.executable, "-c", BOTH.format(level="info")], capture_output=True, check=True)
    ours, theirs = said.stderr.splitlines()
    assert len(ours) == len(theirs)  # the times as well
    assert ours.split(b"Z", 1)[1] == theirs.split(b"Z", 1)[1]


def test_no_line_is_written_of_requests_where_only_warnings_are_wanted():
    said = subprocess.run(
        [sys.executable, "-c", BOTH.format(level="warning")], capture_output=True, check=True
    )
    assert said.stderr == b""
