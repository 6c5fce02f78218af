"""A headless Chromium, spoken to over two pipes in its DevTools protocol: no other package needed.

https://chromedevtools.github.io/devtools-protocol/; messages end in a zero byte.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking",
    "--hide-scrollbars",
)  # fmt: skip


class Chromium:
    """One page; `said` collects what its console says of errors."""

    def __init__(self, profile):
        down, up = os.pipe(), os.pipe()

        ends = f"3</proc/self/fd/{down[0]} 4>/proc/self/fd/{up[1]}"  # where Chromium looks
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec "$0" "$@" {ends}', PROGRAM, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(down[0], up[1]), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(down[0]), os.close(up[1])
        self._to, self._from, self._rest, self._id = down[1], up[0], b"", 0
        self.said = []
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """One command to the page."""
        return self._call(method, parameters, self.session)

    def _call(self, method, parameters, session=None, patience=60):
        self._id += 1
        message = {"id": self._id, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + patience
        while True:
            answer = self._read(deadline)
            if answer.get("id") == self._id:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _read(self, deadline):
        while b"\0" not in self._rest:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self._from], [], [], left)[0], "no answer"
            self._rest += os.read(self._from, 2**16)
        data, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(data)
        method, told = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.said.append(told["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.said.append(told["args"])
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.said.append(told["entry"])
        return message

    def look(self, width, height=900, *, dark=False, phone=False):
        """The size of the window, and which colours its user prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def value(self, script):
        """What an expression is in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, script, patience=60):
        """Until an expression holds; its value."""
        deadline = time.monotonic() + patience
        while not (value := self.value(script)):
            assert time.monotonic() < deadline, f"never: {script}\n{self.said}"
            time.sleep(0.05)
        return value

    def shot(self, file):
        """The whole page as a PNG file."""
        options = {"format": "png", "captureBeyondViewport": True}
        picture = self.call("Page.captureScreenshot", **options)["data"]
        with open(file, "wb") as out:
            out.write(base64.b64decode(picture))

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        os.close(self._to), os.close(self._from)
