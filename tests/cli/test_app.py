import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from gendef.cli import app
from gendef.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "can be reached by others: give a --password"),
        (["--port", "70000"], "--port must be between 0 and 65535, got 70000"),
    ],
)
def test_mistakes_end_with_one_sentence(arguments, message, capsys, monkeypatch):
    monkeypatch.delenv(app.PASSWORD_VARIABLE, raising=False)
    assert main(["app", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stopped:
        app.main(["--help"])
    assert stopped.value.code == 0 and "example: gendef app" in capsys.readouterr().out


def test_without_gradio_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app", "--port", "0"]) == 2
    assert "pip install 'gendef[app]'" in capsys.readouterr().err


@pytest.mark.slow
def test_it_serves_with_a_password_and_leaves_nothing_behind(tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed (extra app)")
    environment = {**os.environ, "TMPDIR": str(tmp_path), app.PASSWORD_VARIABLE: "secret"}
    command = [sys.executable, "-m", "gendef.cli.main", "app", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        address = re.search(r"http://\S+", process.stdout.readline())[0]
        deadline = time.monotonic() + 60
        while True:
            try:
                page = urllib.request.urlopen(address, timeout=20).read().decode()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        assert '"auth_required": true' in page or '"auth_required":true' in page
        assert "fonts.googleapis" not in page
        assert len(list(tmp_path.glob("gendef-app-*"))) == 1
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert list(tmp_path.glob("gendef-app-*")) == []
