import subprocess
import sys

import pytest

from gendef.cli.main import COMMANDS, main


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


@pytest.mark.parametrize("command", [["data"], ["data", "prepare"], ["data", "info"], ["sample"], ["train"]])
def test_help_shows_an_example(command, capsys):
    try:
        status = main([*command, "--help"])
    except SystemExit as ended:
        status = ended.code
    assert status == 0
    assert "example:" in capsys.readouterr().out


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
