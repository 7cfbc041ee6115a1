"""The app over HTTP, with Gradio's client and without: the documented example, visitors, limits, refusals."""

import json
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio_client", reason="gradio is not installed (extra app)")
pytestmark = pytest.mark.slow
DOCS = Path(__file__).parents[2] / "docs" / "app.md"


@pytest.fixture(scope="module")
def serve(request):
    """Starts apps of its own for a test module."""
    from contextlib import ExitStack

    from gendef.app.server import ServerConfig, serving

    with ExitStack() as stack:

        def start(password=None):
            return stack.enter_context(serving(ServerConfig("127.0.0.1", 0, password, ["sky"])))

        yield start


@pytest.fixture(scope="module")
def address(serve):
    return serve()


def client_of(address, tmp_path, **options):
    from gradio_client import Client

    wait = {"timeout": 120}  # a busy machine takes its time
    return Client(
        address, verbose=False, analytics_enabled=False, download_files=str(tmp_path), httpx_kwargs=wait, **options
    )


def upload(address, name, data, headers=None):
    """Send a file as a browser does; the address under which the server keeps it, or the status of its refusal."""
    edge = "edge-of-the-parts"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={edge}", **(headers or {})}
    question = urllib.request.Request(f"{address}gradio_api/upload", body, kind)
    try:
        with urllib.request.urlopen(question, timeout=120) as answer:
            return json.loads(answer.read())[0]
    except urllib.error.HTTPError as error:
        return error.code


def test_the_documented_example(address, tmp_path, monkeypatch):
    example = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]
    example = example.replace("http://127.0.0.1:7860", address)
    picture = Image.new("RGBA", (64, 64))
    picture.paste((255, 0, 0, 255), (20, 20, 40, 40))
    picture.save(tmp_path / "painted.png")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(example, str(DOCS), "exec"), names)
    for name, kinds in {"zipped": [".zip"], "page": [".html"], "edited": [".mp4"], "video": [".mp4"]}.items():
        value = names[name]["video"] if isinstance(names[name], dict) else names[name]
        assert Path(value).suffix in kinds and Path(value).stat().st_size > 1000
    assert names["note"].startswith("1 point followed")


def frame_count(path):
    import av

    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))


def test_motions_table_field_and_every_kind_of_file(address, tmp_path):
    from gendef import GenDeF
    from gendef.app.generate_tab import TABLE_FRAMES
    from gendef.media.images import to_uint8

    client = client_of(address, tmp_path)
    client.predict("sky", 3, 5, 8, 1.0, 1, api_name="/generate")
    for name, words, frames in (("/motions", "motions 6 to 11", 8), ("/table", "one content", TABLE_FRAMES)):
        note, video = client.predict(api_name=name)
        assert words in note and frame_count(video) == frames
    for kind in ("mp4", "gif"):
        path = client.predict(kind, api_name="/download")
        assert Path(path).suffix == f".{kind}" and frame_count(path) == 8
    *pictures, facts = client.predict(7, api_name="/field")
    clip = GenDeF.from_pretrained("sky").sample(content_seed=3, motion_seed=5, num_frames=8)
    shown = Image.open(pictures[0]).convert("RGB").resize((64, 64), Image.Resampling.BOX)
    assert abs(np.asarray(shown).astype(int) - to_uint8(clip.render(frames=[7])[0])).mean() < 4
    colours = [np.asarray(Image.open(picture).convert("RGB")) for picture in pictures]
    assert len({picture.tobytes() for picture in colours}) == 4
    assert facts.startswith("Frame 7: offsets of")


def test_visitors_have_clips_of_their_own(address, tmp_path):
    one, two = (client_of(address, tmp_path) for _ in range(2))
    one.predict("sky", 3, 5, 8, 1.0, 1, api_name="/generate")
    with pytest.raises(Exception, match="There is no clip yet"):
        two.predict(api_name="/undo")
    two.predict("sky", 4, 5, 12, 1.0, 1, api_name="/generate")
    assert "frame must be between 0 and 7" in refusal(one, "Points", "A frame", 9, 1, 1, api_name="/follow")
    assert "frame must be between 0 and 11" in refusal(two, "Points", "A frame", 99, 1, 1, api_name="/follow")


def refusal(client, *values, api_name):
    with pytest.raises(Exception) as error:
        client.predict(*values, api_name=api_name)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        (("nosuch", 0, 0, 64, 1.0, 1), "/generate", "nosuch"),
        (("sky", -1, 0, 64, 1.0, 1), "/generate", "-1 is less than minimum"),
        (("sky", 0, 0, 10_000, 1.0, 1), "/generate", "256"),
    ],
)
def test_impossible_values_are_refused(address, tmp_path, values, name, message):
    assert message in refusal(client_of(address, tmp_path), *values, api_name=name)


def test_files_of_the_machine_stay_where_they_are(address, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    for path in (str(tmp_path / "secret.txt"), "/etc/hostname", "../../etc/hostname"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}gradio_api/file={path}", timeout=20)
        assert refused.value.code in (403, 404)


def test_uploads_stay_in_their_folder_and_have_a_limit(address, monkeypatch):
    import os

    kept = Path(upload(address, "../../../escaped.mp4", b"no video"))
    assert Path(os.environ["GRADIO_TEMP_DIR"]).resolve() in kept.resolve().parents
    assert kept.read_bytes() == b"no video"
    from gendef.app.server import MAX_UPLOAD

    assert upload(address, "large.mp4", bytes(MAX_UPLOAD + 2**20)) in (413, 400)
    assert not [file for file in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if file.name == "large.mp4"]


def test_a_password_is_wanted_for_everything(serve, tmp_path):
    address = serve("open sesame")
    assert upload(address, "a.mp4", b"no video") == 401
    for path in ("config", "gradio_api/info"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(address + path, timeout=20)
    for wrong in (("gendef", "sesame"), ("root", "open sesame")):
        with pytest.raises(Exception, match=r"(?i)credentials|login|401|auth"):
            client_of(address, tmp_path, auth=wrong)
    client = client_of(address, tmp_path, auth=("gendef", "open sesame"))
    assert client.predict("sky", 0, 0, 4, 1.0, 1, api_name="/generate")


def test_who_comes_when_too_many_wait_is_told_so(address, tmp_path, monkeypatch):
    from gendef.app import generate_tab as generate
    from gendef.app.page import WAITING

    busy = threading.Event()

    def slow(self, *values):
        busy.wait(60)
        raise generate.InputError("enough waited")

    monkeypatch.setattr(generate.AppState, "model", slow)
    client = client_of(address, tmp_path)
    jobs = [client.submit("sky", 0, 0, 4, 1.0, 1, api_name="/generate") for _ in range(WAITING + 4)]
    try:
        deadline = time.monotonic() + 60
        while not any(job.done() for job in jobs):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        refused = [str(job.exception()) for job in jobs if job.done()]
        assert refused and all("queue is full" in text.lower() or "busy" in text.lower() for text in refused)
    finally:
        busy.set()
        for job in jobs:  # until the app is at rest, its files cannot be removed
            job.exception()
