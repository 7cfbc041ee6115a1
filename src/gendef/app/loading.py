"""What the address shows while the web app is still being imported: a small page of the standard library."""

import socket
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEADER = "X-Gendef-Loading"
"""Stands in every answer of the loading page, so that the page knows when the app answers instead."""
PATIENCE = 10
"""Seconds that a silent connection is kept."""
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
    """Answers on a listening socket until `stop`; what connects later waits for whoever takes the socket over.

    Args:
        listener: bound and listening; it is not closed.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._server = _Server(listener)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no further connection."""
        self._server.shutdown()
        self._thread.join()


class _Answer(BaseHTTPRequestHandler):
    timeout = PATIENCE

    def do_GET(self) -> None:
        """The page, and nothing else yet."""
        if self.path.split("?")[0] == "/":
            self._send(HTTPStatus.OK, PAGE, "text/html; charset=utf-8")
        else:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, b"gendef is starting\n", "text/plain")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Nothing can be done yet."""
        self._send(HTTPStatus.SERVICE_UNAVAILABLE, b"gendef is starting\n", "text/plain")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the app does not log visits either."""

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
    """On a socket that somebody else opened and will use afterwards."""

    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener.getsockname()[:2], _Answer, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        listener.setblocking(False)

    def handle_error(self, request: object, client_address: object) -> None:
        """A visitor who went away is no matter for the log."""
