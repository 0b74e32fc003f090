"""Real places for copies and streams: an S3 server (seaweedfs) and an SSH server (OpenSSH's own)."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.guarded_rollout.sandbox import free_port, wait_until

KEY, SECRET = "copier", "a secret of the object store"
WRITER, WRITERS_SECRET = "writer", "another secret of the object store"
"""Of whoever may read and write in a bucket, and not make one."""
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")


@dataclass(frozen=True)
class Place:
    """A repository's address for restic, the options and variables that it needs, the server's command."""

    repository: str
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    endpoint: str = ""
    command: tuple[str, ...] = ()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def s3_server(folder: Path) -> Iterator[Place]:
    """An empty object store that asks for a key."""
    (folder / "data").mkdir(parents=True)
    credentials = [{"accessKey": KEY, "secretKey": SECRET}]
    identity = {"name": "copier", "credentials": credentials, "actions": ["Admin", "Read", "List", "Write"]}
    credentials = [{"accessKey": WRITER, "secretKey": WRITERS_SECRET}]
    writer = {"name": "writer", "credentials": credentials, "actions": ["Read", "List", "Write"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity, writer]}))
    names: tuple[str, ...] = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
    names += ("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc")
    ports = {name: free_port() for name in names}
    command = (
        *(
            str(Path(sys.executable).with_name("weed")),
            "server",
            "-s3",
            "-ip=127.0.0.1",
            f"-dir={folder / 'data'}",
        ),
        *(f"-s3.config={folder / 's3.json'}", "-volume.max=20", "-master.volumeSizeLimitMB=64"),
        *(f"-{name}={port}" for name, port in ports.items()),
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),  # fixed ports: a second server would die of them
    )
    with running(command, folder / "weed.log", ports["s3.port"]):
        endpoint = f"http://127.0.0.1:{ports['s3.port']}"
        variables = (("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", "$COPIES_SECRET"))
        yield Place(f"s3:{endpoint}/copies/dhash", variables=variables, endpoint=endpoint, command=command)


@contextmanager
def ssh_server(folder: Path) -> Iterator[Place]:
    """An SSH server that lets this user in by a key, and offers files."""
    folder.mkdir()
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host_key'}\nPidFile {folder / 'pid'}\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    user = getpass.getuser()
    ssh = (
        f"ssh -p {port} -i {folder / 'user_key'} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    )
    assert SSHD is not None
    with running([SSHD, "-D", "-e", "-f", folder / "sshd_config"], folder / "sshd.log", port):
        yield Place(
            f"sftp:{user}@127.0.0.1:{folder / 'copies'}",
            options=(f"sftp.command={ssh} {user}@127.0.0.1 -s sftp",),
        )


@contextmanager
def running(command: Sequence[object], log: Path, port: int) -> Iterator[None]:
    """A server, from when it listens until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen([str(word) for word in command], stdout=output, stderr=output)
        try:
            wait_until(lambda: listens(port) or process.poll() is not None, 60, "the server listens")
            assert process.poll() is None, log.read_text()[-2000:]
            yield
        finally:
            process.kill()  # weed would take half a minute to say goodbye
            process.wait(20)
