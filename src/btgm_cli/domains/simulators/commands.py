"""A simulator in a process of its own: it reads a JSON line and writes one."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

LONGEST = 200
"""Characters shown of what a process says."""


class CallError(Exception):
    """A call that gave no data; its text says why."""


class Command:
    """One process: asked with `{"theta": {…}, "n": …, "seed": …}`, it answers `{"x": [[…], …]}`.

    One that ends after its answer is started again for the next call; one that stays is asked
    again. Whatever is late is killed, with what it has started.

    Args:
        words: the command and its arguments.
        seconds: that a call may take.
    """

    def __init__(self, words: Sequence[str], seconds: float) -> None:
        self.words, self.seconds = list(words), seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._says: IO[bytes] | None = None
        self._rest = b""

    def ask(self, theta: dict[str, float], n: int, seed: int) -> Any:
        """What one call gave as `x`.

        Raises:
            CallError: it is late, dies, prints something else, or says that it failed.
        """
        line = json.dumps({"theta": theta, "n": n, "seed": seed}).encode() + b"\n"
        answer = self._answered(line) if self._process else None
        if answer is None:  # it had ended after its last answer, as it may
            self.close()
            self._start()
            answer = self._answered(line)
        if answer is None:
            raise CallError(self._death())
        return _data(answer)

    def close(self) -> None:
        """End the process, and what it has started."""
        if self._process:
            assert self._process.stdin
            with suppress(BrokenPipeError):  # a line that it ended before reading is still there
                self._process.stdin.close()
            with self._process as process:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        if self._says:
            self._says.close()
        self._process, self._says, self._rest = None, None, b""

    def _start(self) -> None:
        self._says = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                self.words, stdin=pipe, stdout=pipe, stderr=self._says, start_new_session=True
            )
        except OSError as error:
            self.close()
            raise CallError(f"cannot be started ({error.strerror})") from error

    def _answered(self, line: bytes) -> bytes | None:
        """The next line of the process; None where it ends without one."""
        process = self._process
        assert process
        assert process.stdin
        assert process.stdout
        until = time.monotonic() + self.seconds
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except BrokenPipeError:
            return None
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                self.close()
                raise CallError(f"gave no answer within {self.seconds:g} s")
            part = os.read(process.stdout.fileno(), 1 << 20)
            if not part:
                break
            self._rest += part
        answer, _, self._rest = self._rest.partition(b"\n")
        return answer or None

    def _death(self) -> str:
        """How the process ended, and the last line that it left."""
        assert self._process
        assert self._says
        code = self._process.wait()
        self._says.seek(0)
        lines = self._says.read().decode(errors="replace").strip().splitlines()
        self.close()
        last = f" ({lines[-1][:LONGEST]})" if lines else ""
        return f"ended with code {code} and no answer{last}"


def _data(answer: bytes) -> Any:
    """What an answer has as `x`."""
    shown = answer[:LONGEST].decode(errors="replace")
    try:
        found = json.loads(answer)
    except ValueError as error:
        raise CallError(f"printed no JSON: {shown}") from error
    if isinstance(found, dict) and "error" in found:
        raise CallError(str(found["error"]))
    if not isinstance(found, dict) or "x" not in found:
        raise CallError(f'printed a line without "x": {shown}')
    return found["x"]
