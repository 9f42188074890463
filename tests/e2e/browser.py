"""A real browser: headless Chromium with one page, spoken to by the DevTools protocol.

Owns: starting and ending it, what a user does (open, click, type, resize) and what a user sees. Knows nothing of the page.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from stack import ROOT, wait_for
from websockets.sync.client import connect

ANSWER_S_MAX = 60
# What a page may not do to the machine is not for these tests, which open our own page only; containers have no sandbox.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
         "--disable-background-networking", "--remote-debugging-port=0"]


def folder():
    """Where the browser is; it is fetched the first time."""
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    made = subprocess.run([ROOT / "scripts" / "browser.sh"], stdout=subprocess.PIPE, text=True, check=True,
                          env={**os.environ, "PATH": path})
    return pathlib.Path(made.stdout.strip())


class Browser:
    """One page; a context manager that leaves no process behind."""

    def __init__(self, size=(1280, 800), dark=False):
        self.size, self.dark = size, dark
        # What went wrong in the page: exceptions, errors on the console, what its policy forbade.
        self.problems = []
        # Addresses that it asked for.
        self.requests = []
        self.commands = 0

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        place = folder()
        environment = {**os.environ, "HOME": self.profile.name, "LD_LIBRARY_PATH": str(place / "lib"),
                       "FONTCONFIG_PATH": str(place)}
        self.log = open(pathlib.Path(self.profile.name) / "chromium.log", "wb+")
        self.process = subprocess.Popen([place / "chromium", *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"],
                                        stdout=self.log, stderr=subprocess.STDOUT, env=environment)
        told = pathlib.Path(self.profile.name) / "DevToolsActivePort"
        wait_for("the browser", lambda: self._lives() and told.exists() and "\n" in told.read_text())
        port, path = told.read_text().split("\n")[:2]
        self.socket = connect(f"ws://127.0.0.1:{port}{path}", max_size=None)
        self.session = None
        page = next(one for one in self._tell("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self.session = self._tell("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self._tell(f"{domain}.enable")
        self.resize(self.size, self.dark)
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.kill()
        self.process.wait(60)
        self.log.close()
        self.profile.cleanup()

    def _lives(self):
        if self.process.poll() is None:
            return True
        self.log.seek(0)
        raise AssertionError(f"chromium ended with {self.process.returncode}:\n{self.log.read().decode(errors='replace')}")

    def _tell(self, method, **parameters):
        self.commands += 1
        said = {"id": self.commands, "method": method, "params": parameters}
        self.socket.send(json.dumps({**said, "sessionId": self.session} if self.session else said))
        while True:
            answer = json.loads(self.socket.recv(timeout=ANSWER_S_MAX))
            if answer.get("id") == self.commands:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._heard(answer.get("method"), answer.get("params"))

    def _heard(self, event, told):
        if event == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.problems.append(told["exceptionDetails"])
        elif event == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.problems.append(told["args"])
        elif event == "Log.entryAdded" and told["entry"]["level"] == "error" and told["entry"]["source"] != "network":
            self.problems.append(told["entry"])

    def resize(self, size, dark=False):
        """Another size of the page, and whether the user likes it dark."""
        self._tell("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._tell("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url):
        """Goes to an address."""
        told = self._tell("Page.navigate", url=url)
        assert "errorText" not in told, told
        self.wait_for("the page", "document.readyState === 'complete'")

    def run(self, script):
        """The value of an expression of JavaScript."""
        told = self._tell("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait_for(self, what, script):
        """Waits until an expression is true, and returns its value."""
        try:
            return wait_for(what, lambda: self.run(script), 60)
        except AssertionError as error:
            raise AssertionError(f"{error}; the page shows:\n{self.text('body')}") from None

    def text(self, selector):
        """What is to be read there."""
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def texts(self, selector):
        """The same of each such element."""
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.innerText ?? one.textContent)")

    def click(self, selector):
        """A click in the middle of an element."""
        x, y = self.run(f"""(() => {{
            const one = document.querySelector({json.dumps(selector)});
            one.scrollIntoView({{ block: "center", inline: "center" }});
            const box = one.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()""")
        for kind in ["mousePressed", "mouseReleased"]:
            self._tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def write(self, text):
        """Types a text where the focus is."""
        self._tell("Input.insertText", text=text)

    def press(self, key, code):
        """Presses a key, by its name and its number."""
        text = {"text": "\r"} if key == "Enter" else {}
        self._tell("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        self._tell("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self, file):
        """A PNG of what is to be seen."""
        pathlib.Path(file).write_bytes(base64.b64decode(self._tell("Page.captureScreenshot")["data"]))
