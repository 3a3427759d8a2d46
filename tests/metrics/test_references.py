"""Numbers of published code on one small case, so that none of it need be installed here.

`pip install pot==0.9.7.post1 prdc==0.2 torchmetrics==1.9.0 torch-fidelity==0.4.0`, and on A, B, LINES and LOGITS below:
`ot.emd2(ot.unif(40), ot.unif(40), ot.dist(A, B, metric="euclidean"))`, `ot.sliced_wasserstein_distance(A, B,
projections=LINES, p=2)`, `prdc.compute_prdc(B, A, nearest_k=5)`, torchmetrics' `poly_mmd(A, B)` (image.kid) and
`_compute_fid` of means and covariances (image.fid), torch-fidelity's `isc_features_to_metric(LOGITS, splits=1)`.
"""

import numpy as np
import pytest
import torch

from gentool.metrics.classes import classifier_score
from gentool.metrics.frechet import frechet_between
from gentool.metrics.kernel import cubic, squared_discrepancy
from gentool.metrics.neighbours import overlap
from gentool.metrics.transport import sliced_wasserstein_2, wasserstein_1

DRAWN = np.random.RandomState(0)  # whose stream NumPy has promised never to change
A, B = torch.from_numpy(DRAWN.randn(40, 3)), torch.from_numpy(0.8 * DRAWN.randn(40, 3) + 0.5)
LINES = torch.nn.functional.normalize(torch.from_numpy(DRAWN.randn(3, 20)), dim=0)
LOGITS = torch.from_numpy(2 * DRAWN.randn(50, 10))


def test_pot():
    assert wasserstein_1(A, B) == pytest.approx(1.0180827382319235, rel=1e-12)
    assert sliced_wasserstein_2(A, B, LINES) == pytest.approx(0.47265434426690023, rel=1e-12)


def test_prdc():
    found = [float(values.mean()) for values in overlap(A, B, 5)]
    assert found == pytest.approx([0.775, 1.0, 0.61, 0.975], rel=1e-12)


def test_torchmetrics():
    assert squared_discrepancy(A, B, cubic)[0] == pytest.approx(0.20483249083292687, rel=1e-12)
    assert frechet_between(A, B).value == pytest.approx(0.692617963420842, rel=1e-9)


def test_torch_fidelity():
    assert classifier_score(LOGITS.softmax(1)) == pytest.approx(2.6349861786503577, rel=1e-12)
