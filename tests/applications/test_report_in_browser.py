"""A report in headless Chromium: no errors, every figure there, nothing wider than a phone, and the viewer turns."""

import html
import re
import shutil
import subprocess

import pytest

from gpjaxpot.applications.report import make_report
from tests.applications.fakes import FakePotential
from tests.applications.reports import FIGURES, HOSTILE_GROUP, HOSTILE_SOURCE, make_frames

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=3000",
)
# Windows are at least 500 pixels wide, a frame in one may be narrower; the page's own measures are handed out.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0">
<iframe width="{width}" height="800" style="border: 0" srcdoc="{page}"></iframe>
<script>
window.addEventListener("load", () => {{
  const inner = document.querySelector("iframe").contentDocument, data = document.body.dataset;
  Object.assign(data, inner.body.dataset);
  const canvas = inner.querySelector("canvas"), about = () => inner.querySelector(".about").textContent;
  const key = (name) => canvas.dispatchEvent(new KeyboardEvent("keydown", {{ key: name, cancelable: true }}));
  const colours = () => new Set(new Uint32Array(
    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size;
  const before = canvas.toDataURL();
  data.colours = colours();
  key("ArrowLeft");
  data.turned = String(canvas.toDataURL() !== before);
  inner.querySelector("[data-zoom='0']").click();
  data.reset = String(canvas.toDataURL() === before);
  const first = about(), buttons = inner.querySelectorAll(".choices button");
  buttons[1].click();
  data.buttons = buttons.length;
  data.chosen = String(about() !== first && buttons[1].getAttribute("aria-pressed") === "true");
}});
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"needs a browser: none of {', '.join(NAMES)} is on the PATH")


@pytest.fixture(scope="module")
def page():
    frames = make_frames(groups=("bulk", HOSTILE_GROUP), source=HOSTILE_SOURCE)
    return make_report(FakePotential(), frames, "model.safetensors", [HOSTILE_SOURCE]).page


def browse(folder, text, *options):
    """Return what the browser made of a page, having seen that nothing was said on its console."""
    (folder / "page.html").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *options, (folder / "page.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line or "Uncaught" in line]
    assert said == []
    return done.stdout


def body(dom):
    """Return the data attributes of the page's body."""
    return dict(re.findall(r'data-([\w-]+)="([^"]*)"', re.search(r"<body[^>]*>", dom)[0]))


def test_the_page_is_complete_and_says_nothing_on_the_console(page, tmp_path):
    data = body(browse(tmp_path, page, "--window-size=1280,900", "--dump-dom"))
    assert data["ready"] == "yes"
    assert int(data["images"]) == int(data["images-loaded"]) == len(FIGURES)
    assert int(data["canvas-drawn"]) >= 3
    assert int(data["scroll-width"]) <= int(data["inner-width"]) == 1280
    assert "hacked" not in data


@pytest.mark.parametrize("width", [360, 390])
def test_a_phone_scrolls_downwards_only_and_the_viewer_answers(page, width, tmp_path):
    framed = FRAME.format(width=width, page=html.escape(page))
    data = body(browse(tmp_path, framed, "--window-size=600,900", "--dump-dom"))
    assert int(data["inner-width"]) == width
    assert int(data["scroll-width"]) <= width
    assert int(data["colours"]) > 50
    assert int(data["buttons"]) == 8
    assert (data["turned"], data["reset"], data["chosen"]) == ("true", "true", "true")
    assert "hacked" not in data


def test_a_console_error_would_be_found(page, tmp_path):
    broken = page.replace('<script type="application/json"', '<script>nothing.there()</script><script type="x"')
    with pytest.raises(AssertionError, match="nothing is not defined"):
        browse(tmp_path, broken, "--dump-dom")
