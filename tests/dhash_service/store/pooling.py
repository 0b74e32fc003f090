"""PgBouncer in transaction mode in front of a server, with fewer sessions than clients."""

import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.dhash_service.serving import free_port
from tests.guarded_rollout.storage import running

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
MISSING = "PgBouncer is not installed (Debian's `pgbouncer`)"


@contextmanager
def pooler(folder: Path, server: str, sessions: int = 2) -> Iterator[str]:
    """The URL of a pooler before the server at this URL."""
    assert PGBOUNCER
    told = psycopg.conninfo.conninfo_to_dict(server)
    port, configuration = free_port(), folder / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n* = host={told['host']} user={told['user']}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {sessions}\nserver_round_robin = 1\n"
    )
    command = [PGBOUNCER, str(configuration)]
    if os.geteuid() == 0:  # which it refuses to run as
        command[1:1] = ["-u", pwd.getpwuid(Path(str(told["host"])).stat().st_uid).pw_name]
        for each in (folder, *folder.parents):
            if each.owner() == "root" and each.stat().st_mode & 0o5 != 0o5:
                each.chmod(each.stat().st_mode | 0o055)
    with running(command, folder / "pgbouncer.log", port):
        yield f"postgresql://{told['user']}@127.0.0.1:{port}/{told['dbname']}"
