"""The page in a real browser, without a network."""

import shutil

import pandas as pd
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
    for answer in ("Simulated data", "in 4 of 4 tasks", "clef: rises"):
        box = page.get_by_text(answer).first.bounding_box()
        assert box["y"] + box["height"] <= 900, f"{answer} is not on the first screen"
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
    page.locator("#scaling-figure .narrow .point").first.focus()
    page.keyboard.press("ArrowRight")
    said = page.locator(".tip.shown").text_content()
    assert said == page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Escape")
    assert not page.locator(".tip").is_visible()
    page.close()


def test_a_point_says_what_it_is_and_leads_to_its_run(browser, page_file):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(page_file.as_uri())
    mean = page.locator("#scaling-figure .wide [id$='mean-clef-n2048']")
    mean.hover(force=True)
    tip = page.locator(".tip").text_content()
    assert tip.startswith("clef, 2,048 patients, mean of 3: 0.8")
    assert "covering" in tip
    runs = page.locator("#scaling-figure .wide a")
    assert runs.count() == 5 * 3 * 3 + 3
    cell = "run-clef-net1d-tiny-n2048-o0-s0"
    run = page.evaluate(f"document.querySelector('#{cell} td:last-child a').href")
    point = "#scaling-figure .wide [id$='clef-net1d-tiny-n2048-o0-s0'] a"
    assert page.evaluate(f'document.querySelector("{point}").getAttribute("href")') == run
    assert run.startswith("http://127.0.0.1:5000/#/experiments/0/runs/")
    page.close()


def test_tables_sort_filter_and_are_files(browser, page_file, tmp_path):
    page = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page.goto(page_file.as_uri())

    def column():
        return page.locator(
            "#other-correlations tbody tr:visible td:nth-child(3)"
        ).all_inner_texts()

    slope = page.get_by_role("table", name="The main").or_(page.locator("#other-correlations"))
    slope.get_by_role("button", name="Slope per doubling").click()
    found = [float(text.split()[0].replace("\u2212", "-")) for text in column()]
    assert found == sorted(found)
    assert len(set(found)) > 3
    slope.get_by_role("button", name="Slope per doubling").click()
    again = [float(text.split()[0].replace("\u2212", "-")) for text in column()]
    assert again == found[::-1]
    box = page.locator("div:has(> #other-correlations)").locator(
        "xpath=preceding-sibling::input[1]"
    )
    box.fill("rhythm")
    assert len(column()) == 3
    with page.expect_download() as download:
        page.locator("#other-correlations .csv").click()
    download.value.save_as(tmp_path / "table.csv")
    table = pd.read_csv(tmp_path / "table.csv")
    assert download.value.suggested_filename == "synthetic-other-correlations-simulated.csv"
    assert len(table) == 9
    assert list(table.columns)[:2] == ["Task", "Objective"]
    page.close()


def test_the_page_is_whole_without_its_script(browser, page_file):
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, java_script_enabled=False
    )
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.get_by_text("clef: rises").first.is_visible()
    assert page.locator("#scaling-figure .wide svg").is_visible()
    titles = page.locator("#scaling-figure .wide .point title")
    assert titles.first.text_content()
    assert page.locator("#other-correlations .csv").is_visible()
    assert page_file.stat().st_size < 2_000_000
    context.close()


def test_page_prints(browser, page_file):
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()
