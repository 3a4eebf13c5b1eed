"""A headless Chromium that opens pages of ours: for pictures of the docs, and for tests.

Spoken to through its DevTools protocol, over the web socket client that dask brings along. Opens
no network: pages are files.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESKTOP = (390, 844), (1400, 1000)
PAPER = (718, 1047)
"""What Chromium's own margins leave of A4."""

MOST_BYTES = 2**28
PATIENCE_S = 300.0
"""A limit for what hangs, not a measure: a busy machine may take long."""


def check_page(browser: Browser, page: Path) -> None:
    """Assert that a page says nothing on the console and fits a phone, a desk and paper.

    A wide table may be moved from side to side on a phone, not elsewhere.
    """
    views = [(size, dark) for size in (PHONE, DESKTOP) for dark in (False, True)]
    for size, dark in (*views, (PAPER, False)):
        browser.open(page, size, dark, paper=size == PAPER)
        found = browser.evaluate(_WIDER)
        assert not browser.complaints, browser.complaints
        assert found["page"] <= size[0], f"{page.name} at {size[0]} px: {found}"
        assert size == PHONE or not found["cut"], f"{page.name}, tables: {found['cut']}"


_WIDER = """(() => ({
  page: document.documentElement.scrollWidth,
  cut: [...document.querySelectorAll(".scroll")]
    .filter((part) => part.scrollWidth > part.clientWidth + 1 && !part.closest("details"))
    .map((part) => part.textContent.slice(0, 120)),
  culprits: [...document.querySelectorAll("body *")]
    .filter((part) => part.getBoundingClientRect().right > innerWidth + 1).slice(0, 5)
    .map((part) => part.outerHTML.slice(0, 120)),
}))()"""


def find_chromium() -> str | None:
    """Return the path of a Chromium, ``None`` where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Browser(AbstractContextManager["Browser"]):
    """One tab. Pages of any width, what their scripts say, and pictures of them."""

    complaints: list[str] = field(default_factory=list)
    """Errors and warnings on the console, and exceptions, since the page was opened."""
    _loaded: set[str] = field(default_factory=set, init=False)
    """Which pages have come; until then the one before answers, also under the same address."""

    def __enter__(self) -> Self:
        chromium = find_chromium()
        assert chromium is not None
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--hide-scrollbars",
            "--remote-debugging-port=0", f"--user-data-dir={self._profile.name}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self._loop = asyncio.new_event_loop()
        self._number = 0
        self._socket: WebSocketClientConnection = self._run(self._connect())
        for name in ("Page", "Runtime", "Log"):
            self.call(f"{name}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._leave())
        self._process.kill()
        self._process.wait()
        self._loop.close()
        self._profile.cleanup()

    def open(
        self, page: Path, size: tuple[int, int] = DESKTOP, dark: bool = False, paper: bool = False
    ) -> None:
        """Show a file at a width and height in CSS pixels, as on a phone where it is narrow."""
        self.complaints.clear()
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        media = "print" if paper else ""
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        url = page.resolve().as_uri()
        loader = self.call("Page.navigate", url=url)["loaderId"]
        self._run(self._come(loader))

    def evaluate(self, expression: str) -> Any:
        """Return what a JavaScript expression comes to, promises awaited."""
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise AssertionError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something is so."""
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < until, f"never so: {what}"
            self._run(asyncio.sleep(0.02))

    def press(self, *keys: str) -> None:
        """Press keys, as a person does."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def screenshot(self, whole: bool = True) -> bytes:
        """Return a PNG of the page, down to its end unless only the window is wanted."""
        found = self.call(
            "Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole)
        )
        return base64.b64decode(found["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser for something; see the DevTools protocol."""
        return dict(self._run(self._ask(method, parameters)))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        width, height = self.evaluate(size)
        return {"clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}}

    def _run(self, work: Awaitable[Any]) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(work, PATIENCE_S))

    async def _connect(self) -> WebSocketClientConnection:
        port = Path(self._profile.name, "DevToolsActivePort")
        while not port.exists() or not port.read_text():
            await asyncio.sleep(0.05)
        address = f"127.0.0.1:{port.read_text().splitlines()[0]}"
        client = AsyncHTTPClient(force_instance=True)
        pages: list[str] = []
        while not pages:  # it answers before it has a tab
            tabs = json.loads((await client.fetch(f"http://{address}/json")).body)
            pages = [tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"]
        client.close()
        return await websocket_connect(pages[0], max_message_size=MOST_BYTES)

    async def _leave(self) -> None:
        self._socket.close()
        await asyncio.sleep(0.05)  # until the loop has heard of it

    async def _ask(self, method: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        await self._socket.write_message(json.dumps(message))
        while True:
            answer = await self._heard()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._listen(answer)

    async def _come(self, loader: str) -> None:
        while loader not in self._loaded:
            self._listen(await self._heard())

    async def _heard(self) -> dict[str, Any]:
        text = await self._socket.read_message()
        assert text is not None, "the browser has gone"
        return dict(json.loads(text))

    def _listen(self, event: dict[str, Any]) -> None:
        """Keep what a page complains about."""
        what, said = event.get("method"), event.get("params", {})
        if what == "Page.lifecycleEvent" and said["name"] == "load":
            self._loaded.add(said["loaderId"])
        elif what == "Runtime.exceptionThrown":
            self.complaints.append(str(said["exceptionDetails"]))
        elif what == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(said["entry"]))
        elif what == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(said["args"]))
