"""The page that the quickstart writes, opened in a browser: the leak is seen without scrolling on a screen and on a phone.

    test_page.py quickstart.sh BUILD OUT"""
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import browser  # noqa: E402

QUICKSTART, BUILD, OUT = sys.argv[1:]


class Page(unittest.TestCase):
    def test_leak_is_seen(self):
        done = subprocess.run(["bash", QUICKSTART, "--native", "--built", BUILD, "--out", OUT], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        planted = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("planted leak:")][0]
        page = pathlib.Path(OUT, "report.html")
        if not page.exists():
            self.skipTest("built without reports as a page")
        with browser.Browser() as b:
            for width, height in ((1280, 800), (390, 844)):
                for dark in (False, True):
                    b.open(page, width, height, dark)
                    b.picture(pathlib.Path(BUILD, "pictures", f"quickstart-{width}-{'dark' if dark else 'light'}.png"))
                    for selector in (".verdict-line", "#culprit", ".facts"):
                        self.assertTrue(b.run(browser.SEEN, selector), (selector, width, dark))
                    self.assertIn(planted, b.run("return document.querySelector('.facts').innerText"))
                    self.assertIn("LEAK", b.run("return document.querySelector('.verdict-line').innerText"))
                    self.assertEqual(b.complaints(), [])
                    self.assertEqual(b.run("return document.documentElement.scrollWidth - innerWidth"), 0)


if __name__ == "__main__":
    try:
        browser.Browser().__exit__()
    except browser.Absent as absent:
        print(absent)
        sys.exit(77)
    result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(Page))
    sys.exit(77 if result.skipped else not result.wasSuccessful())
