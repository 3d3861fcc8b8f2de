"What breaks k-means programs, tried on `k_means`: each case is judged by float64 or scikit-learn."

import math, warnings
from types import SimpleNamespace

import numpy as np, pytest, torch
from sklearn.cluster import KMeans
from torch.testing import assert_close

from benchmarks.hazards import HAZARDS
from clusterlearn import k_means
from clusterlearn.data import blobs, uniform
from clusterlearn.kmeans.lloyd import count_empty
from clusterlearn.kmeans.seeding import FewDistinctPoints

pytestmark = pytest.mark.usefixtures('engine')


def squares(x, c):
    "All squared distances (n, k), some rows at a time"
    x, c = x.double(), c.double()
    rows = max(1, 2**22 // c.numel())
    return torch.cat([((p[:, None] - c[None]) ** 2).sum(2) for p in x.split(rows)])


def judge(x, r, w=None):
    "Labels are the nearest of exactly these centroids, and the inertia is their sum"
    x = torch.as_tensor(x).detach()
    assert r.centroids.dtype == (x.dtype if x.is_floating_point() else torch.float64)
    assert r.labels.dtype == torch.int64 and r.centroids.isfinite().all()
    x = x if x.is_floating_point() else x.double()
    s = squares(x, r.centroids)
    least, own = s.amin(1), s.gather(1, r.labels[:, None])[:, 0]
    assert (own <= least * (1 + 1e-12)).all()
    clear = (s <= least[:, None] * (1 + 1e-12)).sum(1) == 1
    assert torch.equal(r.labels[clear], s.argmin(1)[clear])
    w = (torch.ones(len(x)) if w is None else torch.as_tensor(w)).double()
    spread = (((x.double() - x.double().mean(0)) ** 2).sum(1) @ w).item()
    size = (x.double().abs().max() ** 2 * w.sum()).item()
    assert r.inertia >= 0
    assert math.isclose(
        r.inertia, (least @ w).item(), rel_tol=1e-9, abs_tol=1e-13 * spread + 1e-20 * size
    )
    return s


def at_rest(x, r, w=None):
    "Each centroid that has weight is its points' mean, as near as its dtype can tell"
    x, k = torch.as_tensor(x).detach(), len(r.centroids)
    w = torch.ones(len(x)).double() if w is None else torch.as_tensor(w).double()
    counts = torch.zeros(k).double().index_add_(0, r.labels, w)
    sums = torch.zeros(k, x.shape[1]).double().index_add_(0, r.labels, x.double() * w[:, None])
    there, mean = counts > 0, sums / counts[:, None]
    eps = torch.finfo(r.centroids.dtype).eps
    size = x.double().abs().max().item()
    assert_close(r.centroids.double()[there], mean[there], rtol=2 * eps, atol=2 * eps * size)


def scikit(x, init, w=None, **kw):
    x, init = (np.asarray(torch.as_tensor(t).double()) for t in (x, init))
    fit = KMeans(len(init), init=init, n_init=1, algorithm='lloyd', **{'tol': 0} | kw).fit
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return fit(x, sample_weight=None if w is None else np.asarray(w, float))


def same(r, theirs, rtol=1e-6):
    assert (r.labels.numpy() == theirs.labels_).all()
    assert math.isclose(r.inertia, theirs.inertia_, rel_tol=rtol, abs_tol=1e-12)
    assert_close(
        r.centroids.double(), torch.from_numpy(theirs.cluster_centers_), rtol=1e-5, atol=1e-5
    )


# ---- the list that the benchmark puts before every library


@pytest.mark.parametrize('name', HAZARDS)
def test_the_list_of_the_benchmark(name):
    def fit(x, k, init=None, seed=0, tol=0.0, max_iter=300):
        init = 'k-means++' if init is None else init
        return k_means(x, k, init=init, tol=tol, max_iter=max_iter, random_state=seed)[:2]

    assert HAZARDS[name](fit) is None


# ---- shapes


@pytest.mark.parametrize('d', [1, 3, 17, 50, 1537])
@pytest.mark.parametrize('k', [2, 13, 67])
def test_any_dimension_and_k(d, k):
    "No multiple of any tile"
    n = 257 if d > 1000 else 1031
    x = uniform(n, d, random_state=d)
    init = x[torch.randperm(n, generator=torch.Generator().manual_seed(k))[:k]]
    r = k_means(x, k, init=init, tol=0)
    judge(x, r)
    at_rest(x, r)
    same(r, scikit(x, init))
    assert r.converged


@pytest.mark.parametrize('n', [1, 2, 5, 300])
def test_one_cluster_and_one_each(n):
    x = uniform(n, 3, random_state=n)
    r = k_means(x, 1, tol=0)
    assert_close(r.centroids[0].double(), x.double().mean(0), atol=1e-5, rtol=1e-6)
    judge(x, r)
    r = k_means(x, n, tol=0, random_state=0)
    assert 0 <= r.inertia <= 1e-13 * x.square().sum() and len(r.labels.unique()) == n
    assert torch.equal(r.centroids[r.labels], x)


def test_not_contiguous_and_gradient():
    base = uniform(400, 8, random_state=0)
    x = base[::2, ::3]
    init, want = x[:5].clone(), k_means(x.clone(), 5, init=x[:5], tol=0)
    for y in (x, x.clone().T.contiguous().T, x.clone().requires_grad_(), x.flip(0).flip(0)):
        r = k_means(y, 5, init=init, tol=0)
        assert torch.equal(r.labels, want.labels) and torch.equal(r.centroids, want.centroids)
        assert not r.centroids.requires_grad
    same(want, scikit(x, init))
    row = uniform(1, 3, random_state=0).expand(50, 3)  # one row, seen fifty times
    assert 0 <= k_means(row, 1).inertia < 1e-9


# ---- kinds of numbers


@pytest.mark.parametrize('kind', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision(kind):
    x = (blobs(7, 60, 5, random_state=0).points).to(kind)
    init = x[:: len(x) // 7][:7]
    r = k_means(x, 7, init=init, tol=0)
    judge(x, r)
    at_rest(x, r)
    theirs = scikit(x, init)
    assert math.isclose(r.inertia, theirs.inertia_, rel_tol=1e-3)
    if kind in (torch.float32, torch.float64):
        same(r, theirs)


@pytest.mark.parametrize('kind', [torch.uint8, torch.int16, torch.int64])
def test_integers(kind):
    x = torch.randint(0, 200, (300, 3), generator=torch.Generator().manual_seed(0)).to(kind)
    r = k_means(x, 6, init=x[:6], tol=0)
    assert r.centroids.dtype == torch.float64
    judge(x, r)
    same(r, scikit(x, x[:6]))


def test_lists_arrays_and_frames():
    x = uniform(90, 2, random_state=0)
    want = k_means(x.double(), 4, init=x[:4], tol=0)
    for y in (x.double().numpy(), x.double().tolist(), np.asfortranarray(x.double().numpy())):
        r = k_means(y, 4, init=x[:4].tolist(), tol=0)
        assert (r.labels == want.labels).all() and math.isclose(r.inertia, want.inertia)
    frame = SimpleNamespace(to_numpy=lambda: x.double().numpy())  # as pandas and polars have it
    assert torch.equal(k_means(frame, 4, init=x[:4], tol=0).labels, want.labels)


def test_squares_beyond_half_precision():
    "|x|² is far above 65,504, the largest number in float16"
    x = (blobs(6, 100, 3, extent=700.0, var=900.0, random_state=0).points).half()
    assert (x.double() ** 2).sum(1).min() > 0 and (x.double() ** 2).sum(1).max() > 3 * 65504
    r = k_means(x, 6, random_state=0, tol=0)
    judge(x, r)
    theirs = KMeans(6, n_init=10, random_state=0).fit(x.double().numpy())
    assert math.isclose(r.inertia, theirs.inertia_, rel_tol=1e-3)


@pytest.mark.parametrize('size', [1e-20, 1e-6, 1e6, 1e15])
def test_tiny_and_huge_units(size):
    x = blobs(5, 80, 4, random_state=1).points
    want = k_means(x, 5, init=x[::80], tol=0)
    r = k_means(x * size, 5, init=x[::80] * size, tol=0)
    judge(x * size, r)
    assert torch.equal(r.labels, want.labels)
    assert math.isclose(r.inertia, want.inertia * size**2, rel_tol=1e-4)


@pytest.mark.parametrize('offset', [1e4, 1e6])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_far_from_the_origin(offset, dtype):
    x = (blobs(8, 70, 3, random_state=2).points.double() + offset).to(dtype)
    r = k_means(x, 8, init=x[::70], tol=0)
    judge(x, r)
    at_rest(x, r)
    theirs = scikit(x, x[::70])
    assert (r.labels.numpy() == theirs.labels_).all()
    assert math.isclose(r.inertia, theirs.inertia_, rel_tol=1e-3)


def test_one_column_far_larger_than_the_others():
    g = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(400, 1, generator=g) * 1e6, torch.randn(400, 3, generator=g)], 1)
    r = k_means(x, 9, init=x[:9], tol=0)
    judge(x, r)
    assert math.isclose(r.inertia, scikit(x, x[:9]).inertia_, rel_tol=1e-5)


# ---- points that coincide, clusters without points


@pytest.mark.parametrize('value', [0.0, 0.1, 1e4])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_a_million_times_the_same_point(value, dtype):
    x = torch.full((1_000_000, 2), value, dtype=dtype)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        r = k_means(x, 3, tol=0, random_state=0)
    assert caught[0].category is FewDistinctPoints
    assert caught[0].filename == __file__, 'it points to the line that called'
    assert r.converged and r.n_iter < 8 and (r.labels == r.labels[0]).all()
    assert_close(r.centroids, x[:3], rtol=1e-9 if dtype == torch.float64 else 1e-6, atol=0)
    assert 0 <= r.inertia <= 1e6 * (1e-8 * value) ** 2


def test_mostly_duplicates():
    "A million copies, and a few other points: each different place gets its centroid"
    few = torch.tensor([[5.0, 1.0], [6.0, 1.0], [-3.0, 2.0]])
    x = torch.cat([few, torch.full((1_000_000, 2), 0.1)])
    r = k_means(x, 4, tol=0, random_state=0)
    assert r.inertia <= 1e-9 and r.converged
    assert r.labels.bincount().sort().values.tolist() == [1, 1, 1, 1_000_000]


policies = ['farthest', 'keep', 'random', 'split']


def starved(n_far=3):
    "Points, and a start of which the last centroids are nobody's nearest"
    x = blobs(8, 50, 2, random_state=5).points.double()
    far = torch.tensor([[500.0, 500.0], [-500.0, 500.0], [500.0, -500.0]])[:n_far].double()
    return x, torch.cat([x[: 50 * (8 - n_far) : 50], far])


@pytest.mark.parametrize('empty', policies)
@pytest.mark.parametrize('weigh', [False, True])
def test_empty_clusters(empty, weigh):
    x, init = starved()
    w = (torch.arange(len(x)) % 4).double() if weigh else None
    kept = init.clone()
    r = k_means(x, 8, init=init, tol=0, empty=empty, random_state=0, sample_weight=w)
    judge(x, r, w)
    assert r.converged and r.history[0].n_empty == 3 and torch.equal(init, kept)
    costs = [i.inertia for i in r.history] + [r.inertia]
    assert all(b <= a * (1 + 1e-11) for a, b in zip(costs, costs[1:]))
    if empty == 'keep':
        assert torch.equal(r.centroids[5:], init[5:]) and count_empty(r) >= 3 * (r.n_iter - 1)
    else:
        assert len(r.labels.unique()) == 8
        at_rest(x, r, w)


def test_one_empty_cluster_as_in_scikit_learn():
    x, init = starved(1)
    same(k_means(x, 8, init=init, tol=0), scikit(x, init))
    w = (torch.arange(len(x)) % 4 + 1).double()
    same(k_means(x, 8, init=init, tol=0, sample_weight=w), scikit(x, init, w))


def test_several_empty_clusters_as_in_scikit_learn():
    "Which empty cluster gets which point is not said there, so compare as sets"
    x, init = starved()
    r, theirs = k_means(x, 8, init=init, tol=0), scikit(x, init)
    assert math.isclose(r.inertia, theirs.inertia_, rel_tol=1e-9)
    order = torch.from_numpy(theirs.cluster_centers_)
    assert_close(
        torch.cdist(r.centroids, order).amin(1), torch.zeros(8).double(), atol=1e-6, rtol=0
    )


def test_empty_clusters_refused():
    x, init = starved()
    with pytest.raises(ValueError, match='3 of 8 clusters are empty, the first is 5: ask for'):
        k_means(x, 8, init=init, empty='error')
    k_means(x, 8, init=x[::50], empty='error')


@pytest.mark.parametrize('empty', policies)
def test_fewer_different_points_than_clusters(empty):
    "Nothing can fill the clusters, and no policy may go round in circles"
    x = torch.tensor([[0.1, 0.3], [0.7, 0.1]], dtype=torch.float64).repeat(777, 1)
    for init in (x[:5], x[[0, 0, 0, 0, 0]], x[[1, 0, 1, 0, 1]] + 3):
        r = k_means(x, 5, init=init, tol=0, empty=empty, random_state=0)
        judge(x, r)
        assert r.converged and r.n_iter < 12
        if empty != 'keep':
            assert r.inertia <= 1e-9


def test_points_without_weight_fill_nothing():
    x, init = starved()
    outliers = torch.tensor([[60.0, 60.0], [-60.0, 60.0], [60.0, -60.0], [0.0, 90.0]]).double()
    y, w = torch.cat([x, outliers]), torch.cat([torch.ones(len(x)), torch.zeros(4)])
    for empty in policies:
        r = k_means(y, 8, init=init, tol=0, empty=empty, sample_weight=w, random_state=0)
        alone = k_means(x, 8, init=init, tol=0, empty=empty, random_state=0)
        judge(y, r, w)
        if empty != 'random':
            assert_close(r.centroids, alone.centroids, atol=1e-9, rtol=1e-9)
        assert (torch.cdist(r.centroids, outliers) > 1).all()


def test_a_donor_keeps_a_point():
    "The two farthest points are each alone in their cluster: they stay, others move"
    x = torch.tensor([[0.0], [1.0], [2.0], [100.0], [-100.0]]).double()
    r = k_means(x, 4, init=[[0.9], [80.0], [-80.0], [1e6]], tol=0, max_iter=1)
    assert len(r.labels.unique()) == 4


# ---- what is refused


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
def test_not_finite(bad, dtype):
    x = uniform(40, 3, random_state=0).to(dtype)
    x[17, 2] = bad
    with pytest.raises(ValueError, match=f'points has {bad} in row 17, column 2'):
        k_means(x, 3)


@pytest.mark.parametrize(
    'change, error, message',
    [
        (dict(n_clusters=0), ValueError, 'n_clusters=0'),
        (dict(n_clusters=41), ValueError, 'n_clusters=41 is more than the 40'),
        (dict(n_clusters=2.5), TypeError, 'n_clusters=2.5: a whole number'),
        (dict(n_init=0), ValueError, 'n_init=0: at least 1'),
        (dict(n_init='auto'), TypeError, "n_init='auto'"),
        (dict(max_iter=0), ValueError, 'max_iter=0: at least 1'),
        (dict(max_iter=1.5), TypeError, 'max_iter=1.5'),
        (dict(tol=-1e-9), ValueError, 'tol=-1e-09'),
        (dict(tol=math.nan), ValueError, 'tol=nan'),
        (dict(tol=math.inf), ValueError, 'tol=inf'),
        (dict(tol='small'), TypeError, "tol='small': a number"),
        (dict(init='kmeans++'), ValueError, "init='kmeans\\+\\+': known are k-means\\+\\+"),
        (dict(init=torch.zeros(2, 3)), ValueError, 'init has shape \\(2, 3\\), needed is \\(4, 3'),
        (dict(init=torch.full((4, 3), math.nan)), ValueError, 'init has nan in row 0'),
        (dict(init=torch.zeros(4, 3), n_init=2), ValueError, 'n_init=2 with centroids as init'),
        (dict(empty='drop'), ValueError, "empty='drop': known are farthest, keep"),
        (dict(empty=None), ValueError, 'empty=None'),
        (dict(precision='half'), ValueError, "precision='half': known are exact, fast"),
        (dict(sample_weight=[1, 2]), ValueError, 'sample_weight has shape'),
        (dict(sample_weight=[-1.0] * 40), ValueError, 'sample_weight\\[0\\] is -1'),
        (dict(sample_weight=[0] * 40), ValueError, 'sample_weight is zero everywhere'),
        (dict(sample_weight=np.full(40, 1e300)), ValueError, 'the largest is 1e\\+300'),
        (dict(random_state='x'), TypeError, 'random_state'),
        (dict(x=torch.zeros(3)), ValueError, 'use points\\[:, None\\]'),
        (dict(x=torch.zeros(0, 3)), ValueError, 'nothing to cluster'),
        (dict(x=torch.zeros(9, 2, dtype=torch.complex64)), TypeError, 'complex'),
        (dict(x=[['a', 'b']]), TypeError, 'cannot be read as a number'),
    ],
)
def test_bad_arguments(change, error, message):
    args = dict(x=uniform(40, 3, random_state=0), n_clusters=4) | change
    with pytest.raises(error, match=message):
        k_means(**args)


# ---- it stops, and leaves nothing behind


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize('seed', range(4))
def test_tol_0_stops_at_a_fixed_point(dtype, seed):
    "On a lattice, where ties abound, and on noise"
    g = torch.Generator().manual_seed(seed)
    for x in (torch.randint(0, 4, (500, 3), generator=g), torch.rand(500, 3, generator=g)):
        x = x.to(dtype)
        r = k_means(x, 11, tol=0, random_state=seed)
        assert r.converged and r.n_iter < 300
        judge(x, r)
        again = k_means(x, 11, init=r.centroids, tol=0)
        assert again.n_iter <= (2 if dtype == torch.float64 else 20)
        if dtype == torch.float64:
            assert torch.equal(again.labels, r.labels)


@pytest.mark.parametrize('max_iter', [1, 2, 3])
def test_stopped_early_it_is_still_consistent(max_iter):
    x = uniform(700, 4, random_state=0)
    r = k_means(x, 25, init=x[:25], tol=0, max_iter=max_iter)
    s = judge(x, r)
    assert r.n_iter == max_iter and not r.converged and len(r.history) == max_iter
    assert math.isclose(r.inertia, s.amin(1).sum().item(), rel_tol=1e-9)
    same(r, scikit(x, x[:25], max_iter=max_iter))


def test_nothing_outside_changes():
    "Points, start, weights, global generator, number of threads, default dtype"
    x, init, w = uniform(300, random_state=0), uniform(6, random_state=1), torch.rand(300)
    kept, state = [t.clone() for t in (x, init, w)], torch.get_rng_state()
    settings = torch.get_num_threads(), torch.get_default_dtype(), np.random.get_state()[1].tolist()
    for kw in (dict(init=init), dict(n_init=3), dict(init='random', empty='random', n_init=2)):
        k_means(x, 6, sample_weight=w, random_state=3, **kw)
    assert all(torch.equal(a, b) for a, b in zip((x, init, w), kept))
    assert torch.equal(state, torch.get_rng_state())
    after = torch.get_num_threads(), torch.get_default_dtype(), np.random.get_state()[1].tolist()
    assert after == settings
    r = k_means(x, 6, init=init, max_iter=1)
    assert r.centroids.data_ptr() != init.data_ptr()


@pytest.mark.parametrize('init', ['k-means++', 'k-means||', 'random', 'random_partition'])
@pytest.mark.parametrize('empty', ['farthest', 'random'])
def test_same_seed_same_result(init, empty):
    x = uniform(400, 3, random_state=0)
    runs = [k_means(x, 15, init=init, n_init=2, empty=empty, random_state=s) for s in (4, 4, 5)]
    generator = torch.Generator().manual_seed(4)
    runs.append(k_means(x, 15, init=init, n_init=2, empty=empty, random_state=generator))
    for r in (runs[1], runs[3]):
        assert torch.equal(r.labels, runs[0].labels) and r.inertia == runs[0].inertia
        assert torch.equal(r.centroids, runs[0].centroids) and r.history == runs[0].history
    assert not torch.equal(runs[2].centroids, runs[0].centroids)


@pytest.mark.parametrize('name', ['tensor', 'compiled'])
def test_same_bits_every_time(name):
    "Each engine adds in one order, with several threads as well; `auto` may change engines"
    x = uniform(30_000, 8, random_state=0)
    first, *others = (k_means(x, 40, init=x[:40], max_iter=15, engine=name) for _ in range(3))
    for r in others:
        assert torch.equal(r.centroids, first.centroids) and r.history == first.history


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
@pytest.mark.parametrize('engine', ['auto'], indirect=True)
@pytest.mark.parametrize('deterministic', [False, True])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_cuda_gives_the_same_labels(dtype, deterministic):
    x = uniform(5000, 17, random_state=0).to(dtype)
    want = k_means(x, 67, init=x[:67], tol=0)
    r = k_means(x.cuda(), 67, init=x[:67], tol=0, deterministic=deterministic)
    assert r.centroids.is_cuda and torch.equal(r.labels.cpu(), want.labels)
    assert math.isclose(r.inertia, want.inertia, rel_tol=1e-9)
    if deterministic:
        again = k_means(x.cuda(), 67, init=x[:67], tol=0, deterministic=True)
        assert torch.equal(again.centroids, r.centroids) and again.history == r.history
    fast = k_means(x.cuda(), 67, init=x[:67], precision='fast')
    assert fast.inertia < want.inertia * 1.05
