"The compiled loop against the plain one in float64; which engine `k_means` takes."

import math, subprocess, sys
from functools import partial
from types import SimpleNamespace

import judge, numpy as np, pytest, torch
from judge import direct, forgy
from benchmarks.workloads import mixture
from clusterlearn import k_means
from clusterlearn.data import blobs, uniform
from clusterlearn.kmeans import compiled, lloyd
from clusterlearn.kmeans.compiled import lloyd_compiled
from clusterlearn.kmeans.lloyd import refill_farthest, refill_random, refill_split
from clusterlearn.kmeans.margin import keep_empty, lloyd_margin

same = partial(judge.same, lloyd_compiled)


@pytest.fixture
def compiled_only(monkeypatch):
    "A run that quietly took another way would prove nothing"
    ran, whole = [], compiled._assign
    monkeypatch.setattr(compiled, '_assign', lambda s: ran.append(1) or whole(s))
    yield
    assert ran


@pytest.mark.parametrize('d', [1, 2, 3, 4, 5, 16, 63, 700])
@pytest.mark.parametrize('k', [1, 2, 3, 4, 5, 31, 64])
def test_any_dimension_and_k(d, k, compiled_only):
    x = uniform(700, d, random_state=d)
    same(x, forgy(x, k), 20)


@pytest.mark.parametrize('n', [1, 2, 255, 256, 257, 1023, 8192, 8193, 40_000])
@pytest.mark.parametrize('threads', [1, 2, 3])
def test_no_row_is_left_out(n, threads, compiled_only):
    "Steps and tiles end anywhere; threads take turns"
    before = torch.get_num_threads()
    x = blobs(30, n // 30 + 1, dim=3, random_state=n).points[:n]
    try:
        torch.set_num_threads(threads)
        r = same(x, forgy(x, min(n, 30)), 15)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(r.labels) == n


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('offset', [0.0, 1e3, 1e6, 1e8])
def test_far_from_the_origin(dtype, offset, compiled_only):
    x = blobs(9, 200, dim=5, random_state=1).points.to(dtype) + offset
    same(x, forgy(x, 9), 40)


def test_two_threads_give_the_sums_of_one():
    x = blobs(20, 1000, dim=4, random_state=3).points
    before, ends = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            ends.append(lloyd_compiled(x, forgy(x, 20)))
    finally:
        torch.set_num_threads(before)
    a, b = ends
    assert torch.equal(a.labels, b.labels) and a.n_iter == b.n_iter
    assert math.isclose(a.inertia, b.inertia, rel_tol=1e-12)
    again = lloyd_compiled(x, forgy(x, 20))
    assert torch.equal(again.centroids, lloyd_compiled(x, forgy(x, 20)).centroids)


@pytest.mark.parametrize('data', ['blobs', 'noise', 'pixels', 'outlier', 'many'])
def test_no_margin_is_ever_too_large(data, monkeypatch):
    "Stronger than equal labels: what is stored of each point is true, before and after the look"
    g = torch.Generator().manual_seed(0)
    x = {
        'blobs': lambda: blobs(40, 100, dim=8, var=10.0, extent=10.0, random_state=2).points,
        'noise': lambda: torch.rand(4000, 20, generator=g),
        'pixels': lambda: torch.randint(0, 256, (4000, 3), generator=g).float(),
        'outlier': lambda: torch.cat([torch.randn(4000, 4, generator=g), torch.full((1, 4), 1e7)]),
        'many': lambda: mixture(6000, 8, 300),
    }[data]()
    whole, count = compiled._assign, []

    def true(s, when):
        d = torch.cdist(x.double(), torch.from_numpy(s.c), **direct)
        labels = torch.from_numpy(s.labels.astype(int))
        own = d.gather(1, labels[:, None])[:, 0]
        other = d.scatter(1, labels[:, None], math.inf).amin(1)
        left = torch.from_numpy(s.marks.due - s.centres.clocks[1][s.labels])
        upper = torch.from_numpy(s.marks.own + s.centres.clocks[3][s.labels])
        still = left > 0
        assert (left <= other - own)[still].all(), when
        assert (upper >= own).all(), when
        assert (upper + left <= other + 1e-9 * other)[left > -math.inf].all(), when

    def look(s):
        if not s.first:
            true(s, 'before')
        out = whole(s)
        true(s, 'after')
        count.append(out[1])
        return out

    monkeypatch.setattr(compiled, '_assign', look)
    lloyd_compiled(x, forgy(x, 300 if data == 'many' else 40), max_iter=40)
    assert len(count) > 20 and sum(count) < 0.95 * len(count) * len(x)


many = {
    'plain': lambda x: x,
    'double': lambda x: x.double(),
    'far': lambda x: x + 1e4,
    'repeated': lambda x: x[:3000].repeat(4, 1),
    'integers': lambda x: (3 * x).round(),
}


@pytest.mark.parametrize('change', [*many, 'twins'])
def test_few_fast_centroids(change, compiled_only):
    "With many centroids points are compared with the fast ones first"
    x = many.get(change, many['plain'])(mixture(12_000, 6, 400))
    c = forgy(x, 400)
    if change == 'twins':
        c[300:] = c[:100]
    same(x, c, 25)


def test_a_visit_of_a_twin(compiled_only):
    "A centroid jumps onto another, then beside it, where it is nearer to half of the points"
    x = mixture(12_000, 6, 400)
    c = forgy(x, 400)
    c[398] = 1e6  # always empty, so that there is something to refill

    def run(engine):
        seen = []

        def refill(x, weights, labels, c, sums, counts):
            means, turn = keep_empty(x, weights, labels, c, sums, counts), len(seen)
            means[399] = means[turn] if turn % 2 else c[399] + 0.01
            return means

        def look(i, c, labels):
            seen.append(labels.clone())

        engine(x, c, max_iter=24, refill=refill, callback=look)
        return seen

    for step, (a, b) in enumerate(zip(run(lloyd_compiled), run(lloyd_margin), strict=True)):
        assert torch.equal(a, b), f'iteration {step + 1}: {int((a != b).sum())} labels differ'


def test_the_fast_ones_save_looks():
    x = mixture(20_000, 6, 400)
    s = compiled._begin(x, None, forgy(x, 400).double())
    wide = []
    for _ in range(30):
        compiled._assign(s)
        compiled._move(s, s.sums[:, :-1] / s.sums[:, -1:])
        compiled._rank(s.c, s.points.mean, s.per, *s.centres[1:4])
        fast = compiled._fastest(s)
        order = np.argsort(-s.moves, kind='stable')
        assert (fast.ids == order[:128]).all() and len(fast.rest) == 3
        for size, rest in zip((32, 64, 128), fast.rest):
            assert s.moves[order[size:]].max() <= rest <= s.moves[order[size]] * (1 + 1e-9)
        come = np.flatnonzero(s.marks.due <= s.centres.clocks[1][s.labels]).astype(np.uint32)
        rows, m, tile = come.copy(), len(come), compiled._tile(8)
        marks = compiled._Marks(*(v.copy() for v in s.marks))
        left = compiled._tiers(rows, m, rows.copy(), fast, s.points, marks, s.centres, tile)
        wide.append((left, m))
        assert len(set(rows[:left].tolist())) == left
        gone = np.setdiff1d(come, rows[:left])
        d = torch.cdist(x[gone].double(), torch.from_numpy(s.c), **direct)
        assert (d.argmin(1).numpy() == s.labels[gone]).all()
    left, m = np.array(wide[10:]).sum(0)
    assert left < 0.7 * m, f'{left} of {m} are left for all centroids'


def test_an_outlier_puts_nobody_else_in_doubt(monkeypatch):
    "Scores prove nearly all labels, whatever one centroid far out does"
    x = torch.rand(3000, 16, generator=torch.Generator().manual_seed(0)) * 70 - 35
    x[0] = 1e4
    s = compiled._begin(x, None, x[:40].double())
    compiled._rank(s.c, s.points.mean, s.per, *s.centres[1:4])
    tile, proven = compiled._tile(16), 0
    for lo in range(0, 2816, 256):
        rows = np.arange(lo, lo + 256, dtype=np.uint32)
        compiled._place(s.points, rows, 256, tile)
        compiled._search(s.centres.ranks, s.centres.bias, tile, 256)
        compiled._margins(s.points, s.centres.lost, tile, 256)
        proven += (tile.gap > 0).sum()
    assert proven > 0.99 * 2816, f'only {proven} of 2816 are proven'


def test_clocks_that_ran_far_do_not_hide_small_moves(compiled_only):
    "One cluster travels far, then stops: the dates of all others are large numbers with few digits"
    g = torch.Generator().manual_seed(0)
    line = torch.linspace(0, 3e5, 4000)[:, None] * torch.ones(1, 2)
    near = torch.randn(4000, 2, generator=g) * 1e-2 - 50
    x = torch.cat([line, near]).double()
    c = torch.cat([line[:2], near[:6]]).double()
    r = same(x, c, 300)
    assert r.n_iter > 20


@pytest.mark.parametrize('refill', [keep_empty, refill_farthest, refill_split, refill_random])
@pytest.mark.parametrize('weigh', [False, True])
def test_empty_clusters(refill, weigh, compiled_only):
    "As the other engine, whatever a refill makes of them"
    x = blobs(5, 400, dim=3, random_state=4).points
    c = torch.cat([forgy(x, 6), torch.full((3, 3), 1e3), x[:1], x[:1]])
    w = torch.rand(len(x), generator=torch.Generator().manual_seed(0)) if weigh else None

    def run(engine):
        f = refill
        if refill is refill_random:
            f = lambda *a: refill_random(*a, generator=torch.Generator().manual_seed(5))
        return engine(x, c, sample_weight=w, refill=f, max_iter=50)

    a, b = run(lloyd_compiled), run(lloyd_margin)
    assert torch.equal(a.labels, b.labels) and a.n_iter == b.n_iter
    assert [i.n_empty for i in a.history] == [i.n_empty for i in b.history]
    assert math.isclose(a.inertia, b.inertia, rel_tol=1e-9) and a.history[0].n_empty


@pytest.mark.parametrize('weigh', [False, True])
def test_a_cluster_that_loses_its_last_point_is_empty(weigh, compiled_only):
    "Sums that are corrected leave a rest where nothing is left; a mean of it would be anywhere"
    rests = 0
    for seed in (1059, 1109, 1438, 1885, 2038, 2254, 2401, 2543, 2755, 2927, 3449, 3770):
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(14, 2, generator=g)
        c = x[torch.randperm(14, generator=g)[:5]] + torch.randn(5, 2, generator=g) * 0.3
        for shift in range(20 if weigh else 1):
            w = (
                1 + 0.01 * torch.rand(14, generator=torch.Generator().manual_seed(shift)).double()
                if weigh
                else None
            )
            a, b = (f(x, c, sample_weight=w) for f in (lloyd_compiled, lloyd_margin))
            assert [i.n_empty for i in a.history] == [i.n_empty for i in b.history]
            assert torch.equal(a.labels, b.labels)
            assert math.isclose(a.inertia, b.inertia, rel_tol=1e-9)
            rests += a.history[-1].n_empty > a.history[0].n_empty
    assert rests >= 10, 'no cluster was emptied on the way'


def test_a_twin_that_leaves_takes_its_points_along(compiled_only):
    "Two equal centroids: the later one is empty and far from nobody, whatever the others' margin"
    g = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(400, 2, generator=g), torch.randn(400, 2, generator=g) + 1e3])
    c = torch.cat([x[:1], x[:1], x[400:401]])

    def refill(x, w, labels, c, sums, counts):
        new = keep_empty(x, w, labels, c, sums, counts)
        new[counts == 0] = new[0] + torch.tensor([0.5, 0.0]).double()
        return new

    a, b = (f(x, c, refill=refill) for f in (lloyd_compiled, lloyd_margin))
    assert a.history[0].n_empty == 1 and a.labels.bincount().min() > 50
    assert torch.equal(a.labels, b.labels) and a.n_iter == b.n_iter


def test_twins_put_nobody_in_doubt():
    "A later equal never wins, so the earlier one's points are proven by their scores"
    x = blobs(3, 200, dim=2, random_state=0).points
    c = torch.cat([x[::200], x[::200]]).double()
    s = compiled._begin(x, None, c)
    compiled._rank(s.c, s.points.mean, s.per, *s.centres[1:4])
    compiled._twins(s)
    assert s.centres.twin.all() and (s.centres.bias[3:6] == -math.inf).all()
    assert np.isfinite(s.centres.bias[:3]).all()


@pytest.mark.parametrize('weigh', [False, True])
def test_equal_rows_are_counted(weigh, compiled_only):
    "Rows that repeat are clustered once; every number still counts all"
    g = torch.Generator().manual_seed(1)
    x = torch.randint(0, 12, (20_000, 2), generator=g).float()
    w = torch.rand(len(x), generator=g) if weigh else None
    c = forgy(x, 9).unique(dim=0)
    a, b = (f(x, c, sample_weight=w) for f in (lloyd_compiled, lloyd_margin))
    assert torch.equal(a.labels, b.labels) and a.n_iter == b.n_iter
    for i, j in zip(a.history, b.history):
        assert (i.n_changed, i.n_empty) == (j.n_changed, j.n_empty)
        assert math.isclose(i.inertia, j.inertia, rel_tol=1e-9)
    assert a.history[0].n_searched == len(x)


def test_weights_of_zero_leave_nothing_behind(compiled_only):
    x = blobs(4, 300, dim=2, random_state=0).points
    w = torch.rand(len(x), generator=torch.Generator().manual_seed(0))
    w[:300] = 0
    a, b = (f(x, forgy(x, 8), sample_weight=w) for f in (lloyd_compiled, lloyd_margin))
    assert torch.equal(a.labels, b.labels) and math.isclose(a.inertia, b.inertia, rel_tol=1e-9)
    few = w.expand(1, -1)[0] * 1e-30
    c = lloyd_compiled(x, forgy(x, 8), sample_weight=few)
    assert torch.equal(c.labels, a.labels)


def test_nothing_outside_changes(compiled_only):
    x = blobs(6, 500, random_state=0).points.requires_grad_()
    c, w = forgy(x.detach(), 6), torch.ones(1).expand(len(x))
    before, state = (x.detach().clone(), c.clone()), torch.get_rng_state()
    r = lloyd_compiled(x, c, sample_weight=w)
    assert torch.equal(x.detach(), before[0]) and torch.equal(c, before[1])
    assert torch.equal(torch.get_rng_state(), state) and not r.centroids.requires_grad
    assert r.labels.dtype == torch.int64 and r.centroids.dtype == torch.float32


def test_read_only_arrays(compiled_only):
    x = blobs(6, 500, random_state=0).points.numpy().copy()
    x.flags.writeable = False
    assert len(lloyd_compiled(x, x[:6].copy()).labels) == 3000


# ---- which engine


def test_sizes_decide():
    "Not too many columns, and enough points"
    x = lambda n, d: torch.zeros(1, 1).expand(n, d)
    choose = lambda n, d, k: lloyd._engine(x(n, d), k, 'exact', False)
    assert choose(100_000, 16, 64) is lloyd_compiled
    assert choose(1_797, 64, 10) is lloyd_compiled
    assert choose(1_500, 2, 6) is lloyd_margin
    assert choose(100_000, 128, 2_000) is lloyd_compiled
    assert choose(100_000, 256, 20) is lloyd_compiled
    assert choose(100_000, 257, 20) is lloyd_margin


changes = ['float16', 'bfloat16', 'transposed', 'no Numba', 'switched off']


@pytest.mark.parametrize('change', changes)
def test_what_it_cannot_read_goes_the_other_way(change, monkeypatch):
    x = blobs(10, 500, dim=6, random_state=0).points
    c = forgy(x, 10)
    if change == 'no Numba':
        monkeypatch.setattr(compiled, 'numba', None)
    elif change == 'switched off':
        monkeypatch.setattr(compiled.numba.config, 'DISABLE_JIT', 1)
    elif change == 'transposed':
        x = x.T.contiguous().T
    else:
        x = x.to(getattr(torch, change))
    monkeypatch.setattr(compiled, '_assign', None)
    r = lloyd_compiled(x, c)
    assert torch.equal(r.labels, lloyd_margin(x, c).labels)


def test_rows_are_counted_in_32_bits():
    class Many(SimpleNamespace):
        __len__ = lambda self: self.n

    x = Many(dtype=torch.float32, device=torch.device('cpu'), is_contiguous=lambda: True)
    for x.n, taken in ((2**32 - 1, True), (2**32, False)):
        assert (compiled._engine(x) is not None) == taken


program = """if True:
    import sys
    if {hide}: sys.modules['numba'] = None
    import torch
    from clusterlearn import k_means
    x = torch.randn(6000, 8, generator=torch.Generator().manual_seed(0))
    k_means(x[:200], 4, init=x[:4])
    assert not sys.modules.get('numba'), 'loaded for 200 points'
    r = k_means(x, 40, init=x[:40])
    assert bool(sys.modules.get('numba')) is not {hide}
    print(r.n_iter, r.labels.sum().item(), f'{{r.inertia:.3f}}')"""


def test_with_and_without_numba():
    "The same result; small problems do not load it"
    said = []
    for hide in (False, True):
        code = [sys.executable, '-c', program.format(hide=hide)]
        ran = subprocess.run(code, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        said.append(ran.stdout)
    assert said[0] == said[1]


def test_a_module_keeps_its_machine_code(monkeypatch):
    assert compiled._kept and compiled._sweep._cache.cache_path
    whole = compiled.numba.njit

    def nowhere(f, cache=False, **options):
        if cache:
            raise RuntimeError('no locator available')
        return whole(f, **options)

    monkeypatch.setattr(compiled.numba, 'njit', nowhere)
    assert compiled._fast(lambda a: a + 1)(1) == 2


def test_an_unreadable_index_begins_anew(tmp_path, monkeypatch):
    "After a crash, or an update that renames what was pickled, Numba's index cannot be read"
    monkeypatch.setattr(compiled.numba.config, 'CACHE_DIR', str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'small_module.py').write_text('def more(a): return a + 1\n')
    from small_module import more

    assert compiled._compiled(more)(1) == 2
    (index,) = tmp_path.rglob('*.nbi')
    good = index.read_bytes()
    for bad in (b'', b'nonsense', good[:-9]):
        index.write_bytes(bad)
        assert compiled._compiled(more)(1) == 2
        assert index.stat().st_size > len(good) // 2
    again = compiled._compiled(more)
    assert again(1) == 2 and sum(again.stats.cache_hits.values()) == 1


def test_the_engine_gets_what_it_needs_and_no_more(monkeypatch):
    "Nothing to call unless somebody watches, tol in units of the data, weights as they were given"
    seen = []

    def engine(x, c, **kw):
        seen.append(kw)
        return lloyd_margin(x, c, **kw)

    monkeypatch.setattr(lloyd, 'lloyd_margin', engine)
    x = uniform(50, random_state=0)
    k_means(x, 3, tol=0.5, max_iter=7)
    k_means(x, 3, tol=0, sample_weight=[7.0] * 50, callback=lambda *a: None, empty='split')
    first, second = seen
    assert first['callback'] is None and first['sample_weight'] is None and first['max_iter'] == 7
    assert math.isclose(first['tol'], 0.5 * x.numpy().var(0).mean(), rel_tol=1e-6)
    assert first['refill'] is refill_farthest and second['refill'] is refill_split
    assert second['tol'] == 0 and second['callback'] is not None
    assert (second['sample_weight'] == 7).all()
    assert second['sample_weight'].dtype == torch.float64


@pytest.mark.parametrize('precision', ['exact', 'fast'])
def test_points_on_a_gpu_go_to_the_fused_engine(precision):
    from clusterlearn.kmeans.fused import lloyd_fused

    engine = lloyd._engine(SimpleNamespace(is_cuda=True, shape=(100_000, 3)), 5, precision, True)
    assert engine.func is lloyd_fused
    assert engine.keywords == dict(precision=precision, deterministic=True)
    x = uniform(200, 3, random_state=0)
    r = k_means(
        x, 5, init=x[:5], precision=precision, deterministic=True
    )  # here it changes nothing
    assert torch.equal(r.centroids, k_means(x, 5, init=x[:5]).centroids)
    assert torch.equal(engine(x, x[:5]).labels, lloyd_margin(x, x[:5]).labels)
