"""`Checkpoint`: a training's state on disk, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nasx.errors import JournalError, require

__all__ = ["Checkpoint"]

# A file is this line, the SHA-256 of the rest as a line of 64 digits, and what torch saved.
_KIND = b"nasx checkpoint 1\n"


class Checkpoint:
    """A file with the state of a training.

    It is replaced in one step, so that a process that is killed leaves the state of one epoch or of the next.
    Reading it runs no code, and a bit that flipped is noticed.

    Parameters
    ----------
    path : path-like
        The file.
    identity : mapping
        What the training is, as JSON types: space, task, strategy and seed. The state of another training is
        refused.

    Examples
    --------
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = Checkpoint(folder + "/run.checkpoint", {"seed": 0})
    ...     checkpoint.save({"epoch": 3, "weights": {"w": torch.ones(2)}})
    ...     checkpoint.load()["epoch"]
    3
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._identity = json.dumps(identity, sort_keys=True)

    def exists(self) -> bool:
        """Whether there is a file, whatever is in it.

        Returns
        -------
        bool
            True if there is.
        """
        return os.path.lexists(self.path)

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the file.

        Parameters
        ----------
        state : mapping
            Tensors, numbers, strings, and containers of them.

        Raises
        ------
        JournalError
            If it cannot be written; the state before stays.
        """
        torch = require("torch", "a checkpoint", "torch")
        new = self.path.with_name(self.path.name + ".new")
        saved = io.BytesIO()
        torch.save({"identity": self._identity, "state": dict(state)}, saved)
        try:
            with open(new, "wb") as file:
                file.writelines((_KIND, _digest(saved.getbuffer()), saved.getbuffer()))
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.path)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise JournalError(
                f"{self.path} cannot be written: {error}; the state of the epoch before is kept"
            ) from None

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Name the file in errors that come of using what was loaded.

        Raises
        ------
        JournalError
            If what is done with the state fails.
        """
        try:
            yield
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            if "out of memory" in str(error):  # of the device, not of the file
                raise
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> JournalError:
        return JournalError(
            f"{self.path} is damaged or no checkpoint ({str(error)[:200]!r}); move it away to train from the "
            "beginning"
        )

    def load(self) -> dict[str, Any] | None:
        """Read the state.

        Returns
        -------
        dict or None
            What was saved, on the CPU; None if nothing was.

        Raises
        ------
        JournalError
            If the file is damaged, is no checkpoint, or belongs to another training; it is left as it is.
        """
        torch = require("torch", "a checkpoint", "torch")
        if not self.exists():
            return None
        try:
            with open(self.path, "rb") as file:
                if file.read(len(_KIND)) != _KIND:
                    raise ValueError("it does not begin as checkpoints of this version of nasx do")
                digest, saved = file.readline(65), file.read()
            if digest != _digest(saved):
                raise ValueError("its checksum is another")
            content = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
            identity, state = content["identity"], content["state"]
            if not isinstance(identity, str) or not isinstance(state, dict):
                raise TypeError("it holds no state")
        except MemoryError:
            raise
        # Whatever unpickling nonsense raises: there is no list of it.
        except Exception as error:
            raise self._damaged(error) from None
        if identity != self._identity:
            raise JournalError(
                f"{self.path} belongs to a training with another space, task, strategy or seed; move it "
                "away, or use the same settings"
            )
        return state


def _digest(saved: bytes | memoryview) -> bytes:
    return hashlib.sha256(saved).hexdigest().encode() + b"\n"
