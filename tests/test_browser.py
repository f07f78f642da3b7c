"""`report.html` in a real browser: Debian's Chromium, driven by selenium."""

import base64
import shutil
import subprocess

import pytest

from btgm_cli.report.html import run_page
from tests.test_page import a_manifest
from tests.test_report import a_run

webdriver = pytest.importorskip("selenium.webdriver")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium, or no chromedriver"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const rgb = (css) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const colour = rgb(getComputedStyle(node).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return [255, 255, 255, 255];
};
const found = [];
for (const node of document.body.querySelectorAll("*")) {
  const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
  if (!own || !node.checkVisibility() || ["SCRIPT", "STYLE"].includes(node.tagName)) continue;
  const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  found.push([ratio, node.tagName, node.textContent.trim().slice(0, 30)]);
}
return found;
"""
"""The contrast of each text with what is behind it, by WCAG 2."""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page")
    file = path / "report.html"
    long = ["tuning.a_setting_with_a_long_name=" + "x" * 200]
    file.write_text(run_page(a_run(path), a_manifest(overrides=long)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def shown(browser, page):
    """Open the page at a width, in a colour scheme."""

    def show(width=1280, scheme="light", script=True):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
        browser.get(page.as_uri())
        return browser

    yield show
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def visible(browser):
    """The labels of the draws that are to be seen."""
    return [
        shot.get_attribute("data-label")
        for shot in browser.find_elements("css selector", ".grid li")
        if shot.is_displayed()
    ]


def test_the_page_loads_without_a_complaint(shown):
    browser = shown()
    assert not browser.get_log("browser")
    broken = "return [...document.images].filter((i) => !i.complete || !i.naturalWidth).length"
    assert browser.execute_script(broken) == 0
    asked = "return performance.getEntriesByType('resource').map((r) => r.name.slice(0, 5))"
    assert set(browser.execute_script(asked)) <= {"data:"}


def test_the_slider_moves_the_grid_by_keys_and_by_mouse(shown):
    browser = shown()
    slider = browser.find_element("css selector", ".grid input")
    assert visible(browser) == ["β = 1.25, KL = 0.86 nats"]
    slider.send_keys(webdriver.Keys.ARROW_LEFT)
    assert visible(browser) == ["β = 1, KL = 0.56 nats"]
    assert slider.get_attribute("aria-valuetext") == "β = 1, KL = 0.56 nats"
    assert browser.find_element("css selector", "output").text == "β = 1, KL = 0.56 nats"
    slider.send_keys(webdriver.Keys.HOME)
    assert visible(browser) == ["β = 0, KL = 0.00 nats"]
    first = browser.get_screenshot_as_png()
    mouse = webdriver.ActionChains(browser)
    mouse.move_to_element_with_offset(slider, slider.size["width"] // 2 - 3, 0).click().perform()
    assert visible(browser) == ["β = 1.25, KL = 0.86 nats"]
    assert browser.get_screenshot_as_png() != first


def test_the_slider_is_reached_by_the_keyboard_alone(shown):
    browser = shown()
    for _ in range(40):
        webdriver.ActionChains(browser).send_keys(webdriver.Keys.TAB).perform()
        if browser.switch_to.active_element.get_attribute("type") == "range":
            break
    webdriver.ActionChains(browser).send_keys(webdriver.Keys.ARROW_LEFT).perform()
    assert visible(browser) == ["β = 1, KL = 0.56 nats"]


def test_without_a_script_all_draws_are_listed(shown):
    browser = shown(script=False)
    assert len(visible(browser)) == 6
    assert not browser.find_element("css selector", ".grid input").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_scrolls_sideways_and_all_can_be_read(shown, width, scheme):
    browser = shown(width, scheme)
    for details in browser.find_elements("css selector", "summary"):
        details.click()
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    contrasts = browser.execute_script(CONTRAST)
    assert len(contrasts) > 30
    assert min(contrasts)[0] >= 4.5, min(contrasts)
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(255, 255, 255)") == (scheme == "light")


def test_charts_follow_the_colour_scheme(shown):
    def ground(scheme):
        browser = shown(1280, scheme)
        chart = browser.find_element("css selector", ".charts img")
        browser.execute_script("arguments[0].scrollIntoView()", chart)
        return base64.b64decode(chart.screenshot_as_base64)

    assert ground("light") != ground("dark")


def test_it_prints_with_all_draws(browser, page, tmp_path):
    pdf = tmp_path / "page.pdf"
    options = ["--headless=new", "--no-sandbox", "--no-pdf-header-footer", f"--print-to-pdf={pdf}"]
    subprocess.run([BROWSER, *options, page.as_uri()], check=True, capture_output=True)
    assert pdf.read_bytes().startswith(b"%PDF")
    if shutil.which("pdftotext"):
        done = subprocess.run(["pdftotext", pdf, "-"], check=True, capture_output=True, text=True)
        for beta in ("0.25", "0.5", "0.75", "1.25"):
            assert f"β = {beta}, KL" in done.stdout
