"Neighbours equal direct float64 differences to the last index, by every engine, on hard points."

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.neighbors import KDTree

from clusterlearn.neighbors import search
from clusterlearn.neighbors.products import _columns, _maxima, _members, _scores, _select, _table
from clusterlearn.neighbors.search import neighbors, neighbors_direct, neighbors_loop

engines = 'auto', 'tree', 'products', 'lists', 'scores'
torch.set_num_threads(1)


def oracle(x, q):
    "Squared distances in float64, column by column in NumPy, and their order by (distance, index)"
    x, q = (np.asarray(a, np.float64) for a in (x, q))
    squares = np.zeros((len(q), len(x)))
    for j in range(x.shape[1]):
        squares += (q[:, None, j] - x[None, :, j]) ** 2
    return torch.from_numpy(squares), torch.from_numpy(np.argsort(squares, 1, kind='stable'))


def some(kind, n=600, d=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g)
    return {
        'random': x,
        'float64': x.double(),
        'float16': x.half(),
        'far off': x.double() + 1e6,
        'far off in float32': x + 1e6,
        'timestamps': (x.double() * 100).round() + 1.7e9,
        'lattice': (2 * x).round(),
        'thousands equal': x[torch.arange(n) % 3],
        'all equal': torch.full((n, d), 0.1),
        'outlier': torch.cat([x[1:], torch.full((1, d), 1e7)]),
        'tiny': x.double() * 1e-200,
        'large': x * 1e18,
        'two scales': torch.cat([x[::2] * 1e-6, x[1::2] + 1e3]),
    }[kind]


kinds = (
    'random,float64,float16,far off,far off in float32,timestamps,lattice,thousands equal,'
    'all equal,outlier,tiny,large,two scales'
).split(',')


def check(x, q, k, radius, engine, budget=2**26):
    squares, order = oracle(x, q)
    squares = squares.gather(1, order)
    found = neighbors(x, k=k, query=q, engine=engine, budget=budget)
    assert torch.equal(found.indices, order[:, :k])
    assert torch.equal(found.distances, squares[:, :k].sqrt().to(x.dtype))
    if engine == 'scores':  # finds the k nearest only
        return
    found = neighbors(x, radius=radius, query=q, engine=engine, budget=budget)
    inside = squares <= radius * radius
    assert torch.equal(found.indptr.diff(), inside.sum(1)) and found.indptr[0] == 0
    assert torch.equal(found.indices, order[inside])
    assert torch.equal(found.distances, squares[inside].sqrt().to(x.dtype))


@pytest.mark.parametrize('kind', kinds)
@pytest.mark.parametrize('engine', engines[1:])
def test_equal_to_direct_differences(kind, engine):
    x = some(kind)
    kept = x.clone()
    radius = oracle(x, x[:1])[0].sqrt().median().item()
    check(x, x[::29], 7, radius, engine)
    assert torch.equal(x, kept)


@pytest.mark.parametrize('d', [1, 2, 8, 11, 70])
@pytest.mark.parametrize('engine', engines)
def test_dimensions(d, engine):
    x = some('random', 500, d, 1)
    check(x, some('random', 20, d, 2), 5, d**0.5, engine)


@pytest.mark.parametrize('kind', ['lattice', 'far off', 'thousands equal', 'random', 'large'])
def test_first_calls_by_scipy(kind):
    x = some(kind)
    squares, order = oracle(x, x[::13])
    found = search._kd_nearest(x, x[::13], 9, 2**26)
    assert torch.equal(found[1], order[:, :9])
    found = search._kd_within(x, x[::13], 1.5, 2**26)
    assert torch.equal(found[1], order[squares.gather(1, order) <= 2.25])


@pytest.mark.parametrize('engine', engines)
@pytest.mark.parametrize('n', [1, 2, 33])
def test_k_is_n(n, engine):
    x = some('lattice', n)
    check(x, x, n, 1.0, engine)


@pytest.mark.parametrize('engine', engines)
def test_small_budget_and_many_neighbours(engine):
    x = some('lattice', 400, 2)
    check(x, x, 300, 2.0, engine, budget=2**13)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 4), st.integers(0, 10**6), st.sampled_from(engines))
def test_any_lattice(n, d, seed, engine):
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(-3, 4, (n, d), generator=g).double()
    q = torch.randint(-3, 4, (5, d), generator=g).double()
    check(x, q, 1 + seed % n, float(seed % 4), engine)


def test_against_the_loop_and_scikit_learn():
    x = some('random', 300, 5)
    squares, indices = neighbors_direct(x, x[:9], 6, budget=2**12)
    pairs = [list(zip(*row)) for row in zip(squares.tolist(), indices.tolist())]
    assert pairs == neighbors_loop(x, x[:9], 6)
    x = some('far off', 3000, 3)
    want = KDTree(x.numpy()).query(x.numpy(), 10)[0]
    np.testing.assert_allclose(neighbors(x, k=10, engine='tree').distances, want, rtol=1e-12)


def test_itself_is_among_them_and_lists_are_read():
    x = [[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]
    found = neighbors(x, k=2)
    assert found.indices.tolist() == [[0, 2], [1, 0], [0, 2]]
    assert found.distances.tolist() == [[0, 0], [0, 5], [0, 0]]
    found = neighbors(np.array(x), radius=5)
    assert found.indices.tolist() == [0, 2, 1, 1, 0, 2, 0, 2, 1]


def test_integers():
    x = torch.arange(40).view(20, 2)
    assert neighbors(x, k=2).indices[5].tolist() == [5, 4]


@pytest.mark.parametrize('precision', ['highest', 'high', 'medium'])
def test_the_bound_honours_the_precision_of_products(precision):
    before, x = torch.get_float32_matmul_precision(), some('random', 500, 20)
    try:
        torch.set_float32_matmul_precision(precision)
        check(x, x[::9], 8, 4.0, 'products')
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_bound_holds_and_ties_get_no_certificate():
    x = some('random', 800, 6)
    table, memory = _table(x, torch.float32), torch.empty(800 * 800)
    columns, bound = _columns(table, x)
    scores, z = _scores(table.rows, columns, memory), x.double() - table.mean
    exact = z @ z.T - z.square().sum(1)[:, None] / 2
    assert ((scores - exact).abs() < bound).all()
    assert _select(table, x, 5, 800, memory)[1].all()
    assert not _select(table._replace(radius=1e5), x, 5, 800, memory)[1].any()
    assert _select(table._replace(radius=1e5), x, 800, 800, memory)[1].all()  # none is left out
    twice = _table(x[torch.arange(800) // 40], torch.float32)
    assert not _select(twice, x, 5, 800, memory)[1].any()


@pytest.mark.parametrize('n', [1, 16, 17, 100, 300])
def test_blocks_have_their_members(n):
    x, memory = some('random', n), torch.empty(100_000)
    table = _table(x, torch.float32)
    columns, _ = _columns(table, x[:3])
    maxima = _maxima(table, columns, 64, memory)
    rows = _members(torch.arange(len(maxima)), len(maxima), 64)
    assert sorted(rows.flatten().tolist()) == list(range(len(table.rows)))
    torch.testing.assert_close(_scores(table.rows, columns, memory)[rows].amax(1), maxima)


def test_nprobe_finds_more_with_more_lists():
    x = some('random', 3000, 6)
    exact = neighbors(x, k=5).indices
    recall = []
    for p in (1, 4, 100):
        got = neighbors(x, k=5, engine='lists', nprobe=p).indices
        recall.append((got[:, :, None] == exact[:, None]).any(2).double().mean().item())
    assert recall[0] < recall[1] < recall[2] == 1


@pytest.mark.parametrize(
    'error, words, args',
    [
        (ValueError, 'give one of them', dict()),
        (ValueError, 'give one of them', dict(k=1, radius=1.0)),
        (ValueError, 'k=4: there are 3 points, choose k from 1 to 3', dict(k=4)),
        (ValueError, 'k=0: there are 3 points', dict(k=0)),
        (TypeError, 'k=2.5: a whole number is needed', dict(k=2.5)),
        (ValueError, 'radius=-1: it must be zero or more', dict(radius=-1)),
        (ValueError, 'radius=nan', dict(radius=float('nan'))),
        (ValueError, 'radius=inf', dict(radius=float('inf'))),
        (TypeError, "radius='a': a number is needed", dict(radius='a')),
        (ValueError, 'query has 3 columns and points have 2', dict(k=1, query=torch.ones(4, 3))),
        (ValueError, 'query has nan in row 1', dict(k=1, query=[[0.0, 0.0], [float('nan'), 1.0]])),
        (ValueError, "engine='x': known are auto, tree", dict(k=1, engine='x')),
        (ValueError, "nprobe=2: it goes with k and engine='lists'", dict(k=1, nprobe=2)),
        (ValueError, 'nprobe=0: at least 1', dict(k=1, nprobe=0, engine='lists')),
        (ValueError, "engine='scores' goes with k", dict(radius=1.0, engine='scores')),
    ],
)
def test_bad_input(error, words, args):
    with pytest.raises(error) as e:
        neighbors(torch.ones(3, 2), **args)
    assert words in str(e.value)


def test_nan_in_points():
    with pytest.raises(ValueError, match='points has nan in row 2, column 0'):
        neighbors([[1.0], [2.0], [float('nan')]], k=1)


def test_engines_are_loaded_when_needed():
    "A first call on a new machine compiles nothing"
    code = (
        'import sys, torch; from clusterlearn.neighbors.search import neighbors;'
        'assert not {"numba", "scipy", "sklearn"} & set(sys.modules);'
        'neighbors(torch.randn(500, 3), k=3); neighbors(torch.randn(500, 30), radius=1.);'
        'assert not {"numba", "scipy"} & set(sys.modules);'
        'neighbors(torch.randn(3000, 3), k=3); assert "numba" not in sys.modules'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_the_tree_is_compiled_when_enough_was_spent(monkeypatch):
    x = torch.zeros(3000, 3)
    tier = search.Tier('clusterlearn.neighbors.tree', '_nearest')
    monkeypatch.setitem(search._tiers, 'tree', tier)
    assert search._choose(x, x, 5) == 'kd_tree'
    tier.spent = 60.0
    assert search._choose(x, x, 5) == 'tree'
    wide, tier = x[:, :1].expand(-1, 20), search.Tier('clusterlearn.neighbors.scores', '_scan')
    monkeypatch.setitem(search._tiers, 'scores', tier)
    assert search._choose(wide, wide, 5) == 'products'
    tier.spent = 60.0
    assert search._choose(wide, wide, 5) == 'scores'
    assert search._choose(wide, wide, 100) == 'products'
    tier.spent = 0.0
    assert search._choose(x, x, 500) == search._choose(x[:, :1].expand(-1, 11), x, 5) == 'products'
