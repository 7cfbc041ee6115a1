"""Serving the page: its files, access, and privacy (no request to other servers)."""

import hmac
import os
import socket
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gendef.app.loading import LoadingPage
from gendef.app.session import AppState
from gendef.errors import InputError, MissingDependencyError
from gendef.model.hub import builtin_models, may_exist, no_such_model

if TYPE_CHECKING:
    import uvicorn

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
USER = "gendef"
MAX_UPLOAD = 200 * 2**20
"""Largest size of one uploaded file, in bytes."""
MAX_VISITORS = 64
"""Visitors whose state is kept; beyond this number the longest inactive one is removed."""
WAITING = 128
"""Backlog of the listening socket."""
STOP_SECONDS = 2
"""Seconds to wait for running requests at the end."""


@dataclass(frozen=True)
class ServerConfig:
    """Address, access and models of the app.

    Attributes:
        host: address to listen on.
        port: 0 takes any free one.
        password: required of visitors; without one only this machine is served.
        models: names, folders or repositories of the models to offer; none stands for all built-in ones.
        open_browser: show the page in the default browser.
    """

    host: str
    port: int
    password: str | None
    models: list[str]
    open_browser: bool = False

    def __post_init__(self) -> None:
        if self.host not in LOCAL_HOSTS and not self.password:
            raise InputError(f"a page on {self.host} can be reached by others: give a --password")
        if not 0 <= self.port <= 65535:
            raise InputError(f"--port must be between 0 and 65535, got {self.port}")


@contextmanager
def serving(config: ServerConfig, on_listening: Callable[[str], None] = lambda address: None) -> Iterator[str]:
    """Serve the page while the block runs; gives its address. All its files are removed at the end.

    A start page is served immediately. The app takes over the same socket when it has been imported, so that no
    connection is refused in between.

    Args:
        on_listening: called with the address as soon as the start page is served.

    Raises:
        MissingDependencyError: Gradio is not installed.
        OSError: the port is taken.
        InputError: a model that is to be offered does not exist.
    """
    if find_spec("gradio") is None:
        raise MissingDependencyError("gradio", "app", "to serve the web app")
    models = _offered(config.models)
    with ExitStack() as stack:
        listener = stack.enter_context(closing(_listener(config.host, config.port)))
        address = _address(config.host, listener)
        loading = LoadingPage(listener)
        try:
            on_listening(address)
            if config.open_browser:
                webbrowser.open(address)
            root = Path(stack.enter_context(TemporaryDirectory(prefix="gendef-app-", ignore_cleanup_errors=True)))
            server = _server(config, root, models)
        finally:
            loading.stop()
        stack.enter_context(_running(server, listener))
        yield address


@contextmanager
def _running(server: "uvicorn.Server", listener: socket.socket) -> Iterator[None]:
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise OSError("the web app could not be started: the lines above say why")
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=STOP_SECONDS + 3)


def _server(config: ServerConfig, root: Path, models: list[str]) -> "uvicorn.Server":
    """The web app, not yet running."""
    # Gradio reads these while it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(root / "files")
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    from gendef.app.page import HEAD, STYLE, build, theme

    page = build(AppState(root, models))
    page.state_session_capacity = MAX_VISITORS

    def known(user: str, password: str) -> bool:
        right = hmac.compare_digest(password.encode(), (config.password or "").encode())
        return hmac.compare_digest(user.encode(), USER.encode()) and right

    # FastAPI's documentation pages are turned off: they load scripts from other servers.
    no_docs: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    app = gr.mount_gradio_app(
        FastAPI(**no_docs),
        page,
        path="/",
        app_kwargs=no_docs,
        auth=known if config.password else None,
        auth_message=f"The user name is {USER}.",
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
        run_history=False,
        footer_links=["api"],
        theme=theme(),
        css=STYLE,
        head=HEAD,
    )
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=STOP_SECONDS))


def _offered(models: list[str]) -> list[str]:
    """The models to offer. They are loaded at first use; a wrong name is an error immediately."""
    for name in models:
        if not may_exist(name):
            raise InputError(no_such_model(name))
    offered = models or builtin_models()
    if not offered:
        raise InputError("this installation has no built-in models: name one with --models")
    return offered


def _listener(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one."""
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(WAITING)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}, port {port} ({error.strerror}): choose another with --port") from error
    return listener


def _address(host: str, listener: socket.socket) -> str:
    """The address to open on this machine."""
    name = "localhost" if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}/"
