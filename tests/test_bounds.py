"The chapter on bounds: `margin_loop` against the plain engine, at every iteration."
import math
import pytest, torch
from hypothesis import given, settings, strategies as st
from sklearn.cluster import KMeans
from torch.testing import assert_close
from clusterlearn.data import blobs, uniform
from clusterlearn.kmeans.bounds import largest_other, margin_loop, margins
from clusterlearn.kmeans.lloyd import k_means

def by_plain_engine(x, c):
    "Centroids and the labels of every iteration"
    every = []
    r = k_means(x, len(c), init=c, tol=0, empty='keep', engine='plain',
                callback=lambda i, c, labels: every.append(labels) and None)
    return r.centroids, every + [r.labels]

@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), n=st.integers(2, 200), d=st.integers(1, 9), data=st.data())
def test_labels_of_every_iteration(seed, n, d, data):
    "On blobs, noise and points that repeat; with centroids that are empty"
    g = torch.Generator().manual_seed(seed)
    k = data.draw(st.integers(1, min(n, 12)))
    x = torch.randn(n, d, generator=g).double() + 8 * torch.randint(3, (n, 1), generator=g)
    c = x[torch.randperm(n, generator=g)[:k]].clone()
    if data.draw(st.booleans()): c[0] += 1000
    got_c, got, searched = margin_loop(x, c)
    want_c, want = by_plain_engine(x, c)
    assert len(got) == len(want) == len(searched)
    assert all(torch.equal(a, b) for a, b in zip(got, want))
    assert_close(got_c, want_c)

def test_it_skips_most_points_and_agrees_with_scikit_learn():
    x = blobs(20, 200, 4, var=20., random_state=0).points.double()
    c, labels, searched = margin_loop(x, x[::200][:20])
    assert searched[0] == len(x) and sum(searched) < .5 * len(x) * len(searched)
    r = KMeans(20, init=x[::200][:20].numpy(), n_init=1, tol=0, algorithm='lloyd').fit(x.numpy())
    assert labels[-1].tolist() == r.labels_.tolist() and len(labels) == r.n_iter_
    assert_close(c.numpy(), r.cluster_centers_)

def test_margins_and_moves():
    x, c = uniform(50, 3, random_state=0).double(), uniform(4, 3, random_state=1).double()
    labels, left = margins(x, c)
    d = (x[:, None] - c).norm(dim=2).sort(1)
    assert torch.equal(labels, d.indices[:, 0]) and (left >= 0).all()
    assert_close(left, d.values[:, 1] - d.values[:, 0])
    assert margins(x, c[:1])[1].eq(math.inf).all()
    for moves in ([3., 1., 2.], [2., 2., 1.], [0., 0.], [5.]):
        want = [max(moves[:j] + moves[j + 1:], default=moves[0]) for j in range(len(moves))]
        assert largest_other(torch.tensor(moves)).tolist() == want

@pytest.mark.parametrize('max_iter', [1, 2, 5])
def test_max_iter(max_iter):
    x = uniform(300, 2, random_state=0)
    c, labels, searched = margin_loop(x, x[:9], max_iter)
    assert len(labels) == len(searched) == max_iter and c.dtype == torch.float64
