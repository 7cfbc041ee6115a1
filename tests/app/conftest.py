"""A browser for the tests: Chromium with WebGL in software, and no network but this machine."""

import os
import shutil

import pytest

OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def browser():
    program = os.environ.get("GENDEF_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no browser: neither chromium nor google-chrome is on the PATH, and GENDEF_CHROMIUM names none")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture
def new_page(browser):
    """Opens windows that note errors and requests to other machines."""
    contexts, mistakes = [], []

    def open_window(width=1280, height=860, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        page.on("request", lambda request: mistakes.append(request.url) if _foreign(request.url) else None)
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert mistakes == []


def _foreign(url):
    return not url.startswith(("file:", "data:", "blob:", "http://127.0.0.1", "about:"))
