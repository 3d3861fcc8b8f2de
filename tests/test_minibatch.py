"Mini-batch k-means beside its loop and scikit-learn, exact labels at any scale, refusals."

import copy
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from sklearn.cluster import MiniBatchKMeans
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from clusterlearn.checks import as_generator
from clusterlearn.data import blobs
from clusterlearn.kmeans.assign import inertia_by_differences, nearest_exact, origin_of
from clusterlearn.kmeans.minibatch import (MiniBatchState, SmoothedInertia, mini_batch_k_means,
                                           mini_batch_loop, mini_batch_state)
from clusterlearn.kmeans.minibatch_stream import mini_batch_stream
from clusterlearn.kmeans.seeding import initial_centroids

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 2**31 - 1)
scales = st.sampled_from([1., 1e-30, 1e30, 1e-3])


def direct(x, c):
    "Labels and squares by differences in float64, brought near one first"
    size = max(x.double().abs().max().item(), 1e-300)
    d = ((x.double()[:, None] - c.double()[None]) / size).square().sum(2)
    return d.argmin(1), d.amin(1) * size * size


@quick
@given(seed=seeds, d=st.integers(1, 20), k=st.integers(1, 12), scale=scales,
       off=st.sampled_from([0, 1e4]), dtype=st.sampled_from([torch.float32, torch.float64]),
       grid=st.booleans())
def test_labels_are_exact(seed, d, k, scale, off, dtype, grid):
    "Of any points and centroids, the first of equals; on a grid distances tie"
    g = as_generator(seed)
    x = torch.randint(-3, 4, (200, d), generator=g) if grid else torch.randn(200, d, generator=g)
    x = ((x + off) * scale).to(dtype)
    c = x[torch.randperm(200, generator=g)[:k]].double()
    p, origin = x.double() * origin_of(x).scale, origin_of(x)       # not rounded
    want = torch.cdist(p, c * origin.scale, compute_mode='donot_use_mm_for_euclid_dist').argmin(1)
    labels, squares = nearest_exact(x, c, origin)
    assert torch.equal(labels, want)
    own = direct(x, c)[1]
    assert_close(squares, own, rtol=1e-2, atol=0.)
    assert math.isclose(inertia_by_differences(x, c, labels), own.sum(), rel_tol=1e-9)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    x = blobs(5, 100, 3, random_state=0).points.to(dtype)
    r = mini_batch_k_means(x, 5, random_state=0)
    assert r.centroids.dtype == dtype and torch.equal(r.labels, direct(x, r.centroids)[0])


def test_numbers_that_overflow_go_the_long_way():
    "A batch far beyond the first points: float32 overflows, and the labels stay right"
    first = torch.randn(50, 3, generator=as_generator(0)).double()
    state, x = mini_batch_state(first, 4, random_state=0), first[:20].flip(0) * 1e60
    labels = nearest_exact(x, state.centroids, state.origin)[0]
    assert torch.equal(labels, direct(x, state.centroids)[0])
    assert math.isfinite(state.partial_fit(x)) and state.centroids.isfinite().all()


@quick
@given(seed=seeds, n=st.integers(10, 200), d=st.integers(1, 5), size=st.integers(1, 60),
       scale=scales)
def test_steps_are_the_loops(seed, n, d, size, scale):
    g = as_generator(seed)
    x = torch.randn(n, d, generator=g).double() * scale
    state = mini_batch_state(x, min(n, 4), random_state=seed, reassignment_ratio=0)
    c, counts = state.centroids, state.counts
    for batch in x.split(size):
        state.partial_fit(batch)
        c, counts = mini_batch_loop(batch, c, counts)
    assert_close(state.centroids, c, rtol=1e-9, atol=1e-12 * scale)
    assert torch.equal(state.counts, counts) and state.counts.sum() == n


def test_weights_are_repeats():
    "A weight of 3 moves a centroid as three equal points do"
    x, g = blobs(4, 50, 2, random_state=0).points.double(), as_generator(0)
    w = torch.randint(0, 4, (200,), generator=g)
    one, three = (mini_batch_state(x, 4, init=x[::50], reassignment_ratio=0) for _ in range(2))
    for rows in torch.randperm(200, generator=g).split(40):
        mean = one.partial_fit(x[rows], w[rows])
        same = three.partial_fit(x[rows].repeat_interleave(w[rows], 0))
        assert math.isclose(mean, same, rel_tol=1e-6)
    assert_close(one.centroids, three.centroids) and assert_close(one.counts, three.counts)


def test_scikit_learns_centroids():
    "Fed the same batches, in float32 as well"
    for dtype, off in ((np.float64, 1e-9), (np.float32, 1e-3)):
        x = blobs(8, 100, 5, random_state=2).points.numpy().astype(dtype)
        state = mini_batch_state(x, 8, init=x[::100], reassignment_ratio=0)
        peer = MiniBatchKMeans(8, init=x[::100], n_init=1, reassignment_ratio=0)
        for batch in np.array_split(x[np.random.default_rng(0).permutation(800)], 16):
            state.partial_fit(batch)
            peer.partial_fit(batch)
        assert np.abs(state.centroids.numpy() - peer.cluster_centers_).max() < off


def test_inertia_is_scikit_learns():
    "Twenty seeds from the same starts: blobs that overlap, and noise, within one percent"
    noise = torch.rand(3000, 5, generator=as_generator(0))
    for x, k in ((blobs(12, 250, 4, var=80., random_state=3).points, 12), (noise, 15)):
        ours = theirs = 0.
        for seed in range(20):
            c = initial_centroids(x, k, random_state=seed)
            options = dict(init=c, random_state=seed, batch_size=256)
            ours += mini_batch_k_means(x, k, **options).inertia
            peer = MiniBatchKMeans(k, n_init=1, **options | dict(init=c.numpy()))
            theirs += peer.fit(x.numpy()).inertia_
        assert ours < 1.01 * theirs


def test_results_belong_together():
    x = blobs(6, 500, 3, random_state=1).points
    w = torch.rand(3000, generator=as_generator(1)).double()
    for weights in (None, w):
        kept, state = x.clone(), torch.get_rng_state()
        r = mini_batch_k_means(x, 6, sample_weight=weights, random_state=0)
        labels, squares = direct(x, r.centroids)
        assert torch.equal(r.labels, labels) and r.centroids.dtype == x.dtype
        total = squares.sum() if weights is None else squares @ weights
        assert math.isclose(r.inertia, total, rel_tol=1e-9)
        again = mini_batch_k_means(x, 6, sample_weight=weights, random_state=0)
        assert torch.equal(r.centroids, again.centroids) and r.history == again.history
        assert torch.equal(x, kept) and torch.equal(state, torch.get_rng_state())
    assert isinstance(r.state, MiniBatchState) and r.state.n_steps == len(r.history)


def test_points_without_weight_do_not_count():
    "Nor are they a start, nor the place where a starved centroid goes"
    x = torch.cat([torch.randn(300, 2, generator=as_generator(0)), torch.full((300, 2), 1e4)])
    w = torch.ones(600)
    w[300:] = 0
    r = mini_batch_k_means(x, 3, sample_weight=w, random_state=0)
    assert r.centroids.abs().max() < 10
    state = mini_batch_state(x, 3, init=x[[0, 1, 599]], sample_weight=w, random_state=0)
    state.partial_fit(x, w)
    assert state.n_reassigned == 1 and state.centroids.abs().max() < 10


def test_hazards():
    "One point, k = n, equal points, a single column, tiny and huge numbers"
    one = mini_batch_k_means([[3., 4.]], 1)
    assert one.centroids.tolist() == [[3., 4.]] and one.inertia == 0
    every = mini_batch_k_means(torch.arange(6.)[:, None] * 10, 6, random_state=0)
    assert every.inertia == 0 and len(every.labels.unique()) == 6
    with pytest.warns(UserWarning, match='different points'):
        assert mini_batch_k_means(torch.ones(50, 3), 4, random_state=0).inertia == 0
    x = blobs(5, 400, 2, random_state=0).points
    plain = mini_batch_k_means(x.double(), 5, random_state=0)
    for scale in (2.**-100, 2.**100, 2.**300):
        r = mini_batch_k_means(x.double() * scale, 5, random_state=0)
        assert torch.equal(r.labels, plain.labels)
        assert math.isclose(r.inertia, plain.inertia * scale**2)
    far = mini_batch_k_means(x.double() + 2**27, 5, random_state=0)
    assert math.isclose(far.inertia, plain.inertia, rel_tol=1e-3)


def test_starved_centroids_start_anew():
    x = blobs(5, 200, 2, random_state=0).points
    init = torch.cat([x[:800:200], torch.full((1, 2), 1e3)])
    stays = mini_batch_k_means(x, 5, init=init, reassignment_ratio=0, random_state=0)
    moves = mini_batch_k_means(x, 5, init=init, random_state=0)
    assert len(stays.labels.unique()) == 4 and stays.state.n_reassigned == 0
    assert len(moves.labels.unique()) == 5 and moves.state.n_reassigned >= 1


def test_more_low_counts_than_half_a_batch():
    "At most half of a batch becomes centroids, even with a ratio that no centroid reaches"
    x = torch.randn(200, 2, generator=as_generator(0))
    state = mini_batch_state(x, 30, random_state=0, reassignment_ratio=5.)
    state.partial_fit(x[:10])
    assert state.n_reassigned == 5 and state.counts.isfinite().all()


def test_smoothing_is_scikit_learns():
    "The rule of its `_mini_batch_convergence`: patience without a new minimum"
    s = SmoothedInertia(3)
    told = [s.stops(v, .5) for v in (5., 4., 4., 6., 3., 3., 3., 3.)]
    assert told == [False] * 7 + [True]
    never = SmoothedInertia(None)
    assert not any(never.stops(1., .1) for _ in range(100))


def test_ways_to_stop():
    x = blobs(4, 500, 2, random_state=0).points
    options = dict(random_state=0, max_no_improvement=None, batch_size=100)
    assert len(mini_batch_k_means(x, 4, max_iter=3, **options).history) == 60
    r = mini_batch_k_means(x, 4, tol=1e-2, **options)
    assert r.converged and len(r.history) < 2000
    seen = []
    r = mini_batch_k_means(x, 4, callback=lambda i, s, c: seen.append((i, s)) or i == 7, **options)
    assert not r.converged and [i for i, _ in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert [s for _, s in seen] == r.history


@pytest.mark.parametrize('bad, words', [
    (dict(n_clusters=0), 'n_clusters=0'), (dict(n_clusters=7), '6 points'),
    (dict(batch_size=0), 'batch_size'), (dict(max_iter=0), 'max_iter'), (dict(n_init=0), 'n_init'),
    (dict(tol=-1), 'tol=-1'), (dict(tol=math.nan), 'tol=nan'), (dict(init='x'), 'init='),
    (dict(max_no_improvement=-1), 'max_no_improvement=-1'), (dict(init_size=0), 'init_size'),
    (dict(reassignment_ratio=-.1), 'reassignment_ratio'),
    (dict(init=torch.ones(3, 3)), 'init has shape'),
    (dict(sample_weight=torch.ones(5)), 'sample_weight'),
    (dict(x=torch.tensor([[math.nan, 1.]] * 6)), 'row 0')])
def test_refused(bad, words):
    args = dict(x=torch.arange(12.).view(6, 2), n_clusters=2) | bad
    with pytest.raises((ValueError, TypeError), match=words):
        mini_batch_k_means(args.pop('x'), **args)


def test_a_batch_that_does_not_fit():
    state = mini_batch_state(torch.randn(10, 3), 2, random_state=0)
    before = state.centroids.clone()
    for batch in (torch.ones(4, 2), torch.full((2, 3), math.nan), torch.ones(3)):
        with pytest.raises(ValueError, match='batch has'):
            state.partial_fit(batch)
    assert torch.equal(state.centroids, before) and state.n_steps == 0


def as_stream(x, size=100): return lambda: x.split(size)


def test_stream_takes_the_steps_of_partial_fit():
    "Functions, lists, loaders, pairs with weights and arrays give the same, batch for batch"
    x, w = blobs(5, 200, 3, random_state=0).points, torch.rand(1000, generator=as_generator(0))
    options = dict(init=x[::200], reassignment_ratio=0, random_state=0)
    for weights in (None, w):
        state = mini_batch_state(x, 5, **options)
        for i in range(0, 1000, 100):
            state.partial_fit(x[i:i + 100], None if weights is None else w[i:i + 100])
        pairs = list(zip(x.split(100), w.split(100)))
        sources = [pairs, [list(p) for p in pairs], lambda: iter(pairs),
                   DataLoader(TensorDataset(x, w), 100)]
        if weights is None:
            sources = [as_stream(x), list(x.split(100)), [b.numpy() for b in x.split(100)],
                       DataLoader(TensorDataset(x), 100)]
        for source in sources:
            r = mini_batch_stream(source, 5, max_iter=1, max_no_improvement=None, **options)
            assert torch.equal(r.centroids, state.centroids.float()) and r.n_iter == 1
            labels, squares = direct(x, r.centroids)
            assert torch.equal(r.labels, labels)
            total = squares.sum() if weights is None else squares @ w.double()
            assert math.isclose(r.inertia, total, rel_tol=1e-9)


def test_stream_reads_files(tmp_path):
    "A name, a memory map, a pattern and several names give the labels of rows in their order"
    x = blobs(4, 100, 2, random_state=0).points[torch.randperm(400, generator=as_generator(0))]
    for i, part in enumerate(x.split(200)):
        np.save(tmp_path/f'part{i}.npy', part.numpy())
    np.save(tmp_path/'all.npy', x.numpy())
    names = [str(tmp_path/f'part{i}.npy') for i in range(2)]
    sources = (tmp_path/'all.npy', np.load(tmp_path/'all.npy', mmap_mode='r'), names,
               str(tmp_path/'part*.npy'))
    for source in sources:
        r = mini_batch_stream(source, 4, random_state=0)
        assert torch.equal(r.labels, direct(x, r.centroids)[0])


def test_stream_passes_and_stops():
    x = blobs(4, 250, 2, random_state=0).points[torch.randperm(1000, generator=as_generator(0))]
    options = dict(max_no_improvement=None, random_state=0)
    r = mini_batch_stream(as_stream(x), 4, max_iter=3, **options)
    assert (len(r.history), r.n_iter, r.converged) == (30, 3, False)
    assert mini_batch_stream(as_stream(x), 4, random_state=0).converged
    early = mini_batch_stream(as_stream(x), 4, callback=lambda i, s, c: i == 4, **options)
    assert len(early.history) == 4 and len(early.labels) == 1000
    again = mini_batch_stream(as_stream(x), 4, callback=lambda i, s, c: i == 4, **options)
    assert torch.equal(early.centroids, again.centroids)
    small = mini_batch_stream(as_stream(x, 3), 4, max_iter=1, init_size=40, **options)
    assert len(small.labels) == 1000 and small.history[0] > 0


def test_stream_refuses():
    x = torch.randn(20, 2, generator=as_generator(0))
    used = iter(x.split(5))
    for source, words in ((iter(x.split(5)), 'iterator'), (lambda: used, 'gave no points'),
                          ([], 'gave no points'), ([x, torch.ones(3, 5)], 'batch 1 has 5 columns'),
                          ([x, x * math.nan], 'batch 1 has nan'), ([x[:2]], 'more than the 2'),
                          ([(x, -torch.ones(20))], 'sample_weight')):
        with pytest.raises((ValueError, TypeError), match=words):
            mini_batch_stream(source, 3)
    with pytest.raises(ValueError, match='max_iter'):
        mini_batch_stream([x], 3, max_iter=0)


def test_saved_and_continued():
    "A result comes back without pickle's dangers, in a process of its own state, and goes on"
    x = blobs(4, 200, 2, random_state=0).points
    for seed in (0, None):
        r, file = mini_batch_k_means(x, 4, random_state=seed), io.BytesIO()
        torch.save(r, file)
        file.seek(0)
        back = torch.load(file, weights_only=True)
        assert torch.equal(back.labels, r.labels) and back.history == r.history
        for state in (r.state, back.state, copy.deepcopy(back.state)):
            state.partial_fit(x[:100])
        assert torch.equal(back.state.centroids, r.state.centroids)


@pytest.mark.parametrize('weighted', [False, True])
def test_on_a_pretend_gpu(weighted):
    "The processor's labels, and nothing of both memories is mixed"
    pytest.importorskip('triton')
    from pretend import Pretend, PretendGPU
    x = blobs(6, 150, 3, random_state=0).points
    w = torch.rand(900, generator=as_generator(0)) if weighted else None
    options = dict(random_state=0, n_init=2, tol=1e-3, batch_size=200)
    want = mini_batch_k_means(x, 6, sample_weight=w, **options)
    far = torch.cat([x[:5], torch.full((1, 3), 1e3)])
    with PretendGPU():
        there, own = Pretend(x.clone()), None if w is None else Pretend(w.clone())
        got = mini_batch_k_means(there, 6, sample_weight=own, **options)
        assert isinstance(got.centroids, Pretend) and isinstance(got.state.counts, Pretend)
        assert torch.equal(got.labels.cpu(), want.labels)
        state = mini_batch_state(there, 6, init=Pretend(far), random_state=0)
        state.partial_fit(there, own)
        assert state.n_reassigned == 1
        both = mini_batch_stream([there[:400], there[400:]], 6, max_iter=2, random_state=0)
        assert isinstance(both.labels, Pretend)
