"""A stand-in for a service that keeps an MLflow server at an address of its own, before MLflow's real one."""

import http.client
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.integrations.driving import MlflowServer


class Gateway:
    """Passes requests below a path on to MLflow's server, if they are authorized.

    `refused` counts the others, but for those that *other* answers (method, path, body). In the answers the addresses of artifacts become *artifacts*, if that is given.
    """

    def __init__(
        self,
        upstream: MlflowServer,
        path: str,
        authorization: str,
        tls: ssl.SSLContext | None = None,
        artifacts: str = "",
        other: Callable[[str, str, bytes], bytes | None] = lambda *_: None,
    ) -> None:
        self.refused = 0
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if (found := other(self.command, self.path, body)) is not None:
                    self.answer(200, found)
                    return
                if self.headers.get("Authorization") != authorization or not self.path.startswith(f"{path}/"):
                    gateway.refused += 1
                    self.answer(401, b'{"error_code": "UNAUTHENTICATED", "message": "log in"}')
                    return
                connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=60)
                connection.request(self.command, self.path[len(path) :], body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                content = response.read()
                if artifacts:
                    content = content.replace(b"mlflow-artifacts:", artifacts.encode())
                self.answer(response.status, content)
                connection.close()

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

            do_GET = do_POST = do_PUT = do_PATCH = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.host = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def stop(self) -> None:
        """End it."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
