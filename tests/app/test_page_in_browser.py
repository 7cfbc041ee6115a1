"""The exported page in a real browser."""

import base64
import io
import time

import numpy as np
import pytest
import torch
from PIL import Image

from gendef import CanonicalVideo
from gendef.geometry import identity_grid
from gendef.media.images import to_uint8
from gendef.video.illumination import gain
from gendef.video.layer import Layer
from gendef.video.layered_video import LayeredVideo
from gendef.visualization.html_export import write_html

RED = (228, 0, 43)


def wait_until(page, condition, seconds=15):
    """Asks again and again; Playwright's own waiting evaluates strings in the page, which its policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"{condition} did not come true in {seconds} seconds"
        page.wait_for_timeout(50)


def wavy(frames, height, width, swing=0.08):
    """A photo-like image (noise of all scales) under waves."""
    torch.manual_seed(0)
    image = sum(
        torch.nn.functional.interpolate(torch.randn(1, 3, n, n), (height, width), mode="bicubic")[0] / (n / 4)
        for n in (4, 8, 16, 32, 64)
    )
    grid = identity_grid(height, width)
    phase = torch.arange(frames)[:, None, None] / frames * 2 * torch.pi
    field = torch.stack((torch.sin(phase + 2 * grid[..., 1]), torch.cos(phase + 3 * grid[..., 0])), dim=-1) * swing
    return CanonicalVideo(image.clamp(-1, 1) * 0.9, field, 25)


@pytest.fixture(scope="module")
def clip():
    return wavy(8, 256, 256)


@pytest.fixture
def opened(new_page, tmp_path):
    def show(clip, **window):
        write_html(tmp_path / "clip.html", clip, title="A <clip> & more")
        page = new_page(**window)
        page.goto((tmp_path / "clip.html").as_uri())
        page.wait_for_selector("body[data-ready=true]")
        return page

    return show


def canvas_pixels(page, selector):
    """RGBA bytes (H, W, 4) of a canvas."""
    url = page.evaluate("s => document.querySelector(s).toDataURL('image/png')", selector)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA"))


def frame_pixels(page, frame, mode="video"):
    """What the page shows, uint8 (H, W, 3)."""
    page.evaluate("([f, m]) => gendefPlayer.show(f, m)", [frame, mode])
    return canvas_pixels(page, "#video")[..., :3]


def stroke(page, selector, start, end):
    box = page.locator(selector).bounding_box()
    for step, share in enumerate(np.linspace(0, 1, 9)):
        x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if step == 0:
            page.mouse.down()
    page.mouse.up()


@pytest.mark.parametrize("size", [(256, 256), (90, 130)])
def test_it_shows_what_render_gives(opened, size):
    clip = wavy(8, *size)
    page = opened(clip)
    view = page.evaluate("gendefPlayer.meta.view")
    assert view == ([256, 256] if size == (256, 256) else [270, 390])
    for frame in (0, 3, 7):
        expected = to_uint8(clip.render(size=tuple(view), frames=[frame]))[0]
        difference = np.abs(frame_pixels(page, frame).astype(int) - expected)
        assert difference.mean() < 1
        # Another frame is far away, so the measurement can fail.
        assert np.abs(frame_pixels(page, (frame + 2) % 8).astype(int) - expected).mean() > 3


def test_it_shows_the_light_of_the_frames(opened, clip):
    light = 0.5 * torch.rand(8, 3, 5, 3, generator=torch.Generator().manual_seed(0)) - 0.3
    lit = CanonicalVideo(clip.canonical, clip.deformation, illumination=light)
    page = opened(lit)
    for frame in (1, 6):
        shown = frame_pixels(page, frame).astype(int)
        assert np.abs(shown - to_uint8(lit.render(frames=[frame]))[0]).mean() < 1
        assert np.abs(shown - to_uint8(clip.render(frames=[frame]))[0]).mean() > 5
    stroke(page, "#paint", (0.3, 0.4), (0.6, 0.5))
    red = frame_pixels(page, 1)[110, 110].astype(float)
    gains = 1 + gain(light, (256, 256))[1, :, 110, 110].numpy()
    np.testing.assert_allclose(red, np.minimum(np.array(RED) * gains, 255), atol=6)


def test_a_stroke_moves_with_the_video_and_nothing_else_changes(opened, clip):
    page = opened(clip)
    before = [frame_pixels(page, frame) for frame in (0, 4)]
    stroke(page, "#paint", (0.3, 0.4), (0.6, 0.5))
    layer = canvas_pixels(page, "#paint")
    assert layer[110, 110, 3] == 255 and np.abs(layer[110, 110, :3].astype(int) - RED).max() <= 1
    touched = CanonicalVideo(layer[..., 3:].repeat(3, axis=2), clip.deformation, 25).render()
    for index, frame in enumerate((0, 4)):
        after = frame_pixels(page, frame)
        changed = np.abs(after.astype(int) - before[index]).max(axis=-1)
        cover = touched[frame, 0].numpy()
        assert changed[cover < -0.99].mean() < 0.05  # stored offsets are off by up to a quarter of a pixel
        inside = after[cover > 0.99]
        assert len(inside) > 500
        assert np.abs(inside.astype(int) - RED).mean() < 1
    page.click("text=Undo")
    assert (frame_pixels(page, 4) == before[1]).all()


def test_painting_on_a_frame_lands_under_the_pointer(opened, clip):
    page = opened(clip)
    frame_pixels(page, 5)
    stroke(page, "#video", (0.5, 0.5), (0.7, 0.5))
    for share in (0.52, 0.6, 0.68):
        assert np.abs(frame_pixels(page, 5)[128, int(256 * share)].astype(int) - RED).max() < 8


def test_tools_and_keyboard(opened, clip):
    page = opened(clip)
    page.get_by_label("Colour blue").click()
    page.locator("#paint").focus()
    for key in ("ArrowRight", "Space", "ArrowDown", "Space"):
        page.keyboard.press(key)
    x = int(0.51 * 256)
    assert canvas_pixels(page, "#paint")[129, x, 3] == 255
    page.get_by_label("Eraser").check(force=True)
    stroke(page, "#paint", (0.4, 0.5), (0.6, 0.5))
    assert canvas_pixels(page, "#paint")[129, x, 3] == 0
    page.locator("#time").focus()
    page.keyboard.press("End")
    assert page.inner_text("#clock").startswith("8 / 8")
    page.click("#play")
    assert page.get_by_label("Pause").is_visible()
    # Views are really drawn: a zero-free field has colours, the grid is blue.
    assert frame_pixels(page, 2, "field").std() > 20
    assert (np.abs(frame_pixels(page, 2, "grid").astype(int) - [20, 89, 161]).max(axis=-1) < 12).sum() > 500


def test_layers(opened, clip):
    page = opened(clip)
    page.get_by_text("Layers", exact=True).click()
    stroke(page, "#paint", (0.3, 0.5), (0.7, 0.5))
    page.get_by_role("button", name="Add a layer").click()
    assert page.get_by_label("Paint on Layer 2").is_checked()
    page.get_by_label("Colour blue").click()
    stroke(page, "#paint", (0.5, 0.3), (0.5, 0.7))

    def at(x, y):
        return tuple(canvas_pixels(page, "#paint")[int(256 * y), int(256 * x)])

    red, blue = (*RED, 255), (18, 115, 222, 255)
    assert (at(0.4, 0.5), at(0.5, 0.5), at(0.5, 0.4)) == (red, blue, blue)
    # What is seen moves with the layers, in the video too.
    page.get_by_label("Paint on Layer 1").check()
    page.get_by_role("button", name="Move up").click()
    assert at(0.5, 0.5) == red
    page.get_by_label("Show Layer 1").uncheck()
    assert (at(0.4, 0.5)[3], at(0.5, 0.5)) == (0, blue)
    touched = CanonicalVideo(canvas_pixels(page, "#paint")[..., 3:].repeat(3, axis=2), clip.deformation, 25).render()
    assert np.abs(frame_pixels(page, 4)[touched[4, 0].numpy() > 0.99].astype(int) - blue[:3]).mean() < 1
    # The eraser takes from the layer in use alone.
    page.get_by_label("Paint on Layer 2").check()
    page.get_by_label("Show Layer 1").check()
    page.get_by_label("Eraser").check(force=True)
    stroke(page, "#paint", (0.3, 0.5), (0.7, 0.5))
    assert (at(0.4, 0.5), at(0.5, 0.5), at(0.5, 0.4)) == (red, red, blue)
    # Deleting is undone like everything else, one step after the other.
    page.get_by_role("button", name="Delete").click()
    assert at(0.5, 0.4)[3] == 0 and page.locator("#layers li").count() == 1
    for _ in range(2):  # deleted, erased
        page.click("text=Undo")
    assert page.locator("#layers li").count() == 2
    for _ in range(3):  # shown, hidden, moved
        page.click("text=Undo")
    assert (at(0.4, 0.5), at(0.5, 0.5)) == (red, blue)
    for _ in range(3):  # blue, the layer, red
        page.click("text=Undo")
    assert page.locator("#layers li").count() == 1 and not canvas_pixels(page, "#paint")[..., 3].any()
    assert page.locator("#undo").is_disabled()


def test_a_paused_frame_is_painted_on_with_the_keyboard(opened, clip):
    page = opened(clip)
    frame_pixels(page, 5)
    page.locator("#video").focus()
    for key in ("Space", *["Shift+ArrowRight"] * 4, "Space", "ArrowDown"):
        page.keyboard.press(key)
    assert page.locator("#videoCross").is_visible() and not page.locator("#cross").is_visible()
    for share in (0.5, 0.6, 0.7):
        assert np.abs(frame_pixels(page, 5)[128, int(256 * share)].astype(int) - RED).max() < 8
    page.keyboard.press("Control+z")
    assert not canvas_pixels(page, "#paint")[..., 3].any()


def test_the_tab_key_goes_through_everything_in_order(opened, clip):
    page = opened(clip)
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    order = ["videoView", "video", "play", "time", "speed", "paint", "brush", "colour", "size", "clear", "save", "open"]
    places = [seen.index(name) for name in order]
    assert places == sorted(places)


def test_a_stroke_stops_the_playing_video(opened, clip):
    page = opened(clip)
    page.click("#play")
    assert page.get_by_label("Pause").is_visible()
    stroke(page, "#video", (0.5, 0.5), (0.7, 0.5))
    assert page.get_by_label("Play", exact=True).is_visible() and canvas_pixels(page, "#paint")[..., 3].any()


def test_fingers_paint(opened, clip):
    page = opened(clip, width=400, height=900, has_touch=True)
    page.evaluate("scrollTo(0, 400)")
    scrolled, box = page.evaluate("scrollY"), page.locator("#paint").bounding_box()
    send = page.context.new_cdp_session(page).send

    def touch(kind, *fingers):
        places = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": number}
            for number, (x, y) in enumerate(fingers)
        ]
        send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (0.3, 0.3))
    touch("touchMove", (0.5, 0.3))
    touch("touchStart", (0.5, 0.3), (0.5, 0.9))  # a second finger draws no line from the first
    touch("touchMove", (0.7, 0.3), (0.6, 0.9))
    touch("touchEnd")
    layer = canvas_pixels(page, "#paint")[..., 3]
    assert layer[int(256 * 0.3), [int(256 * share) for share in (0.3, 0.4, 0.5, 0.6, 0.7)]].min() == 255
    assert not layer[int(256 * 0.4) :].any()
    assert scrolled == page.evaluate("scrollY")  # the page stays where it is under the finger


def test_edited_image_in_and_out(opened, clip, tmp_path):
    page = opened(clip)
    Image.new("RGB", (100, 100), (10, 200, 30)).save(tmp_path / "edited.png")
    page.set_input_files("#open", tmp_path / "edited.png")
    wait_until(page, "!document.getElementById('undo').disabled")
    assert np.abs(frame_pixels(page, 3).astype(int) - [10, 200, 30]).max() <= 1
    with page.expect_download() as download:
        page.click("#save")
    saved = Image.open(io.BytesIO(download.value.path().read_bytes()))
    assert saved.size == (256, 256) and saved.convert("RGB").getpixel((9, 9)) == (10, 200, 30)
    (tmp_path / "no.png").write_text("no picture")
    page.set_input_files("#open", tmp_path / "no.png")
    wait_until(page, "document.getElementById('message').textContent.includes('not a picture')")


def test_it_fits_a_telephone(opened, clip):
    page = opened(clip, width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.inner_text("h1") == "A <clip> & more"
    unnamed = page.evaluate("""() => [...document.querySelectorAll('button, input, select, canvas')].filter(
        (e) => !e.getAttribute('aria-label') && !e.textContent.trim() && !e.closest('label')).map((e) => e.id)""")
    assert unnamed == []


def layered():
    """A background, a disc before it for some frames, and a second background that fades in."""
    back, front, after = wavy(6, 128, 128), wavy(4, 128, 128, 0.15), wavy(3, 128, 128, 0.1)
    grid = identity_grid(128, 128)
    disc = (grid.norm(dim=-1) < 0.5).to(torch.uint8) * 255
    fade = torch.tensor([85, 170, 255], dtype=torch.uint8)[:, None, None].expand(3, 128, 128).clone()
    layers = [
        Layer(back),
        Layer(after.with_canonical(back.canonical.flip(-1)), fade, 4),
        Layer(front.with_canonical(-back.canonical), disc.expand(4, 128, 128).clone(), 1, "disc"),
    ]
    return LayeredVideo(layers, 10)


def test_layers_are_played_and_painted(opened):
    clip = layered()
    page = opened(clip)
    assert page.locator("#layer option").all_inner_texts() == [title for title, _ in clip.canonical_images]
    for frame in range(clip.num_frames):
        expected = to_uint8(clip.render(size=(256, 256), frames=[frame]))[0].astype(int)
        assert np.abs(frame_pixels(page, frame) - expected).mean() < 1.5
    # A stroke on the disc in the video is painted on the disc's canonical image, and stays off the background.
    before = frame_pixels(page, 2)
    stroke(page, "#video", (0.45, 0.5), (0.55, 0.5))
    assert page.locator("#layer").input_value() == "2"
    assert canvas_pixels(page, "#paint2")[..., 3].any() and not canvas_pixels(page, "#paint")[..., 3].any()
    changed = np.abs(frame_pixels(page, 2).astype(int) - before).max(axis=-1) > 10
    assert changed[128, 110:146].mean() > 0.9 and changed.mean() < 0.2
    page.evaluate("document.querySelector('#undo').click()")
    assert np.array_equal(frame_pixels(page, 2), before)
    assert frame_pixels(page, 4, "field").std() > 5 and frame_pixels(page, 4, "grid").std() > 5
