"""Headless Chromium over the DevTools protocol: what a person sees of a page, and what the page asks for.

Only the standard library: `--remote-debugging-pipe` reads commands from descriptor 3 and writes answers to
descriptor 4, each a JSON text that a zero byte ends.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")
DESKTOP, PHONE = (1280, 800), (390, 844)
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--hide-scrollbars",
    # no name is found and no address is reached: what a page asks of the network fails, and is noted
    "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
)  # fmt: skip


class Page:
    """One page; `problems` are its errors, `warnings` what its console warns of, `requests` what it asks of others."""

    def __init__(self, process, commands, answers):
        self.process, self.commands, self.answers = process, commands, answers
        self.number, self.buffer, self.session = 0, b"", None
        self.problems, self.warnings, self.requests = [], [], []
        self.file, self.loaded = None, False

    def _note(self, message):
        name, said = message.get("method"), message.get("params", {})
        if name == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif name == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            noted = self.warnings if said["type"] == "warning" else self.problems
            noted.append(" ".join(str(part.get("value", part.get("description"))) for part in said["args"]))
        elif name == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            noted = self.warnings if said["entry"]["level"] == "warning" else self.problems
            noted.append(f"{said['entry']['text']} {said['entry'].get('url', '')}".strip())
        elif name == "Network.requestWillBeSent":
            url = said["request"]["url"]
            if url.partition("#")[0] != self.file and not url.startswith(("data:", "blob:", "about:")):
                self.requests.append(url)
        elif name == "Page.loadEventFired":
            self.loaded = True
        elif name == "Page.javascriptDialogOpening":  # what a script that got into the page would do
            self.problems.append(f"dialog: {said['message']}")
            self._send("Page.handleJavaScriptDialog", accept=True)

    def _read(self, deadline):
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.answers], [], [], left)[0]:
                raise TimeoutError("Chromium does not answer")
            part = os.read(self.answers, 1 << 20)
            if not part:
                raise RuntimeError(f"Chromium has ended with status {self.process.wait()}")
            self.buffer += part
        text, _, self.buffer = self.buffer.partition(b"\0")
        message = json.loads(text)
        self._note(message)
        return message

    def _send(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data) :]
        return self.number

    def ask(self, method, timeout=60, **params):
        """The answer to one command of the protocol."""
        number, deadline = self._send(method, **params), time.monotonic() + timeout
        while (message := self._read(deadline)).get("id") != number:
            pass
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    def start(self):
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def resize(self, size, phone=False):
        """Width and height in CSS pixels; a phone has touch and its own viewport."""
        width, height = size
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.ask("Emulation.setTouchEmulationEnabled", enabled=phone)

    def open(self, path, size=DESKTOP, phone=False):
        """Load a file and wait until it says that it has loaded."""
        self.file, self.loaded = Path(path).resolve().as_uri(), False
        self.resize(size, phone)
        self.ask("Page.navigate", url=self.file)
        deadline = time.monotonic() + 60
        while not self.loaded:
            self._read(deadline)

    def evaluate(self, script):
        """Value of a JavaScript expression, or of what it promises; an exception in it is one here."""
        said = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            details = said["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return said["result"].get("value")

    def wait_for(self, script, timeout=60):
        """The first value of an expression that counts as true."""
        deadline = time.monotonic() + timeout
        # an element of the page cannot be sent here
        asked = f"(() => {{ const found = ({script}); return found instanceof Node ? true : found }})()"
        while not (value := self.evaluate(asked)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"still not so: {script}")
            time.sleep(0.05)
        return value

    def click_at(self, x, y):
        """Press and release the mouse at a place of the window."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hover(self, x, y):
        """Move the mouse to a place of the window."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector):
        """Click the middle of the element that a CSS selector finds, scrolled into view."""
        x, y = self.evaluate(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            "found.scrollIntoView({block: 'center'}); const box = found.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2] })()"
        )
        self.click_at(x, y)

    def press(self, key, text=None):
        """Press and release a key by its name, such as Tab, Enter or ArrowRight."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39}
        code = {**codes, "ArrowDown": 40}.get(key, 0)
        text = {"Enter": "\r", " ": " "}.get(key, text)
        more = {"text": text} if text else {}
        kind = "keyDown" if text else "rawKeyDown"
        self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self, path):
        """Write what is seen as PNG."""
        Path(path).write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def browser(folder):
    """A fresh Chromium with its profile in `folder`, ended at the end."""
    read, write = os.pipe()
    back, answers = os.pipe()
    # a shell puts the two ends where Chromium looks for them
    placed = ["sh", "-c", f'exec "$0" "$@" 3</dev/fd/{read} 4>/dev/fd/{answers}']
    process = subprocess.Popen(
        [*placed, CHROMIUM, *ARGUMENTS, f"--user-data-dir={folder}", "about:blank"],
        pass_fds=(read, answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read)
    os.close(answers)
    page = Page(process, write, back)
    try:
        page.start()
        yield page
        page.session = None
        page.ask("Browser.close")
        process.wait(timeout=20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(write)
        os.close(back)
