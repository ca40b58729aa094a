"""An autoregressive policy: an LSTM reads each choice and gives the logits of the next decision."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from nasx._arguments import integers
from nasx._core import policy as _native
from nasx.errors import require
from nasx.space import Genotypes
from nasx.strategies.reinforcement.policies import Floats, Policy, PpoReport, PpoSettings

__all__ = ["LSTMPolicy"]

Singles = npt.NDArray[np.float32]

_HIDDEN = 100
_TEMPERATURE = 5.0
_BOUND = 2.5
_RANGE = 0.1  # weights are uniform within it at first
_SAMPLES = 1024  # drawn to estimate probabilities


class Decided(NamedTuple):
    """The g decisions that have c choices each, as n rows take them.

    Parameters
    ----------
    columns : ndarray of int, shape (g,)
        Which they are.
    active : Tensor of bool, shape (n, g)
        Where they are taken.
    choices : Tensor of int, shape (n, g)
        What is chosen, 0 where nothing is.
    log_probs : Tensor, shape (n, g, c)
        Of all choices.
    hidden : Tensor, shape (n, g, units)
        The LSTM's state when it decides.
    """

    columns: npt.NDArray[np.intp]
    active: Any
    choices: Any
    log_probs: Any
    hidden: Any

    def chosen(self) -> Any:
        """Log-probabilities of what is chosen, ``(n, g)``, 0 where nothing is."""
        return self._where_active(self.log_probs.gather(2, self.choices[..., None])[..., 0])

    def entropies(self) -> Any:
        """Entropies in nats, ``(n, g)``, 0 where nothing is chosen."""
        return self._where_active(-(self.log_probs.exp() * self.log_probs).sum(dim=2))

    def _where_active(self, found: Any) -> Any:
        return found * self.active


class LSTMPolicy(Policy):
    """An LSTM of 100 units whose logits are ``2.5 * tanh(logits / 5)``, as in ENAS.

    Drawing needs nothing but the native core; learning and `log_prob` need torch, for gradients alone: the
    weights and what Adam remembers of them are NumPy arrays, which both read where they are. A decision that
    is inactive makes no step of the LSTM. The critic that PPO trains is linear in the hidden state.

    Parameters
    ----------
    cardinalities, conditions
        As for `Policy`.
    seed : int, default 0
        Of the weights.
    temperature, bound : float, default 5 and 2.5
        What logits are divided by before the hyperbolic tangent, and what that is multiplied by.

    References
    ----------
    H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, "Efficient neural architecture search via parameter
    sharing", ICML 2018.
    """

    kind = "lstm"

    def __init__(
        self,
        cardinalities: npt.ArrayLike,
        conditions: npt.ArrayLike,
        *,
        seed: int = 0,
        temperature: float = _TEMPERATURE,
        bound: float = _BOUND,
    ) -> None:
        super().__init__(cardinalities, conditions)
        self.temperature, self.bound = temperature, bound
        h, c = _HIDDEN, int(self.cardinalities.sum())
        shapes = {
            "start": (h,),
            "embeddings": (c, h),
            "from_input": (h, 4 * h),
            "from_hidden": (h, 4 * h),
            "bias": (4 * h,),
            "heads": (c, h),
            "head_bias": (c,),
            "critic": (h,),
            "critic_bias": (1,),
        }
        rng = np.random.default_rng([seed, c])
        self.weights: dict[str, Singles] = {
            name: rng.uniform(-_RANGE, _RANGE, shape).astype(np.float32) for name, shape in shapes.items()
        }
        for name in ("bias", "head_bias", "critic", "critic_bias"):
            self.weights[name][:] = 0
        self._moments = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in self.weights.items()}
        self._steps = 0

    def draw(self, n: int, seed: int, first: int) -> tuple[Genotypes, Floats]:  # noqa: D102
        w = self.weights
        return _native.sample_lstm(
            self.cardinalities,
            self.conditions,
            w["start"],
            w["embeddings"],
            w["from_input"],
            w["from_hidden"],
            w["bias"],
            w["heads"],
            w["head_bias"],
            self.temperature,
            self.bound,
            n,
            seed,
            first,
        )

    def log_prob(self, genotypes: npt.ArrayLike) -> Floats:  # noqa: D102
        torch, rows = _torch(), integers(genotypes, "genotypes", 2)
        with torch.no_grad():
            log_probs, _, _ = self._evaluate(self._tensors(), rows)
        total: Floats = log_probs.sum(dim=1).numpy().astype(np.float64)
        return total

    def probabilities(self) -> list[Floats]:
        """Estimate the probability of each choice, where its decision is active, from 1024 rows."""
        rows = self.sample(_SAMPLES)
        counts = [
            np.bincount(column[column >= 0], minlength=c).astype(np.float64)
            for column, c in zip(rows.T, self.cardinalities, strict=True)
        ]
        return [count / max(count.sum(), 1.0) for count in counts]

    # -- learning --------------------------------------------------------------------------------------------

    def reinforce(  # noqa: D102
        self, rows: Genotypes, advantages: Floats, entropy_weight: float, learning_rate: float
    ) -> None:
        torch = _torch()
        with torch.enable_grad():
            tensors = self._tensors(learned=True)
            log_probs, entropies, _ = self._evaluate(tensors, rows)
            gains = torch.from_numpy(advantages).to(log_probs.dtype)
            ((-gains * log_probs.sum(dim=1) - entropy_weight * entropies.sum(dim=1)).mean()).backward()
        self._descend(tensors, learning_rate, max_norm=0.0)

    def improve(  # noqa: D102
        self,
        rows: Genotypes,
        log_probs: Floats,
        rewards: Floats,
        settings: PpoSettings,
        seed: int,
        generation: int,
    ) -> PpoReport:
        torch = _torch()
        with torch.no_grad():
            values = self._evaluate(self._tensors(), rows)[2].numpy().astype(np.float64)
        advantages = _native.generalized_advantages(rows, values, rewards, settings.gae_lambda)
        fixed = [
            torch.from_numpy(array.astype(np.float32))
            for array in (log_probs, advantages, advantages + values)
        ]
        active = torch.from_numpy(rows >= 0)
        steps, kl, shares = 0, 0.0, []
        for epoch in range(settings.epochs):
            order = np.random.default_rng([seed, generation, epoch]).permutation(len(rows))
            for begin in range(0, len(rows), settings.minibatch_size):
                part = order[begin : begin + settings.minibatch_size]
                behaviour, gains, goals = (tensor[part] for tensor in fixed)
                with torch.enable_grad():
                    tensors = self._tensors(learned=True)
                    new, entropies, critic = self._evaluate(tensors, rows[part])
                    log_ratio = new - behaviour
                    ratio = log_ratio.exp()
                    near = ratio.clamp(1 - settings.clip, 1 + settings.clip)
                    gain = torch.minimum(ratio * gains, near * gains) + settings.entropy_weight * entropies
                    error = torch.where(active[part], critic - goals, 0.0)
                    loss = (settings.value_weight * error.square() / 2 - gain).sum(dim=1).mean()
                with torch.no_grad():
                    decisions = float(active[part].sum().clamp(min=1))
                    kl = float((ratio - 1 - log_ratio).sum()) / decisions
                    shares.append(float((near * gains < ratio * gains).sum()) / decisions)
                if settings.target_kl > 0 and kl > 1.5 * settings.target_kl:
                    return PpoReport(steps, kl, float(np.mean(shares)))
                loss.backward()
                self._descend(tensors, settings.learning_rate, settings.max_norm)
                steps += 1
        return PpoReport(steps, kl, float(np.mean(shares)))

    def _tensors(self, *, learned: bool = False) -> dict[str, Any]:
        """View the weights as tensors, which share their memory."""
        torch = _torch()
        return {name: torch.from_numpy(w).requires_grad_(learned) for name, w in self.weights.items()}

    def _evaluate(self, tensors: dict[str, Any], rows: Genotypes) -> tuple[Any, Any, Any]:
        """Give log-probabilities, entropies and values, each ``(n, d)``, 0 where inactive."""
        torch = _torch()
        columns, parts = [], []
        for decided in self._decide(tensors, rows):
            values = decided.hidden @ tensors["critic"] + tensors["critic_bias"]
            columns.append(decided.columns)
            parts.append(torch.stack([decided.chosen(), decided.entropies(), values * decided.active]))
        places = torch.from_numpy(np.argsort(np.concatenate(columns)))
        log_prob, entropies, values = torch.cat(parts, dim=2)[:, :, places]
        return log_prob, entropies, values

    def _decide(self, tensors: dict[str, Any], rows: Genotypes) -> Iterator[Decided]:
        """Run over whole rows at once, and give the decisions together that have as many choices."""
        torch = _torch()
        n, taken = len(rows), rows >= 0
        starts = np.cumsum(self.cardinalities) - self.cardinalities
        choices = np.maximum(rows, 0).astype(np.int64)
        # Only what is active makes a step: the decisions of a row's steps, and the steps of its decisions.
        decisions = np.argsort(~taken, axis=1, kind="stable")[:, : taken.sum(axis=1).max(initial=1)]
        steps = torch.from_numpy(np.maximum(taken.cumsum(axis=1) - 1, 0))
        read = torch.from_numpy(np.take_along_axis(starts + choices, decisions[:, :-1], axis=1))
        inputs = torch.cat([tensors["start"].expand(n, 1, -1), tensors["embeddings"][read]], dim=1)
        weights = tensors["from_input"].T, tensors["from_hidden"].T, tensors["bias"]
        nothing = torch.zeros(1, n, _HIDDEN)
        states, _, _ = torch.lstm(
            inputs,
            (nothing, nothing),
            (*weights, torch.zeros_like(tensors["bias"])),
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=False,
            bidirectional=False,
            batch_first=True,
        )
        for cardinality in np.unique(self.cardinalities):
            columns = np.flatnonzero(self.cardinalities == cardinality)
            index = steps[:, columns, None].expand(-1, -1, _HIDDEN)
            hidden = states.gather(1, index)
            which = torch.from_numpy(starts[columns, None] + np.arange(cardinality))
            logits = torch.einsum("ngh,gch->ngc", hidden, tensors["heads"][which])
            logits = (logits + tensors["head_bias"][which]) / self.temperature
            yield Decided(
                columns,
                torch.from_numpy(taken[:, columns]),
                torch.from_numpy(choices[:, columns]),
                (self.bound * logits.tanh()).log_softmax(dim=2),
                hidden,
            )

    def _descend(self, tensors: dict[str, Any], learning_rate: float, max_norm: float) -> None:
        """Make a step of Adam, with decays 0.9 and 0.999 and epsilon 1e-8, in the arrays."""
        gradients = {name: t.grad.numpy() for name, t in tensors.items() if t.grad is not None}
        factor = 1.0
        if max_norm > 0:
            norm = np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values()))
            factor = min(1.0, max_norm / (norm + 1e-6))
        self._steps += 1
        step = learning_rate / (1 - 0.9**self._steps)
        scale = 1 / np.sqrt(1 - 0.999**self._steps)
        for name, gradient in gradients.items():
            gradient = gradient * np.float32(factor)
            first, second = self._moments[name]
            first += np.float32(0.1) * (gradient - first)
            second += np.float32(0.001) * (gradient * gradient - second)
            self.weights[name] -= np.float32(step) * first / (np.sqrt(second) * np.float32(scale) + 1e-8)

    # -- files -----------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        squash = {"temperature": np.array(self.temperature), "bound": np.array(self.bound)}
        return self.weights | squash

    @classmethod
    def _from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> Self:
        temperature, bound = float(arrays["temperature"]), float(arrays["bound"])
        if not (0 < temperature < math.inf and 0 < bound < math.inf):
            raise ValueError(
                f"temperature and bound must be positive numbers; the file's are {temperature} and {bound}"
            )
        policy = cls(arrays["cardinalities"], arrays["conditions"], temperature=temperature, bound=bound)
        for name, weight in policy.weights.items():
            if arrays[name].shape != weight.shape:
                raise ValueError(
                    f"{name} must have shape {weight.shape}; the file's has {arrays[name].shape}"
                )
            weight[:] = arrays[name]
        return policy


def _torch() -> Any:
    return require("torch", "learning of policy='lstm'", "torch")
