import math

import pytest
import torch
from torch.nn import functional

from reiqa.errors import WorkFailedError
from reiqa.pretrain import training_log


def test_alignment_and_uniformity_equal_slow_references():
    draw = torch.Generator().manual_seed(1)
    query, key = (functional.normalize(torch.randn(6, 4, generator=draw), dim=1) for _ in "qk")
    distances = [float((query[n] - key[n]).norm()) ** 2 for n in range(6)]
    assert float(training_log.alignment(query, key)) == pytest.approx(sum(distances) / 6, rel=1e-5)
    potentials = [
        math.exp(-2 * float((query[a] - query[b]).norm()) ** 2)
        for a in range(6)
        for b in range(a + 1, 6)
    ]
    wanted = math.log(sum(potentials) / len(potentials))
    assert float(training_log.uniformity(query)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_checkpoint(loss):
    with pytest.raises(WorkFailedError, match=r"step 7: the loss is .*work/step-5\.pt"):
        training_log.check_divergence(7, loss, 0.5, "work/step-5.pt")


def test_an_embedding_that_is_one_point_stops_the_run():
    point = functional.normalize(torch.ones(8, 4), dim=1)
    with pytest.raises(WorkFailedError, match="collapsed"):
        training_log.check_divergence(7, 1.0, float(training_log.embedding_variance(point)), "none")
    training_log.check_divergence(
        7, 1.0, float(training_log.embedding_variance(torch.eye(4))), "none"
    )


def test_a_curve_has_few_rows_each_the_mean_of_its_steps(tmp_path):
    total = 3 * training_log.ROWS
    curve = training_log.TrainingCurve(total)
    names = training_log.COLUMNS[2:]
    for step in range(1, total + 1):
        curve.add(step, 1, dict.fromkeys(names, float(step)))
    assert len(curve.rows) == training_log.ROWS
    assert curve.rows[0] == [3, 1, *[2.0] * len(names)]
    curve.write(tmp_path / "curve.csv")
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines[0] == "step,epoch,loss,top1,learning_rate,alignment,uniformity"
    assert lines[1] == "3,1,2,2,2,2,2"


def test_a_curve_taken_up_again_equals_one_never_put_down():
    whole, first = training_log.TrainingCurve(4000), training_log.TrainingCurve(4000)
    rows = [(step, 1, dict.fromkeys(training_log.COLUMNS[2:], step**0.5)) for step in range(1, 100)]
    for row in rows:
        whole.add(*row)
    for row in rows[:50]:
        first.add(*row)
    second = training_log.TrainingCurve(4000, first.state())
    for row in rows[50:]:
        second.add(*row)
    assert second.state() == whole.state()
