"""The page in a real browser, without a network."""

import shutil

import pytest

from ecgscale.report.beside import read_beside
from ecgscale.report.stage import write_report
from support import runs as synthetic

pytestmark = pytest.mark.browser

OUTSIDE = """svg => {
    const frame = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(text => {
        const box = text.getBoundingClientRect();
        return box.right > frame.right + 1 || box.bottom > frame.bottom + 1
            || box.left < frame.left - 1;
    }).map(text => text.textContent);
}"""
"""Texts of a figure that stand out of its frame."""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory, project):
    study = synthetic.make_study()
    out = tmp_path_factory.mktemp("page")
    runs = synthetic.make_runs(study)
    return write_report(study, *runs, out, beside=read_beside(project)).html


@pytest.fixture(scope="module")
def wide_file(tmp_path_factory):
    """Regressions, one of them primary, and other readouts."""
    study = synthetic.make_study(
        tasks=("mc-med-sbp", "mimic-lvef", "ptb-xl-form"), protocols=synthetic.PROTOCOLS
    )
    return write_report(study, *synthetic.make_runs(study), tmp_path_factory.mktemp("wide")).html


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_reads_well(browser, page_file, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    trouble, requests = [], []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    assert trouble == []
    assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_text("accuracy rises").first.is_visible()
    shown = "wide" if width > 640 else "narrow"
    hidden = "narrow" if width > 640 else "wide"
    figure = page.locator(f"#scaling-figure .{shown} svg")
    assert figure.is_visible()
    assert not page.locator(f"#scaling-figure .{hidden} svg").is_visible()
    box = figure.bounding_box()
    assert box["width"] > 0.8 * min(width, 1000)
    assert figure.evaluate(OUTSIDE) == []
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_figures_of_regressions_and_readouts_hold_their_words(browser, wide_file, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(wide_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shown = "wide" if width > 640 else "narrow"
    figures = page.locator(f"figure .{shown} svg").all()
    assert len(figures) == 5
    assert [figure.evaluate(OUTSIDE) for figure in figures] == [[]] * 5
    page.close()


def test_page_works_from_the_keyboard(browser, page_file):
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(page_file.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#runs summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("#runs table").is_visible()
    page.close()


def test_page_prints(browser, page_file):
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()
