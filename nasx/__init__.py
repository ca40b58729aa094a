"""Neural architecture search: every well-known method behind one call, on a C++ core.

Public names are imported on first use, so ``import nasx`` itself costs almost nothing and
needs neither torch nor pandas nor matplotlib.
"""

from __future__ import annotations

import importlib
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# In the root of a checkout the source folder hides an installed nasx, but holds no compiled module: look
# for that in every nasx folder on the path.
__path__ = extend_path(__path__, __name__)

if TYPE_CHECKING:
    from nasx import (
        compression,
        errors,
        evaluation,
        executors,
        hardware,
        integrations,
        models,
        nn,
        pareto,
        plots,
        population,
        proxies,
        spaces,
        tasks,
        testing,
    )
    from nasx._runtime import get_num_threads, set_num_threads, simd_level
    from nasx.architecture import Architecture, Block
    from nasx.comparison import Comparison
    from nasx.compression.searching import compress
    from nasx.contest import compare
    from nasx.errors import NasxError, StopSearch
    from nasx.loop import search
    from nasx.registry import available_strategies, register_strategy
    from nasx.result import Result
    from nasx.space import Boolean, Categorical, Integer, Ordinal, Space
    from nasx.spaces.modules import space_of
    from nasx.strategies.base import SampledStrategy, Strategy
    from nasx.strategies.baseline.local_search import LocalSearch
    from nasx.strategies.baseline.random_search import RandomSearch
    from nasx.strategies.bayesian.gaussian_process import GaussianProcess
    from nasx.strategies.bayesian.tpe import TPE
    from nasx.strategies.differentiable.darts import DARTS
    from nasx.strategies.differentiable.pc_darts import PCDARTS
    from nasx.strategies.evolutionary.genetic import GeneticAlgorithm
    from nasx.strategies.evolutionary.neat import NEAT
    from nasx.strategies.evolutionary.regularized import RegularizedEvolution
    from nasx.strategies.hardware_aware.fbnet import FBNet
    from nasx.strategies.hardware_aware.proxyless import ProxylessNAS
    from nasx.strategies.multi_fidelity.asha import ASHA
    from nasx.strategies.multi_fidelity.base import MultiFidelityStrategy
    from nasx.strategies.multi_fidelity.hyperband import Hyperband
    from nasx.strategies.multi_objective.nsga2 import NSGA2
    from nasx.strategies.multi_objective.pareto_search import ParetoSearch
    from nasx.strategies.one_shot.enas import ENAS
    from nasx.strategies.one_shot.few_shot import FewShot
    from nasx.strategies.one_shot.spos import SPOS
    from nasx.strategies.prescreened import Prescreened
    from nasx.strategies.reinforcement.policies import Policy
    from nasx.strategies.reinforcement.ppo import PPO
    from nasx.strategies.reinforcement.reinforce import REINFORCE
    from nasx.strategies.supernet import SupernetStrategy
    from nasx.strategies.transfer.learner import MetaLearner
    from nasx.strategies.transfer.meta_nas import MetaNAS
    from nasx.strategies.transfer.warm_start import FewShotTransfer
    from nasx.tasks.base import Task, TaskSpec
    from nasx.trial import Trial

_MODULES = (
    "compression",
    "errors",
    "evaluation",
    "executors",
    "hardware",
    "integrations",
    "models",
    "nn",
    "pareto",
    "plots",
    "population",
    "proxies",
    "spaces",
    "tasks",
    "testing",
)
_EXPORTS = {
    "ASHA": "nasx.strategies.multi_fidelity.asha",
    "Architecture": "nasx.architecture",
    "Block": "nasx.architecture",
    "Boolean": "nasx.space",
    "Categorical": "nasx.space",
    "DARTS": "nasx.strategies.differentiable.darts",
    "Comparison": "nasx.comparison",
    "ENAS": "nasx.strategies.one_shot.enas",
    "FBNet": "nasx.strategies.hardware_aware.fbnet",
    "FewShot": "nasx.strategies.one_shot.few_shot",
    "FewShotTransfer": "nasx.strategies.transfer.warm_start",
    "Hyperband": "nasx.strategies.multi_fidelity.hyperband",
    "GaussianProcess": "nasx.strategies.bayesian.gaussian_process",
    "GeneticAlgorithm": "nasx.strategies.evolutionary.genetic",
    "Integer": "nasx.space",
    "MultiFidelityStrategy": "nasx.strategies.multi_fidelity.base",
    "MetaLearner": "nasx.strategies.transfer",
    "MetaNAS": "nasx.strategies.transfer.meta_nas",
    "LocalSearch": "nasx.strategies.baseline.local_search",
    "NEAT": "nasx.strategies.evolutionary.neat",
    "NSGA2": "nasx.strategies.multi_objective.nsga2",
    "NasxError": "nasx.errors",
    "Ordinal": "nasx.space",
    "PCDARTS": "nasx.strategies.differentiable.pc_darts",
    "PPO": "nasx.strategies.reinforcement.ppo",
    "Policy": "nasx.strategies.reinforcement.policies",
    "ProxylessNAS": "nasx.strategies.hardware_aware.proxyless",
    "ParetoSearch": "nasx.strategies.multi_objective.pareto_search",
    "Prescreened": "nasx.strategies.prescreened",
    "REINFORCE": "nasx.strategies.reinforcement.reinforce",
    "RandomSearch": "nasx.strategies.baseline.random_search",
    "RegularizedEvolution": "nasx.strategies.evolutionary.regularized",
    "Result": "nasx.result",
    "SPOS": "nasx.strategies.one_shot.spos",
    "SampledStrategy": "nasx.strategies.base",
    "Space": "nasx.space",
    "StopSearch": "nasx.errors",
    "SupernetStrategy": "nasx.strategies.supernet",
    "Strategy": "nasx.strategies.base",
    "TPE": "nasx.strategies.bayesian.tpe",
    "Task": "nasx.tasks.base",
    "TaskSpec": "nasx.tasks.base",
    "Trial": "nasx.trial",
    "available_strategies": "nasx.registry",
    "compare": "nasx.contest",
    "compress": "nasx.compression.searching",
    "get_num_threads": "nasx._runtime",
    "register_strategy": "nasx.registry",
    "search": "nasx.loop",
    "set_num_threads": "nasx._runtime",
    "simd_level": "nasx._runtime",
    "space_of": "nasx.spaces.modules",
}

__all__ = [
    "ASHA",
    "DARTS",
    "ENAS",
    "NEAT",
    "NSGA2",
    "PCDARTS",
    "PPO",
    "REINFORCE",
    "SPOS",
    "TPE",
    "Architecture",
    "Block",
    "Boolean",
    "Categorical",
    "Comparison",
    "FBNet",
    "FewShot",
    "FewShotTransfer",
    "GaussianProcess",
    "GeneticAlgorithm",
    "Hyperband",
    "Integer",
    "LocalSearch",
    "MetaLearner",
    "MetaNAS",
    "MultiFidelityStrategy",
    "NasxError",
    "Ordinal",
    "ParetoSearch",
    "Policy",
    "Prescreened",
    "ProxylessNAS",
    "RandomSearch",
    "RegularizedEvolution",
    "Result",
    "SampledStrategy",
    "Space",
    "StopSearch",
    "Strategy",
    "SupernetStrategy",
    "Task",
    "TaskSpec",
    "Trial",
    "available_strategies",
    "compare",
    "compress",
    "compression",
    "errors",
    "evaluation",
    "executors",
    "get_num_threads",
    "hardware",
    "integrations",
    "models",
    "nn",
    "pareto",
    "plots",
    "population",
    "proxies",
    "register_strategy",
    "search",
    "set_num_threads",
    "simd_level",
    "space_of",
    "spaces",
    "tasks",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"nasx.{name}")
    if name in _EXPORTS:
        value = getattr(importlib.import_module(_EXPORTS[name]), name)
    elif name == "__version__":
        value = importlib.import_module("nasx._core").__version__
    else:
        raise AttributeError(f"module 'nasx' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
