#!/usr/bin/env python3
"""snapdiff --html: the page is whole in itself, of bounded size, and true to the JSON; names in it are text whatever they hold.
With --browser: what a reader does with it, in a headless Chromium.

    page.py --bin DIRECTORY --heapdsl PROGRAM [--pictures DIRECTORY] [--browser]"""

import argparse
import html.parser
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import browser  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True, type=pathlib.Path)
parser.add_argument("--heapdsl", required=True, type=pathlib.Path)
parser.add_argument("--name", help="ignored")
parser.add_argument("--browser", action="store_true")
parser.add_argument("--pictures", type=pathlib.Path)
OPTIONS = parser.parse_args()

ROUND = r"""
alloc main>serve@serve.c:10>session_new@session.c:42>calloc 100 x 200 type struct\x20session as session
alloc main>serve@serve.c:10>session_new@session.c:43>malloc 100 x 4000 as buffer
alloc main>oops@oops.c:3>malloc 500 x 300 as lost
alloc main>window_open@window.c:3>malloc 1 x 64 type struct\x20window as window
alloc main>window_open@window.c:4>malloc 1 x 100000 as pixels
"""
LIFE = r"""
command /usr/bin/server\x20--port\x2080
process rss_bytes 50000000
alloc main>init@server.c:5>malloc 1 x 4096 type struct\x20server as server
alloc main>init@server.c:7>malloc 1 x 512 type struct\x20listener[] as listeners
""" + "".join(f"alloc main>setup@setup.c:{i}>malloc {i} x 64 type struct\\x20setting{i}\n" for i in range(1, 41)) + ROUND + r"""
root global g_server server first
root global g_bus listeners first
refer server .sessions session last
refer listeners [*].context window all
refer window pixels pixels each
refer session buf buffer each
chain session next front
hook-each g_bus.listeners[*] on_colours bus.c 12 listeners window
step 1
snap 1.snap
""" + "".join(f"{ROUND}process rss_bytes {50 + i}000000\nstep {i}\nsnap {i}.snap\n" for i in (2, 3, 4))

# Names as an attacker would choose them, each where a name can stand.
BAD = (r"</script><script>pwned=1</script>", r"<img\x20src=x\x20onerror=pwned=1>", r"\"'><svg/onload=pwned=1>", r"<!--<script>",
       r"\xe2\x80\xaereversed\xe2\x81\xa6", r"\x1b[31mred\x07\x0d", r"bytes\xff\xfe\xc0\x80", r"&lt;b&gt;&#x3c;", r"]]>\x20--!>", r"javascript:pwned=1",
       r"\xef\xbf\xbe\xef\xb7\x90", r"__proto__", r"constructor", r"${pwned=1}", r"\xf0\x9f\x92\xa9\xe2\x80\x8b\xcc\x81" * 3)


def bad_life():
    # '>' separates frames, so that functions have none.
    names = [name.replace(">", r"\x3e") for name in BAD]
    lines = [rf"command {names[0]}", rf"label {names[1]}", "alloc main 1 x 64 type holder as holder", "root global " + names[0] + " holder first"]
    for turn in (1, 2, 3):
        for i, name in enumerate(names):
            function = re.sub(r"\\x3e|@", "", name) or "f"
            lines.append(rf"alloc main>{function}@{name}:{i + 1}>malloc 10 x 10000 type {name} as tag{i}")
            if turn == 1:
                lines.append(rf"refer holder {name} tag{i} all")
            lines.append(rf"hook {name} {name} {name} 3 {turn}")
        lines.append(f"snap {turn}.snap")
    return "\n".join(lines) + "\n"


class Page(html.parser.HTMLParser):
    """The tags of a page, and what stands in its data and in its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.inside, self.texts = [], None, {}
        self.feed(text)
        self.close()
        self.data = json.loads(self.texts["data"])

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = dict(attrs).get("id", tag)

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside] = self.texts.get(self.inside, "") + data


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)

    def make(self, life):
        folder = tempfile.mkdtemp(dir=self.folder.name)
        subprocess.run([OPTIONS.heapdsl.resolve(), "-C", folder], input=life.encode(), check=True)
        return pathlib.Path(folder)

    def snapdiff(self, folder, *arguments, status=1):
        names = sorted(path.name for path in folder.glob("*.snap"))
        done = subprocess.run([OPTIONS.bin.resolve() / "snapdiff", *arguments, *names], cwd=folder, stdout=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, status)
        return done.stdout

    def page(self, folder, *arguments):
        self.snapdiff(folder, "--html", "page.html", *arguments)
        return (folder / "page.html").read_text(encoding="utf-8")


class Static(Case):
    def check_whole(self, text):
        """No tag that a name made, nothing that is asked of elsewhere. Returns the parsed page."""
        page = Page(text)
        tags = [tag for tag, _ in page.tags]
        self.assertEqual(tags.count("script"), 3)
        self.assertEqual(set(tags), {"html", "head", "meta", "title", "style", "body", "a", "header", "span", "i", "button", "main", "pre", "script"})
        for tag, attributes in page.tags:
            self.assertEqual([key for key in attributes if key in ("src", "srcset", "action", "style") or key.startswith("on")], [], tag)
            self.assertTrue(attributes.get("href", "#").startswith("#"), attributes)
        self.assertIsNone(re.search(r"@import|url\(|sourceMappingURL", text))
        (policy,) = (a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
        self.assertRegex(policy, r"^default-src 'none'; script-src 'sha256-[^ ;]+' 'sha256-[^ ;]+'; style-src 'sha256-[^ ;]+'; base-uri 'none'")
        self.assertIn("THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS", text)
        return page

    def test_data_is_the_json(self):
        folder = self.make(LIFE)
        page = self.check_whole(self.page(folder))
        retained = page.data.pop("retained")
        self.assertEqual(page.data, json.loads(self.snapdiff(folder, "--json", "--top", "300")))
        self.assertTrue(page.texts["plain"].startswith("LEAK "))
        self.assertGreater(retained["reachable_bytes"], 400 * 4200)
        names = [row["node"] for row in retained["dominators"]]
        self.assertIn("struct server", names)
        self.assertLess(len(self.page(folder)), 400_000)

    def test_twice_the_same(self):
        folder = self.make(LIFE)
        self.assertEqual(self.page(folder), self.page(folder))

    def test_no_edges(self):
        page = self.check_whole(self.page(self.make(LIFE), "--no-edges"))
        self.assertNotIn("retained", page.data)

    def test_standard_output(self):
        folder = self.make(LIFE)
        self.assertEqual(self.snapdiff(folder, "--html", "-").decode(), self.page(folder))
        self.snapdiff(folder, "--html", "-", "--junit", "-", status=2)

    def test_bad_names(self):
        folder = self.make(bad_life())
        page = self.check_whole(self.page(folder))
        data = json.loads(self.snapdiff(folder, "--json", "--top", "300"))
        page.data.pop("retained")
        self.assertEqual(page.data, data)
        types = {row["type"] for row in data["types"]}
        self.assertIn("</script><script>pwned=1</script>", types)
        for control in ("\x1b", "\x07", "\u202e", "\u2066"):
            self.assertNotIn(control, self.page(folder))

    def test_size(self):
        """Rows are left out, largest last, until the page is small enough."""
        long = "a_long_name_" * 1200
        life = "".join(f"hook registry{i}{long} callback{i}{long} file{i}{long} 1 {2000 - i}\n" for i in range(400))
        folder = self.make("alloc main 1 x 10\nsnap 1.snap\n" + life + "snap 2.snap\n")
        self.snapdiff(folder, "--html", "page.html", status=0)
        text = (folder / "page.html").read_text(encoding="utf-8")
        self.assertLess(len(text.encode()), 10_000_000)
        page = Page(text)
        self.assertEqual(page.data["n_hooks"], 400)
        self.assertLess(len(page.data["hooks"]), 300)
        counts = [hook["counts"][1] for hook in page.data["hooks"]]
        self.assertGreater(len(counts), 50)
        self.assertEqual(counts, list(range(2000, 2000 - len(counts), -1)))


class Opened(Case):
    """In a browser."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.browser = browser.Browser()
        cls.addClassCleanup(cls.browser.__exit__)

    def open(self, folder, width=1280, height=800, dark=False, *arguments):
        self.page(folder, *arguments)
        self.browser.open(folder / "page.html", width, height, dark)

    def tearDown(self):
        self.assertEqual(self.browser.complaints(), [])
        self.assertEqual(self.browser.run("return performance.getEntriesByType('resource').map((e) => e.name)"), [])

    def texts(self, selector):
        return self.browser.run("return [...document.querySelectorAll(arguments[0])].filter((n) => n.checkVisibility()).map((n) => n.innerText)",
                                selector)

    def picture(self, name):
        if OPTIONS.pictures:
            self.browser.picture(OPTIONS.pictures / (name + ".png"))

    def test_at_a_glance(self):
        folder = self.make(LIFE)
        for width, height in ((1280, 800), (390, 844)):
            for dark in (False, True):
                with self.subTest(width=width, dark=dark):
                    self.open(folder, width, height, dark)
                    self.picture(f"page-{width}-{'dark' if dark else 'light'}")
                    for selector in (".verdict-line", "#culprit", ".facts"):
                        self.assertTrue(self.browser.run(browser.SEEN, selector), selector)
                    self.assertIn("struct session", self.texts("#culprit")[0])
                    self.assertIn("g_server.sessions", self.texts(".facts")[0])
                    self.assertEqual(self.browser.run("return document.documentElement.scrollWidth - innerWidth"), 0)
                    self.assertEqual(self.browser.run(browser.FAINT), [])
                    background = self.browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
                    self.assertEqual(max(background) < 60, dark)

    def test_theme(self):
        folder = self.make(LIFE)
        self.open(folder)
        theme = "return document.documentElement.dataset.theme"
        self.browser.press("t")
        self.assertEqual(self.browser.run(theme), "dark")
        self.browser.click("#theme")
        self.assertEqual(self.browser.run(theme), "light")

    def test_suspects(self):
        self.open(self.make(LIFE))
        heads = "return [...document.querySelectorAll('.suspect-head')].map((h) => h.getAttribute('aria-expanded'))"
        self.assertEqual(self.browser.run(heads), ["true", "false", "false"])
        chain = self.texts("#suspect-1 .chain li")
        self.assertIn("g_server", chain[0])
        self.assertTrue(any("struct session" in step and "×400" in step for step in chain), chain)
        self.assertEqual(len(self.texts("#suspect-1 .chain li.grew")), 1)
        self.browser.press("j", "Enter")
        self.assertEqual(self.browser.run(heads), ["false", "false", "false"])
        self.browser.press("j", "Enter")
        self.assertEqual(self.browser.run(heads), ["false", "true", "false"])
        self.assertEqual(self.browser.run("return getComputedStyle(document.activeElement).outlineStyle"), "solid")
        self.browser.press("k", "e")
        self.assertEqual(self.browser.run(heads), ["true", "true", "true"])
        self.browser.press("e")
        self.assertEqual(self.browser.run(heads), ["false", "false", "false"])

    def test_search(self):
        self.open(self.make(LIFE))
        all_types = len(self.texts("#types tbody tr"))
        self.browser.press("/", *"setting17")
        self.assertEqual(self.texts("#types tbody .name"), ["struct setting17"])
        self.assertEqual(self.texts("#types mark"), ["setting17"])
        self.assertEqual(self.texts(".suspect"), [])
        self.browser.press("Escape")
        self.assertEqual(len(self.texts("#types tbody tr")), all_types)
        self.assertEqual(len(self.texts(".suspect")), 3)
        self.browser.press("/", *"oops.c")
        self.assertEqual(len(self.texts(".suspect")), 1)
        self.assertEqual([text.split("\n")[0] for text in self.texts("#sites tbody .name")], ["oops"])
        self.assertGreater(len(self.texts("#flame .hit")), 0)

    def test_sort(self):
        self.open(self.make(LIFE))
        def column():
            return [int(text.replace(",", "").replace("+", "")) for text in self.texts("#types tbody td:nth-child(4)")]
        given = column()
        self.browser.click("#types th:nth-child(4) button")
        down = column()
        self.assertEqual(down[:3], sorted(given, reverse=True)[:3])
        self.assertEqual(down, sorted(down, reverse=True))
        self.browser.click("#types th:nth-child(4) button")
        up = column()
        self.assertEqual(up, sorted(up))
        self.browser.click("#types th:first-child button")
        names = self.texts("#types tbody .name")
        self.assertEqual(names, sorted(names))
        self.assertEqual(len(names), 25)
        self.browser.click("#types .foot button")
        self.assertGreater(len(self.texts("#types tbody .name")), 40)
        self.browser.click("#types .open-row", 1)
        self.assertEqual(len(self.texts("#types .detail")), 1)

    def test_what_did_not_change_is_not_in_the_way(self):
        folder = self.make(LIFE)
        types = json.loads(self.snapdiff(folder, "--json"))["types"]
        changed = sum(row["growth_bytes"] != 0 for row in types)
        self.assertLess(changed, 25)
        self.open(folder)
        self.assertEqual(len(self.texts("#types tbody tr")), max(changed, 5))
        self.browser.click("#types .foot button")
        self.assertEqual(len(self.texts("#types tbody tr")), len(types))

    def test_lines_stay_in_folded_stacks(self):
        deep = ">".join(f"level{i}" for i in range(20))
        folder = self.make("".join(f"alloc main>{deep}>train@train.py:83>{deep}>malloc 100 x 4000\nstep {i}\nsnap {i}.snap\n" for i in (1, 2, 3, 4)))
        self.open(folder)
        self.assertEqual(self.texts(".facts dd")[-1].split(), ["train", "train.py:83"])
        stack = self.texts("#suspect-1 .stack li")
        self.assertEqual([text.split()[0] for text in stack], ["level19", "train", "show"], stack)
        self.browser.click("#suspect-1 .stack button")
        self.assertEqual(len(self.texts("#suspect-1 .stack li")), 43)
        frames = self.texts("#flame .cell")
        self.assertTrue(any("train.py:83" in text for text in frames), frames)
        self.assertEqual(sum("frames" in text for text in frames), 2, frames)
        self.assertEqual(sum("level" in text for text in frames), 1, frames)

    def test_map_and_stacks(self):
        self.open(self.make(LIFE))
        cells = len(self.texts("#memory .cell"))
        self.assertGreater(cells, 3)
        self.assertTrue(any("g_server" in text for text in self.texts("#memory .cell")))
        self.browser.click("#memory .cell")
        self.assertEqual(len(self.texts("#memory .crumbs button")), 1)
        self.browser.click("#memory .crumbs button")
        self.assertEqual(len(self.texts("#memory .cell")), cells)
        for i in (1, 2):
            self.browser.click("#memory .choice button", i)
            self.assertGreater(len(self.texts("#memory .cell")), 1)
        frames = self.texts("#flame .cell")
        self.assertIn("all", frames[0])
        self.assertTrue(any("session_new" in text for text in frames))
        widths = "return [...document.querySelectorAll('#flame .cell')].find((c) => c.innerText.startsWith(arguments[0])).offsetWidth"
        before = self.browser.run(widths, "oops")
        self.browser.run("[...document.querySelectorAll('#flame .cell')].find((c) => c.innerText.startsWith('oops')).click()")
        self.browser.settle()
        self.assertGreater(self.browser.run(widths, "oops"), before * 1.5)

    def test_chart(self):
        self.open(self.make(LIFE))
        self.assertIn("struct session +1.3 MB", self.browser.run("return document.querySelector('.plot svg').getAttribute('aria-label')"))
        self.browser.run("document.querySelector('.plot svg').focus()")
        self.browser.press("Left")
        self.assertIn("step 4", self.texts(".tip")[0])
        self.browser.press("Left")
        self.assertIn("step 3", self.texts(".tip")[0])

    def test_devices(self):
        """Of a process that has some, which needs more than a life told in words: its rows are put into the page."""
        folder = self.make(LIFE)
        names = ("live", "cached", "graph", "largest_gap", "returnable", "reported", "residual")
        device = {"device": 0, "name": "GPU-<b>", **{name + "_bytes": [0, 0, 0, 0] for name in names}, "live_bytes": [0, 0, 0, 5000000]}
        text = self.page(folder)
        self.assertEqual(text.count('"hooks":['), 1)
        (folder / "page.html").write_text(text.replace('"hooks":[', '"devices":[%s],"hooks":[' % json.dumps(device), 1).replace("GPU-<b>", "GPU-\\u003cb>"))
        self.browser.open(folder / "page.html", 1280, 800)
        self.assertEqual([row.split("\t") for row in self.texts("#devices tbody tr")], [["live", "0 B", "0 B", "0 B", "5.0 MB", "+5.0 MB"]])
        self.assertIn("GPU-<b>", self.texts("#devices thead")[0])

    def test_help(self):
        self.open(self.make(LIFE))
        self.browser.press("?")
        self.assertEqual(len(self.texts("dialog")), 1)
        self.browser.press("Escape")
        self.assertEqual(self.texts("dialog"), [])

    def test_bad_names(self):
        folder = self.make(bad_life())
        for width in (1280, 390):
            self.open(folder, width, 844)
            self.picture(f"page-bad-names-{width}")
            self.browser.press("e")
            self.assertTrue(self.browser.run("return typeof pwned === 'undefined'"))
            self.assertEqual(self.browser.run("return document.querySelectorAll('script').length"), 3)
            self.assertEqual(self.browser.run("return document.querySelectorAll('img, iframe, object, embed, b b').length"), 0)
            self.assertEqual(self.browser.run("return document.documentElement.scrollWidth - innerWidth"), 0)
            shown = self.browser.run("return document.querySelector('main').innerText")
            self.assertIn("</script><script>pwned=1</script>", shown)
            self.assertIn("\\u202ereversed\\u2066", shown)
            self.assertNotRegex(shown, "[\u202a-\u202e\u2066-\u2069\u200b\x1b\x07]")

    def test_without_growth(self):
        folder = self.make("alloc main>f@f.c:1 10 x 1000\nsnap 1.snap\nsnap 2.snap\nsnap 3.snap\n")
        self.snapdiff(folder, "--html", "page.html", status=0)
        self.browser.open(folder / "page.html", 390, 844)
        self.assertIn("NO GROWTH", self.texts(".verdict-line")[0])
        self.assertEqual(self.browser.run(browser.FAINT), [])

    def test_without_references(self):
        folder = self.make("".join(f"alloc main>f@f.c:1 100 x 10000\nsnap {i}.snap\n" for i in (1, 2, 3)))
        self.open(folder)
        self.assertIn("LEAK", self.texts(".verdict-line")[0])
        self.assertIn("f", self.texts("#culprit")[0])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        subprocess.run([OPTIONS.heapdsl.resolve(), "-C", made], input=b"snap a.snap\nsnap b.snap\n", check=True)
        tried = subprocess.run([OPTIONS.bin.resolve() / "snapdiff", "--html", "-", "a.snap", "b.snap"], cwd=made, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, check=False)
        if b"built without" in tried.stderr:
            print(tried.stderr.decode().strip())
            sys.exit(77)
    if OPTIONS.browser:
        try:
            browser.Browser().__exit__()
        except browser.Absent as absent:
            print(absent)
            sys.exit(77)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Opened if OPTIONS.browser else Static)
    sys.exit(not unittest.TextTestRunner().run(suite).wasSuccessful())
