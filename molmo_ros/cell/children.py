"""Starts the demo's nodes as processes of their own, watches them, and ends them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType, TracebackType

PATIENCE_S = 5.0  # for a node that was asked to end
TAIL = 15  # lines of a log that are shown when its node has died


class ChildError(RuntimeError):
    """A node of the demo that is gone."""


class Children:
    """The nodes' processes; leaving the context ends them. Each writes a log of its own.

    While the context is open, in the main thread, a node that ends by itself raises ChildError
    there, whatever that thread is doing.
    """

    def __init__(self, namespace: str, logs: Path) -> None:
        self._namespace = namespace
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._is_starting = False

    def start(
        self, module: str, *, parameters: dict[str, object], remaps: dict[str, str] | None = None
    ) -> None:
        """Runs a module's node with these parameters and topic remappings."""
        arguments = ["-r", f"__ns:={self._namespace}"]
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ["-p", f"{name}:={text}"]
        for name, topic in (remaps or {}).items():
            arguments += ["-r", f"{name}:={topic}"]
        self._is_starting = True  # raising now would leave a process that nobody knows
        with self._log(module).open("wb") as log:
            self._processes[module] = subprocess.Popen(
                [sys.executable, "-m", module, "--ros-args", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._is_starting = False
        self._check()

    def last_words(self, module: str) -> str:
        """The end of a node's log."""
        log = self._log(module)
        lines = log.read_text(errors="replace").splitlines()[-TAIL:]
        return f"Its log ({log}) ends:\n" + "\n".join(lines)

    def __enter__(self) -> Children:
        # Without a handler SIGTERM would end this process on the spot and leave the nodes running.
        handlers = {signal.SIGTERM: _leave, signal.SIGCHLD: lambda *_: self._check()}
        self._handlers = {number: signal.signal(number, at) for number, at in handlers.items()}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _check(self) -> None:
        """Raises ChildError with the last words of a node that has ended by itself."""
        if self._is_starting:
            return
        for module, process in self._processes.items():
            if process.poll() is not None:
                raise ChildError(
                    f"{module} ended with status {process.returncode}. {self.last_words(module)}"
                )

    def _log(self, module: str) -> Path:
        return self._logs / f"{module.rpartition('.')[2]}.log"


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
