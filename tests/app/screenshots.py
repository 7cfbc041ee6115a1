"""Pictures of the web app and the exported page for the documentation: python tests/app/screenshots.py docs/images"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, FrameLocator, Page, sync_playwright

from conftest import OPTIONS
from gendef import CanonicalVideo
from gendef.app.server import ServerConfig, serving
from gendef.visualization.html_export import write_html

CLIP = Path(__file__).parents[1] / "data" / "clips" / "bigbuckbunny.mp4"
WAIT = 240_000
HEART = ((0.62, 0.85), (0.55, 0.7), (0.57, 0.6), (0.62, 0.66), (0.67, 0.6), (0.69, 0.7), (0.62, 0.85))


def main(folder: Path) -> None:
    """Walk through all tabs at two widths."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        serving(ServerConfig("127.0.0.1", 0, None, ["sky"])) as address,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
        walk(browser, address, folder, Path(scratch))
        narrow(browser, address, folder)
        exported(browser, Path(scratch), folder)
        browser.close()


def walk(browser: Browser, address: str, folder: Path, scratch: Path) -> None:
    """All tabs in a wide window; leaves the fitted clip in `scratch`."""
    page = opened(browser, address, 1280)
    page.locator("#content-seed input").fill("3")
    page.click("#generate")
    page.locator("#clip-line", has_text="content 3").wait_for()
    save(page, folder / "app_generate.jpg")
    tab(page, "My video")
    page.set_input_files("#own-file input[type=file]", CLIP)
    page.locator("#fit-note", has_text="1280x720").wait_for()
    page.get_by_label("number input for Length in frames").nth(1).fill("32")
    page.get_by_label("number input for Time to spend, in seconds").fill("90")
    page.click("#fit")
    page.locator("#fit-note", has_text="refining").wait_for()
    save(page, folder / "app_fit.jpg")
    page.locator("#clip-line", has_text="bigbuckbunny").wait_for()
    tab(page, "Edit")
    painter = page.frame_locator("#painter iframe")
    painter.locator("body[data-ready=true]").wait_for()
    paint(page, painter, HEART, "Colour red")
    painter.get_by_text("Layers", exact=True).click()
    painter.get_by_role("button", name="Add a layer").click()
    page.wait_for_timeout(8000)
    save(page, folder / "app_edit.jpg")
    page.get_by_label("clip folder (zip)").check()
    page.click("#make-file")
    page.locator("#made-file a").first.wait_for()
    zipped = page.request.get(page.locator("#made-file a").first.get_attribute("href") or "").body()
    (scratch / "clip.zip").write_bytes(zipped)
    tab(page, "Track and segment")
    image = page.locator("#click-here img")
    image.wait_for()
    for number, (x, y) in enumerate(((0.42, 0.55), (0.52, 0.5), (0.6, 0.62), (0.3, 0.7)), 1):
        click(page, x, y)
        page.locator("#follow-note", has_text=f"{number} point").wait_for()
    save(page, folder / "app_track.jpg")
    tab(page, "Under the hood")
    page.get_by_text("offsets of").wait_for()
    save(page, folder / "app_hood.jpg")
    page.context.close()


def narrow(browser: Browser, address: str, folder: Path) -> None:
    """Two tabs in a window as wide as a telephone, side by side."""
    page = opened(browser, address, 400)
    save(page, folder / "app_400.jpg")
    page.locator(".overflow-menu button").first.click()
    page.locator(".overflow-dropdown button", has_text="Edit").click()
    page.frame_locator("#painter iframe").locator("body[data-ready=true]").wait_for()
    other = folder / "app_400_edit.jpg"
    save(page, other)
    page.context.close()
    beside(folder / "app_400.jpg", other)


def exported(browser: Browser, scratch: Path, folder: Path) -> None:
    """The page that `gendef export` writes, at both widths."""
    shutil.unpack_archive(scratch / "clip.zip", scratch)
    write_html(scratch / "clip.html", CanonicalVideo.load(scratch / "clip"), title="A bunny wakes up")
    for width, name in ((1280, "export.jpg"), (400, "export_400.jpg")):
        page = opened(browser, (scratch / "clip.html").as_uri(), width, ready="body[data-ready=true]")
        page.locator("label", has_text="Bent grid").click()
        page.evaluate("gendefPlayer.show(12, 'grid')")
        save(page, folder / name)
        page.context.close()


def opened(browser: Browser, address: str, width: int, ready: str = "#clip-line strong") -> Page:
    page = browser.new_context(viewport={"width": width, "height": 860}, reduced_motion="reduce").new_page()
    page.set_default_timeout(WAIT)
    page.goto(address)
    page.locator(ready).wait_for()
    return page


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).first.click(no_wait_after=True)


def paint(page: Page, painter: FrameLocator, places: tuple[tuple[float, float], ...], colour: str) -> None:
    painter.get_by_label(colour, exact=True).click()
    box = painter.locator("#paint").bounding_box()
    assert box is not None
    for number, (x, y) in enumerate(places):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def click(page: Page, x: float, y: float) -> None:
    image = page.locator("#click-here img")
    box = image.bounding_box()
    assert box is not None
    image.click(position={"x": x * box["width"], "y": y * box["height"]})


def save(page: Page, path: Path) -> None:
    page.wait_for_timeout(3000)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    picture.save(path, quality=85)


def beside(first: Path, second: Path) -> None:
    """Put the second picture to the right of the first, and remove it."""
    pictures = [Image.open(path) for path in (first, second)]
    sheet = Image.new("RGB", (sum(p.width for p in pictures) + 20, max(p.height for p in pictures)), "white")
    sheet.paste(pictures[0], (0, 0))
    sheet.paste(pictures[1], (pictures[0].width + 20, 0))
    sheet.save(first, quality=85)
    second.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
