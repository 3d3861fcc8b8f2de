"The tree of tiles: every point in one leaf, tight boxes, bounds that hold to the last bit."

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from clusterlearn.tree import (
    box_farthest,
    box_nearest,
    boxes_farthest,
    boxes_nearest,
    build_tree,
    node_minima,
    node_sums,
    squares,
)


def some(kind, n, d, seed=0):
    g = np.random.default_rng(seed)
    x = g.standard_normal((n, d))
    return {
        'random': x,
        'far off': x + 1e6,
        'very far off': x * 1e-3 + 1e9,
        'lattice': np.round(x),
        'sorted': np.sort(x, 0),
        'organ pipe': np.abs(np.arange(n) - n // 2)[:, None] * np.ones(d),
        'thousands equal': x[np.minimum(np.arange(n), 5)],
        'all equal': np.full((n, d), 0.1),
        'subnormal': x * 1e-310,
    }[kind]


kinds = (
    'random,far off,very far off,lattice,sorted,organ pipe,thousands equal,all equal,subnormal'
).split(',')


def direct(x, y):
    return sum((x[:, None, j] - y[None, :, j]) ** 2 for j in range(x.shape[1]))


def check(tree, x):
    m, n = len(tree.start), len(x)
    assert m % 2 == 1 and (np.sort(tree.order) == np.arange(n)).all()
    assert (tree.points == x[tree.order]).all() and tree.points.flags.f_contiguous
    for b in range(m):
        own = tree.points[tree.start[b] : tree.stop[b]]
        assert (own.min(0) == tree.low[b]).all() and (own.max(0) == tree.high[b]).all()
        if b < m // 2:
            left, right = 2 * b + 1, 2 * b + 2
            assert tree.start[b] == tree.start[left] and tree.stop[b] == tree.stop[right]
            assert tree.stop[left] == tree.start[right]
    sizes = (tree.stop - tree.start)[m // 2 :]
    assert min(n, 16) <= sizes.min() and sizes.max() <= 32 and sizes.sum() == n


@pytest.mark.parametrize('kind', kinds)
@pytest.mark.parametrize('n', [1, 2, 32, 33, 700])
def test_every_point_is_in_one_leaf_and_boxes_are_tight(kind, n):
    x = some(kind, n, 3)
    kept = x.copy()
    check(build_tree(x), x)
    assert (x == kept).all()


@pytest.mark.parametrize('kind', kinds)
@pytest.mark.parametrize('d', [1, 2, 9])
def test_bounds_hold_to_the_last_bit(kind, d):
    x, y = some(kind, 300, d), some(kind, 90, d, 1)
    one, two = build_tree(x), build_tree(y)
    g, out = np.random.default_rng(0), np.empty(300)
    for a in range(len(one.start)):
        b = g.integers(len(two.start))
        p, q = one.points[one.start[a] : one.stop[a]], two.points[two.start[b] : two.stop[b]]
        s, boxes = direct(p, q), (one.low, one.high, a, two.low, two.high, b)
        assert boxes_nearest(*boxes) <= s.min() and boxes_farthest(*boxes) >= s.max()
        assert (box_nearest(two.low, two.high, b, p, 0)) <= s[0].min()
        assert (box_farthest(two.low, two.high, b, p, 0)) >= s[0].max()
        squares(two.points, two.start[b], two.stop[b], p, 0, out)
        assert (out[: len(q)] == s[0]).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 4), st.integers(0, 10**6), st.integers(1, 5))
def test_any_size(n, d, seed, threads):
    x = np.random.default_rng(seed).integers(-4, 4, (n, d)).astype(float)
    tree = build_tree(x, threads)
    check(tree, x)
    assert (build_tree(x).order == tree.order).all()
    assert (node_sums(tree, np.ones(n, int)) == tree.stop - tree.start).all()
    assert (node_minima(tree, tree.points) == tree.low).all()


def test_float32_is_widened():
    x = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    check(build_tree(x), x.astype(np.float64))
