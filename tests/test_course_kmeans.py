"Every version of k-means on problems that nobody chose, against scikit-learn and float64."

import math, pytest, torch
from hypothesis import assume, given, settings, strategies as st
from sklearn.cluster import KMeans
from torch.testing import assert_close
from clusterlearn.data import blobs, uniform
from clusterlearn.distance import nearest
from clusterlearn.kmeans.batch import k_means_cluster_v2
from clusterlearn.kmeans.loop import (
    initialize_centroids,
    k_means_cluster_v1,
    labels_of,
    random_partition,
    wcss,
)
from clusterlearn.kmeans.scatter import (
    cluster_means,
    k_means_cluster,
    k_means_cluster_v3,
    k_means_cluster_v3_1,
)

fast = [k_means_cluster_v2, k_means_cluster_v3, k_means_cluster_v3_1, k_means_cluster]
seeds = st.integers(0, 2**31 - 1)


def sk(points, init, **kw):
    return KMeans(len(init), init=init.numpy(), n_init=1, tol=0, algorithm='lloyd', **kw).fit(
        points.numpy()
    )


@pytest.mark.parametrize('f', fast)
@pytest.mark.parametrize(
    'd, k, n', [(1, 3, 200), (2, 6, 900), (3, 17, 500), (17, 5, 300), (50, 7, 400), (300, 9, 120)]
)
def test_scikit_learn_agrees(f, d, k, n):
    "From the same start to rest: the same labels, centroids and inertia"
    # Structureless points leave no cluster empty; scikit-learn would fill it with the farthest
    # point, and we with a random one.
    x = uniform(n, d, random_state=d).double()
    init = initialize_centroids(k, x, 1)
    c, l = f(k, x, 300, init=init)
    theirs = sk(x, init)
    assert_close(l, torch.from_numpy(theirs.labels_).long())
    assert_close(c, torch.from_numpy(theirs.cluster_centers_), atol=1e-8, rtol=1e-8)
    assert math.isclose(wcss(x, c, l), theirs.inertia_, rel_tol=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, n=st.integers(1, 60), d=st.integers(1, 5), data=st.data())
def test_all_versions_agree(seed, n, d, data):
    "On integers, where points coincide and distances tie, all take the same steps as the loop"
    k = data.draw(st.integers(1, n))
    x = torch.randint(-4, 5, (n, d), generator=torch.Generator().manual_seed(seed)).double()
    clusters, want = k_means_cluster_v1(k, x, 6, random_state=seed)
    for f in fast[:3]:
        c, l = f(k, x, 6, random_state=seed)
        assert_close(c, want, atol=1e-9, rtol=0)
        assert torch.equal(l, labels_of(clusters, n))


@settings(max_examples=60, deadline=None)
@given(seed=seeds, n=st.integers(1, 80), d=st.integers(1, 6), data=st.data())
def test_centroids_and_labels_belong_together(seed, n, d, data):
    "However early it stops, each label is the nearest of exactly the centroids returned"
    k, steps = data.draw(st.integers(1, n)), data.draw(st.integers(1, 5))
    x = uniform(n, d, random_state=seed)
    c, l = k_means_cluster(k, x, steps, random_state=seed)
    assert c.shape == (k, d) and l.shape == (n,) and c.isfinite().all()
    exact = (x.double()[:, None] - c.double()[None]).pow(2).sum(-1)
    chosen = exact.gather(1, l[:, None])[:, 0]
    assert (chosen <= exact.amin(1) * (1 + 1e-5) + 1e-9).all()


@settings(max_examples=30, deadline=None)
@given(seed=seeds, shift=st.floats(-1e4, 1e4), scale=st.floats(0.01, 100))
def test_moving_and_scaling(seed, shift, scale):
    "Moved or scaled points from a moved or scaled start get the same labels"
    x = blobs(4, 30, 3, random_state=seed).points.double()
    init = initialize_centroids(4, x, seed)
    c, l = k_means_cluster(4, x, 50, init=init, random_state=0)
    c2, l2 = k_means_cluster(4, x * scale + shift, 50, init=init * scale + shift, random_state=0)
    assert torch.equal(l, l2)
    assert_close(c2, c * scale + shift, atol=1e-6, rtol=1e-8)


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_permuting_points_permutes_labels(seed):
    x = uniform(100, 2, random_state=seed).double()  # leaves no cluster empty
    init, order = (
        initialize_centroids(5, x, seed),
        torch.randperm(100, generator=torch.Generator().manual_seed(seed)),
    )
    l, l2 = k_means_cluster(5, x, 50, init=init)[1], k_means_cluster(5, x[order], 50, init=init)[1]
    assert torch.equal(l[order], l2)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, k=st.integers(2, 12))
def test_inertia_never_rises(seed, k):
    x, costs = uniform(150, 2, random_state=seed).double(), []
    k_means_cluster(
        k, x, 100, random_state=seed, callback=lambda i, c, l: costs.append(wcss(x, c, l).item())
    )
    assert all(b <= a * (1 + 1e-12) for a, b in zip(costs, costs[1:]))
    assert len(costs) < 100  # it came to rest


@pytest.mark.parametrize('f', [k_means_cluster_v1, *fast])
def test_nothing_outside_changes(f):
    "Points, start and global generator are as before; the same seed gives the same result"
    x, init = uniform(80, random_state=0), uniform(4, random_state=1)
    kept, kept_init, state = x.clone(), init.clone(), torch.get_rng_state()
    first, again = (f(4, x, random_state=3) for _ in range(2))
    f(4, x, init=init)
    assert torch.equal(x, kept) and torch.equal(init, kept_init)
    f(
        4, x, init=torch.full((4, 2), 99.0), random_state=torch.Generator().manual_seed(0)
    )  # empty clusters
    assert torch.equal(state, torch.get_rng_state())
    assert str(first) == str(again)


@pytest.mark.parametrize('f', fast)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_inputs_of_every_kind(f, dtype):
    "Non-contiguous, with gradient, k = 1, k = n, one point, all points equal"
    x = uniform(40, 6, random_state=0).to(dtype)[:, ::2]
    c, l = f(3, x.requires_grad_(), random_state=0)
    assert c.dtype == dtype and not c.requires_grad and l.dtype == torch.int64
    x = x.detach()
    assert_close(f(1, x)[0][0], x.mean(0))
    assert wcss(x, *f(40, x, random_state=0)) == 0
    assert_close(f(1, x[:1])[0], x[:1])
    c, l = f(3, torch.full((9, 2), 7.0, dtype=dtype), random_state=0)
    assert (c == 7).all() and (l == 0).all()


@pytest.mark.parametrize(
    'bad, error, message',
    [
        (dict(k=0), ValueError, 'k=0'),
        (dict(k=-3), ValueError, 'k=-3'),
        (dict(k=51), ValueError, 'k=51 is more than the 50'),
        (dict(k=2.0), TypeError, 'k=2.0'),
        (dict(k='two'), TypeError, "k='two'"),
        (dict(max_iters=0), ValueError, 'max_iters=0'),
        (dict(tol=-1.0), ValueError, 'tol=-1'),
        (dict(tol=math.nan), ValueError, 'tol=nan'),
        (dict(points=[[1.0, math.nan]] * 50), ValueError, 'points has nan in row 0, column 1'),
        (dict(init=torch.zeros(3, 2)), ValueError, r'init has shape \(3, 2\), needed is \(2, 2\)'),
        (dict(init=torch.full((2, 2), math.inf)), ValueError, 'init has inf in row 0'),
        (dict(random_state='x'), TypeError, 'random_state'),
    ],
)
@pytest.mark.parametrize('f', [k_means_cluster_v1, *fast])
def test_refused(f, bad, error, message):
    with pytest.raises(error, match=message):
        f(**(dict(k=2, points=uniform(50, random_state=0)) | bad))


def test_far_from_the_origin():
    "In float32, ten thousand units away: the labels of float64, centroids as near as floats get"
    x = blobs(random_state=1).points + 1e4
    init = initialize_centroids(6, x, 0)
    c, l = k_means_cluster(6, x, 100, init=init)
    want_c, want_l = k_means_cluster(6, x.double(), 100, init=init.double())
    assert torch.equal(l, want_l) and (c - want_c).abs().max() < 2e-3


@settings(max_examples=30, deadline=None)
@given(seed=seeds, k=st.integers(1, 9), offset=st.sampled_from([0.0, 1e3]))
def test_means_against_float64(seed, k, offset):
    g = torch.Generator().manual_seed(seed)
    x, l = torch.randn(70, 3, generator=g) + offset, torch.randint(k, (70,), generator=g)
    means, counts = cluster_means(x, l, x[:1].expand(k, 3))
    for j in range(k):
        own = x[l == j].double()
        assert counts[j] == len(own)
        assert_close(
            means[j].double(),
            own.mean(0) if len(own) else x[0].double(),
            atol=1e-6 + 6e-8 * offset,
            rtol=0,
        )


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    n=st.integers(1, 90),
    k=st.integers(1, 30),
    d=st.integers(1, 40),
    budget=st.integers(1, 4000),
)
def test_nearest_in_any_budget(seed, n, k, d, budget):
    "Chunks change nothing, and the distance is the float64 one"
    x, c = uniform(n, d, random_state=seed), uniform(k, d, random_state=seed + 1)
    index, dist = nearest(x, c, budget)
    exact = torch.cdist(x.double(), c.double(), compute_mode='donot_use_mm_for_euclid_dist')
    assert_close(dist.double(), exact.amin(1), atol=1e-5, rtol=1e-5)
    assert_close(exact.gather(1, index[:, None])[:, 0], exact.amin(1), atol=1e-5, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, n=st.integers(1, 50), data=st.data())
def test_starts(seed, n, data):
    "Forgy's centroids are different points; a random partition's parts differ by one point at most"
    k, x = data.draw(st.integers(1, n)), torch.arange(float(n))[:, None]
    chosen = initialize_centroids(k, x, seed)
    assert len(set(chosen[:, 0].tolist())) == k and torch.isin(chosen, x).all()
    parts = random_partition(k, x, seed)
    assume(n % k == 0)
    assert_close(parts.mean(), x.mean())
