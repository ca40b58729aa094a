"""Models of what architectures achieve, natively: what strategies learn with, for direct use."""

from nasx.models.gaussian_process import GaussianProcess, Prediction

__all__ = ["GaussianProcess", "Prediction"]
