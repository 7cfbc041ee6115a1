"""The web app in a real browser, served by this process."""

import csv
import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from gendef import GenDeF
from gendef.media.images import to_uint8

pytest.importorskip("gradio", reason="gradio is not installed (extra app)")
pytestmark = pytest.mark.slow
WAIT = 180_000
"""Milliseconds; a busy machine takes its time."""
RED = (228, 0, 43)


@pytest.fixture(scope="module")
def address():
    from gendef.app.server import ServerConfig, serving

    with serving(ServerConfig("127.0.0.1", 0, None, ["sky"])) as address:
        yield address


@pytest.fixture
def visit(new_page, address):
    def open_page(**window):
        page = new_page(**window)
        page.set_default_timeout(WAIT)
        page.goto(address)
        clip_line(page, "content 0, motion 0")
        return page

    return open_page


def clip_line(page, text):
    page.locator("#clip-line", has_text=text).wait_for()


def tab(page, name):
    page.get_by_role("tab", name=name).first.click(no_wait_after=True)


def frames_of(page, selector):
    """Frames of a video on the page, uint8 (T, H, W, 3)."""
    import av

    url = page.locator(f"{selector} video").get_attribute("src")
    with av.open(io.BytesIO(page.request.get(url).body())) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def after_change(page, selector, act):
    """Do something that gives a video another source."""
    video = page.locator(f"{selector} video")
    old = video.get_attribute("src")
    act()
    script = "([s, o]) => { const v = document.querySelector(s + ' video'); return v && v.getAttribute('src') !== o; }"
    page.wait_for_function(script, arg=[selector, old])


def touched(clip, mask):
    """How much of each pixel of the page's video an edit inside `mask` (H, W) covers, (T, H', W') in [0, 1]."""
    image = torch.from_numpy(mask.astype(np.float32))[None].expand(3, -1, -1) * 2 - 1
    return (clip.with_canonical(image).render((256, 256))[:, 0].numpy() + 1) / 2


def downloaded(page, button, result):
    page.click(button)
    link = page.locator(f"{result} a").first
    link.wait_for()
    return page.request.get(link.get_attribute("href")).body()


def test_generate_draw_and_undo(visit):
    page = visit()
    page.locator("#content-seed input").fill("5")
    page.locator("#motion-seed input").fill("6")
    page.click("#generate")
    clip_line(page, "content 5, motion 6")
    clip = GenDeF.from_pretrained("sky").sample(content_seed=5, motion_seed=6)
    tab(page, "Edit")
    painter = page.frame_locator("#painter iframe")
    painter.locator("body[data-ready=true]").wait_for()
    before = frames_of(page, "#before")
    expected = to_uint8(clip.render((256, 256)))
    assert before.shape == expected.shape and np.abs(before.astype(int) - expected).mean() < 4

    def stroke():
        box = painter.locator("#paint").bounding_box()
        at = [(box["x"] + share * box["width"], box["y"] + share * box["height"]) for share in (0.3, 0.4, 0.5)]
        page.mouse.move(*at[0])
        page.mouse.down()
        for place in at[1:]:
            page.mouse.move(*place)
        page.mouse.up()

    after_change(page, "#after", stroke)
    after = frames_of(page, "#after")
    y, x = (np.mgrid[:64, :64] + 0.5) / 64
    along = np.clip((x + y) / 2, 0.3, 0.5)
    distance = np.hypot(x - along, y - along)
    changed = np.abs(after.astype(int) - before).max(axis=-1)
    assert (changed[touched(clip, distance < 0.1) == 0] < 40).all()  # an mp4 is not exact
    inside = touched(clip, distance < 0.016) > 0.8
    assert inside.sum() > 100 and np.abs(after[inside].astype(int) - RED).mean() < 30
    after_change(page, "#after", lambda: page.click("#undo-edit"))
    assert np.abs(frames_of(page, "#after").astype(int) - before).mean() < 1


def test_an_edited_picture_and_the_downloads(visit, tmp_path):
    page = visit()
    tab(page, "Edit")
    page.frame_locator("#painter iframe").locator("body[data-ready=true]").wait_for()
    before = frames_of(page, "#before")
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[20:36, 24:40] = (0, 200, 0, 255)
    Image.fromarray(picture).save(tmp_path / "edited.png")
    page.click("#elsewhere button")
    after_change(
        page, "#after", lambda: page.set_input_files("#edited-picture input[type=file]", tmp_path / "edited.png")
    )
    clip_line(page, "1 edit")
    clip = GenDeF.from_pretrained("sky").sample(content_seed=0, motion_seed=0)
    after, cover = frames_of(page, "#after"), touched(clip, picture[..., 3] > 0)
    assert (np.abs(after.astype(int) - before).max(axis=-1)[cover == 0] < 60).all()
    assert np.abs(after[cover > 0.99].astype(int) - (0, 200, 0)).mean() < 20
    page.get_by_label("clip folder (zip)").check()
    with zipfile.ZipFile(io.BytesIO(downloaded(page, "#make-file", "#made-file"))) as archive:
        assert {"clip/canonical.png", "clip/deformation.safetensors", "clip/video.json"} <= set(archive.namelist())


def test_a_clicked_point_is_followed_as_the_library_does(visit):
    page = visit()
    tab(page, "Track and segment")
    image = page.locator("#click-here img")
    image.wait_for()
    box = image.bounding_box()
    image.click(position={"x": 0.4 * box["width"], "y": 0.6 * box["height"]})
    page.locator("#follow-note", has_text="1 point followed").wait_for()
    with zipfile.ZipFile(io.BytesIO(downloaded(page, "#make-tracks", "#made-tracks"))) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("tracks/tracks.csv").decode())))
    first = (float(rows[0]["x"]), float(rows[0]["y"]))
    assert abs(first[0] - (0.4 * 64 - 0.5)) < 0.3 and abs(first[1] - (0.6 * 64 - 0.5)) < 0.3
    expected = GenDeF.from_pretrained("sky").sample(seed=0).track([first], frame=0).positions[0].numpy()
    trail = np.array([(float(row["x"]), float(row["y"])) for row in rows])
    assert trail.shape == (64, 2) and np.abs(trail - expected).max() < 0.01


def test_layers_looks_and_one_undo_for_all(visit):
    page = visit()
    tab(page, "Edit")
    painter = page.frame_locator("#painter iframe")
    painter.locator("body[data-ready=true]").wait_for()
    before = frames_of(page, "#before")

    def dab(x, y):
        box = painter.locator("#paint").bounding_box()
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])

    painter.get_by_text("Layers", exact=True).click()
    after_change(page, "#after", lambda: dab(0.5, 0.5))
    painter.get_by_role("button", name="Add a layer").click()
    painter.get_by_label("Colour blue").click()
    after_change(page, "#after", lambda: dab(0.5, 0.5))
    clip = GenDeF.from_pretrained("sky").sample(content_seed=0, motion_seed=0)
    y, x = (np.mgrid[:64, :64] + 0.5) / 64
    inside = touched(clip, np.hypot(x - 0.5, y - 0.5) < 0.015) > 0.6

    def colour():
        return frames_of(page, "#after")[inside].astype(float).mean(axis=0)

    assert colour()[2] > colour()[0] + 60  # blue, above red
    after_change(page, "#after", painter.get_by_label("Show Layer 2").uncheck)
    assert colour()[0] > colour()[2] + 60  # the red below
    page.click("#elsewhere button")
    page.get_by_role("combobox", name="Look").click()
    page.get_by_role("option", name="grey").click()
    after_change(page, "#after", lambda: page.click("#apply-look"))
    assert np.ptp(colour()) < 6
    clip_line(page, "2 edits")  # the strokes, and the look
    page.wait_for_timeout(1000)  # the painter is laid anew
    painter.locator("body[data-ready=true]").wait_for()
    after_change(page, "#after", lambda: page.click("#undo-edit"))
    assert colour()[0] > colour()[2] + 60
    painter.locator("body[data-ready=true]").wait_for()
    after_change(page, "#after", lambda: page.click("#undo-edit"))
    assert np.abs(frames_of(page, "#after").astype(int) - before).mean() < 1


def test_objects_by_a_click_and_by_a_box(visit):
    pytest.importorskip("cv2", reason="OpenCV is not installed (extra app)")
    page = visit()
    page.locator("#content-seed input").fill("2")
    page.click("#generate")
    clip_line(page, "content 2, motion 0")
    tab(page, "Track and segment")
    image = page.locator("#click-here img")
    image.wait_for()

    def click(x, y):
        box = image.bounding_box()
        image.click(position={"x": x * box["width"], "y": y * box["height"]})

    def masks():
        with zipfile.ZipFile(io.BytesIO(downloaded(page, "#make-tracks", "#made-tracks"))) as archive:
            names = [name for name in archive.namelist() if "/masks/" in name]
            return np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name)))) > 0 for name in sorted(names)])

    page.get_by_label("Object: click on it").check()
    page.wait_for_timeout(1000)
    click(45.5 / 64, 20.5 / 64)
    page.locator("#follow-note", has_text="The object covers").wait_for()
    found = masks()
    # In a blurry picture of 64 pixels the click alone once found nothing but itself.
    assert found.shape == (64, 64, 64) and found[0, 20, 45] and 0.03 < found[0].mean() < 0.8
    page.get_by_label("Object: two corners of a box").check()
    page.locator("#follow-note", has_text="Nothing is followed yet").wait_for()
    click(0.3, 0.2)
    page.locator("#follow-note", has_text="opposite corner").wait_for()
    click(0.8, 0.7)
    page.locator("#follow-note", has_text="The object covers").wait_for()
    page.locator("#made-tracks a").wait_for(state="detached")  # what was made before is put away
    found = masks()
    rows, columns = np.nonzero(found[0])
    assert found[0].mean() > 0.02
    assert columns.min() >= 0.3 * 64 - 1.5 and columns.max() <= 0.8 * 64 + 0.5
    assert rows.min() >= 0.2 * 64 - 1.5 and rows.max() <= 0.7 * 64 + 0.5


def test_a_text_file_called_mp4_is_refused(visit, tmp_path):
    (tmp_path / "holiday.mp4").write_text("we were at the sea\n" * 100)
    page = visit()
    tab(page, "My video")
    page.set_input_files("#own-file input[type=file]", tmp_path / "holiday.mp4")
    page.get_by_text("Holiday.mp4 is not a video that can be read").wait_for()
    page.click("#fit")
    clip_line(page, "content 0, motion 0")


def test_two_windows_do_not_mix(visit):
    one, two = visit(), visit(width=400)
    two.locator("#content-seed input").fill("7")
    two.click("#generate")
    clip_line(two, "content 7, motion 0")
    assert two.evaluate("document.documentElement.scrollWidth") <= 400
    clip_line(one, "content 0, motion 0")
    for page, seed in ((one, 0), (two, 7)):
        model = GenDeF.from_pretrained("sky")
        expected = to_uint8(model.sample(content_seed=seed, motion_seed=0).render((256, 256)))
        assert np.abs(frames_of(page, "#generated").astype(int) - expected).mean() < 4
    assert one.locator("#generated video").get_attribute("aria-label") == "Video"


def test_own_video_is_fitted(visit):
    pytest.importorskip("cv2", reason="OpenCV is not installed (extra fit)")
    from pathlib import Path

    page = visit()
    tab(page, "My video")
    clip = Path(__file__).parents[1] / "data" / "clips" / "bigbuckbunny.mp4"
    page.set_input_files("#own-file input[type=file]", clip)
    page.locator("#fit-note", has_text="1280x720").wait_for()
    page.get_by_label("number input for Length in frames").nth(1).fill("6")
    page.get_by_label("number input for Time to spend, in seconds").fill("5")
    page.get_by_label("128").check()
    page.get_by_label("The light changes").check()
    page.click("#fit")
    page.locator("#fit-note", has_text="Without the illumination it would be").wait_for()
    clip_line(page, "bigbuckbunny.mp4, from frame 0. 6 frames of 228x128")
