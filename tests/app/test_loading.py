"""The page that is shown while the app is imported, and its giving way to the app."""

import socket
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gendef.app.loading import HEADER, LoadingPage


class Other(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "12")
        self.end_headers()
        self.wfile.write(b"the real app")

    def log_message(self, *args):
        pass


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def taken_over(listener):
    """Another server on the same socket, as the app takes it over."""
    server = HTTPServer(listener.getsockname(), Other, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


def test_nobody_finds_the_door_closed(listener):
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    loading = LoadingPage(listener)
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert HEADER in answer.headers and b"starting" in answer.read()
    loading.stop()
    answers = []

    def ask():
        with urllib.request.urlopen(address, timeout=10) as answer:
            answers.append(answer.read())

    waiting = threading.Thread(target=ask)
    waiting.start()  # nobody takes connections at this moment
    waiting.join(0.2)
    assert answers == []
    server = taken_over(listener)
    waiting.join(10)
    server.shutdown()
    assert answers == [b"the real app"]


def test_the_page_opens_the_app_by_itself(listener, new_page):
    loading = LoadingPage(listener)
    page = new_page(width=400)
    page.goto(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert "The app is starting" in page.inner_text("[role=status]")
    loading.stop()
    server = taken_over(listener)
    page.get_by_text("the real app").wait_for(timeout=20_000)
    server.shutdown()
