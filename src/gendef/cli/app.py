"""`gendef app`: the web app."""

import os
import signal
import threading

from gendef.app.server import ServerConfig, serving
from gendef.cli.app_arguments import PASSWORD_VARIABLE, Arguments, parse


def main(argv: list[str]) -> int | None:
    """Parse the arguments and run the command."""
    return run(parse(argv))


def run(arguments: Arguments) -> int | None:
    """Run the command; it serves until it is interrupted or terminated."""
    password = arguments.password or os.environ.get(PASSWORD_VARIABLE)
    config = ServerConfig(arguments.host, arguments.port, password, list(arguments.models), arguments.open)
    # Both ways to end it unwind the stack, so that no file stays behind, not even of a start that was cut short.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with serving(
            config, lambda address: print(f"gendef app: open {address} in a browser; Ctrl+C stops it", flush=True)
        ):
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    return 0
