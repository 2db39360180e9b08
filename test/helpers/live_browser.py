"""A headless Chromium that runs in real time, as `--dump-dom` does not: for what plays.

It is spoken to through the pipe of its DevTools protocol: messages of JSON that end with a zero.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["LiveBrowser", "find_browser"]

#: File descriptors on which it hears and answers.
HEARS, ANSWERS = 3, 4


def find_browser() -> str | None:
    """Path of Chromium or Chrome, if there is one."""
    return shutil.which("chromium") or shutil.which("google-chrome")


class LiveBrowser:
    """One page of it. A context manager.

    Args:
        browser: path of the program.
        profile: folder that it may write to.
    """

    def __init__(self, browser: str, profile: Path) -> None:
        flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update",
            "--allow-file-access-from-files", "--autoplay-policy=no-user-gesture-required",
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
        ]  # fmt: skip
        to_it, self._say = os.pipe()
        self._hear, from_it = os.pipe()
        # The shell puts both where Chromium looks for them, whatever numbers they have here.
        place = f'exec "$@" {HEARS}<&{to_it} {ANSWERS}>&{from_it}'
        self._process = subprocess.Popen(
            ["bash", "-c", place, "bash", browser, *flags],
            pass_fds=(to_it, from_it), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_it)
        os.close(from_it)
        self._rest, self._count, self._session = b"", 0, ""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def __enter__(self) -> LiveBrowser:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._say)
        os.close(self._hear)

    def show(self, page: Path) -> None:
        """Open a file, and wait until it is there."""
        self._ask("Page.navigate", url=page.as_uri())
        there = "document.readyState === 'complete' ? done() : addEventListener('load', done)"
        self.evaluate(f"new Promise(done => {{ {there} }})")

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to."""
        answer = self._ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._say, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:  # and not an event
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._hear, 1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
