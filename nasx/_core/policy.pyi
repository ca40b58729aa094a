import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int32]
_Singles = NDArray[np.float32]

def sample(
    cardinalities: _Ints, conditions: _Ints | None, logits: _Floats, n: int, seed: int, first: int
) -> tuple[_Ints, _Floats]: ...
def log_probs(cardinalities: _Ints, conditions: _Ints | None, logits: _Floats, rows: _Ints) -> _Floats: ...
def policy_gradient(
    cardinalities: _Ints,
    conditions: _Ints | None,
    logits: _Floats,
    rows: _Ints,
    advantages: _Floats,
    entropy_weight: float,
) -> _Floats: ...
def reinforce_step(
    cardinalities: _Ints,
    conditions: _Ints | None,
    parameters: _Floats,
    first: _Floats,
    second: _Floats,
    steps: int,
    rows: _Ints,
    advantages: _Floats,
    entropy_weight: float,
    learning_rate: float,
) -> None: ...
def generalized_advantages(rows: _Ints, values: _Floats, rewards: _Floats, lambda_: float) -> _Floats: ...
def critic_values(
    cardinalities: _Ints, conditions: _Ints | None, critic: _Floats, rows: _Ints
) -> _Floats: ...
def ppo_gradient(
    cardinalities: _Ints,
    conditions: _Ints | None,
    parameters: _Floats,
    rows: _Ints,
    log_probs: _Floats,
    advantages: _Floats,
    targets: _Floats,
    clip: float,
    entropy_weight: float,
    value_weight: float,
) -> tuple[_Floats, float, float]: ...
def ppo_update(
    cardinalities: _Ints,
    conditions: _Ints | None,
    parameters: _Floats,
    first: _Floats,
    second: _Floats,
    steps: int,
    rows: _Ints,
    log_probs: _Floats,
    rewards: _Floats,
    learning_rate: float,
    clip: float,
    entropy_weight: float,
    value_weight: float,
    lambda_: float,
    max_norm: float,
    target_kl: float,
    epochs: int,
    minibatch: int,
    seed: int,
    generation: int,
) -> tuple[int, float, float]: ...
def sample_lstm(
    cardinalities: _Ints,
    conditions: _Ints | None,
    start: _Singles,
    embeddings: _Singles,
    from_input: _Singles,
    from_hidden: _Singles,
    bias: _Singles,
    heads: _Singles,
    head_bias: _Singles,
    temperature: float,
    bound: float,
    n: int,
    seed: int,
    first: int,
) -> tuple[_Ints, _Floats]: ...

class Rollouts:
    def __init__(
        self,
        d: int,
        objectives: int,
        batch_size: int,
        repeats: bool,
        weights: _Floats,
        momentum: float,
        exponent: float | None,
    ) -> None: ...
    def draw(self, rows: _Ints, canonical: _Ints, log_probs: _Floats) -> int: ...
    def tell(self, canonical: _Ints, losses: _Floats, violations: _Floats) -> None: ...
    def keep(self, canonical: _Ints, losses: _Floats, violations: _Floats) -> None: ...
    def is_new(self, canonical: _Ints) -> NDArray[np.bool_]: ...
    def take(self) -> tuple[_Ints, _Floats, _Floats, _Floats]: ...
    @property
    def ready(self) -> bool: ...
    def __copy__(self) -> Rollouts: ...
    def __deepcopy__(self, memo: dict[int, object]) -> Rollouts: ...
