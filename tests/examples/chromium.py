"""Headless Chromium, driven over its debugging pipe (Chrome DevTools Protocol): no driver, no port, no package."""
import json
import os
import shutil
import subprocess
import time

# As root in a container there is no sandbox; the rest keeps Chromium from calling home.
_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--mute-audio", "--hide-scrollbars",
    "--remote-debugging-pipe", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]


def program():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """One page.

    Args:
      profile: an empty folder.
      camera: a .y4m file, what the fake camera shows, over and over.
      url: to open.
      size: (width, height) of the window.
    """

    def __init__(self, profile, camera, url, size=(1000, 640)):
        from_us, to_us = os.pipe(), os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        command = ["bash", "-c", f'exec "$@" 3<&{from_us[0]} 4>&{to_us[1]}', "bash", program(), *_FLAGS,
                   f"--user-data-dir={profile}", f"--use-file-for-fake-video-capture={camera}",
                   f"--window-size={size[0]},{size[1]}", "about:blank"]
        self._process = subprocess.Popen(command, pass_fds=(from_us[0], to_us[1]), stderr=subprocess.DEVNULL)
        os.close(from_us[0])
        os.close(to_us[1])
        self._to, self._from = os.fdopen(from_us[1], "wb"), os.fdopen(to_us[0], "rb")
        self._sent, self._rest, self._session = 0, b"", None
        target = self.call("Target.createTarget", url=url)["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Runtime.enable")
        self._opened(time.monotonic() + 120)

    def _opened(self, end):
        """Waits until the page is there: what is asked before is asked of the empty one, or of one that goes."""
        while True:
            try:
                if self.run("location.href != 'about:blank' && document.readyState == 'complete'"):
                    return
            except AssertionError:
                if time.monotonic() > end:
                    raise
            assert time.monotonic() < end, "the page doesn't open"
            time.sleep(0.05)

    def call(self, method, **params):
        """The result of a command."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while True:
            answer = json.loads(self._next())
            if answer.get("id") == self._sent:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def run(self, script):
        """The JSON value of an expression; a promise is awaited."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in done, json.dumps(done["exceptionDetails"])[:2000]
        return done["result"].get("value")

    def wait(self, condition, timeout=120):
        """Waits until an expression is true."""
        end = time.monotonic() + timeout
        while not self.run(condition):
            assert time.monotonic() < end, f"not true: {condition}; on the page: {self.run('document.body.innerText')}"
            time.sleep(0.1)

    def choose(self, selector, path):
        """Gives a file to an <input type=file>."""
        node = self.call("Runtime.evaluate", expression=f"document.querySelector({selector!r})")["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=node)

    def close(self):
        self._process.terminate()
        self._process.wait(30)
        self._to.close()
        self._from.close()

    def _next(self):
        while b"\0" not in self._rest:
            more = os.read(self._from.fileno(), 1 << 20)
            assert more, "Chromium has gone"
            self._rest += more
        message, self._rest = self._rest.split(b"\0", 1)
        return message
