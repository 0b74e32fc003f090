"""The stream of a store: sent elsewhere, brought back as of a time; and a machine that is lost."""

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from guarded_rollout.checks.findings import Severity
from guarded_rollout.checks.safeguards import stream_lag
from guarded_rollout.cli.restore import moment_of
from guarded_rollout.errors import FileThereError, NoStreamError, StreamError, UsageError
from guarded_rollout.host.caddy import STREAM_LAG, configuration
from guarded_rollout.host.endpoint import Endpoint
from guarded_rollout.host.processes import STREAM
from guarded_rollout.host.programs import program
from guarded_rollout.host.site import Site
from guarded_rollout.rollout.steps.backup import take_backup
from tests.guarded_rollout.rolloutkit import kept, store_path, submit
from tests.guarded_rollout.sandbox import Sandbox, wait_until
from tests.guarded_rollout.storage import KEY, SECRET, Place, s3_server

GATES = "quality-gates-config.json"
ROOT = Path(__file__).parents[2]


def table(url: str, **settings: str) -> str:
    more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    variables = f'AWS_ACCESS_KEY_ID = "{KEY}"\nAWS_SECRET_ACCESS_KEY = "$STREAM_SECRET"\n' if settings else ""
    return (
        f"[backup.stream]\nurl = {json.dumps(url)}\nsync_seconds = 0.1\n"
        f"[backup.stream.settings]\n{more}[backup.stream.variables]\n{variables}"
    )


def streamed(sandbox: Sandbox, text: str) -> None:
    settings = sandbox.folder / "rollout.toml"
    settings.write_text(settings.read_text() + text)


def lag(sandbox: Sandbox) -> float | None:
    state = sandbox.site.stream.state(datetime.now(UTC))
    return state.lag_seconds if state else None


def rows(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as store:
        return {sha for (sha,) in store.execute("SELECT sha256 FROM picture")}


@pytest.fixture
def streaming(sandbox: Sandbox, tmp_path: Path) -> Sandbox:
    streamed(sandbox, table(f"file://{tmp_path / 'stream'}"))
    return sandbox


# ---- without a machine


def test_a_time_is_utc_unless_it_says_otherwise() -> None:
    assert moment_of("2026-06-01T12:30:00") == datetime(2026, 6, 1, 12, 30, tzinfo=UTC)
    assert moment_of("2026-06-01 14:30:00+02:00") == datetime(2026, 6, 1, 12, 30, tzinfo=UTC)
    assert moment_of("") is None
    with pytest.raises(UsageError, match="is no time"):
        moment_of("yesterday")


def test_without_a_target_nothing_is_streamed_and_nothing_comes_back(sandbox: Sandbox) -> None:
    assert sandbox.site.stream.state(datetime.now(UTC)) is None
    with pytest.raises(NoStreamError):
        sandbox.site.stream.restore(sandbox.folder / "back.db")


def test_nothing_is_written_over_and_an_empty_target_leaves_no_file(streaming: Sandbox) -> None:
    there = streaming.folder / "there.db"
    there.write_text("mine")
    with pytest.raises(FileThereError):
        streaming.site.stream.restore(there)
    missing = streaming.folder / "missing.db"
    with pytest.raises(StreamError):
        streaming.site.stream.restore(missing)
    assert not missing.exists()
    assert not list(streaming.folder.glob(".restoring-*"))


@contextmanager
def replicating(sandbox: Sandbox) -> Iterator[sqlite3.Connection]:
    """A store that is streamed, by litestream alone; `run/ls` answers."""
    path = store_path(sandbox)
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE IF NOT EXISTS picture (sha256)")
        command = sandbox.site.stream.command()
        with (sandbox.folder / "litestream.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(lambda: lag(sandbox) == 0, 15, "it begins")
            yield store
        finally:
            process.kill()
            process.wait(10)


def put(store: sqlite3.Connection) -> str:
    name = os.urandom(8).hex()
    store.execute("INSERT INTO picture VALUES (?)", (name,))
    return name


def test_what_is_said_to_be_sent_comes_back(streaming: Sandbox) -> None:
    """Whenever it is asked: litestream reads the log once a second, and its target answers more often."""
    with replicating(streaming) as store:
        for pause in (0.0, 0.25):
            time.sleep(pause)
            name = put(store)
            wait_until(lambda: lag(streaming) == 0, 15, "all is sent")
            assert name in _back(streaming)


def test_a_target_that_cannot_be_written_to_is_a_growing_lag_for_people_and_for_prometheus(
    streaming: Sandbox, tmp_path: Path
) -> None:
    port = streaming.open_metrics()
    streamed(streaming, table(f"file://{tmp_path / 'stream'}"))
    servers = configuration(streaming.environment)["apps"]["http"]["servers"]  # type: ignore[index]
    alone = {"admin": {"disabled": True}, "apps": {"http": {"servers": {"metrics": servers["metrics"]}}}}
    (tmp_path / "caddy.json").write_text(json.dumps(alone))
    command = [program("caddy"), "run", "--config", str(tmp_path / "caddy.json")]
    with (tmp_path / "caddy.log").open("wb") as log:
        caddy = subprocess.Popen(command, stdout=log, stderr=log)
    prometheus = Endpoint(f"http://127.0.0.1:{port}")
    try:
        with replicating(streaming) as store:
            wait_until(lambda: prometheus.fetch("GET", "/stream").ok, 15, "it is scraped")
            assert prometheus.fetch("GET", "/stream").text == f"# TYPE {STREAM_LAG} gauge\n{STREAM_LAG} 0\n"
            target = tmp_path / "stream" / "production" / "ltx"
            target.rename(tmp_path / "away")
            target.write_text("no folder any more")
            put(store)
            assert (lag(streaming) or 0) >= 0.1
            assert float(prometheus.fetch("GET", "/stream").text.split()[-1]) >= 1
            target.unlink()
            (tmp_path / "away").rename(target)
            wait_until(lambda: lag(streaming) == 0, 30, "it is there again")
        assert lag(streaming) is None
        assert not prometheus.fetch("GET", "/stream").ok, "and `up` is 0"
    finally:
        caddy.kill()
        caddy.wait(10)


def test_a_target_that_lacks_what_was_sent_elsewhere_is_warned_of_and_another_begins_anew(
    streaming: Sandbox, tmp_path: Path
) -> None:
    """As where its disk is away for a while: litestream writes into the folder below it and sees no gap."""
    place = tmp_path / "stream"
    with replicating(streaming) as store:
        assert [found.level for found in stream_lag(streaming.site)] == [Severity.OK]
        place.rename(tmp_path / "disk")
        for _ in range(2):
            put(store)
            wait_until(lambda: lag(streaming) == 0, 15, "all is sent")
        shutil.rmtree(place)
        (tmp_path / "disk").rename(place)
        put(store)
        wait_until(lambda: lag(streaming) == 0, 15, "all is sent")
        [found] = stream_lag(streaming.site)
        if found.level is Severity.OK:  # after 30 s litestream puts its own copies together, and sends that
            assert _back(streaming) == {sha for (sha,) in store.execute("SELECT sha256 FROM picture")}
            return
        assert found.level is Severity.WARNING
        assert "cannot be brought back" in found.detail
        assert "non-contiguous" in found.detail
    settings = streaming.folder / "rollout.toml"
    settings.write_text(settings.read_text().replace(str(place), f"{place}-anew"))
    with replicating(streaming) as store:
        [found] = stream_lag(streaming.site)
        assert found.level is Severity.OK
        assert _back(streaming) == {sha for (sha,) in store.execute("SELECT sha256 FROM picture")}


# ---- with one


@pytest.mark.system
def test_the_store_comes_back_as_it_was_at_a_time_and_as_it_is(streaming: Sandbox) -> None:
    streaming.deploy()
    before = submit(streaming)
    wait_until(lambda: lag(streaming) == 0, 30, "all is sent")
    time.sleep(1.1)  # the stream's times are whole seconds
    moment = datetime.now(UTC)
    time.sleep(1.1)
    after = submit(streaming)
    wait_until(lambda: lag(streaming) == 0, 30, "all is sent")
    at = streaming.rollout("restore", "--at", f"{moment:%FT%T}", "--into", "then.db", "--json")
    assert at.returncode == 0, at.stderr
    assert rows(streaming.folder / "then.db") == {before} | (rows(store_path(streaming)) - {after} - {before})
    assert after not in rows(streaming.folder / "then.db")
    now = streaming.rollout("restore", "--into", "now.db")
    assert now.returncode == 0, now.stderr
    assert {before, after} <= rows(streaming.folder / "now.db")


@pytest.mark.system
def test_a_store_that_was_exchanged_is_streamed_on(streaming: Sandbox) -> None:
    """The file is another one then: what came back holds what is in the store now."""
    streaming.deploy()
    submit(streaming)
    backup = take_backup(streaming.site).entry.path
    gone = submit(streaming)
    done = streaming.rollout("rollback", "--backup", str(backup), "--data", "exact", "--force")
    assert done.returncode == 0, done.stderr
    new = submit(streaming)
    assert STREAM in streaming.pids()
    wait_until(lambda: lag(streaming) == 0, 30, "all is sent")
    wait_until(lambda: _back(streaming) == rows(store_path(streaming)), 30, "the stream has it")
    assert new in rows(store_path(streaming))
    assert gone not in rows(store_path(streaming))


def _back(sandbox: Sandbox) -> set[str]:
    path = sandbox.folder / f"back-{time.monotonic_ns()}.db"
    sandbox.site.stream.restore(path)
    return rows(path)


NOBODY = 65534
SYSTEM_PYTHON = Path("/usr/bin/python3")
LOST = """\
set -e
listens='import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])))'
until "$PYTHON" -c "$listens" "$S3" 2> wait.log; do sleep 0.1; done
"$PYTHON" -m guarded_rollout.cli restore --into "$STORE"
"$PYTHON" -m guarded_rollout.cli rollback --backup restic:latest --force
exec "$PYTHON" - > served.json <<'END'
import json, os, urllib.request
service = f"http://127.0.0.1:{os.environ['PORT']}"
sent = urllib.request.Request(service + "/api/dhash", data=os.urandom(500), method="POST")
told = {"submitted": urllib.request.urlopen(sent).status}
print(json.dumps(told | json.load(urllib.request.urlopen(service + "/health"))))
END
"""
"""What the guide says of a machine that is lost; and a question whether it serves."""


def runs_our_packages(python: Path) -> bool:
    """True if this Python is of the version that our packages are installed for."""
    if not python.exists():
        return False
    told = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout
    return told.startswith(f"Python {sys.version_info.major}.{sys.version_info.minor}.")


def install(folder: Path) -> Path:
    """Our programs on the system's own Python, which other users may run; its path."""
    subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", folder], check=True)
    ours, here = Path(sys.executable).parent, folder / "bin"
    [packages] = folder.glob("lib/python3*/site-packages")
    (packages / "ours.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT / 'src'}\n")
    for name in ("caddy", "litestream", "uv"):
        (here / name).symlink_to(ours / name)
    _, _, script = (ours / "supervisord").read_text().partition("\n")
    (here / "supervisord").write_text(f"#!{here / 'python'}\n{script}")
    (here / "supervisord").chmod(0o755)
    return here / "python"


def on_a_fresh_machine(fresh: Sandbox, place: Place, **secrets: str) -> subprocess.CompletedProcess[str]:
    """Run `LOST`: by root as another user, in a network of its own, where only the object store is."""
    (fresh.folder / "lost.sh").write_text(LOST)
    variables = {
        "PYTHON": str(install(fresh.folder / "machine")),
        "HOME": str(fresh.folder),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PORT": str(fresh.port),
        "S3": place.endpoint.rpartition(":")[2],
        "STORE": str(store_path(fresh)),
        **secrets,
    }
    run, before = ["sh", "-c"], ""
    become = ["env", "-i", *(f"{name}={value}" for name, value in variables.items()), "sh", "lost.sh"]
    if os.geteuid() == 0:
        for path in (fresh.folder, *fresh.folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        run, before = ["unshare", "--net", "sh", "-c"], "ip link set lo up\n"
        become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *become]
    script = (
        f"{before}{shlex.join(place.command)} > /dev/null 2>&1 &\nstore=$!\n"
        f"{shlex.join(become)}\ncode=$?\nkill -9 $store\nexit $code\n"
    )
    words = [*run, script]
    return subprocess.run(words, cwd=fresh.folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.system
@pytest.mark.timeout(400)
@pytest.mark.skipif(not runs_our_packages(SYSTEM_PYTHON), reason="the system's Python is another version")
def test_a_lost_machine_serves_again_with_all_that_was_acknowledged(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the object store is left: copies of the backups in it, wheels and all, and the stream."""
    secrets = {"STREAM_SECRET": SECRET, "COPIES_SECRET": SECRET, "COPIES_PASSWORD": "correct horse battery"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    with s3_server(tmp_path / "s3") as place:
        copies_table = (
            f'[backup.copies.far]\nrepository = "{place.repository}"\npassword = "$COPIES_PASSWORD"\n'
            f'[backup.copies.far.variables]\nAWS_ACCESS_KEY_ID = "{KEY}"\n'
            'AWS_SECRET_ACCESS_KEY = "$COPIES_SECRET"\n'
        )
        text = copies_table + table("s3://copies/stream", endpoint=place.endpoint, region="us-east-1")
        settings = sandbox.folder / "rollout.toml"
        settings.write_text(settings.read_text().replace("wheels = []", 'wheels = ["production"]') + text)
        old = sandbox.deploy().release
        mine = {submit(sandbox)}
        done = sandbox.rollout("backup", "--engine", "restic")
        assert done.returncode == 0, done.stderr
        mine |= {submit(sandbox) for _ in range(5)}
        wait_until(lambda: lag(sandbox) == 0, 60, "all is sent")
        written = Path(sandbox.folder / "environments/production/supervisor/litestream.json").read_text()
        assert SECRET not in written
        sandbox.site.shut_down()
    fresh = Sandbox()
    try:
        for name in ("rollout.toml", GATES):
            (fresh.folder / name).write_bytes((sandbox.folder / name).read_bytes())
        fresh.port = sandbox.port
        shutil.rmtree(fresh.source)
        for folder in ("environments", "backups"):
            shutil.rmtree(sandbox.folder / folder, ignore_errors=True)
        begin = time.monotonic()
        done = on_a_fresh_machine(fresh, place, **secrets)
        assert done.returncode == 0, done.stderr + done.stdout
        print(f"serving again after {time.monotonic() - begin:.1f} s")
        told = json.loads((fresh.folder / "served.json").read_text())
        assert told["release"] == old.id
        assert told["submitted"] == 201
        assert mine < kept(fresh)
    finally:
        fresh.close()


@pytest.mark.system
def test_a_damaged_stream_is_refused(streaming: Sandbox, tmp_path: Path) -> None:
    streaming.deploy()
    submit(streaming)
    wait_until(lambda: lag(streaming) == 0, 30, "all is sent")
    Site(streaming.environment).stream.stop()
    for part in (tmp_path / "stream").rglob("*.ltx"):
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        part.write_bytes(content)
    into = streaming.folder / "back.db"
    with pytest.raises(StreamError):
        streaming.site.stream.restore(into)
    assert not into.exists()
