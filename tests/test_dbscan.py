"DBSCAN's labels and core points are scikit-learn's, from every engine."

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import cluster, datasets
from clusterlearn.data import blobs, portrait, uniform
from clusterlearn.density.dbscan import components, dbscan, k_distances
from clusterlearn.density.dbscan_cells import dbscan_cells
from clusterlearn.density.dbscan_products import dbscan_products

engines = ['auto', 'tree', 'products', 'pairs', 'cells', 'blocks', 'loop']
fast = engines[:5]


def toys(n=300):
    "Scikit-learn's comparison of clustering algorithms"
    g = dict(random_state=170)
    flat = datasets.make_blobs(n, **g)[0]
    return {
        'circles': datasets.make_circles(n, factor=0.5, noise=0.05, **g)[0],
        'moons': datasets.make_moons(n, noise=0.05, **g)[0],
        'varied': datasets.make_blobs(n, cluster_std=[1.0, 2.5, 0.5], **g)[0],
        'aniso': flat @ [[0.6, -0.6], [-0.4, 0.8]],
        'blobs': flat,
        'no structure': np.random.RandomState(0).rand(n, 2),
    }


def sets():
    "Toys, tables, pixels, ties, duplicates, and points far from the origin"
    g = np.random.RandomState(0)
    square = np.stack(np.meshgrid(np.arange(18.0), np.arange(18.0)), -1).reshape(-1, 2)
    cloud = g.randn(300, 3)
    points, labels = datasets.load_digits(return_X_y=True)
    return toys() | {
        'iris': datasets.load_iris().data,
        'wine': datasets.load_wine().data,
        'digits': points[labels < 2],
        'pixels': portrait().points.double().numpy()[::251],
        'lattice': square,
        'lattice of tenths': square / 10,
        'shuffled lattice': g.permutation(square),
        'duplicates': np.repeat(g.randn(3, 2), 1000, 0)[g.permutation(3000)],
        'all equal': np.ones((70, 3)),
        'far off': cloud + 1e6,
        'farther': cloud * 10 + 1e5,
        'one column': g.rand(200, 1),
        'twelve columns': g.randn(200, 12),
        'an outlier': np.concatenate([cloud, [[1e9, -1e9, 0]]]),
    }


def sklearn_dbscan(x, eps, min_samples, weights=None):
    "Brute force expands squares and is no oracle near eps"
    s = cluster.DBSCAN(eps=eps, min_samples=min_samples, algorithm='kd_tree')
    s.fit(x, sample_weight=weights)
    core = np.zeros(len(x), bool)
    core[s.core_sample_indices_] = True
    return s.labels_, core


def same(x, eps, min_samples, names, weights=None):
    "The engines agree with scikit-learn; cells may decline"
    labels, core = sklearn_dbscan(x, eps, min_samples, weights)
    points, w = torch.from_numpy(x), None if weights is None else torch.from_numpy(weights)
    for name in names:
        if name == 'cells' and dbscan_cells(points, eps, min_samples, w) is None:
            continue
        r = dbscan(points, eps, min_samples, sample_weight=weights, engine=name)
        case = f'{name}, eps={eps}, min_samples={min_samples}'
        assert r.labels.dtype == torch.int64 and r.core.dtype == torch.bool
        assert (r.labels.numpy() == labels).all() and (r.core.numpy() == core).all(), case


def radii(x):
    "Nearly all noise, something between, and everything within reach"
    some = k_distances(torch.from_numpy(x[:: max(1, len(x) // 300)].copy()))
    some = some[some > 0]
    middle = some.median().item() if len(some) else 1.0
    return middle / 50, middle / 2, middle, 1.5 * middle, 2.5e9


@pytest.mark.parametrize('name', sets())
def test_sets(name):
    x = sets()[name]
    for eps in radii(x):
        few = len(x) < 1000  # else lists of millions of pairs take seconds
        for min_samples in (1, 4, 15):
            same(x, eps, min_samples, fast if few else ['tree', 'products'])


@pytest.mark.parametrize('name', ['moons', 'iris', 'lattice', 'far off'])
def test_the_loop(name):
    x = sets()[name]
    for eps in radii(x)[1:4]:
        same(x, eps, 5, engines)


def test_exact_ties():
    "A distance of exactly eps counts; the next smaller eps does not reach"
    x = sets()['lattice']
    for eps in (1.0, 2**0.5, 2.0, 5**0.5):
        same(x, eps, 4, engines)
        same(x, np.nextafter(eps, 0), 4, engines)


@pytest.mark.parametrize('low', [0, -2])
def test_weights(low):
    g = np.random.RandomState(1)
    for name in ('blobs', 'lattice', 'duplicates', 'twelve columns'):
        x = sets()[name][:400]
        weights = g.randint(low, 4, len(x)) / 2
        for eps in radii(x)[1:]:
            same(x, eps, 3, fast + ['blocks'], weights)


def test_random():
    g = np.random.RandomState(2)
    for _ in range(25):
        n, d = g.randint(1, 200), g.randint(1, 8)
        x = g.randn(n, d).round(g.randint(0, 3)) * 10.0 ** g.randint(-3, 4) + g.choice([0, 1e5])
        same(x, radii(x)[g.randint(0, 5)], g.randint(1, 12), engines)


def test_larger():
    "Enough points for many tiles, and for threads"
    x = torch.cat([blobs(20, 100, var=1.0, random_state=0).points, uniform(3000, random_state=1)])
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))].double().numpy()
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            same(x, 0.8, 5, fast)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype):
    x = torch.from_numpy(toys()['varied']).to(dtype)
    labels, core = sklearn_dbscan(x.double().numpy(), 0.8, 5)
    for name in engines:
        r = dbscan(x, 0.8, engine=name)
        assert (r.labels.numpy() == labels).all() and (r.core.numpy() == core).all()


def test_integers_lists_and_arrays():
    x = np.random.RandomState(0).randint(0, 40, (200, 2))
    want = sklearn_dbscan(x, 3, 5)[0]
    for points in (x, x.tolist(), torch.from_numpy(x), x.astype(np.uint8), x[::-1][::-1]):
        assert (dbscan(points, 3).labels.numpy() == want).all()
    stamps = x + 2**40
    assert (dbscan(stamps.tolist(), 3).labels.numpy() == want).all()


def test_one_point():
    for name in engines:
        r = dbscan([[1.0, 2.0]], 1, 1, engine=name)
        assert r.labels.tolist() == [0] and r.core.tolist() == [True]
        assert dbscan([[1.0, 2.0]], 1, 2, engine=name).labels.tolist() == [-1]


def test_extremes():
    x = toys()['blobs']
    for name in engines:
        alone, all_one = (dbscan(torch.from_numpy(x), e, 2, engine=name) for e in (1e-9, 1e9))
        assert (alone.labels == -1).all() and not alone.core.any()
        assert (all_one.labels == 0).all() and all_one.core.all()


def test_products_keep_or_forget_pairs():
    x = torch.from_numpy(toys()['varied'])
    for eps in (0.5, 1.5, 6.0):
        a, b = (dbscan_products(x, eps, 5, None, budget) for budget in (0, 10**6))
        assert torch.equal(a.labels, b.labels) and torch.equal(a.core, b.core)


def test_products_ask_for_full_precision():
    x = torch.from_numpy(sets()['digits'])
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision('medium')
        same(x.numpy(), 22.0, 5, ['products'])
        assert torch.get_float32_matmul_precision() == 'medium'
    finally:
        torch.set_float32_matmul_precision(before)


def test_cells_serve_dense_and_sparse():
    "In two to four columns they do not decline, and nothing is compiled for them"
    g = np.random.RandomState(3)
    for d in (1, 2, 3, 4):
        x = g.randn(1200, d)
        for eps in (0.02, 0.3, 1.0):
            same(x, eps, 5, ['cells'])
            assert dbscan_cells(torch.from_numpy(x), eps) is not None
    with pytest.raises(ValueError, match="engine='cells' does not serve here"):
        dbscan(x, 0.3, sample_weight=np.ones(len(x)), engine='cells')


def test_first_calls_compile_nothing(tmp_path):
    code = (
        'import sys, torch; from clusterlearn import dbscan, hdbscan;'
        'x = torch.randn(6000, 2, dtype=torch.float64);'
        'dbscan(x, .01); dbscan(x, .3); hdbscan(x); assert "numba" not in sys.modules'
    )
    env = os.environ | {'NUMBA_CACHE_DIR': str(tmp_path)}
    subprocess.run([sys.executable, '-c', code], check=True, env=env)


def test_input_is_not_changed():
    x, w = torch.from_numpy(toys()['moons']), torch.ones(300)
    kept = x.clone()
    for name in engines:
        dbscan(x, 0.2, sample_weight=None if name == 'cells' else w, engine=name)
    assert torch.equal(x, kept) and torch.equal(w, torch.ones(300))


bad = [
    (dict(eps=0), ValueError, 'eps=0.0'),
    (dict(eps=-1), ValueError, 'above zero'),
    (dict(eps=float('nan')), ValueError, 'eps=nan'),
    (dict(eps=float('inf')), ValueError, 'finite'),
    (dict(eps='far'), TypeError, "eps='far'"),
    (dict(min_samples=0), ValueError, 'min_samples=0'),
    (dict(min_samples=2.5), TypeError, 'min_samples=2.5'),
    (dict(sample_weight=[1, 2]), ValueError, 'sample_weight has shape (2,)'),
    (dict(sample_weight=[1, float('nan'), 1]), ValueError, 'sample_weight[1] is nan'),
    (dict(engine='gpu'), ValueError, "engine='gpu'"),
    (dict(x=[[0.0, float('nan')]] * 3), ValueError, 'nan in row 0, column 1'),
    (dict(x=[0.0, 1.0, 2.0]), ValueError, 'points[:, None]'),
    (dict(x=[['a', 'b']] * 3), TypeError, "points has 'a' in row 0, column 0"),
    (dict(x=[[0.0, 1.0], [2.0]]), TypeError, 'row 1 has 1 numbers'),
    (dict(x='p.csv'), TypeError, 'to read a file, use load'),
    (dict(x=torch.empty(0, 2)), ValueError, 'nothing to cluster'),
]


@pytest.mark.parametrize('change,error,message', bad)
def test_bad_input(change, error, message):
    with pytest.raises(error) as e:
        dbscan(**dict(x=[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], eps=1) | change)
    assert message in str(e.value)


def test_weights_with_names_of_their_own():
    w = pd.Series([1, 5, 1], index=[5, 6, 7])
    found = dbscan([[0.0], [1.0], [9.0]], 0.5, 4, sample_weight=w)
    assert found.core.tolist() == [False, True, False]


def test_components():
    g = torch.Generator().manual_seed(0)
    for edges in (0, 5, 40, 500):
        i, j = torch.randint(60, (2, edges), generator=g)
        root, before = components(60, i, j), None
        want = torch.arange(60)
        while before is None or not torch.equal(want, before):
            before = want.clone()
            low = torch.minimum(want[i], want[j])
            want.scatter_reduce_(0, i, low, 'amin').scatter_reduce_(0, j, low, 'amin')
        assert torch.equal(root, want)
