"""The pages in a headless browser: no errors, the viewer draws, and every control works.

Needs Chromium and its driver (Debian: chromium, chromium-driver); they run off the network.
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small_results as small
from PIL import Image

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no Chromium with chromedriver: apt-get install chromium chromium-driver"
)

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--window-size=1280,1000",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)


def start(*flags: str) -> Any:
    """A browser that reads files and nothing else."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = start()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def blind() -> Iterator[Any]:
    """A browser without WebGL."""
    driver = start("--disable-gpu", "--disable-3d-apis")
    yield driver
    driver.quit()


def wait(ready: Callable[[], Any], seconds: float = 40) -> Any:
    """What ``ready`` returns as soon as it is true."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := ready():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def element(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def press(browser: Any, selector: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def picture(browser: Any) -> np.ndarray:
    """What the viewer shows at this moment, (rows, columns, 3)."""
    shot = Image.open(io.BytesIO(element(browser, "#v-canvas").screenshot_as_png)).convert("RGB")
    return np.asarray(shot, dtype=int)


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures show the same; a frame's rounded corner is not drawn the same way each time."""
    return one.shape == other.shape and int(np.abs(one - other).max()) <= 4


def pixels(browser: Any) -> np.ndarray:
    """What the viewer shows once nothing changes any more; the page tells of it before it is drawn."""
    shown = [picture(browser)]

    def unchanged() -> bool:
        time.sleep(0.2)
        shown.append(picture(browser))
        return alike(shown[-2], shown[-1])

    wait(unchanged)
    return shown[-1]


def messages(browser: Any) -> list[str]:
    return [
        entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")
    ]


def open_viewer(browser: Any, results: Path, patient: str) -> None:
    """Open a patient's viewer as it is at first; one that is open already is set back, which is faster."""
    page = (results / "patients" / patient / "report.html").as_uri()
    if browser.current_url != page:
        browser.get(page)
        browser.execute_script("document.getElementById('viewer-section').scrollIntoView()")
    wait(lambda: element(browser, "#viewer").get_attribute("data-state") == "ready")
    choose(browser, "v-opacity", 80, "input")
    press(browser, "#v-first")


def choose(browser: Any, name: str, value: object, event: str = "change") -> None:
    """Give a control a value, as a hand would."""
    browser.execute_script(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event(arguments[2], {bubbles: true}));",
        name,
        str(value),
        event,
    )


def coloured(picture: np.ndarray, channel: int) -> int:
    """Pixels in which one channel is far above the two others."""
    others = [c for c in range(3) if c != channel]
    return int((picture[..., channel] > picture[..., others].max(axis=-1) + 40).sum())


def veiled(picture: np.ndarray) -> float:
    """The share of pixels in the blue that covers what was not compared."""
    return float((np.abs(picture - (84, 102, 140)).max(axis=-1) < 25).mean())


def test_every_page_loads_without_an_error(browser: Any, results: Path) -> None:
    browser.get_log("browser")
    for page in sorted(results.rglob("report.html")):
        browser.get(page.as_uri())
        assert element(browser, "h1").text
        assert messages(browser) == []


def test_the_viewer_draws_each_map_in_its_colours(browser: Any, results: Path) -> None:
    open_viewer(browser, results, "P1")
    press(browser, "input[value=none]")
    grey = pixels(browser)
    assert (grey.max(axis=-1) > 60).mean() > 0.1 and coloured(grey, 1) == 0
    press(browser, "input[value=changed]")
    assert coloured(pixels(browser), 1) > 200
    press(browser, "input[value=target]")
    oedema = np.abs(pixels(browser) - (213, 94, 0)).max(axis=-1) < 70
    assert oedema.sum() > 200
    assert "oedema" in element(browser, "#v-legend").text
    press(browser, "input[value=before]")
    assert (np.abs(pixels(browser) - (213, 94, 0)).max(axis=-1) < 70).sum() == 0
    press(browser, "input[value=growth]")
    assert coloured(pixels(browser), 0) > 200
    assert messages(browser) == []


def test_opacity_and_the_crosshair_answer(browser: Any, results: Path) -> None:
    open_viewer(browser, results, "P1")
    press(browser, "input[value=changed]")
    strong = coloured(pixels(browser), 1)
    choose(browser, "v-opacity", "0", "input")
    assert coloured(pixels(browser), 1) == 0 < strong
    here = element(browser, "#v-place").text
    assert "before: WM" in here and "target: oedema" in here and "reallocation: 100 %" in here
    canvas = element(browser, "#v-canvas")
    webdriver.ActionChains(browser).move_to_element_with_offset(canvas, -430, 60).click().perform()
    wait(lambda: element(browser, "#v-place").text != here)


def place_of(browser: Any) -> list[int]:
    """Where the crosshair is, mm to the right, front, up."""
    said = element(browser, "#v-place").text.replace("−", "-")
    return [int(number) for number in said.partition(" mm")[0].split(",")]


def test_the_viewer_is_used_with_the_keyboard_alone(browser: Any, results: Path) -> None:
    open_viewer(browser, results, "P1")
    keys = webdriver.Keys
    browser.execute_script("document.getElementById('v-pair').focus()")
    reached = []
    for _ in range(7):
        reached.append(browser.execute_script("const e = document.activeElement; return e.id || e.name"))
        webdriver.ActionChains(browser).send_keys(keys.TAB).perform()
    assert reached == ["v-pair", "overlay", "v-opacity", "v-first", "v-second", "v-flicker", "v-canvas"]
    browser.get("about:blank")  # back to where the crosshair is at first, in the middle of a voxel
    open_viewer(browser, results, "P1")
    browser.execute_script("document.getElementById('v-canvas').focus()")
    start = place_of(browser)
    for key, step in (
        (keys.ARROW_LEFT, (8, 0, 0)),
        (keys.ARROW_RIGHT, (-8, 0, 0)),
        (keys.ARROW_UP, (0, 8, 0)),
        (keys.ARROW_DOWN, (0, -8, 0)),
        (keys.PAGE_UP, (0, 0, 8)),
        (keys.PAGE_DOWN, (0, 0, -8)),
    ):
        webdriver.ActionChains(browser).send_keys(key).perform()
        moved = [a + b for a, b in zip(start, step, strict=True)]
        wait(lambda moved=moved: place_of(browser) == moved, 5)  # type: ignore[misc]
        start = moved
    before = pixels(browser)
    webdriver.ActionChains(browser).send_keys("vc").perform()  # by which niivue would change the layout
    assert alike(pixels(browser), before)


def test_a_link_opens_the_viewer_at_a_lesion(browser: Any, results: Path) -> None:
    """By a click in the table, a second one after the crosshair moved, and by the address in the CSV file."""
    table = pd.read_csv(results / "cohort" / "lesions.csv").dropna(subset="page")
    known = {row["from"]: row for row in table[table["patient"] == "P1"].to_dict("records")}
    browser.get("about:blank")
    open_viewer(browser, results, "P1")
    link = "#pair-2 .lesions a"
    there = [round(known["V2"][name]) for name in ("x_mm", "y_mm", "z_mm")]
    for _ in range(2):
        choose(browser, "v-pair", "0")
        press(browser, "#v-first")
        browser.execute_script("window.scrollTo(0, 0)")
        press(browser, link)
        wait(lambda: element(browser, "#v-pair").get_attribute("value") == "1")
        wait(lambda: np.abs(np.subtract(place_of(browser), there)).max() <= 4)
        assert "target: oedema" in element(browser, "#v-place").text
        webdriver.ActionChains(browser).scroll_by_amount(0, 1).perform()
        browser.execute_script("document.getElementById('v-canvas').focus()")
        webdriver.ActionChains(browser).send_keys(webdriver.Keys.ARROW_LEFT * 3).perform()
        wait(lambda: np.abs(np.subtract(place_of(browser), there)).max() > 8)
    browser.get("about:blank")
    browser.get((results / "cohort").as_uri() + "/" + known["V1"]["page"])
    wait(lambda: element(browser, "#viewer").get_attribute("data-state") == "ready")
    assert element(browser, "#v-pair").get_attribute("value") == "0"
    wait(lambda: np.abs(np.subtract(place_of(browser), there)).max() <= 4)
    for bad in ("#pair=V1__V9&at=1,2,3", "#pair=V1__V2&at=1,2", "#pair=V1__V2&at=1,x,3"):
        browser.execute_script("window.location.hash = arguments[0]", bad)
    assert messages(browser) == []


def test_moved_and_changed_kind_differ_by_more_than_colour(browser: Any, results: Path) -> None:
    browser.get((results / "patients" / "P1" / "report.html").as_uri())
    style = lambda selector, name: browser.execute_script(  # noqa: E731
        "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]", selector, name
    )
    lines = {kind: style(f"svg .line.{kind}", "strokeDasharray") for kind in ("all", "moved", "changed")}
    assert len(set(lines.values())) == 3
    assert (
        style("svg .bar.moved", "fillOpacity") == "1"
        and float(style("svg .bar.changed", "fillOpacity")) < 0.5
    )
    assert style("svg .ribbon.changed", "strokeDasharray") != "none"
    browser.get((results / "sweep" / "sweep.html").as_uri())
    thin = {kind: style(f"svg .thin.{kind}", "strokeDasharray") for kind in ("all", "moved", "changed")}
    assert thin == lines


def test_the_viewer_flickers_between_the_visits(browser: Any, results: Path) -> None:
    open_viewer(browser, results, "P1")
    press(browser, "input[value=none]")
    press(browser, "#v-second")
    second = pixels(browser)
    press(browser, "#v-first")
    first = pixels(browser)
    assert (np.abs(first - second).max(axis=-1) > 30).sum() > 200
    press(browser, "#v-flicker")
    for visit in (1, 0, 1):
        wait(lambda v=visit: element(browser, "#viewer").get_attribute("data-shown") == f"none {v}")  # type: ignore[misc]
    press(browser, "#v-flicker")
    assert element(browser, "#v-flicker").get_attribute("aria-pressed") == "false"


def test_the_viewer_changes_the_pair(browser: Any, results: Path) -> None:
    open_viewer(browser, results, "P1")
    press(browser, "input[value=changed]")
    before = coloured(pixels(browser), 1)
    choose(browser, "v-pair", "1")
    wait(lambda: coloured(pixels(browser), 1) == 0)  # nothing changed class between the last two visits
    assert before > 200


def test_the_viewer_veils_what_was_not_compared(browser: Any, results: Path) -> None:
    open_viewer(browser, results, "P2")
    press(browser, "input[value=none]")
    assert veiled(pixels(browser)) < 0.01 and "not compared" not in element(browser, "#v-legend").text
    for kind in ("moved", "before"):
        press(browser, f"input[value={kind}]")
        assert veiled(pixels(browser)) > 0.05
        assert "not compared" in element(browser, "#v-legend").text
    press(browser, "input[value=changed]")
    assert "not compared" not in element(browser, "#v-place").text
    assert messages(browser) == []


def test_the_viewer_keeps_its_height_when_the_window_changes(browser: Any, results: Path) -> None:
    open_viewer(browser, results, "P1")
    browser.set_window_size(1000, 800)
    time.sleep(0.5)
    assert element(browser, "#v-canvas").size["height"] == 420
    browser.set_window_size(1280, 1000)


def test_without_webgl_the_page_says_so_and_shows_pictures(blind: Any, results: Path) -> None:
    blind.get((results / "patients" / "P1" / "report.html").as_uri())
    blind.execute_script("document.getElementById('viewer-section').scrollIntoView()")
    said = wait(lambda: element(blind, "#v-missing").text)
    assert "The pictures below" in said and not element(blind, "#viewer").is_displayed()
    width = blind.execute_script("return document.querySelector('img.still').naturalWidth")
    assert width > 500


def test_the_aligned_visits_flicker(browser: Any, results: Path) -> None:
    browser.get((results / "patients" / "P1" / "report.html").as_uri())
    pages = "document.querySelector('.flicker').querySelectorAll('.stack > div')"
    hidden = f"return [...{pages}].map(d => d.classList.contains('off'))"
    assert browser.execute_script(hidden) == [False, True]
    buttons = browser.find_elements("css selector", ".flicker .buttons button")
    browser.execute_script("arguments[0].click()", buttons[2])
    wait(lambda: browser.execute_script(hidden) == [True, False])
    wait(lambda: browser.execute_script(hidden) == [False, True])
    browser.execute_script("arguments[0].click()", buttons[1])
    assert browser.execute_script(hidden) == [True, False]


def cells(browser: Any, column: int) -> list[str]:
    """Texts of one column of the cohort's table."""
    lines = "[...document.querySelectorAll('#c-table tbody tr')]"
    return list(browser.execute_script(f"return {lines}.map(r => r.cells[arguments[0]].textContent)", column))


def test_the_table_of_the_cohort_sorts_and_filters(browser: Any, results: Path) -> None:
    browser.get((results / "cohort" / "report.html").as_uri())
    assert len(cells(browser, 0)) == 6
    press(browser, "#c-table thead th:nth-child(1) button")
    assert cells(browser, 0) == ["P1", "P1", "P2", "P2", "P3", "P3"]
    press(browser, "#c-table thead th:nth-child(1) button")
    assert cells(browser, 0) == ["P3", "P3", "P2", "P2", "P1", "P1"]
    choose(browser, "c-measure", "1")
    press(browser, "#c-table thead th:nth-child(6) button")
    numbers = [text.replace("−", "-") for text in cells(browser, 5)]
    known = [float(text) for text in numbers if text]
    assert known == sorted(known, reverse=True) and known[0] > 0 and numbers[-3:] == ["", "", ""]
    choose(browser, "c-find", "p2", "input")
    assert cells(browser, 0) == ["P2", "P2"]
    choose(browser, "c-status", "failed")
    assert cells(browser, 4) == ["unreadable"]
    link = element(browser, "#c-table tbody a").get_attribute("href")
    assert link == (results / "patients" / "P2" / "report.html").as_uri()
    assert messages(browser) == []


def test_sorting_says_so_keeps_its_place_and_lasts_while_filtering(browser: Any, results: Path) -> None:
    browser.get((results / "cohort" / "report.html").as_uri())
    heads = "[...document.querySelectorAll('#c-table thead th')]"
    said = f"return {heads}.map(h => h.getAttribute('aria-sort') || '')"
    assert browser.execute_script(said) == ["", "", "", "ascending", "", "", "", ""]
    browser.execute_script(f"{heads}[2].firstChild.focus()")
    for order in ("descending", "ascending"):
        webdriver.ActionChains(browser).send_keys(webdriver.Keys.ENTER).perform()
        assert browser.execute_script(said) == ["", "", order, "", "", "", "", ""]
        assert browser.execute_script("return document.activeElement.textContent") == "days"
    choose(browser, "c-status", "ok")
    assert cells(browser, 2) == ["100", "100", "150"] and element(browser, "#c-count").text == "3 of 6 pairs"
    choose(browser, "c-find", "p1", "input")
    assert cells(browser, 2) == ["100", "150"]
    press(browser, "#c-table thead th:nth-child(3) button")
    assert cells(browser, 2) == ["150", "100"]
    choose(browser, "c-find", "", "input")
    assert cells(browser, 2) == ["150", "100", "100"]


def test_a_long_table_is_made_as_far_as_it_is_scrolled_and_printed_whole(
    browser: Any, tmp_path: Path
) -> None:
    out = small.cohort_of(75, tmp_path / "results", classes=4)
    browser.get(out.as_uri())
    count = "return document.querySelectorAll('#c-table tbody tr').length"
    end = "const box = document.querySelector('.tall'); box.scrollTop = box.scrollHeight"
    for rows in (100, 200, 300):
        wait(lambda rows=rows: browser.execute_script(count) == rows)  # type: ignore[misc]
        browser.execute_script(end)
    press(browser, "#c-table thead th:nth-child(1) button")
    assert browser.execute_script(count) == 100 and element(browser, "#c-count").text == "300 of 300 pairs"
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert cells(browser, 0) == [f"P{number:03}" for number in range(75) for _ in range(4)]


def test_what_is_given_per_year_is_the_change_over_the_days(browser: Any, results: Path) -> None:
    browser.get((results / "cohort" / "report.html").as_uri())
    choose(browser, "c-measure", "1")
    press(browser, "#c-table thead th:nth-child(1) button")
    yearly = cells(browser, 5)
    choose(browser, "c-unit", "ml")
    plain, days = cells(browser, 5), cells(browser, 2)
    number = lambda text: float(text.replace("−", "-"))  # noqa: E731
    table = pd.read_csv(results / "cohort" / "changes.csv")
    known = table[(table["class"] == "oedema") & (table["patient"] == "P1")]
    assert number(plain[0]) == pytest.approx(known["reallocation_mm3"].iloc[0] / 1000, abs=0.06) != 0
    assert number(yearly[0]) == pytest.approx(number(plain[0]) * 365.25 / float(days[0]), rel=0.01)
    assert yearly[-1] == plain[-1] == ""  # a pair that failed


def test_ratings_stay_and_are_saved_as_a_table(browser: Any, results: Path, tmp_path: Path) -> None:
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    browser.get((results / "cohort" / "report.html").as_uri())
    press(browser, "#c-table thead th:nth-child(1) button")
    press(browser, "#c-table tbody tr:nth-child(3) .rating button:nth-child(3)")
    press(browser, "#c-table tbody tr:nth-child(1) .rating button:nth-child(1)")
    press(browser, "#c-table tbody tr:nth-child(1) .rating button:nth-child(1)")  # taken back
    assert element(browser, "#c-rated").text == "1 of 6 pairs rated"

    def after_refreshing() -> bool:
        """Chromium stores what a page keeps a moment later, under load after a reload has read it."""
        browser.refresh()
        return str(element(browser, "#c-rated").text) == "1 of 6 pairs rated"

    wait(after_refreshing, 10)
    press(browser, "#c-save")
    saved = wait(lambda: list(tmp_path.glob("ratings.tsv")), 10)[0]
    lines = wait(lambda: saved.read_text().splitlines(), 5)
    assert lines == ["patient\tfrom\tto\trating", "P2\tV1\tV2\tbad"]


def test_a_pair_on_a_further_page_is_reached_from_the_summary(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longimorph.report.paging.PAIRS_A_PAGE", 1)
    folder, days = tmp_path / "results", {"V1": 0.0, "V2": 90.0, "V3": 180.0}
    rows = small.write_patient(folder, "P1", days)
    page = small.patient_page(folder, "P1", days, rows)
    browser.get(page.as_uri())
    press(browser, "#summary a[href$='#pair-2']")
    further = f"{page.with_name('report_2.html').as_uri()}#pair-2"
    wait(lambda: browser.current_url == further)
    assert element(browser, "#pair-2 h2").text.startswith("V2 to V3")
    browser.execute_script("document.getElementById('viewer-section').scrollIntoView()")
    wait(lambda: element(browser, "#viewer").get_attribute("data-state") == "ready")
    assert (pixels(browser).max(axis=-1) > 60).mean() > 0.1
    assert messages(browser) == []


def test_the_page_of_a_sweep_opens_and_unfolds(browser: Any, results: Path) -> None:
    browser.get((results / "sweep" / "sweep.html").as_uri())
    assert messages(browser) == []
    drawings = browser.find_elements("css selector", "figure svg")
    assert len(drawings) == 2 * 2 and all(drawing.size["width"] > 200 for drawing in drawings)
    colour = "return getComputedStyle(document.querySelector(arguments[0])).stroke"
    moved = browser.execute_script(colour, "polyline.thin.moved")
    assert moved != browser.execute_script(colour, "polyline.thin.changed") != "none"
    table = element(browser, "details table")
    assert not table.is_displayed()
    element(browser, "summary").click()
    assert table.is_displayed() and "+0.40 ± 0.40" in table.text
    across = "return document.documentElement.scrollWidth <= innerWidth"
    browser.set_window_size(700, 900)
    assert browser.execute_script(across)
    browser.set_window_size(1280, 1000)


@pytest.mark.parametrize("name", ["sweep/sweep.html", "patients/P1/report.html"])
def test_what_is_folded_is_printed(browser: Any, results: Path, name: str) -> None:
    browser.get((results / name).as_uri())
    parts = "[...document.querySelectorAll('details')].map(d => d.open)"
    folded = browser.execute_script(f"return {parts}")
    browser.execute_script(f"addEventListener('beforeprint', () => {{ window.printed = {parts}; }})")
    browser.execute_cdp_cmd("Page.printToPDF", {})
    assert browser.execute_script("return window.printed") == [True] * len(folded)
    assert folded == [False] * len(folded) == browser.execute_script(f"return {parts}") != []


def test_what_is_chosen_before_the_viewer_is_ready_counts(browser: Any, results: Path) -> None:
    browser.get("about:blank")
    browser.get((results / "patients" / "P1" / "report.html").as_uri())
    assert element(browser, "#viewer").get_attribute("data-state") != "ready"  # it waits until it is in sight
    press(browser, "input[value=changed]")
    browser.execute_script("document.getElementById('viewer-section').scrollIntoView()")
    wait(lambda: element(browser, "#viewer").get_attribute("data-state") == "ready")
    assert element(browser, "#viewer").get_attribute("data-shown") == "changed 0"


def test_the_dark_page_is_dark_and_the_printed_one_is_not(browser: Any, results: Path) -> None:
    browser.get((results / "patients" / "P1" / "report.html").as_uri())
    media = lambda kind, scheme: browser.execute_cdp_cmd(  # noqa: E731
        "Emulation.setEmulatedMedia",
        {"media": kind, "features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    colour = "return getComputedStyle(document.body).backgroundColor"
    media("screen", "dark")
    assert browser.execute_script(colour) == "rgb(21, 24, 28)"
    media("print", "dark")
    assert browser.execute_script(colour) == "rgb(255, 255, 255)"
    assert not element(browser, "#viewer-section").is_displayed()
    media("", "light")


def test_numbers_below_the_noise_floor_are_grey(browser: Any, tmp_path: Path) -> None:
    """Most reallocation of the made-up cohort is below its floor of 200 mm³, and no deformation is."""
    browser.get(small.cohort_of(6, tmp_path / "results", classes=4).as_uri())
    grey = "return document.querySelectorAll('#c-table td.below').length"
    assert wait(lambda: browser.execute_script("return document.querySelectorAll('#c-table td').length"))
    assert browser.execute_script(grey) == 0
    table = pd.read_csv(tmp_path / "results" / "cohort" / "changes.csv")
    inner = table[table["class"] != "background"]
    for measure, value in ((1, inner["reallocation_mm3"]), (2, None)):
        choose(browser, "c-measure", str(measure))
        expected = 0 if value is None else int((value.abs().round() < 200).sum())
        assert browser.execute_script(grey) == expected, measure
        assert expected > 50 or value is None
