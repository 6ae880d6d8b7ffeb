import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ptk.metrics import Mean, auc, bits_per_byte, majority, merge, perplexity, unigram_entropy


def test_a_mean_is_weighted_by_counts():
    both = Mean(6.0, 2) + Mean(1.0, 8)
    assert both == Mean(7.0, 10)
    assert isinstance(both, Mean)
    assert both.value == 0.7  # the average of the averages would be 1.5625


def test_sum_starts_from_an_empty_mean():
    assert sum([Mean(1.0, 2), Mean(3.0, 4)], Mean(0.0, 0)) == Mean(4.0, 6)


def test_a_mean_never_concatenates():
    with pytest.raises(TypeError):
        sum([(3.0, 4)], Mean(1.0, 2))


def test_nothing_counted_is_nan():
    assert math.isnan(Mean(0.0, 0).value)
    assert math.isnan(Mean(torch.tensor(0.0), torch.tensor(0)).value)


def test_a_tensor_stays_on_the_graph():
    losses = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    mean = Mean(losses[:2].sum(), 2) + Mean(losses[2], torch.tensor(2))
    mean.value.backward()
    assert mean.value.item() == 2.25
    assert losses.grad is not None
    assert losses.grad.tolist() == [0.25, 0.25, 0.25]


def test_merge_adds_by_name_and_leaves_its_input():
    parts = [{"mlm": Mean(2.0, 1)}, {"nsp": Mean(0.5, 1), "mlm": Mean(1.0, 3)}]
    merged = merge(parts)
    assert merged == {"mlm": Mean(3.0, 4), "nsp": Mean(0.5, 1)}
    assert list(merged) == ["mlm", "nsp"]
    assert parts == [{"mlm": Mean(2.0, 1)}, {"nsp": Mean(0.5, 1), "mlm": Mean(1.0, 3)}]
    assert merge([]) == {}


def test_perplexity():
    assert perplexity(Mean(2 * math.log(8), 2)) == pytest.approx(8)
    assert perplexity(Mean(1000.0, 1)) == math.inf
    assert math.isnan(perplexity(Mean(0.0, 0)))


def test_auc_counts_pairs_that_are_ranked_right():
    assert auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == Mean(3.0, 4)
    assert auc([1, 1, 1, 1], [0, 1, 0, 1]) == Mean(2.0, 4)  # a tie is half a pair
    assert auc([1, 2], [True, True]).count == 0
    assert math.isnan(auc([1, 2], [True, True]).value)


@pytest.mark.parametrize("digits", [1, 6])
def test_auc_is_that_of_scikit_learn(digits):
    rng = np.random.default_rng(digits)
    labels = rng.random(5000) < 0.1
    scores = np.round(rng.normal(size=5000) + labels, digits)
    assert auc(scores, labels).value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_bits_per_byte():
    assert bits_per_byte(24 * math.log(2), 12) == pytest.approx(2)
    assert math.isnan(bits_per_byte(0.0, 0))


def test_unigram_entropy():
    assert unigram_entropy([5, 5, 5, 5]) == pytest.approx(math.log(4))
    assert unigram_entropy([2, 1, 1, 0]) == pytest.approx(1.5 * math.log(2))  # 1.5 bits
    assert str(unigram_entropy([0, 7])) == "0.0"
    assert math.isnan(unigram_entropy([0, 0]))
    assert math.isnan(unigram_entropy([]))


def test_majority():
    assert majority([1, 3, 0]) == 0.75
    assert majority([4]) == 1
    assert math.isnan(majority([0, 0]))
    assert math.isnan(majority([]))


def test_metrics_do_not_import_torch():
    code = "import sys, ptk.metrics; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
