"Spherical k-means: NumPy's run, cosines in float64, any scale and engine, and the command."

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from sklearn.metrics.pairwise import cosine_similarity
from torch.testing import assert_close

from judge import CompiledOrTensor
from clusterlearn import k_means
from clusterlearn.checks import as_generator
from clusterlearn.cli import main
from clusterlearn.kmeans import lloyd
from clusterlearn.kmeans.cosine import spherical_loop, spherical_problem, unit_rows
from clusterlearn.kmeans.seeding import initial_centroids

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 2**31 - 1)
engines = 'plain', 'small', 'tensor', CompiledOrTensor, 'auto'


def unit(x):
    "Directions in float64, by NumPy, of numbers near one"
    x = x.double().numpy()
    x = x / np.abs(x).max(1, keepdims=True)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def consistent(x, r, w=None):
    "No centroid has a larger cosine than the own one, and the inertia is the sum of 1 - cos"
    cos = unit(x) @ unit(r.centroids).T
    own = np.take_along_axis(cos, r.labels.numpy()[:, None], 1)[:, 0]
    assert (own >= cos.max(1) - 4e-15).all()
    sure = np.sort(cos, 1)[:, -1] - np.sort(cos, 1)[:, -2] > 4e-15 if cos.shape[1] > 1 else own > 2
    assert (cos.argmax(1) == r.labels.numpy())[sure].all()
    cost = ((unit(x) - unit(r.centroids)[r.labels.numpy()])**2).sum(1) / 2
    total = cost.sum() if w is None else cost @ w.double().numpy()
    assert math.isclose(r.inertia, total, rel_tol=1e-9, abs_tol=1e-13 * len(x))


def by_numpy(x, c, w, rounds=300):
    "A plain spherical k-means; its labels and inertia"
    x, c, w, old = unit(x), unit(c), w.double().numpy(), None
    for _ in range(rounds):
        labels = (x @ c.T).argmax(1)
        if old is not None and (labels == old).all():
            break
        old = labels
        for j in range(len(c)):
            s = (w[labels == j, None] * x[labels == j]).sum(0)
            if np.linalg.norm(s) > 0:
                c[j] = s / np.linalg.norm(s)
    return labels, w @ (1 - (x * c[labels]).sum(1))


@pytest.mark.parametrize('engine', engines)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_numpys_run(engine, dtype):
    "From the same start, with weights: the same labels, and scikit-learn's cosines"
    g = as_generator(4)
    x = torch.randn(700, 9, generator=g).to(dtype) * torch.rand(700, 1, generator=g)
    w = torch.rand(700, generator=g)
    init = initial_centroids(x, 8, 'random', random_state=1)
    for weights in (None, w):
        r = k_means(x, 8, init=init, metric='cosine', tol=0, engine=engine, sample_weight=weights,
                    empty='keep')
        labels, cost = by_numpy(x, init, torch.ones(700) if weights is None else w)
        assert (r.labels.numpy() == labels).all() and r.converged and r.centroids.dtype == dtype
        assert math.isclose(r.inertia, cost, rel_tol=1e-7)
        theirs = cosine_similarity(x.double(), r.centroids.double()).argmax(1)
        assert (r.labels.numpy() == theirs).all()
        consistent(x, r, weights)
        costs = [i.inertia for i in r.history]
        assert all(b <= a * (1 + 1e-12) for a, b in zip(costs, costs[1:]))
    assert torch.equal(spherical_loop(x, init)[1], k_means(
        x, 8, init=init, metric='cosine', tol=0, engine=engine, empty='keep').labels)


@quick
@given(seed=seeds, n=st.integers(2, 80), d=st.integers(1, 6), engine=st.sampled_from(engines),
       grid=st.booleans(), dtype=st.sampled_from([torch.float16, torch.float32, torch.float64]),
       empty=st.sampled_from(['farthest', 'keep', 'random', 'split']), data=st.data())
def test_any_points(seed, n, d, engine, grid, dtype, empty, data):
    "Few points, on a grid as well, where directions tie, coincide and oppose each other"
    g, k = as_generator(seed), data.draw(st.integers(1, min(n, 9)))
    x = torch.randint(-2, 3, (n, d), generator=g) if grid else torch.randn(n, d, generator=g)
    x = torch.where((x == 0).all(1)[:, None], torch.ones(d), x).to(dtype)
    r = k_means(x, k, init=x[:k], metric='cosine', tol=0, engine=engine, empty=empty,
                random_state=seed)
    consistent(x, r)
    costs = [i.inertia for i in r.history] + [r.inertia]
    slack = 1e-2 if dtype == torch.float16 else 1e-6
    assert all(b <= a + slack * n for a, b in zip(costs, costs[1:]))
    lengths = r.centroids.double().norm(dim=1)
    assert_close(lengths, torch.ones_like(lengths), atol=2e-3, rtol=0.)


@pytest.mark.parametrize('scale', [1e30, 1e-30, 1e-42])
def test_length_has_no_say(scale):
    "Tiny, huge, and every row in a scale of its own: the same labels"
    g = as_generator(0)
    x = torch.randn(400, 5, generator=g).double()
    init = x[:6]
    r = k_means(x, 6, init=init, metric='cosine', tol=0)
    powers = 2.**torch.randint(-60, 60, (400, 1), generator=g)
    for y in (x * 2.**round(math.log2(scale)), x * powers, x * 2.**600, x * 2.**-900):
        assert torch.equal(k_means(y, 6, init=y[:6], metric='cosine', tol=0).labels, r.labels)
    single = (x * scale).float()
    consistent(single, k_means(single, 6, metric='cosine', random_state=0))


def test_hazards():
    "One point, k = n, equal points, one column, opposite points whose mean vanishes"
    one = k_means([[3., 4.]], 1, metric='cosine')
    assert_close(one.centroids, torch.tensor([[.6, .8]]).double())
    assert abs(one.inertia) < 1e-15
    x = torch.randn(30, 3, generator=as_generator(0))
    every = k_means(x, 30, metric='cosine', random_state=0)
    assert len(every.labels.unique()) == 30 and every.inertia < 1e-12
    with pytest.warns(UserWarning, match='different'):
        equal = k_means(torch.ones(40, 3), 3, metric='cosine', random_state=0)
    assert equal.inertia < 1e-15 and (equal.labels == 0).all()
    signs = k_means(torch.arange(1., 9.)[:, None] * torch.tensor([1., -1.]).repeat(4)[:, None], 2,
                    metric='cosine', random_state=0)
    assert signs.inertia == 0 and sorted(signs.centroids.flatten().tolist()) == [-1, 1]
    for engine in engines:
        for a in (0., .3, 1.):
            axis = torch.tensor([[math.cos(a), math.sin(a)]]).double()
            pair = torch.cat([axis, -axis, 2 * axis, -3 * axis])
            r = k_means(pair, 1, init=[[0., 1.]], metric='cosine', engine=engine)
            assert_close(r.centroids, torch.tensor([[0., 1.]]).double())   # it stays
            assert math.isclose(r.inertia, 4, rel_tol=1e-12)


def test_weights_are_repeats():
    g = as_generator(2)
    x, w = torch.randn(300, 4, generator=g), torch.randint(0, 4, (300,), generator=g)
    a = k_means(x, 5, init=x[:5], metric='cosine', sample_weight=w, tol=0)
    b = k_means(x.repeat_interleave(w, 0), 5, init=x[:5], metric='cosine', tol=0)
    assert math.isclose(a.inertia, b.inertia, rel_tol=1e-9)
    assert torch.equal(a.labels.repeat_interleave(w), b.labels)


def test_merged_rows():
    "Many equal rows are merged, with and without weights"
    x = torch.randn(200, 3, generator=as_generator(3)).double().repeat(50, 1)
    w = torch.arange(10_000) % 3
    for weights in (None, w):
        r = k_means(x, 5, init=x[:5], metric='cosine', sample_weight=weights, tol=0)
        plain = k_means(x, 5, init=x[:5], metric='cosine', sample_weight=weights, tol=0,
                        engine='plain')
        assert torch.equal(r.labels, plain.labels)
        consistent(x, r, weights)
    assert len(spherical_problem(x).points) == 200


def test_seeding_is_by_cosine():
    "Of two directions, one with far points, k-means++ takes one point each"
    g = as_generator(0)
    far = torch.rand(50, 1, generator=g) * 1e3 * torch.tensor([[1., 0.]]) + torch.tensor([[1., 0.]])
    x = torch.cat([far, torch.tensor([[0., 1e-3]]).repeat(50, 1)])
    for seed in range(10):
        r = k_means(x, 2, metric='cosine', random_state=seed, max_iter=1)
        assert r.labels[0] != r.labels[50] and r.history[0].inertia < 1e-12


def test_options():
    "Restarts, starts by name, functions, callbacks, tol, the global generator, no change of input"
    x = torch.randn(500, 6, generator=as_generator(1))
    kept, state = x.clone(), torch.get_rng_state()
    for init in ('k-means++', 'k-means||', 'random', 'random_partition',
                 lambda x, k, random_state: x[:k] * 7):
        consistent(x, k_means(x, 6, init=init, metric='cosine', random_state=0))
    best = k_means(x, 6, n_init=5, init='random', metric='cosine', random_state=3)
    assert best.inertia <= k_means(x, 6, init='random', metric='cosine', random_state=3).inertia
    seen = []
    r = k_means(x, 6, metric='cosine', random_state=0, tol=0,
                callback=lambda i, c, l: seen.append((i, c)) or len(seen) == 3)
    assert r.n_iter == 3 and not r.converged and len(r.history) == 3
    assert_close(seen[-1][1].norm(dim=1), torch.ones(6).double())
    assert torch.equal(seen[-1][1].float(), r.centroids)
    early, late = (k_means(x, 6, metric='cosine', random_state=0, tol=tol) for tol in (1., 0))
    assert early.converged and early.n_iter < late.n_iter and late.history[-1].n_changed == 0
    assert torch.equal(x, kept) and torch.equal(state, torch.get_rng_state())


def test_a_policy_of_ones_own():
    "What it returns is brought to length 1; another shape is refused"
    x = torch.tensor([[1., 0.], [.9, .1], [0., 1.]])
    init = torch.tensor([[1., 0.], [-1., -1.]])
    r = k_means(x, 2, init=init, metric='cosine', tol=0,
                empty=lambda x, w, l, c, s, n: torch.tensor([[5., 0.], [0., 9.]]).double())
    assert r.labels.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match='empty: the function gave'):
        k_means(x, 2, init=init, metric='cosine', empty=lambda x, w, l, c, s, n: c[:1])


@pytest.mark.parametrize('bad, words', [
    (dict(x=[[1., 0.], [0., 0.], [0., 0.]]), r'points has only zeros in row 1.*2 of 3'),
    (dict(x=[[1., math.nan], [1., 1.]]), 'nan in row 0'), (dict(metric='cos'), "metric='cos'"),
    (dict(metric=None), 'metric=None'), (dict(metric=['cosine']), 'metric='),
    (dict(init=[[0., 0.], [1., 0.]]), 'init has only zeros in row 0'),
    (dict(sample_weight=[-1, 1]), 'sample_weight')])
def test_refused(bad, words):
    args = dict(x=torch.tensor([[1., 2.], [2., 1.]]), n_clusters=2, metric='cosine') | bad
    with pytest.raises(ValueError, match=words):
        k_means(args.pop('x'), **args)


def test_batches_need_memory():
    "Batches are for distances; by cosine they are refused with the remedy, not with a TypeError"
    x = torch.randn(40, 3, generator=as_generator(0))
    assert len(k_means(lambda: x.split(10), 2, random_state=0).labels) == 40
    with pytest.raises(ValueError, match='needs the points in memory'):
        k_means(lambda: x.split(10), 2, metric='cosine')
    with pytest.raises(ValueError, match="metric='cos'"):
        k_means(lambda: x.split(10), 2, metric='cos')


@pytest.mark.parametrize('engine', ['tensor', 'auto'])
def test_on_a_pretend_gpu(engine):
    "The processor's labels, with weights and empty clusters"
    pytest.importorskip('triton')
    from pretend import Pretend, PretendGPU
    x, w = torch.randn(600, 4, generator=as_generator(0)), torch.ones(600)
    w[::5] = 0
    init = torch.cat([x[:9], torch.tensor([[1., 0, 0, 0]])])
    for options in (dict(init=init), dict(init='k-means++', random_state=0)):
        want = k_means(x, 10, metric='cosine', tol=0, sample_weight=w, engine='tensor', **options)
        with PretendGPU():
            there = {a: Pretend(v.clone()) if torch.is_tensor(v) else v for a, v in options.items()}
            got = k_means(Pretend(x.clone()), 10, metric='cosine', tol=0, engine=engine,
                          sample_weight=Pretend(w.clone()), **there)
            assert isinstance(got.centroids, Pretend)
            assert torch.equal(got.labels.cpu(), want.labels)


def test_unit_rows_are_numpys():
    x = torch.randn(50, 7, generator=as_generator(0)).double()
    assert_close(unit_rows(x), torch.from_numpy(unit(x)), atol=1e-15, rtol=0.)
    assert_close(unit_rows(torch.tensor([[5e-324, 0.], [0., -1e308]], dtype=torch.float64)),
                 torch.tensor([[1., 0.], [0., -1.]]).double())
    assert 'cosine' in lloyd.METRICS


def test_command(tmp_path, capsys):
    "`--metric cosine` finds rays; a saved model labels by cosine; what is unknown is refused"
    g = as_generator(0)
    rays = torch.tensor([[1., .1], [.1, 1.]])[torch.arange(60) % 2] * (
        .1 + 9 * torch.rand(60, 1, generator=g))
    points, model, out = (str(tmp_path/n) for n in ('p.csv', 'm.npz', 'l.csv'))
    np.savetxt(points, rays.numpy(), delimiter=',')
    options = ['--k', '2', '--metric', 'cosine', '--json']
    assert main(['kmeans', points, *options, '--model', model, '--out', out]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told['sum 1-cos'] < 1e-9 and 'WCSS' not in told
    labels = np.loadtxt(out, skiprows=1)
    assert (labels[::2] == labels[0]).all() and (labels[1::2] == labels[1]).all()
    assert main([points, '--predict', model, '--out', out, '--force', '--json']) == 0
    assert json.loads(capsys.readouterr().out)['sum 1-cos'] < 1e-9
    assert (np.loadtxt(out, skiprows=1) == labels).all()
    assert main([points, '--k', 'auto', *options[2:]]) == 0
    assert json.loads(capsys.readouterr().out)['sum 1-cos'] < 1e-9
    film = str(tmp_path/'f.html')
    assert main([points, *options, '--n-init', '3', '--animate', film, '--standardize']) == 0
    capsys.readouterr()
    assert main([points, '--metric', 'cos']) == 2
    assert 'choose euclidean or cosine' in capsys.readouterr().err
