import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from gendef.app.loading import HEADER
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


def test_a_wrong_model_is_told_at_the_start(capsys):
    pytest.importorskip("gradio", reason="gradio is not installed (extra app)")
    assert main(["app", "--port", "0", "--models", "sky", "nosuch"]) == 2
    out, error = capsys.readouterr()
    assert "there is no model 'nosuch': give a folder, a hub repository, or one of" in error
    assert error.count("\n") == 1 and out == "", "nobody is told to open a page that never comes"


def test_a_port_that_is_taken(capsys):
    pytest.importorskip("gradio", reason="gradio is not installed (extra app)")
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert main(["app", "--port", str(other.getsockname()[1])]) == 2
    assert "choose another with --port" in capsys.readouterr().err


class App:
    """The command in a process of its own."""

    def __init__(self, tmp_path, *options, **variables):
        environment = {**os.environ, "TMPDIR": str(tmp_path), **variables}
        command = [sys.executable, "-m", "gendef", "app", "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def __enter__(self):
        self.address = re.search(r"http://\S+", self.process.stdout.readline())[0]
        return self

    def __exit__(self, *error):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0

    def get(self, path=""):
        """Status, whether it comes from the loading page, and the text."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=30) as answer:
                return answer.status, HEADER in answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, HEADER in error.headers, error.read().decode()


@pytest.mark.slow
def test_it_answers_before_it_is_loaded_and_always_afterwards(tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed (extra app)")
    with App(tmp_path, GENDEF_APP_PASSWORD="secret") as app:
        status, loading, page = app.get()
        assert status == 200 and loading and "The app is starting" in page
        assert app.get("config")[:2] == (503, True)
        deadline = time.monotonic() + 60
        while loading:  # every request is answered, also while the app takes over
            assert time.monotonic() < deadline
            status, loading, page = app.get()
            assert status == 200
        assert '"auth_required": true' in page or '"auth_required":true' in page
        assert "fonts.googleapis" not in page
        assert app.get("config")[0] == 401 and app.get("docs")[0] == 404
        assert len(list(tmp_path.glob("gendef-app-*"))) == 1
    assert list(tmp_path.glob("gendef-app-*")) == []


@pytest.mark.slow
def test_it_can_be_stopped_while_it_loads(tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed (extra app)")
    with App(tmp_path) as app:
        assert app.get()[1]
    assert list(tmp_path.glob("gendef-app-*")) == []
