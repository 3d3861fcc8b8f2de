"Rules for k and for a bandwidth, on inputs that the chapter has no room for."
import math
import warnings

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from clusterlearn import choosing as ch

centres = torch.tensor([[0., 0.], [20., 0.], [0., 25.], [30., 30.]])
noise = torch.randn(4, 80, 2, generator=torch.Generator().manual_seed(0))
points = (centres[:, None] + noise).flatten(0, 1)


@pytest.mark.parametrize('method', ['silhouette', 'gap', 'elbow'])
def test_clear_blobs_and_the_same_seed(method):
    a, b = (ch.choose_k(points, range(1, 9), method, references=4, random_state=3)
            for _ in range(2))
    assert a[:-1] == b[:-1] and a.k == 4 and a.n_points == 320
    assert torch.equal(a.centroids, b.centroids) and a.centroids.shape == (4, 2)
    assert a.ks == tuple(range(2 if method == 'silhouette' else 1, 9))
    assert len(a.scores) == len(a.ks)


def test_silhouettes_are_scikit_learns():
    "n_init makes both find the best clustering"
    a = ch.choose_k(points, range(2, 6), n_init=10, random_state=0)
    for k, score in list(zip(a.ks, a.scores))[:3]:
        labels = KMeans(k, n_init=10, random_state=0).fit_predict(points)
        assert score == pytest.approx(silhouette_score(points, labels), abs=2e-3)


def test_the_gap_against_its_formula():
    "Gap and s_k written out with NumPy for the same reference sets"
    from clusterlearn.kmeans.lloyd import k_means
    x = points.double()
    a = ch.choose_k(x, [1, 2, 3], 'gap', n_init=1, references=3, random_state=5)
    g = torch.Generator().manual_seed(5)
    own = [math.log(k_means(x, k, n_init=1, random_state=g).inertia) for k in (1, 2, 3)]
    ref = np.array([[math.log(k_means(s, k, n_init=1, random_state=g).inertia) for k in (1, 2, 3)]
                    for s in (ch.uniform_box(x, g) for _ in range(3))])
    assert a.scores == pytest.approx(ref.mean(0) - own)
    assert a.errors == pytest.approx(ref.std(0) * math.sqrt(1 + 1 / 3))


def test_one_cluster_is_an_answer_of_the_gap():
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    assert ch.choose_k(x, range(1, 6), 'gap', references=5, random_state=0).k == 1


def test_the_box_is_as_wide_as_the_points_along_their_axes():
    x = points.double() @ torch.tensor([[3., 1.], [-1., .2]]).double() + 1e5
    y = ch.uniform_box(x, 0)
    axes = np.linalg.svd(x - x.mean(0), full_matrices=False)[2]
    for a in axes:
        p, q = (x @ a).numpy(), (y @ a).numpy()
        assert p.min() - 1e-6 <= q.min() and q.max() <= p.max() + 1e-6
        assert np.ptp(q) > .9 * np.ptp(p)


def test_hard_inputs():
    "Duplicates, exact fits, few points, one column, far away"
    twice = torch.tensor([[0.], [1.], [5.]]).repeat(10, 1)
    for method in ch._methods:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            k = ch.choose_k(twice, range(1, 6), method, random_state=0).k
        assert k == 3, method
    assert ch.choose_k(points + 1e6, range(2, 7), random_state=0).k == 4
    assert ch.choose_k(points.double() * 1e-9, range(2, 7), 'elbow', random_state=0).k == 4
    assert ch.choose_k(torch.tensor([[0.], [1.], [9.], [10.]]), random_state=0).ks == (2, 3)


def test_large_data_are_sampled():
    a = ch.choose_k(points.repeat(20, 1), range(2, 7), max_points=500, random_state=0)
    assert a.k == 4 and a.n_points == 500


def test_errors_name_the_argument():
    for args, why in (((points, [4]), r'ks=\[4\]: at least two'),
                      ((points, 4), 'ks=4: pass several'),
                      ((points, [2, 2.5]), 'ks=2.5'), ((points, [0, 2]), 'ks=0'),
                      ((points, None, 'best'), "method='best': choose"),
                      ((points[:2],), 'at least two numbers')):
        with pytest.raises((ValueError, TypeError), match=why): ch.choose_k(*args)
    with pytest.raises(ValueError, match='share=2'): ch.stability(points, 2, share=2.)
    for args, why in ((points, [0., 1.]), 'no radius above'), ((torch.ones(9, 2),), 'all points'):
        with pytest.raises(ValueError, match=why): ch.choose_bandwidth(*args)


def test_stability():
    s = ch.stability(points, 4, runs=5, n_init=3, random_state=0)
    assert s.shape == (5,) and s.min() > .99
    assert ch.stability(points, 7, runs=5, random_state=0).mean() < .95
    assert torch.equal(s, ch.stability(points, 4, runs=5, n_init=3, random_state=0))


def test_bandwidth():
    a, b = (ch.choose_bandwidth(points, random_state=1) for _ in range(2))
    assert a == b and a.k == 4 and a.n_points == 320
    assert min(cdist(points, points).max(), a.bandwidth) == a.bandwidth > 0
    at = [n for h, n in zip(a.bandwidths, a.n_modes) if abs(h - a.bandwidth) < .2 * h]
    assert at and set(at) == {4}
    assert ch._longest([9, 6, 6, 6, 3, 3, 1, 1, 1, 1]) == (1, 3)
    assert ch._longest([5, 4, 3, 2, 1, 1]) == (4, 4) and ch._longest([0, 3]) == (-1, -1)


def test_pictures():
    plt = pytest.importorskip('matplotlib.pyplot')
    for choice in ch.choose_k(points, range(1, 5), 'gap', references=2, random_state=0), \
                  ch.choose_bandwidth(points, [2., 5., 10., 20.], random_state=0):
        assert ch.plot_choice(choice).get_title()
    plt.close('all')
