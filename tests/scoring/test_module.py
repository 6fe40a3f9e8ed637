"""The regressor's head: the same numbers as the regressor it was made of."""

import numpy as np
import torch

from reiqa.regression.regressor import fit_calibration
from reiqa.scoring.module import CalibrationModule, RegressionHead


def test_a_curve_is_the_regressors_link() -> None:
    link = fit_calibration(np.random.default_rng(0).beta(0.6, 0.4, size=300))
    fitted = np.linspace(-5, 5, 101)
    curve = CalibrationModule(torch.from_numpy(link.at), torch.from_numpy(link.to))
    np.testing.assert_allclose(curve(torch.from_numpy(fitted)), link(fitted), atol=1e-12)


def test_shares_make_the_score_and_a_mean_expert_has_none() -> None:
    curve = CalibrationModule(torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([0.0, 10.0, 90.0]))
    empty = torch.zeros(0)
    head = RegressionHead(-0.2, curve, empty, empty, empty, {"content": 0, "quality": 0})
    answers = {"content": torch.tensor([0.7, -1.3]), "quality": torch.tensor([0.0, 2.0])}
    shares = head.shares(answers)
    total = head({}) + shares["content"] + shares["quality"]
    torch.testing.assert_close(total, head(answers))
    assert shares["quality"][0] == 0
    swapped = head.shares({"content": answers["quality"], "quality": answers["content"]})
    torch.testing.assert_close(swapped["content"], shares["quality"])
