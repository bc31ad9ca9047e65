"""An OpenAI-compatible endpoint on this machine: answers as a test says, or holds its answers until it says so."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast

Answer = Callable[[dict[str, Any]], tuple[int, str]]
"""From a request's JSON body to (HTTP status, the message's content)."""

SUPPORTED = json.dumps({"supported": True, "confidence": 0.9, "reason": "it says so"})


def agree(request: dict[str, Any]) -> tuple[int, str]:
    """Every fact is supported; the summary cites the first."""
    return 200, SUPPORTED if "response_format" in request else "It is so [1]."


class JudgeServer:
    """Serves `POST /v1/chat/completions` at `url`; `requests` are the bodies it was sent."""

    def __init__(self, answer: Answer = agree) -> None:
        self.answer = answer
        self.requests: list[dict[str, Any]] = []
        self.asked = threading.Event()
        self.released = threading.Event()
        self.released.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def says(self, content: str, status: int = 200) -> None:
        """Answer every request with this."""

        def answer(_request: dict[str, Any]) -> tuple[int, str]:
            return status, content

        self.answer = answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(judge: JudgeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = cast("dict[str, Any]", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            judge.requests.append(body)
            judge.asked.set()
            judge.released.wait(60)
            status, content = judge.answer(body)
            data = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # who asked is gone: that is what some tests are about
                pass

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name http.server gives it
            pass

    return Handler
