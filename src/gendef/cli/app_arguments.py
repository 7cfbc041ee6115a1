"""Arguments of `gendef app`, apart from its work so that `--help` does not wait for torch."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from gendef.cli.common import COMMON, CommonOptions

PASSWORD_VARIABLE = "GENDEF_APP_PASSWORD"


DESCRIPTION = (
    "Serve the web app on this machine: generate clips, paint on their canonical image, follow points and objects, "
    "look at the deformation field, all in a browser.\n\n"
    f"Others can reach it with --host 0.0.0.0 and a password (option or variable {PASSWORD_VARIABLE}); "
    f"the user name is gendef.\n\n"
    "example: gendef app --open\n"
    "example: gendef app --models sky runs/mine/model --host 0.0.0.0 --port 8080 --password SECRET"
)


@dataclass(frozen=True)
class Arguments:
    """Options of the command."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: int = 7860
    """Port to listen on; 0 takes any free one."""
    password: str | None = None
    """Password of visitors; required if the address can be reached from other machines."""
    models: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL")] = ()
    """Built-in models, model folders or hub repositories to offer; default all built-in ones."""
    open: bool = False
    """Show the page in the default browser."""
    common: CommonOptions = COMMON


def parse(argv: list[str]) -> Arguments:
    """Arguments from the command line; `--help` and mistakes end the process."""
    return tyro.cli(Arguments, args=argv, prog="gendef app", description=DESCRIPTION)
