"""Models of what architectures achieve: what strategies learn with, for direct use."""

from nasx.models.architecture_predictor import ArchitecturePredictor
from nasx.models.gaussian_process import GaussianProcess, Prediction

__all__ = ["ArchitecturePredictor", "GaussianProcess", "Prediction"]
