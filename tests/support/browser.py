"""A headless Chromium for tests of pages: driven by Selenium, with a profile of its own that is gone afterwards.

    with browser.Browser() as b:
        b.open(path, 390, 844, dark=True)
        b.run("return document.title")

Raises Absent, with the reason, where Chromium, its driver or Selenium are not installed."""
import base64
import pathlib
import shutil
import tempfile

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage")
KEYS = {"Escape": "\ue00c", "Enter": "\ue007", "Tab": "\ue004", "Right": "\ue014", "Left": "\ue012"}


class Absent(Exception):
    pass


class Browser:
    def __init__(self):
        try:
            from selenium import webdriver
            from selenium.webdriver.chrome.options import Options
            from selenium.webdriver.chrome.service import Service
        except ImportError:
            raise Absent("python3 has no selenium (Debian: python3-selenium)") from None
        driver = shutil.which("chromedriver")
        if driver is None or shutil.which("chromium") is None:
            raise Absent("no chromium or no chromedriver (Debian: chromium chromium-driver)")
        self.profile = tempfile.TemporaryDirectory(prefix="heapsnap-browser-", ignore_cleanup_errors=True)
        options = Options()
        for flag in (*FLAGS, "--user-data-dir=" + self.profile.name):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service(driver), options=options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()
        self.profile.cleanup()

    def open(self, path, width, height, dark=False):
        """A page in a window of that size; below 600 columns as a phone shows it."""
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                    {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
        self.driver.get("about:blank")
        self.driver.get(pathlib.Path(path).resolve().as_uri())
        self.settle()

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def settle(self):
        """Until what a timer or the next frame draws is drawn."""
        self.driver.execute_async_script("const done = arguments[0]; setTimeout(() => requestAnimationFrame(() => done()), 150)")

    def press(self, *keys):
        """Keys go to what has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains
        for key in keys:
            ActionChains(self.driver).send_keys(KEYS.get(key, key)).perform()
        self.settle()

    def click(self, selector, number=0):
        self.run("document.querySelectorAll(arguments[0])[arguments[1]].click()", selector, number)
        self.settle()

    def picture(self, path):
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]))

    def complaints(self):
        """What the console says since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


# Whether an element lies in the window, whole, and nothing covers its middle.
SEEN = """
const node = document.querySelector(arguments[0]), box = node.getBoundingClientRect();
const at = document.elementFromPoint(box.left + Math.min(box.width / 2, 40), box.top + box.height / 2);
return scrollY === 0 && box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth &&
    box.height > 0 && (node.contains(at) || at.contains(node));
"""

# Texts whose contrast with what lies behind them is below WCAG's 4.5 : 1 (3 : 1 for large ones), as "text ratio".
FAINT = """
const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
const context = canvas.getContext("2d", {willReadFrequently: true});
const rgba = (color) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
};
const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const found = [];
const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, style = getComputedStyle(node);
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("[aria-pressed=false], .said")) continue;
    let behind = node, color = [0, 0, 0, 0];
    for (; behind && color[3] < 250; behind = behind.parentElement) color = rgba(getComputedStyle(behind).backgroundColor);
    const text = node.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const a = light(rgba(text)), b = light(color), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const large = parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700;
    if (ratio < (large ? 3 : 4.5)) found.push(walker.currentNode.data.trim().slice(0, 40) + " " + ratio.toFixed(2));
}
return [...new Set(found)];
"""
