"The engines of mean shift against a direct float64 sum, written plainly."

import pytest, torch
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close
from clusterlearn.meanshift.closest import KERNELS, closest_means, sort_cells
from clusterlearn.meanshift.grid import grid_engine, grid_means, make_grid
from clusterlearn.meanshift.kernels import BUDGET, direct_engine, direct_means
from clusterlearn.meanshift.tree import make_tree, tree_engine, tree_means

some = settings(max_examples=25, deadline=None)


def plain(q, x, h, kernel, w=None):
    "Every query against every point in float64, no shortcut"
    q, x = q.double(), x.double()
    w = torch.ones(len(x), dtype=torch.float64) if w is None else w.double()
    diff = x[None] - q[:, None]
    r2 = diff.square().sum(-1)
    k = {
        'flat': (r2 <= h * h * (1 + 1e-12)).double(),
        'epanechnikov': (1 - r2 / h**2).clamp(min=0),
        'triangular': (1 - r2.sqrt() / h).clamp(min=0),
        'gaussian': torch.exp(-r2 / 2 / h**2),
    }[kernel] * w
    mass = k.sum(1)
    return q + (k[..., None] * diff).sum(1) / mass[:, None].clamp(min=1e-300), mass


engines = {
    'grid': lambda q, x, h, k, w: grid_means(q, make_grid(x, h, w), h, k),
    'tree': lambda q, x, h, k, w: tree_means(q, make_tree(x, w, k), h),
    'tree8': lambda q, x, h, k, w: tree_means(
        q, make_tree(x, w, k, leaf=8), h, leaf=8, budget=5000
    ),
    'direct': lambda q, x, h, k, w: direct_means(q, x, h, k, w),
}


def draw(n, d, seed, dtype=torch.float64, spread=10.0):
    g = torch.Generator().manual_seed(seed)
    c = torch.rand(5, d, generator=g, dtype=dtype) * spread
    return c[torch.randint(5, (n,), generator=g)] + torch.randn(n, d, generator=g, dtype=dtype)


@pytest.mark.parametrize('engine', engines)
@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('dtype, rtol', [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@some
@given(
    d=st.integers(1, 12),
    n=st.integers(1, 300),
    h=st.floats(0.05, 30),
    seed=st.integers(0, 999),
    weighted=st.booleans(),
)
def test_direct_sum(engine, kernel, dtype, rtol, d, n, h, seed, weighted):
    x = draw(n, d, seed, dtype)
    q = torch.cat([x[: n // 2 + 1], draw(20, d, seed + 1, dtype, 20.0)])  # some balls are empty
    w = None
    if weighted:
        w = torch.rand(n, dtype=dtype, generator=torch.Generator().manual_seed(seed)) + 0.1
    means, mass = engines[engine](q, x, h, kernel, w)
    ref, ref_mass = plain(q, x, h, kernel, w)
    assert means.dtype == dtype and means.shape == q.shape and means.isfinite().all()
    scale = ref.abs().max().clamp(min=h)
    # A lone neighbour just inside the ball: its weight is nearly zero, as is what is known of it.
    sure = (ref_mass > 1e-9) | (ref_mass == 0)
    assert not sure.any() or (means.double() - ref)[sure].abs().max() <= rtol * scale
    assert_close(mass.double(), ref_mass, rtol=rtol, atol=rtol * float(ref_mass.max()))


@pytest.mark.parametrize('engine', engines)
@pytest.mark.parametrize('kernel', KERNELS)
def test_far_away(engine, kernel):
    "A million bandwidths from the origin, and clusters a million bandwidths apart"
    x = draw(400, 2, 0)
    for y in (x + 1e6, torch.cat([x, x + 1e6])):
        means, mass = engines[engine](y, y, 1.0, kernel, None)
        ref, ref_mass = plain(y, y, 1.0, kernel)
        assert_close(means, ref, rtol=1e-12, atol=1e-9)
        assert_close(mass, ref_mass, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize('engine', engines)
@pytest.mark.parametrize('step, side', [(1.0, 20), (0.1, 40), (0.1, 200)])
def test_ties_on_a_lattice(engine, step, side):
    "Points on the sphere are inside for every engine, however their distance is summed"
    a = (torch.arange(side) * step).double()[-40:]
    x = torch.cartesian_prod(a, a)
    x = torch.cat([x, torch.zeros(1, 2)])
    h = 5 * step
    assert_close(engines[engine](x, x, h, 'flat', None)[1], plain(x, x, h, 'flat')[1])


@some
@given(d=st.integers(1, 5), seed=st.integers(0, 99), kernel=st.sampled_from(KERNELS))
def test_duplicates_are_weights(d, seed, kernel):
    x = draw(80, d, seed)
    times = torch.randint(1, 5, (80,), generator=torch.Generator().manual_seed(seed))
    y = x.repeat_interleave(times, 0)
    for f in engines.values():
        few = f(x, x, 2.0, kernel, times.double())
        assert_close(f(x, y, 2.0, kernel, None), few, rtol=1e-11, atol=1e-11)


@some
@given(hair=st.floats(-14, -1), seed=st.integers(0, 99), d=st.integers(1, 4))
def test_copies_just_inside_the_sphere(hair, seed, d):
    "Their weights are nearly zero, and still their mean is where they are"
    g = torch.Generator().manual_seed(seed)
    at, q = torch.randn(2, 1, d, generator=g, dtype=torch.float64)
    x = torch.cat([at.expand(40, d), at + 100])
    h = float((at - q).norm()) * (1 + 10**hair)
    for f in engines.values():
        for kernel in KERNELS:
            means, mass = f(q, x, h, kernel, None)
            assert_close(means, at if mass[0] > 0 else q, rtol=0, atol=1e-9)


def test_moments_save_terms():
    x, h = draw(20_000, 2, 1), 2.0
    few, many = {}, {}
    tree_means(x, make_tree(x), h, stats=few)
    grid_means(x[::20], make_grid(x, h), h, stats=many)
    assert few['terms'] / 20 < many['terms'] / 3


def test_non_contiguous_and_unchanged():
    x = draw(300, 4, 2)
    y, copy = x.T.contiguous().T[:, ::2], x.clone()
    for f in engines.values():
        z = y.contiguous()
        assert_close(f(y, y, 2.0, 'flat', None), f(z, z, 2.0, 'flat', None))
    assert torch.equal(x, copy)


def test_what_as_points_takes():
    "Lists and integers are points; half precision comes back as half precision"
    x = [[0, 0], [1, 0], [9, 9]]
    for f in engines.values():
        means, mass = f(x, x, 2.0, 'flat', [1, 3, 1])
        assert_close(means, torch.tensor([[0.75, 0.0], [0.75, 0.0], [9.0, 9.0]]).double())
        assert mass.tolist() == [4, 4, 1]
        half = torch.tensor(x).half()
        assert f(half, half, 2.0, 'flat', None)[0].dtype == torch.float16


def test_one_point_and_all_equal():
    for x in (torch.zeros(1, 3), torch.full((100, 2), 7.0)):
        for kernel in KERNELS:
            for f in engines.values():
                assert_close(f(x, x, 0.5, kernel, None)[0], x)


def test_gaussian_far_from_all_points():
    "The nearer of two points must win, and beyond all reach a query stays"
    x = torch.tensor([[0.0, 0.0], [50.0, 0.0]])
    q = torch.tensor([[-11.0, 0.0], [-20.0, 0.0], [30.0, 0.0]])
    means, mass = direct_means(q, x, 2.0, 'gaussian')
    assert_close(means, torch.tensor([[0.0, 0.0], [0.0, 0.0], [50.0, 0.0]]))
    assert (mass > 0).all()
    means, mass = direct_means(q, x, 0.5, 'gaussian')
    assert_close(means, q)
    assert not mass.any()


@some
@given(d=st.integers(1, 12), n=st.integers(1, 200), h=st.floats(0.1, 30), seed=st.integers(0, 99))
def test_gaussian(d, n, h, seed):
    x = draw(n, d, seed)
    means, mass = direct_means(x, x, h, 'gaussian')
    ref, ref_mass = plain(x, x, h, 'gaussian')
    assert_close(means, ref, rtol=1e-10, atol=1e-10)
    assert_close(mass, ref_mass, rtol=1e-10, atol=1e-10)


def test_budget_is_kept_where_density_jumps(monkeypatch):
    "Sparse noise lets chunks grow; the dense blob behind it must not be taken in one"
    from clusterlearn.meanshift import tree

    g = torch.Generator().manual_seed(0)
    noise = torch.rand(20_000, 2, generator=g).double() * 4e4
    x = torch.cat([noise, torch.randn(20_000, 2, generator=g).double() + 5e4])
    seen, was = [], tree._box_gaps

    def spy(a, i, b, j):
        seen.append(len(i))
        return was(a, i, b, j)

    monkeypatch.setattr(tree, '_box_gaps', spy)
    budget = BUDGET // 64
    tree_means(x, make_tree(x), 0.5, budget=budget)
    assert max(seen) <= budget


def test_grid_of_a_huge_range():
    x = torch.cat([draw(200, 3, 3), draw(200, 3, 4) + 1e12])
    mass = grid_means(x, make_grid(x, 0.5), 0.5)[1]
    assert_close(mass, plain(x, x, 0.5, 'flat')[1])


@pytest.mark.parametrize('far', [1e6, 1e9, 1e12])
@pytest.mark.parametrize('step', [1.0, 3.0, 7.0])
@pytest.mark.parametrize('d', [1, 4])
def test_neighbours_one_bandwidth_apart_and_far_away(far, step, d):
    "Cell numbers are large there, and a rounded projection must not part neighbours"
    x = torch.cat([torch.zeros(1), torch.arange(1000) * step]).double()[:, None]
    x[1:] += far
    x = x.expand(-1, d).contiguous()
    h = step * d**0.5
    want = torch.full((1001,), 3.0, dtype=torch.float64)
    want[[1, -1]], want[0] = 2, 1
    assert_close(grid_means(x, make_grid(x, h), h)[1], want)


def test_refuses():
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match='bandwidth=2.0 exceeds'):
        grid_means(x, make_grid(x, 1.0), 2.0)
    for call in (
        lambda: make_grid(x, 0.0),
        lambda: make_grid(x, float('nan')),
        lambda: tree_means(x, make_tree(x), -1.0),
        lambda: direct_means(x, x, 0.0),
    ):
        with pytest.raises(ValueError, match='must be above zero'):
            call()
    for call in (
        lambda: make_tree(x, kernel='cubic'),
        lambda: direct_means(x, x, 1.0, 'cubic'),
        lambda: grid_means(x, make_grid(x, 1.0), 1.0, 'gaussian'),
    ):
        with pytest.raises(ValueError, match='is unknown: choose one of flat'):
            call()
    for weights in ([1.0, 2.0], [1.0, -1.0, 1.0], [1.0, float('nan'), 1.0]):
        with pytest.raises(ValueError, match='weights: 3 finite numbers'):
            make_tree(x, weights)
    with pytest.raises(ValueError, match='query has 3 columns and the points 2'):
        tree_means(torch.zeros(1, 3), make_tree(x), 1.0)
    with pytest.raises(ValueError, match='max_axes=4'):
        make_grid(x, 1.0, max_axes=4)
    with pytest.raises(ValueError, match='nan'):
        make_tree(x / 0)


@pytest.mark.parametrize('name', ['direct', 'grid', 'tree'])
@pytest.mark.parametrize('kernel', KERNELS)
def test_engines_by_name_give_the_same(name, kernel):
    "What `mean_shift` calls is what is tested above"
    x, w = draw(200, 3, 0), torch.rand(200, generator=torch.Generator().manual_seed(0)).double()
    engine = dict(direct=direct_engine, grid=grid_engine, tree=tree_engine)[name]
    for weights in (None, w):
        for got, want in zip(engine(x, 3.0, kernel, weights)(x), plain(x, x, 3.0, kernel, weights)):
            assert_close(got, want, rtol=1e-11, atol=1e-11)


@some
@given(d=st.integers(1, 4), n=st.integers(1, 150), h=st.floats(0.3, 30), seed=st.integers(0, 99))
def test_the_chapters_grid(d, n, h, seed):
    "Queries outside the data and empty balls too"
    x = draw(n, d, seed)
    q = torch.cat([x[: n // 2 + 1], draw(10, d, seed + 1, spread=15.0)])
    for kernel in KERNELS:
        means, mass = closest_means(q, sort_cells(x, h), h, kernel)
        ref, ref_mass = plain(q, x, h, kernel)
        sure = (ref_mass > 1e-9) | (ref_mass == 0)
        assert_close(means[sure], ref[sure], rtol=1e-11, atol=1e-9)
        assert_close(mass, ref_mass, rtol=1e-11, atol=1e-9)
    with pytest.raises(ValueError, match='bandwidth=.*: from above 0'):
        closest_means(x, sort_cells(x, 1.0), 2.0)
