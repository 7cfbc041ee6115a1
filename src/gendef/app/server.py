"""Serving the page: where files go, who may come in, what is sent elsewhere (nothing)."""

import hmac
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gendef.app.session import Workshop
from gendef.errors import InputError, MissingDependencyError

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
USER = "gendef"
MAX_UPLOAD = 200 * 2**20
"""Bytes of one uploaded file."""
MAX_VISITORS = 64
"""Visitors whose state is kept; the one that was away longest goes first."""


@dataclass(frozen=True)
class ServerConfig:
    """Where and for whom the page is served.

    Attributes:
        host: address to listen on.
        port: 0 takes any free one.
        password: wanted from visitors; without one only this machine may be served.
        models: names, folders or repositories of the models to offer.
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
        if not self.models:
            raise InputError("no model to offer: name one")


@contextmanager
def serving(config: ServerConfig) -> Iterator[str]:
    """Serve the page while the block runs; gives its address. Everything it wrote is removed at the end.

    Raises:
        MissingDependencyError: Gradio is not installed.
        OSError: the port is taken.
    """
    root = Path(tempfile.mkdtemp(prefix="gendef-app-"))
    # Gradio reads these while it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(root / "files")
    workshop = Workshop(root, config.models)
    try:
        try:
            import gradio as gr
        except ImportError as error:
            raise MissingDependencyError("gradio", "app", "to serve the web app") from error
        from gendef.app.page import HEAD, STYLE, build, theme

        page = build(workshop)

        def known(user: str, password: str) -> bool:
            right = hmac.compare_digest(password.encode(), (config.password or "").encode())
            return hmac.compare_digest(user.encode(), USER.encode()) and right

        try:
            _, address, _ = page.launch(
                server_name=config.host,
                server_port=config.port or _free_port(config.host),
                auth=known if config.password else None,
                auth_message=f"The user name is {USER}.",
                share=False,
                inbrowser=config.open_browser,
                prevent_thread_lock=True,
                quiet=True,
                max_file_size=MAX_UPLOAD,
                state_session_capacity=MAX_VISITORS,
                ssr_mode=False,
                footer_links=["api"],
                theme=theme(),
                css=STYLE,
                head=HEAD,
            )
            yield address
        finally:
            gr.close_all(verbose=False)
    finally:
        workshop.close()


def _free_port(host: str) -> int:
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
