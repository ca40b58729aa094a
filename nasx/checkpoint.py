"""`Checkpoint`: a training's state on disk, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nasx.errors import JournalError, require

__all__ = ["Checkpoint"]

_KIND = "nasx checkpoint 1"


class Checkpoint:
    """A file with the state of a training.

    It is replaced in one step, so that a process that is killed leaves the state of one epoch or of the next.
    Reading it runs no code.

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
        try:
            with open(new, "wb") as file:
                torch.save({"kind": _KIND, "identity": self._identity, "state": dict(state)}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as the second
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
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> JournalError:
        return JournalError(
            f"{self.path} is damaged or no checkpoint ({str(error)[:200]!r}); move it away to train from the "
            "beginning"
        )

    def load(self, device: Any = "cpu") -> dict[str, Any] | None:
        """Read the state.

        Parameters
        ----------
        device : torch.device or str, default "cpu"
            Where to put tensors.

        Returns
        -------
        dict or None
            What was saved; None if nothing was.

        Raises
        ------
        JournalError
            If the file is damaged, is no checkpoint, or belongs to another training; it is left as it is.
        """
        torch = require("torch", "a checkpoint", "torch")
        if not os.path.lexists(self.path):
            return None
        try:
            content = torch.load(self.path, map_location=device, weights_only=True)
            kind, identity, state = content["kind"], content["identity"], content["state"]
        # Whatever unpickling nonsense raises: there is no list of it.
        except Exception as error:
            raise self._damaged(error) from None
        if kind != _KIND or not isinstance(state, dict):
            raise JournalError(f"{self.path} is no checkpoint of this version of nasx; move it away")
        if identity != self._identity:
            raise JournalError(
                f"{self.path} belongs to a training with another space, task, strategy or seed; move it "
                "away, or use the same settings"
            )
        return state
