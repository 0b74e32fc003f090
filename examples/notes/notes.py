"""Notes in SQLite, with nothing but Python: POST / keeps a line, GET / lists what is kept."""

import json
import os
import signal
import socketserver
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

STORE = Path(os.environ["DATABASE_URL"].removeprefix("sqlite:///"))


def connect() -> sqlite3.Connection:
    connection = sqlite3.connect(STORE, timeout=10, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, line TEXT NOT NULL)")
    return connection


class Notes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with connect() as store:
            lines = [line for (line,) in store.execute("SELECT line FROM note ORDER BY id")]
        self.answer(200, {"status": "ok"} if self.path == "/health" else {"notes": lines})

    def do_POST(self) -> None:
        line = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with connect() as store:
            store.execute("INSERT INTO note (line) VALUES (?)", (line,))
        self.answer(201, {"kept": line})

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "-"  # a unix socket's clients have none


class Server(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 128


if __name__ == "__main__":
    with Server(os.environ["SOCKET"], Notes) as server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever(0.1)  # and ends when every request has its answer
