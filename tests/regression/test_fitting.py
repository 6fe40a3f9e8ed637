"""A dataset by the protocol: what is written, and what bad input leads to."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from reiqa import layout
from reiqa.data.index import read as read_index
from reiqa.errors import BadInputError
from reiqa.regression import fit, regressor, splits


def result_of(path: Path) -> dict:
    return json.loads(path.read_text())


def test_the_result_is_what_scikit_learn_gives_step_by_step(make_set, params):
    made = make_set("clive", count=80)
    result = result_of(fit("clive", params))
    both = np.hstack([made.values["content"], made.values["quality"]]).astype(np.float64)
    index = read_index(layout.index("clive"))
    settings = params.regression
    parts = splits.make_splits(index, "official", 3, settings.fractions, params.seed)
    for number, split in enumerate(parts):
        scaler = StandardScaler().fit(both[split.train])
        scores = []
        for alpha in np.geomspace(*settings.alphas[:2], settings.alphas[2]):
            model = Ridge(alpha).fit(scaler.transform(both[split.train]), made.ratings[split.train])
            predicted = model.predict(scaler.transform(both[split.val]))
            found = stats.spearmanr(predicted, made.ratings[split.val]).statistic
            scores.append((round(found, 9), alpha, model))
        _, alpha, model = max(scores, key=lambda score: score[:2])
        variant = result["variants"]["both"]
        assert variant["alpha"]["splits"][number] == pytest.approx(alpha)
        predicted = model.predict(scaler.transform(both[split.test]))
        expected = stats.spearmanr(predicted, made.ratings[split.test]).statistic
        assert variant["srcc"]["splits"][number] == pytest.approx(expected, abs=1e-6)
