"""What the terminal, or whatever reads in its place, cannot stop: pipes that close, encodings."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Pipe(io.FileIO):
    """A file that goes on taking what is written when nobody reads, or no disk takes it, any more.

    Attributes:
        fault: why something is lost, if a disk did not take it.
    """

    fault = ""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write `data`, or drop it where the reader has gone, as `head` does."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes
        except OSError as error:
            self.fault = error.strerror or str(error)
            return memoryview(data).nbytes


def patient_streams() -> None:
    """Let the process's own standard streams survive a reader that leaves, and any character.

    What the encoding does not know is written as `?`. Streams that somebody put in their place, as
    a notebook does, are left alone.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue
        stream.flush()
        buffer = io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False))
        patient = io.TextIOWrapper(
            buffer,
            encoding=stream.encoding,
            errors="replace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, patient)


def lost_output() -> str:
    """Why the standard output is not whole; empty where it is, or nobody wants to read it."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.fault if isinstance(raw, _Pipe) else ""
