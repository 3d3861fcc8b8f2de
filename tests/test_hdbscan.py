"HDBSCAN's clusters and probabilities are scikit-learn's, up to the clusters' numbers."

import numpy as np
import pytest
import torch
from sklearn import cluster
from clusterlearn.data import blobs, uniform
from clusterlearn.density.hdbscan import hdbscan, prim_edges
from clusterlearn.density.hdbscan_boruvka import boruvka_tree
from clusterlearn.density.hdbscan_condense import boruvka_edges
from tests.test_dbscan import sets, toys

engines = ['auto', 'prim', 'boruvka']
tied = {'lattice', 'lattice of tenths', 'shuffled lattice', 'iris', 'wine', 'digits', 'pixels'}
if np.__version__ < '2': tied.add('all equal')  # it sorts ties otherwise


def same(x, size, k, names):
    "The same partition, noise and probabilities as scikit-learn's"
    s = cluster.HDBSCAN(size, min_samples=k, copy=True).fit(x)
    for name in names:
        r = hdbscan(torch.from_numpy(x), size, k, engine=name)
        a, b = r.labels.numpy(), s.labels_
        assert ((a < 0) == (b < 0)).all(), f'{name}: noise differs'
        both = len(np.unique(np.stack([a, b]), axis=1).T)
        assert both == len(np.unique(a)) == len(np.unique(b)), f'{name}: clusters differ'
        np.testing.assert_array_equal(r.probabilities.numpy(), s.probabilities_, name)
        first = [np.flatnonzero(a == c)[0] for c in range(a.max() + 1)]
        assert first == sorted(first), 'clusters are numbered by their first point'


@pytest.mark.parametrize('name', sets())
def test_sets(name):
    x = sets()[name][:1500]
    for size, k in ((5, None), (15, 3), (2, 1), (10, 20)):
        same(x, size, k, engines[:2] if name in tied else engines)


@pytest.mark.parametrize('shape', [(6000, 2), (5500, 6)])
def test_larger(shape):
    "Beyond 5,000 points the tree is used; any number of threads gives the same"
    n, d = shape
    groups = blobs(20, n // 40, dim=d, var=1.0, random_state=0).points
    x = torch.cat([groups, uniform(n - len(groups), d, random_state=1)]).double().numpy()
    same(x, 10, 5, ['boruvka'])
    one, two = (boruvka_tree(x, 5, threads) for threads in (1, 3))
    assert all((a == b).all() for a, b in zip(one[3:], two[3:]))


def test_edges_agree_on_ties():
    for name in tied:
        x = torch.from_numpy(sets()[name][:1500])
        for k in (1, 4):
            a, b = prim_edges(x, k), boruvka_edges(x, k)
            assert (np.sort(a.weight) == np.sort(b.weight)).all(), name


def test_random():
    g = np.random.RandomState(0)
    for _ in range(30):
        n, d = g.randint(2, 300), g.randint(1, 6)
        x = g.randn(n, d) * 10.0 ** g.randint(-3, 4) + g.choice([0, 1e5])
        same(x, g.randint(2, 12), g.randint(1, min(n, 15) + 1), engines)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
def test_dtypes(dtype):
    x = torch.from_numpy(toys()['varied']).to(dtype)
    s = cluster.HDBSCAN(copy=True).fit(x.double().numpy())
    r = hdbscan(x)
    assert r.labels.dtype == torch.int64 and r.probabilities.dtype == torch.float64
    assert ((r.labels.numpy() < 0) == (s.labels_ < 0)).all()
    assert torch.equal(r.labels, hdbscan(x.double().tolist()).labels)


def test_extremes():
    same_point = hdbscan(torch.ones(50, 2))
    assert same_point.labels.shape == (50,)
    pair = hdbscan([[0.0], [1.0]], 2, 1)
    assert pair.labels.tolist() == [-1, -1] and pair.probabilities.tolist() == [0, 0]


def test_the_tree_adds_up():
    x = torch.from_numpy(toys()['varied'])
    tree = hdbscan(x, 10).tree
    for c in range(len(tree.parent)):
        children = np.flatnonzero(tree.parent == c)
        assert (tree.cluster == c).sum() + tree.size[children].sum() == tree.size[c]
        mass = (tree.leave[tree.cluster == c] - tree.birth[c]).sum()
        mass += ((tree.birth[children] - tree.birth[c]) * tree.size[children]).sum()
        np.testing.assert_allclose(tree.stability[c], mass)
        assert tree.death[c] >= tree.leave[tree.cluster == c].max(initial=0)


bad = [
    (dict(min_cluster_size=1), ValueError, 'min_cluster_size=1'),
    (dict(min_cluster_size=2.5), TypeError, 'min_cluster_size=2.5'),
    (dict(min_samples=0), ValueError, 'min_samples=0'),
    (dict(min_samples=9), ValueError, 'from 1 to 3'),
    (dict(min_cluster_size=9), ValueError, 'min_cluster_size=9 is more than the 3 points'),
    (dict(x=[['a', 'b']] * 3), TypeError, "points has 'a' in row 0, column 0"),
    (dict(engine='gpu'), ValueError, "engine='gpu'"),
    (dict(x=[[0.0, 0.0]]), ValueError, 'at least two'),
    (dict(x=[[0.0, float('inf')]] * 3), ValueError, 'inf in row 0, column 1'),
]


@pytest.mark.parametrize('change,error,message', bad)
def test_bad_input(change, error, message):
    with pytest.raises(error) as e:
        hdbscan(**dict(x=[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], min_cluster_size=2) | change)
    assert message in str(e.value)
