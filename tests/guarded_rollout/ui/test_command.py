"""`rollout ui`: how it starts, what it says, how it ends."""

import http.client
import subprocess
from pathlib import Path

from tests.forked import run
from tests.guarded_rollout.ui.command import dashboard
from tests.guarded_rollout.ui.uikit import Place


def rollout_ui(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return run("rollout", "ui", *words, folder=folder, seconds=30)


def test_a_port_that_is_taken_is_a_clear_error(place: Place) -> None:
    with dashboard(place.folder) as running:
        done = rollout_ui(place.folder, "--port", str(running.port))
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {running.port}: Address already in use" in done.stderr
    assert "Choose another with --port" in done.stderr


def test_an_address_that_is_not_ours_is_a_clear_error(place: Place) -> None:
    done = rollout_ui(place.folder, "--host", "no.such.host.invalid")
    assert (done.returncode, "cannot listen on no.such.host.invalid" in done.stderr) == (1, True)


def test_the_token_is_printed_alone(place: Place) -> None:
    done = rollout_ui(place.folder, "--token")
    assert done.stdout.strip() == (place.folder / ".rollout-ui" / "token").read_text().strip()
    assert done.stdout.count("\n") == 1


def test_ctrl_c_ends_it_while_a_page_is_open(place: Place) -> None:
    with dashboard(place.folder) as running:
        polling = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        polling.request("GET", "/", headers={"HX-Request": "true"})
        answer = polling.getresponse()  # the connection stays open for the next poll
        assert answer.status == 200
        assert b"card-production" in answer.read()
        said = running.stop()
        assert running.process.returncode == 0
        assert said.splitlines()[-1] == "The dashboard has ended."
        assert "Traceback" not in said
        assert "ERROR" not in said
        polling.close()
