"""The start page, shown while the web app is being imported; it uses only the standard library."""

import socket
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEADER = "X-Gendef-Loading"
"""Marks every response of the start page, so that the page can tell when the app responds instead."""
PATIENCE = 10
"""Seconds after which an idle connection is closed."""
PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>gendef</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ display: grid; place-content: center; min-height: 90vh; margin: 0; padding: 16px; text-align: center;
  font: 18px/1.5 system-ui, sans-serif; }}
progress {{ width: min(320px, 80vw); accent-color: #0369a1; }}
</style>
<noscript><meta http-equiv="refresh" content="2"></noscript>
</head>
<body>
<main>
<h1>gendef</h1>
<p role="status">The app is starting. This page opens by itself in a few seconds.</p>
<progress aria-label="Starting"></progress>
</main>
<script>
async function look() {{
  try {{
    const answer = await fetch(location.href, {{ cache: "no-store" }});
    if (!answer.headers.has("{HEADER}")) return location.reload();
  }} catch {{
    document.querySelector("p").textContent = "The app has stopped; its window says why.";
  }}
  setTimeout(look, 300);
}}
setTimeout(look, 300);
</script>
</body>
</html>
""".encode()


class LoadingPage:
    """Serves the start page on a listening socket until `stop`; later connections wait for the next server on it.

    Args:
        listener: bound and listening; it is not closed.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._server = _Server(listener)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Accept no further connection."""
        self._server.shutdown()
        self._thread.join()


class _Answer(BaseHTTPRequestHandler):
    timeout = PATIENCE

    def do_GET(self) -> None:
        """The start page; other paths do not exist yet."""
        if self.path.split("?")[0] == "/":
            self._send(HTTPStatus.OK, PAGE, "text/html; charset=utf-8")
        else:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, b"gendef is starting\n", "text/plain")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Refused: the app is not ready."""
        self._send(HTTPStatus.SERVICE_UNAVAILABLE, b"gendef is starting\n", "text/plain")

    def log_message(self, format: str, *args: object) -> None:
        """No log of requests, as in the app."""

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Retry-After", "2")
        self.send_header(HEADER, "1")
        self.end_headers()
        if self.command != "HEAD":
            with suppress(ConnectionError):
                self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    """A server on an existing socket, which it does not close."""

    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener.getsockname()[:2], _Answer, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        listener.setblocking(False)

    def handle_error(self, request: object, client_address: object) -> None:
        """Closed connections are not logged."""
