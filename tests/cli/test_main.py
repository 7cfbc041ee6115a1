import errno
import logging
import os
import subprocess
import sys
import typing

import pytest

from gendef.cli.common import Common, set_up_logging
from gendef.cli.main import COMMANDS, main

HELP = [[name] for name in COMMANDS if name not in ("data", "eval")]
HELP += [["data", "prepare"], ["data", "info"]]
HELP += [["eval", name] for name in ("fvd", "fid", "motion", "temporal", "reconstruction", "tracking", "segmentation")]


def test_usage_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS) and "example:" in text
    assert main([]) == 2


def test_unknown_command(capsys):
    assert main(["dance"]) == 2
    assert "unknown command 'dance'" in capsys.readouterr().err


def test_the_package_runs_as_a_program():
    run = [sys.executable, "-m", "gendef"]
    assert subprocess.run([*run, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    assert subprocess.run([*run, "dance"], check=False, capture_output=True).returncode == 2


VARIANTS = [["data", "motions"], ["train", "--model", "latent"], ["train", "--model", "motion"]]


@pytest.mark.parametrize("command", [*HELP, *VARIANTS, ["data"], ["eval"]], ids=" ".join)
def test_help_shows_an_example(command, capsys):
    try:
        status = main([*command, "--help"])
    except SystemExit as ended:
        status = ended.code
    text = capsys.readouterr().out
    assert status == 0
    assert "example:" in text
    assert command in (["data"], ["eval"]) or ("--debug" in text and "--log-level" in text)


def test_help_does_not_wait_for_torch():
    """One process for all commands."""
    code = (
        "import sys\n"
        "from gendef.cli.main import main\n"
        f"for command in {HELP}:\n"
        "    try:\n"
        "        main([*command, '--help'])\n"
        "    except SystemExit as ended:\n"
        "        assert ended.code == 0\n"
        "    assert not {'torch', 'scipy', 'numba'} & set(sys.modules), command\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_ends_with_status_2(command, capsys):
    try:
        status = main([command, "--no-such-option"])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert f"gendef {command}" in capsys.readouterr().err


def test_arguments_repeat_the_choices_and_defaults_of_the_package():
    """Modules of arguments do not import the modules whose choices they offer."""
    from gendef.animation.animate import Border
    from gendef.app.server import USER
    from gendef.cli import (
        animate_arguments,
        app_arguments,
        edit_arguments,
        export_arguments,
        fit_arguments,
        flow_arguments,
        segment_arguments,
    )
    from gendef.correspondence.prompt_segmentation import Method
    from gendef.editing.filters import FILTERS
    from gendef.editing.prompt import CONTROLNET, DIFFUSION_MODEL
    from gendef.fitting.options import SEGMENT, Layers, Quality
    from gendef.training.presets import PRESETS, PresetName
    from gendef.video.flow import Kind
    from gendef.visualization.flow import Format
    from gendef.visualization.html_export import DEFAULT_LIMIT

    def choices(module, name):
        return typing.get_args(typing.get_type_hints(module.Arguments)[name])

    assert choices(animate_arguments, "border") == typing.get_args(Border)
    assert choices(animate_arguments, "method") == typing.get_args(Method)
    assert choices(fit_arguments, "quality") == typing.get_args(Quality)
    assert choices(fit_arguments, "layers") == typing.get_args(Layers)
    assert choices(flow_arguments, "kind") == typing.get_args(Kind)
    assert choices(flow_arguments, "format") == typing.get_args(Format)
    assert choices(segment_arguments, "method") == typing.get_args(Method)
    assert typing.get_args(PresetName) == tuple(PRESETS)
    assert fit_arguments.Arguments.segment == SEGMENT
    assert export_arguments.Arguments.max_megabytes * 1e6 == DEFAULT_LIMIT
    assert edit_arguments.Arguments.diffusion_model == DIFFUSION_MODEL
    assert edit_arguments.Arguments.controlnet == CONTROLNET
    assert f"filters: {', '.join(FILTERS)};" in edit_arguments.DESCRIPTION
    assert f"the user name is {USER}." in app_arguments.DESCRIPTION


def test_debug_shows_the_traceback_of_a_mistake(capsys, tmp_path):
    command = ["show", str(tmp_path / "nothing")]
    assert main(command) == 2
    plain = capsys.readouterr().err
    assert len(plain.splitlines()) == 1 and "nothing" in plain
    assert main([*command, "--debug"]) == 2
    text = capsys.readouterr().err
    assert "Traceback" in text and "in load_clip" in text and text.endswith(plain)


def test_an_os_error_names_the_file_and_what_was_being_done(capsys, tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "page.html"))

    monkeypatch.setattr("gendef.cli.show.load_clip", full)
    assert main(["show", str(tmp_path)]) == 2
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1
    assert os.strerror(errno.ENOSPC) in text and repr(str(tmp_path / "page.html")) in text
    assert "run() of gendef.cli.show" in text


def test_messages_below_the_level_are_not_shown(capsys):
    logger = logging.getLogger("gendef.somewhere")
    set_up_logging(Common())
    logger.info("quiet")
    logger.warning("loud")
    assert capsys.readouterr().err == "warning: loud\n"
    set_up_logging(Common(log_level="info"))
    logger.info("quiet")
    assert capsys.readouterr().err == "info: quiet\n"


def test_importing_gendef_is_light():
    code = "import sys, gendef; assert 'torch' not in sys.modules; print(gendef.__version__)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_networks_training_and_sampling_need_few_packages():
    """A bare GPU machine can train from a prepared archive: no av, tyro, cv2, tensorboard or hub at import."""
    code = (
        "import sys\n"
        "for name in ('av', 'tyro', 'cv2', 'tensorboard', 'huggingface_hub', 'gradio', 'torchvision'):\n"
        "    sys.modules[name] = None\n"
        "import gendef.model.gendef, gendef.training.trainer, gendef.networks.generator, gendef.interop\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
