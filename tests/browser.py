"""Opens pages in a real headless Chromium and returns what a reader would see, as facts that tests can assert."""

import contextlib
import functools
import html
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import threading

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (390, 1400)

# Measures each page in frames of several widths, once all are loaded.
_PROBE = """<!DOCTYPE html><html><body>{frames}<pre id="found"></pre><script>
window.addEventListener("load", () => {{
  const luminance = color => {{
    const [r, g, b] = color.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }};
  const found = [...document.querySelectorAll("iframe")].map(frame => {{
    const page = frame.contentDocument, style = frame.contentWindow.getComputedStyle(page.body);
    const [ink, paper] = [luminance(style.color), luminance(style.backgroundColor)];
    return {{
      title: page.title,
      images: page.images.length,
      broken: [...page.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.alt),
      overflow: page.documentElement.scrollWidth - frame.clientWidth,
      dark: paper < ink,
      contrast: (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05),
      plots: page.querySelectorAll("svg path").length,
    }};
  }});
  document.getElementById("found").textContent = JSON.stringify(found);
}});
</script></body></html>
"""


def find_chromium():
    """Path of the browser; the test is skipped if there is none."""
    for name in _NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"needs a headless Chromium: {' or '.join(_NAMES)}")


def look_at(page, profile, dark):
    """Facts about how a browser renders a page at each of WIDTHS.

    Args:
        page: pathlib.Path of the HTML file; a file named probe.html is written next to it.
        profile: new folder for the browser's own files.
        dark: bool, whether the reader prefers dark pages.

    Returns:
        (list of dict for each width, list of what the browser's console says).
    """
    frames = "".join(
        f'<iframe src="{page.name}" style="width:{width}px;height:900px;border:0"></iframe>' for width in WIDTHS
    )
    (page.parent / "probe.html").write_text(_PROBE.format(frames=frames))
    with _served(page.parent) as address:
        done = subprocess.run(
            [
                find_chromium(),
                *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
                *("--disable-component-update", "--disable-sync", "--enable-logging=stderr"),
                f"--user-data-dir={profile}",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                *("--virtual-time-budget=20000", "--dump-dom", f"{address}/probe.html"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found.group(1))), console


@contextlib.contextmanager
def _served(folder):
    """Serves the folder on a free port of this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(pathlib.Path(folder)))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
