"""Ridge regressions of timings against the textbook's equations."""

import numpy as np
import pytest

from nasx.hardware.additive_fit import _STRENGTHS, _centered, _huber_ridge, _ridge_path


def textbook(design, timings, weights, strength):
    """Least squares with a row of sqrt(strength) for each slope, around the weighted means."""
    rows, targets, center, mean = _centered(design, timings, weights)
    slopes = design.shape[1]
    below = np.sqrt(strength) * np.eye(slopes)
    found = np.linalg.lstsq(np.vstack([rows, below]), np.append(targets, np.zeros(slopes)))[0]
    return found, mean - center @ found


@pytest.mark.parametrize("shape", [(40, 7), (12, 30), (9, 9), (10, 1)])
def test_regressions_are_the_textbooks_with_more_timings_and_with_more_slopes(shape):
    rng = np.random.default_rng(0)
    design = (rng.random(shape) < 0.4).astype(float)
    design[:, 0] = design[:, -1]  # the same column twice has no single answer without a ridge
    timings, weights = rng.normal(5, 2, shape[0]), rng.uniform(0.1, 1, shape[0])
    for strength, (slopes, intercept) in zip(_STRENGTHS, _ridge_path(design, timings, weights), strict=True):
        wanted = textbook(design, timings, weights, strength)
        np.testing.assert_allclose(slopes, wanted[0], atol=1e-9)
        assert intercept == pytest.approx(wanted[1])
    # Weights fall where errors are above Huber's 1.345 of their robust deviation.
    for strength in (_STRENGTHS[0], _STRENGTHS[-1]):
        found, weights = _huber_ridge(design, timings, strength), np.ones(len(timings))
        for _ in range(20):
            wanted = textbook(design, timings, weights, strength)
            errors = np.abs(design @ wanted[0] + wanted[1] - timings)
            allowed = 1.345 * 1.4826 * np.median(errors)
            before, weights = weights, np.minimum(1, allowed / errors)
            if np.abs(weights - before).max() < 0.01:
                break
        np.testing.assert_allclose(found[0], wanted[0], atol=1e-7)
        assert found[1] == pytest.approx(wanted[1])
        np.testing.assert_allclose(found[2], weights, atol=1e-7)
