"""A scripted HTTP server on loopback: what it answers is a function of the path."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """`body` is sent in pieces, with `pause` called before each: a slow answer waits in it."""

    status: int = 200
    body: bytes = b"{}"
    content_type: str = "application/json"
    pieces: int = 1
    pause: Callable[[], object] = lambda: None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Web:
    """`answers` maps a path to its answer; `asked` is what came in."""

    url: str
    answers: dict[str, Answer | Callable[[], Answer]]
    asked: list[tuple[str, dict[str, str]]]


@contextmanager
def web(answers: dict[str, Answer | Callable[[], Answer]]) -> Iterator[Web]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, dict(self.headers)))
            given = found.answers.get(self.path, Answer(404))
            answer = given if isinstance(given, Answer) else given()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            size = max(1, -(-len(answer.body) // answer.pieces))
            try:
                for begin in range(0, len(answer.body), size):
                    answer.pause()
                    self.wfile.write(answer.body[begin : begin + size])
            except OSError:
                self.close_connection = True  # whoever asked has gone, as some tests want

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Web(f"http://127.0.0.1:{server.server_port}", answers, [])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
