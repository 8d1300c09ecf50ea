"""A headless Chromium, driven by its DevTools protocol: for pages whose scripts draw them.

`python -m tests.browser URL FILE [SECONDS]` writes a picture of a page, as docs/dashboard.png was made.
"""

import asyncio
import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import aiohttp

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def chromium() -> str | None:
    """The path of a Chromium on this machine."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page in a browser of its own: `with Browser() as page: page.open(url)`."""

    def __enter__(self) -> Self:
        self._profile = tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True)
        flags = [
            *FLAGS,
            "--remote-debugging-port=0",
            f"--user-data-dir={self._profile.name}",
            "--window-size=1500,1000",
        ]
        command = [chromium() or "chromium", *flags, "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._loop, self._count = asyncio.new_event_loop(), 0
        self._loop.run_until_complete(self._connect())
        return self

    async def _connect(self) -> None:
        note = Path(self._profile.name) / "DevToolsActivePort"
        while not note.exists() or not note.read_text():
            assert self._process.poll() is None, "the browser ended"
            await asyncio.sleep(0.1)
        self._session = aiohttp.ClientSession(f"http://127.0.0.1:{note.read_text().split()[0]}")
        async with self._session.get("/json") as answer:
            (page,) = [each for each in await answer.json() if each["type"] == "page"]
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._session.close())
        self._loop.close()
        self._process.terminate()
        self._process.wait()
        self._profile.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command of the protocol."""
        return self._loop.run_until_complete(asyncio.wait_for(self._send(method, parameters), 60))

    async def _send(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        await self._socket.send_str(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while (answer := json.loads(await self._socket.receive_str())).get("id") != self._count:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url: str) -> None:
        """Go to a page, in full even where the address differs in its fragment only."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait(self, condition: str, seconds: float = 120) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(f"Boolean(({condition}))"):
            assert time.monotonic() < deadline, f"{condition} never came true on a page of: {self.text()[:2000]}"
            time.sleep(0.2)

    def text(self) -> str:
        """The text that can be read on the page."""
        return self.evaluate("document.body ? document.body.innerText : ''")

    def screenshot(self, path: Path) -> None:
        """Write a picture of what is seen."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


if __name__ == "__main__":
    with Browser() as page:
        page.send("Page.enable")
        hide = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
        page.send("Page.addScriptToEvaluateOnNewDocument", source=hide)
        page.open(sys.argv[1])
        time.sleep(float(sys.argv[3]) if len(sys.argv) > 3 else 15)
        page.screenshot(Path(sys.argv[2]))
