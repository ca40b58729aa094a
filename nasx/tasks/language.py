"""`LanguageModelling`: train one network on text and measure how well it predicts other text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasx._arguments import count
from nasx._fingerprint import fingerprint
from nasx.errors import EvaluationError, unknown
from nasx.tasks.base import Direction, TaskSpec
from nasx.tasks.texts import IGNORED, TextBatch, Windows, alphabet_of, encoded, read_texts
from nasx.tasks.trained import TrainedTask, device_of
from nasx.tasks.training import Recipe

__all__ = ["LanguageModelling"]

_MOST = 700.0  # nats: beyond, a perplexity is no number any more


class LanguageModelling(TrainedTask):
    """Predict text: every architecture is trained from scratch and judged by its perplexity on other text.

    Each of `train`, `valid` and `test` is a text, whose characters are the tokens, a path to one in UTF-8, or
    an array of integers ``(n,)``, the numbers of tokens that a tokenizer gave. Networks read windows of
    `context` tokens and predict the next token of each; with `masked`, some tokens of each window are hidden,
    and networks that see those on both sides predict them [1]_.

    Parameters
    ----------
    train : str, path-like or array_like of int
        What networks are trained on.
    valid : str, path-like or array_like of int, or float, default 0.1
        What they are compared on; or a share of `train`, from its end, which is then not trained on.
    test : str, path-like or array_like of int, or float, optional
        What only `retrain` scores; or a share of `train`, from its end, after that of `valid`.
    context : int, default 64
        Tokens in a window.
    masked : float, optional
        Hide this share of tokens, for encoders such as ``nasx.spaces.Transformer(causal=False)``. The number
        of tokens is then one more: the last is what stands for hidden ones.
    vocabulary : int, optional
        Number of tokens where arrays are given, by default one more than the largest that is there.
    epochs : int, default 10
        Passes over the training text.
    batch_size : int, default 32
        Windows in a batch.
    optimizer : {"adamw", "sgd"}, default "adamw"
        Adam with decoupled weight decay, or Nesterov's momentum method.
    lr : float, optional
        Peak learning rate; by default 0.003 for "adamw" and 0.1 for "sgd".
    momentum : float, default 0.9
        Momentum of "sgd".
    weight_decay : float, default 0.01
        Weight decay, on all parameters.
    schedule : {"cosine", "constant"}, default "cosine"
        How the learning rate goes on after the warm-up; "cosine" falls to 0 at the last epoch.
    warmup : float, default 0.1
        Epochs of linear increase to `lr`.
    label_smoothing : float, default 0
        Share of the target spread over all tokens, in training only.
    grad_clip : float, optional, default 1
        Largest norm of the gradient.
    patience : int, optional
        Stop after so many epochs without a lower perplexity, and keep the network of the best epoch.
    device : str, optional
        Where to train; by default "cuda" if there is one, else "cpu".
    threads : int, optional
        Threads of torch while it trains, which decide the last bits of a result on the CPU; by default the
        number that torch is set to.

    Attributes
    ----------
    alphabet : tuple of str, or None
        The characters by their numbers, sorted; None where arrays were given.
    mask : int or None
        The token that stands for hidden ones.

    Raises
    ------
    ValueError
        If a setting is out of range, a text is not longer than `context`, or an array holds no tokens.
    TypeError
        If some splits are texts and others arrays.

    References
    ----------
    .. [1] J. Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
       Understanding", NAACL 2019; here all tokens that are predicted are hidden.

    Examples
    --------
    >>> import nasx
    >>> text = 100 * "how much wood would a woodchuck chuck? "
    >>> task = LanguageModelling(text, context=16, epochs=2, device="cpu")
    >>> task.spec
    TaskSpec(input_shape=(16,), num_outputs=12, kind='language_modelling')
    >>> space = nasx.spaces.Transformer(hidden=[16, 32], depths=[1], heads=[2], head_dim=8, mlp=[2])
    >>> metrics = task.evaluate(space.decode(space.sample(1)[0]), seed=0)
    >>> sorted(metrics), metrics["perplexity"] < 12
    (['accuracy', 'epochs', 'error', 'loss', 'perplexity'], True)
    """

    scores = ("perplexity", "loss", "error", "accuracy")
    watched = "perplexity"

    def __init__(
        self,
        train: Any,
        valid: Any = 0.1,
        test: Any = None,
        *,
        context: int = 64,
        masked: float | None = None,
        vocabulary: int | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: str = "adamw",
        lr: float | None = None,
        momentum: float = 0.9,
        weight_decay: float = 0.01,
        schedule: str = "cosine",
        warmup: float = 0.1,
        label_smoothing: float = 0.0,
        grad_clip: float | None = 1.0,
        patience: int | None = None,
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._recipe = Recipe(
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            optimizer=optimizer,
            momentum=momentum,
            weight_decay=weight_decay,
            schedule=schedule,
            warmup=warmup,
            label_smoothing=label_smoothing,
            patience=patience,
            grad_clip=grad_clip,
            auxiliary_weight=0.0,
            drop_path=0.0,
        )
        self._context, self._masked = count(context, "context"), masked
        if masked is not None and (isinstance(masked, bool) or not 0 < masked < 1):
            raise ValueError(f"masked must be a number of more than 0 and less than 1; got {masked!r}")
        if threads is not None:
            count(threads, "threads")
        self._device, self._threads = device, threads
        device_of(device)
        texts = read_texts(_divided(train, valid, test))
        letters = [text for text in texts.values() if isinstance(text, str)]
        self.alphabet = alphabet_of(letters) if letters else None
        self._texts = {name: self._numbers(text) for name, text in texts.items()}
        for name, tokens in self._texts.items():
            if len(tokens) <= self._context:
                raise ValueError(
                    f"{name} must hold more tokens than context={self._context}; it holds {len(tokens)}"
                )
        largest = max(int(tokens.max()) for tokens in self._texts.values())
        number = _vocabulary(vocabulary, None if self.alphabet is None else len(self.alphabet), largest)
        self.mask = None if masked is None else number
        kind = "language_modelling" if masked is None else "masked_language_modelling"
        self._spec = TaskSpec((self._context,), number + (masked is not None), kind)

    def _numbers(self, text: str | Tensor) -> Tensor:
        if isinstance(text, str):
            assert self.alphabet is not None
            return encoded(text, self.alphabet)
        return text

    @property
    def spec(self) -> TaskSpec:
        """Tokens in a window, number of tokens, and what is predicted of them."""
        return self._spec

    @property
    def objectives(self) -> dict[str, Direction]:
        """A low perplexity."""
        return {"perplexity": "minimize"}

    @property
    def settings(self) -> dict[str, Any]:
        """The training settings and what identifies the data, as JSON types.

        The device is left out: a search may be resumed on another one.
        """
        return {
            "name": "LanguageModelling",
            **dataclasses.asdict(self._recipe),
            "context": self._context,
            "masked": self._masked,
            "threads": self._threads,
            "vocabulary": self._spec.num_outputs,
            "data": {
                name: {"tokens": len(tokens), "fingerprint": fingerprint([tokens])}
                for name, tokens in self._texts.items()
            },
        }

    @property
    def input_format(self) -> dict[str, Any]:
        """The `alphabet` as a text and the `mask`, for whoever uses a trained network elsewhere."""
        return {"alphabet": None if self.alphabet is None else "".join(self.alphabet), "mask": self.mask}

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that the task has."""
        return tuple(self._texts)

    def _examples(self, split: str) -> int:
        return (len(self._texts[split]) - 1) // self._context

    def encode(self, text: str) -> Tensor:
        """Write a text as tokens.

        Parameters
        ----------
        text : str
            Of the alphabet's characters.

        Returns
        -------
        Tensor of int64, shape (n,)
            Their numbers.

        Raises
        ------
        ValueError
            If a character is not in the alphabet.
        TypeError
            If the task was given arrays.
        """
        return encoded(text, self._alphabet())

    def decode(self, tokens: Iterable[int] | Tensor) -> str:
        """Write tokens as text.

        Parameters
        ----------
        tokens : iterable of int
            Numbers of characters.

        Returns
        -------
        str
            The characters; hidden ones as an underscore.

        Raises
        ------
        TypeError
            If the task was given arrays.
        """
        letters = (*self._alphabet(), "_")
        return "".join(letters[int(token)] for token in tokens)

    def _alphabet(self) -> tuple[str, ...]:
        if self.alphabet is None:
            raise TypeError("this task was given arrays of tokens: only their tokenizer knows the text")
        return self.alphabet

    def loaders(
        self,
        split: str | Sequence[str],
        seed: int = 0,
        *,
        training: bool | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        part: tuple[float, float] | None = None,
    ) -> Windows:
        """Windows of a split, on the device; every pass is the next epoch.

        Parameters
        ----------
        split : str or sequence of str
            "train", "valid" or "test", or several of them, taken together.
        seed : int, default 0
            Seed of where windows begin, of their order, and of what is hidden; each epoch differs.
        training : bool, optional
            Shuffle, and begin windows at other places in each epoch; by default for "train" and for several
            splits. Else all of the text is read in its order.
        device : str, optional
            By default the task's.
        batch_size : int, optional
            Windows in a batch; by default the task's when training, and at least 64 else.
        part : tuple of float, optional
            Fractions ``(low, high)``, ``0 <= low < high <= 1``: take this range of an order of windows, which
            lie side by side, that follows from `seed` and is the same in every epoch. With one seed, the
            parts ``(0, 0.5)`` and ``(0.5, 1)`` share no window and leave none out. By default everything.

        Returns
        -------
        Windows
            An iterable of ``(tokens, targets)``, both int64 ``(B, T)``: the next tokens, or what was hidden
            and -100 elsewhere.

        Raises
        ------
        ValueError
            If the task has no such split, `batch_size` is less than 1, or `part` is no such pair or holds no
            window.

        Examples
        --------
        >>> task = LanguageModelling("abcdefgh" * 10, context=4, device="cpu")
        >>> tokens, targets = next(iter(task.loaders("valid")))
        >>> task.decode(tokens[0]), task.decode(targets[0])
        ('abcd', 'bcde')
        """
        names = (split,) if isinstance(split, str) else tuple(split)
        for name in names:
            if name not in self._texts:
                raise ValueError(unknown("split", name, self._texts))
        if training is None:
            training = names != ("valid",) and names != ("test",)
        if batch_size is None:
            batch_size = self._recipe.batch_size if training else max(self._recipe.batch_size, 64)
        return Windows(
            [self._texts[name] for name in names],
            context=self._context,
            batch_size=count(batch_size, "batch_size"),
            seed=seed,
            training=training,
            device=device_of(device or self._device),
            masked=self._masked,
            mask=self.mask,
            part=part,
        )

    def loss(self, model: nn.Module, batch: TextBatch) -> tuple[Tensor, Tensor]:
        """Cross-entropy of a network on a batch; with label smoothing if the network is in training mode.

        Parameters
        ----------
        model : torch.nn.Module
            A network for `spec`.
        batch : tuple of Tensor
            Tokens and targets ``(B, T)``, as `loaders` gives them.

        Returns
        -------
        loss : Tensor
            Mean over all tokens that are to be predicted, a scalar.
        outputs : Tensor, shape (B, T, num_outputs)
            The network's scores.

        Raises
        ------
        nasx.errors.EvaluationError
            If the network's outputs have another shape.
        """
        tokens, targets = batch
        outputs: Any = model(tokens)
        expected = (*targets.shape, self._spec.num_outputs)
        if not isinstance(outputs, Tensor) or outputs.shape != expected:
            came = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise EvaluationError(f"the network must return outputs of shape {expected}; it returned {came}")
        smoothing = self._recipe.label_smoothing if model.training else 0.0
        loss = F.cross_entropy(
            outputs.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, label_smoothing=smoothing
        )
        return loss, outputs

    @torch.inference_mode()
    def _score(self, model: nn.Module, batches: Iterable[TextBatch]) -> dict[str, float]:
        model.eval()
        right = total = torch.zeros((), dtype=torch.float64)
        number = 0
        for tokens, targets in batches:
            value, outputs = self.loss(model, (tokens, targets))
            here = int((targets != IGNORED).sum())
            right = right.to(value.device) + (outputs.argmax(-1) == targets).sum()
            total = total.to(value.device) + value.double() * here
            number += here
        loss, accuracy = float(total) / number, float(right) / number
        return {
            "perplexity": math.exp(min(loss, _MOST)) if math.isfinite(loss) else loss,
            "loss": loss,
            "error": 1 - accuracy,
            "accuracy": accuracy,
        }


def _divided(train: Any, valid: Any, test: Any) -> dict[str, Any]:
    """Take shares off the end of the training text."""
    given = {"train": train, "valid": valid, "test": test}
    shares = {name: part for name, part in given.items() if isinstance(part, float)}
    for name, share in shares.items():
        if name == "train" or not 0 < share < 1:
            raise ValueError(
                f"{name} must be a text, an array of tokens, or a share of train, more than 0 and less than "
                f"1; got {share!r}"
            )
    if sum(shares.values()) >= 1:
        raise ValueError(f"valid and test must leave something of train; got shares {list(shares.values())}")
    (whole,) = read_texts({"train": train}).values()
    end = len(whole)
    left = dict(given)
    for name in ("test", "valid"):
        if name in shares:
            begin = end - round(shares[name] * len(whole))
            left[name], end = whole[begin:end], begin
    left["train"] = whole[:end]
    return {name: part for name, part in left.items() if part is not None}


def _vocabulary(given: int | None, letters: int | None, largest: int) -> int:
    if given is None:
        return largest + 1 if letters is None else letters
    if letters is not None:
        raise ValueError("vocabulary must be left out where texts are given: it is the number of characters")
    count(given, "vocabulary")
    if largest >= given:
        raise ValueError(f"vocabulary must be more than the largest token, {largest}; got {given}")
    return given
