"""The reader's page in a real browser: keys, autosave, export, and no word of which is which."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from training.data.images import Pixels, write_png
from training.data.pairs import open_dataset
from training.study.create import create_study
from training.study.sheets import read_sheet, read_study

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
READY_SECONDS = 60


class Browser:
    """A headless Chromium driven through its own debugging protocol, by tornado's web socket."""

    def __init__(self, program: str, profile: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.number = 0
        self.process = subprocess.Popen(
            [
                *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(profile)},
        )
        self.connection = self.loop.run_until_complete(self._connect(profile))
        target = self.send("Target.getTargets")["targetInfos"]
        page = next(info["targetId"] for info in target if info["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page, flatten=True)
        self.session = attached["sessionId"]

    session: str | None = None

    async def _connect(self, profile: Path) -> WebSocketClientConnection:
        port_file = profile / "DevToolsActivePort"
        until = time.monotonic() + READY_SECONDS
        while not (port_file.exists() and len(port_file.read_text().split()) == 2):
            assert self.process.poll() is None, "Chromium ended at once"
            assert time.monotonic() < until, "Chromium did not start in time"
            await asyncio.sleep(0.05)
        port, path = port_file.read_text().split()
        return await websocket_connect(f"ws://127.0.0.1:{port}{path}", max_message_size=64 * 2**20)

    def send(self, method: str, **parameters: Any) -> Any:
        """Send one command and return its result."""
        return self.loop.run_until_complete(self._send(method, parameters))

    async def _send(self, method: str, parameters: dict[str, Any]) -> Any:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        await self.connection.write_message(json.dumps(message))
        while True:
            text = await asyncio.wait_for(self.connection.read_message(), READY_SECONDS)
            assert text is not None, "Chromium closed the connection"
            answer = json.loads(text)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, page: Path) -> None:
        """Load a page and wait until its scripts have run."""
        self.send("Page.enable")
        self.send("Page.navigate", url=page.as_uri())
        self.wait_for(
            f"location.href === {json.dumps(page.as_uri())} && document.readyState === 'complete'"
        )

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + READY_SECONDS
        while not self.value(expression):
            assert time.monotonic() < until, f"never true: {expression}"
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        """Press keys, as a person does."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else {}
            self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def screenshot(self, path: Path) -> None:
        """Save what the window shows."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """End the browser."""
        self.connection.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.process.terminate()
        self.process.wait(timeout=20)
        self.loop.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine to open the page in")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of 3 pairs of small images; real ones are brown, generated ones blue."""
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(5)
    for number, her2 in enumerate(("0", "2+", "3+")):
        for stain, colour in (("HE", (200, 120, 180)), ("IHC", (140, 90, 40))):
            noise = rng.integers(-20, 20, (48, 64, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            write_png(root / "data" / stain / "test" / f"{number:05d}_test_{her2}.png", pixels)

    def make(pair: object, he: Pixels) -> Pixels:
        return np.full_like(he, (60, 70, 150))

    pairs = open_dataset(root / "data").pairs
    create_study(pairs, make, root / "study", count=3, seed=11)
    return root / "study"


def begin(browser: Browser, page: Path, reader: str) -> None:
    browser.open(page)
    browser.value(f"document.getElementById('name').value = {json.dumps(reader)}")
    browser.value("document.getElementById('name').focus()")
    browser.press("Enter")
    browser.wait_for("!document.getElementById('work').hidden")


def progress(browser: Browser) -> str:
    return str(browser.value("document.getElementById('progress').textContent"))


def test_keys_score_a_reload_keeps_them_and_the_export_can_be_scored(
    browser: Browser, study: Path, tmp_path: Path
) -> None:
    page = study / "readers" / "study.html"

    begin(browser, page, "Ada L.")
    browser.press("3", "0", "2")
    assert progress(browser) == "3 of 6 scored"
    begin(browser, page, "Ada L.")
    assert progress(browser) == "3 of 6 scored"
    assert browser.value("document.getElementById('where').textContent") == "Image 004"
    browser.press("1", "1", "1", "ArrowLeft", "2", "n")
    assert progress(browser) == "6 of 6 scored"
    browser.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.value("document.getElementById('export').click()")
    sheet = tmp_path / f"Ada_L__{read_study(study).id}.csv"
    until = time.monotonic() + READY_SECONDS
    while not sheet.exists():
        assert time.monotonic() < until, f"no {sheet.name} in {list(tmp_path.iterdir())}"
        time.sleep(0.05)

    read = read_sheet(read_study(study), sheet)
    assert read.reader == "Ada L."
    assert read.scores == {"001": 3, "002": 0, "003": 2, "004": 1, "005": 2, "006": 1}


def test_a_second_reader_starts_from_nothing(browser: Browser, study: Path) -> None:
    begin(browser, study / "readers" / "study.html", "Grace")

    assert progress(browser) == "0 of 6 scored"


def test_the_images_on_the_page_are_those_of_the_key(browser: Browser, study: Path) -> None:
    begin(browser, study / "readers" / "study.html", "Mary")
    blue = {}
    for entry in read_study(study).key:
        browser.wait_for("document.getElementById('image').complete")
        blue[entry.image] = browser.value(
            "(() => { const i = document.getElementById('image'), c = document.createElement('canvas');"
            "c.width = i.naturalWidth; c.height = i.naturalHeight; const x = c.getContext('2d');"
            "x.drawImage(i, 0, 0); const d = x.getImageData(30, 20, 1, 1).data; return d[2] > d[0]; })()"
        )
        browser.press("ArrowRight")

    assert blue == {entry.image: entry.kind == "generated" for entry in read_study(study).key}
