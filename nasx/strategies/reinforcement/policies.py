"""Policies: distributions over genotypes that can be drawn from, learned, saved and loaded."""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from nasx._arguments import integers, unsigned
from nasx._core import policy as _native
from nasx._npz import read_arrays
from nasx.errors import unknown
from nasx.space import Genotypes, Space

__all__ = ["IndependentPolicy", "Policy", "PpoReport", "PpoSettings", "make_policy"]

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclasses.dataclass(kw_only=True, frozen=True)
class PpoSettings:
    """How `Policy.improve` goes about it; `nasx.PPO` says what each means."""

    learning_rate: float
    clip: float
    entropy_weight: float
    value_weight: float
    gae_lambda: float
    max_norm: float
    target_kl: float
    epochs: int
    minibatch_size: int


class PpoReport(NamedTuple):
    """What an update did: steps of Adam, divergence from the behaviour, share of clipped decisions."""

    steps: int
    kl: float
    clipped: float


class Policy(ABC):
    """A distribution over the genotypes of a space, drawn decision by decision.

    Each active decision is a softmax over its own choices; inactive ones are -1 and count for nothing. In a
    canonical space, rows are drawn before `nasx.Space.canonicalize`.

    Parameters
    ----------
    cardinalities : array_like of int, shape (d,)
        How many choices each decision has.
    conditions : array_like of int, shape (c, 3)
        As in `nasx.population`.

    Examples
    --------
    >>> import nasx
    >>> space = nasx.Space({"depth": nasx.Integer(1, 8), "width": nasx.Integer(1, 8)})
    >>> result = nasx.search(space, lambda a: a["depth"] * a["width"], strategy="ppo", evaluations=60,
    ...                      objectives={"product": "maximize"}, seed=0)
    >>> result.policy.sample(3, seed=0).shape  # and result.policy.save("policy.npz")
    (3, 2)
    """

    kind: ClassVar[str]

    def __init__(self, cardinalities: npt.ArrayLike, conditions: npt.ArrayLike) -> None:
        self.cardinalities = integers(cardinalities, "cardinalities", 1)
        self.conditions = integers(conditions, "conditions", 2)

    def sample(self, n: int, *, seed: int = 0) -> Genotypes:
        """Draw genotypes.

        Parameters
        ----------
        n : int
            How many.
        seed : int, default 0
            Same seed, same rows; the first rows do not depend on `n`.

        Returns
        -------
        ndarray of int32, shape (n, d)
            Rows, repeats among them.
        """
        return self.draw(unsigned(n, "n"), unsigned(seed, "seed"), 0)[0]

    @abstractmethod
    def draw(self, n: int, seed: int, first: int) -> tuple[Genotypes, Floats]:
        """Draw rows `first`, `first` + 1, ... and give each choice's log-probability, both ``(n, d)``."""

    @abstractmethod
    def log_prob(self, genotypes: npt.ArrayLike) -> Floats:
        """Give the log-probability of whole rows, shape ``(n,)``.

        Parameters
        ----------
        genotypes : array_like of int, shape (n, d)
            Rows as they are drawn.
        """

    @abstractmethod
    def probabilities(self) -> list[Floats]:
        """Give the probability of each choice of each decision, where that is active."""

    @abstractmethod
    def reinforce(
        self, rows: Genotypes, advantages: Floats, entropy_weight: float, learning_rate: float
    ) -> None:
        """Make one step of Adam up ``mean(advantage * log-probability + entropy_weight * entropy)``."""

    @abstractmethod
    def improve(
        self,
        rows: Genotypes,
        log_probs: Floats,
        rewards: Floats,
        settings: PpoSettings,
        seed: int,
        generation: int,
    ) -> PpoReport:
        """Make the epochs of one PPO update with what was done, its log-probabilities and rewards."""

    # -- files -----------------------------------------------------------------------------------------------

    @abstractmethod
    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Name what is learned, without the memory of the optimiser."""

    @classmethod
    @abstractmethod
    def _from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> Self:
        """Make a policy of what `save` wrote."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what is learned to an npz file.

        Parameters
        ----------
        path : path-like
            A file; an existing one is replaced.
        """
        with open(path, "wb") as file:
            np.savez(
                file,
                kind=np.array(self.kind),
                cardinalities=self.cardinalities,
                conditions=self.conditions,
                **self._arrays(),  # type: ignore[arg-type]
            )

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Policy:
        """Read what `save` wrote; nothing in the file can run code.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        Policy
            Of the class that was saved; it draws the same rows.

        Raises
        ------
        ValueError
            If the file holds no policy.
        FileNotFoundError
            If there is no such file.
        """
        arrays = read_arrays(path, what="a policy")
        kind = str(arrays.pop("kind", ""))
        if not {"cardinalities", "conditions"} <= arrays.keys():
            raise ValueError(f"path {os.fspath(path)!r} holds no policy")
        try:
            return _class_of(kind)._from_arrays(arrays)
        except KeyError as error:
            raise ValueError(f"path {os.fspath(path)!r} holds a policy without {error}") from None
        except (ValueError, TypeError) as error:
            raise ValueError(f"path {os.fspath(path)!r} holds no policy: {error}") from None


class IndependentPolicy(Policy):
    """Free logits, one for each choice of each decision; at first all 0, so that all choices are equal.

    The critic that PPO trains beside them is a constant plus a number for each earlier choice.
    """

    kind = "independent"

    def __init__(self, cardinalities: npt.ArrayLike, conditions: npt.ArrayLike) -> None:
        super().__init__(cardinalities, conditions)
        self._choices = int(self.cardinalities.sum())
        # The logits, then the critic; and what Adam remembers of them.
        self._parameters, self._first, self._second = np.zeros((3, 2 * self._choices + 1))
        self._steps = 0

    @property
    def logits(self) -> Floats:
        """Those of decision 0, then those of decision 1, and so on."""
        return self._parameters[: self._choices]

    def draw(self, n: int, seed: int, first: int) -> tuple[Genotypes, Floats]:  # noqa: D102
        return _native.sample(self.cardinalities, self.conditions, self.logits, n, seed, first)

    def log_prob(self, genotypes: npt.ArrayLike) -> Floats:  # noqa: D102
        rows = integers(genotypes, "genotypes", 2)
        total: Floats = _native.log_probs(self.cardinalities, self.conditions, self.logits, rows).sum(axis=1)
        return total

    def probabilities(self) -> list[Floats]:  # noqa: D102
        parts = np.split(self.logits, np.cumsum(self.cardinalities)[:-1])
        weights = [np.exp(part - part.max()) for part in parts]
        return [weight / weight.sum() for weight in weights]

    def reinforce(  # noqa: D102
        self, rows: Genotypes, advantages: Floats, entropy_weight: float, learning_rate: float
    ) -> None:
        c = self._choices
        _native.reinforce_step(
            self.cardinalities,
            self.conditions,
            self._parameters[:c],
            self._first[:c],
            self._second[:c],
            self._steps,
            rows,
            advantages,
            entropy_weight,
            learning_rate,
        )
        self._steps += 1

    def improve(  # noqa: D102
        self,
        rows: Genotypes,
        log_probs: Floats,
        rewards: Floats,
        settings: PpoSettings,
        seed: int,
        generation: int,
    ) -> PpoReport:
        report = _native.ppo_update(
            self.cardinalities,
            self.conditions,
            self._parameters,
            self._first,
            self._second,
            self._steps,
            rows,
            log_probs,
            rewards,
            settings.learning_rate,
            settings.clip,
            settings.entropy_weight,
            settings.value_weight,
            settings.gae_lambda,
            settings.max_norm,
            settings.target_kl,
            settings.epochs,
            settings.minibatch_size,
            seed,
            generation,
        )
        self._steps += report[0]
        return PpoReport(*report)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"parameters": self._parameters}

    @classmethod
    def _from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> Self:
        policy = cls(arrays["cardinalities"], arrays["conditions"])
        found = np.asarray(arrays["parameters"], np.float64)
        if found.shape != policy._parameters.shape:
            raise ValueError(
                f"parameters must have shape {policy._parameters.shape}; the file's have {found.shape}"
            )
        policy._parameters[:] = found
        return policy


def _class_of(kind: str) -> type[Policy]:
    from nasx.strategies.reinforcement.lstm import LSTMPolicy

    classes: dict[str, type[Policy]] = {c.kind: c for c in (IndependentPolicy, LSTMPolicy)}
    if kind not in classes:
        raise ValueError(unknown("policy", kind, classes))
    return classes[kind]


def make_policy(kind: str, space: Space, seed: int) -> Policy:
    """Make a policy that has learned nothing.

    Parameters
    ----------
    kind : {"independent", "lstm"}
        Its class.
    space : Space
        The genotypes that it draws.
    seed : int
        Of its weights, if it has any.

    Returns
    -------
    Policy
        The policy.

    Raises
    ------
    ValueError
        If `kind` is unknown.
    """
    cls = _class_of(kind)
    if cls is IndependentPolicy:
        return IndependentPolicy(space.cardinalities, space.conditions)
    from nasx.strategies.reinforcement.lstm import LSTMPolicy

    return LSTMPolicy(space.cardinalities, space.conditions, seed=seed)
