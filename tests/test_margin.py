"The engine of exact k-means against the plain loop in float64, where cells are too small to go."

import math
from functools import partial
from types import SimpleNamespace

import judge
import pytest
import torch
from judge import direct, forgy
from clusterlearn.data import blobs
from clusterlearn.kmeans import margin
from clusterlearn.kmeans.margin import keep_empty, lloyd_margin

same = partial(judge.same, lloyd_margin)


@pytest.mark.parametrize('spread', [6.0, 15.0])
def test_tiers_are_exact(monkeypatch, spread):
    x = blobs(300, 100, dim=8, var=10.0, extent=spread, random_state=1).points
    used = []
    whole = margin._tier
    monkeypatch.setattr(margin, '_tier', lambda *a: used.append(1) or whole(*a))
    r = same(x, forgy(x, 300), 30)
    assert used, 'the fast centroids were never looked at alone'
    assert r.history[-1].n_searched < len(x)


@pytest.mark.parametrize('large', [False, True])
def test_no_margin_is_ever_too_large(monkeypatch, large):
    "Stronger than equal labels: what is stored for each point is a lower bound on its margin"
    x = blobs(300, 100, dim=8, var=10.0, extent=10.0, random_state=2).points
    if large:
        x = x * 1000
    whole, count = margin._assign, []

    def every_tier(s, c, bias, rows, m):
        speed, order = s.moves.sort(descending=True)
        before = ((s.used * (1 + 2**-22) - s.other) * (1 + 2**-22)).float()
        for columns in (4, 8, 16, 32, 64, 128):
            rest = speed[columns - 1].item() * margin._more
            if m:
                rows, m = margin._tier(s, c, bias, rows, order[: columns - 1], rest, before)
        return rows, m

    def look(s):
        out = whole(s)
        d = torch.cdist(s.x.double(), s.c, **direct)
        own = d.gather(1, s.labels[:, None])
        true = (d.scatter(1, s.labels[:, None], math.inf).amin(1, keepdim=True) - own)[:, 0]
        left, bound = s.due.double() - s.used[s.labels], s.own.double() + s.path[s.labels]
        assert (left <= true + 1e-12).all(), f'{(left - true).max().item()} too much'
        assert (bound >= own[:, 0] * (1 - 1e-6)).all(), 'a point is farther than its bound'
        count.append(1)
        return out

    monkeypatch.setattr(margin, '_assign', look)
    monkeypatch.setattr(margin, '_tiers', every_tier)
    lloyd_margin(x, forgy(x, 300), max_iter=30)
    assert len(count) > 20


def test_tiers_ask_the_search_they_were_given():
    x = blobs(300, 100, dim=8, var=10.0, extent=6.0, random_state=1).points
    asked = []

    def search(p, c, bias, rows, hint):
        asked.append(len(c))
        norms = (p if rows is None else p[rows]).double().norm(dim=1)
        size, most = c.double().norm(dim=1).max(), bias[bias.isfinite()].abs().max()
        err = 2**-20 * (norms * size + most)
        return *margin.nearest_two(p, c, bias, rows, hint), err.float()

    same(x, forgy(x, 300), 25, search=search)
    assert min(asked) < 300 == max(asked)


def test_an_outlier_puts_nobody_else_in_doubt(monkeypatch):
    x = torch.rand(20_000, 16, generator=torch.Generator().manual_seed(0)) * 70 - 35
    x[0] = 1e4
    rows, whole = [], margin._settle
    monkeypatch.setattr(margin, '_settle', lambda s, at: rows.append(len(at)) or whole(s, at))
    same(x, x[:40].clone(), 10)
    assert sum(rows) < 0.01 * 10 * len(x), f'{sum(rows)} points were settled by differences'


@pytest.mark.parametrize('large', [False, True])
def test_a_refill_may_go_anywhere(monkeypatch, large):
    "The error of a score grows with its centroid, also with one that is the mean of nothing"
    if large:
        monkeypatch.setattr(margin, '_is_small', lambda *a: False)
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    far = torch.full((1, 3), 1e6)
    bounds = []
    name = '_slope' if large else '_reach'
    whole = getattr(margin, name)
    monkeypatch.setattr(margin, name, lambda s, size: bounds.append(size) or whole(s, size))

    def refill(x, w, labels, c, sums, counts):
        new = keep_empty(x, w, labels, c, sums, counts)
        new[counts == 0] = 2 * new[counts == 0]
        return new

    r = lloyd_margin(x, torch.cat([x[:4], far]), refill=refill, max_iter=5)
    d = torch.cdist(x.double(), r.centroids.double(), **direct)
    assert torch.equal(d.argmin(1), r.labels) and r.centroids[-1, 0] == 32e6
    assert len(bounds) >= 5 and bounds[4] > 7 * bounds[1], 'the bound did not follow'


def test_labels_given_to_a_callback_stay():
    x = blobs(40, 1000, dim=8, var=10.0, random_state=0).points
    given, copies = [], []

    def keep(i, c, labels):
        given.append(labels)
        copies.append(labels.clone())

    lloyd_margin(x, forgy(x, 40), callback=keep, max_iter=10)
    assert all(torch.equal(a, b) for a, b in zip(given, copies))


def test_work_shrinks():
    x = blobs(40, 1000, dim=8, var=10.0, random_state=0).points
    r = lloyd_margin(x, forgy(x, 40))
    assert r.converged and r.history[-1].n_changed == 0
    assert sum(i.n_searched for i in r.history) < 0.7 * r.n_iter * len(x)


@pytest.mark.parametrize('weighted', [False, True])
def test_equal_rows_are_one_row(weighted):
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 12, (20_000, 3), generator=g).float()
    assert margin._distinct(x) is not None
    w = torch.randint(0, 3, (20_000,), generator=g) if weighted else None
    if not weighted:
        r = same(x, forgy(x, 20), 30)
        assert r.history[0].n_changed == 20_000
    else:
        r = lloyd_margin(x, forgy(x, 20), sample_weight=w)
        again = lloyd_margin(x.repeat_interleave(w, 0), forgy(x, 20))
        assert torch.equal(r.centroids, again.centroids)
        assert r.inertia == pytest.approx(again.inertia, rel=1e-12)
        assert torch.equal(r.labels.repeat_interleave(w), again.labels)


def test_refill_and_callback_see_all_points():
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 9, (10_000, 2), generator=g).float()
    c = torch.cat([forgy(x, 4), torch.full((1, 2), 100.0)])
    seen = []

    def refill(x, w, labels, c, sums, counts):
        seen.append((len(x), len(labels), int((counts == 0).sum())))
        return keep_empty(x, w, labels, c, sums, counts)

    r = lloyd_margin(x, c, refill=refill, callback=lambda i, c, l: len(l) != len(x))
    assert r.n_iter > 1 and seen[0] == (10_000, 10_000, 1)
    assert all(i.n_empty == 1 for i in r.history)


@pytest.mark.parametrize('large', [False, True])
@pytest.mark.parametrize('factor', [1e-300, 1e-20, 1e15, 1e200])
def test_scale_changes_nothing(monkeypatch, large, factor):
    if large:
        monkeypatch.setattr(margin, '_is_small', lambda *a: False)
    power = 2.0 ** round(math.log2(factor))
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = lloyd_margin(x, x[:7]), lloyd_margin(x * power, x[:7] * power)
    assert torch.equal(a.labels, b.labels) and a.n_iter == b.n_iter
    torch.testing.assert_close(b.centroids / power, a.centroids, rtol=1e-12, atol=1e-12)
    assert torch.isfinite(b.centroids).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_stay(dtype):
    x = blobs(20, 2000, dim=4, random_state=0).points.to(dtype)
    r = lloyd_margin(x, forgy(x, 20), max_iter=20)
    assert r.centroids.dtype == dtype and r.labels.dtype == torch.int64
    final = torch.cdist(x.double(), r.centroids.double(), **direct)
    assert torch.equal(final.argmin(1), r.labels)
    assert r.inertia == pytest.approx(final.amin(1).square().sum().item(), rel=1e-9)


@pytest.mark.parametrize('large', [False, True])
def test_tolerance_and_limit(monkeypatch, large):
    if large:
        monkeypatch.setattr(margin, '_is_small', lambda *a: False)
    x = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    c = forgy(x, 9)
    full = lloyd_margin(x, c)
    early = lloyd_margin(x, c, tol=full.history[4].shift)
    assert early.n_iter == 5 and early.converged and early.history[-1].shift > 0
    short = lloyd_margin(x, c, max_iter=3)
    assert short.n_iter == len(short.history) == 3 and not short.converged
    stopped = lloyd_margin(x, c, callback=lambda i, c, l: True)
    assert stopped.n_iter == 1 and not stopped.converged
    for r in (early, short, stopped):
        d = torch.cdist(x, r.centroids, **direct)
        assert torch.equal(d.argmin(1), r.labels)
        assert r.inertia == pytest.approx(d.amin(1).square().sum().item(), rel=1e-12)


def test_history_is_what_a_direct_sum_gives():
    x = blobs(30, 1000, dim=6, var=30.0, random_state=0).points.double()
    c, labels = forgy(x, 30), None
    r = lloyd_margin(x, c, max_iter=12)
    for step in r.history:
        d = torch.cdist(x, c, **direct)
        old, labels = labels, d.argmin(1)
        sums = torch.zeros_like(c).index_add_(0, labels, x)
        new = sums / labels.bincount(minlength=30)[:, None]
        assert step.inertia == pytest.approx(d.amin(1).square().sum().item(), rel=1e-12)
        assert step.shift == pytest.approx((new - c).square().sum().item(), rel=1e-9)
        assert step.n_changed == (len(x) if old is None else int((old != labels).sum()))
        c = new


def test_weights_leave_nothing_in_an_empty_cluster(monkeypatch):
    "Sums that lost all their weighted points are zero, not what rounding left of them"
    monkeypatch.setattr(margin, '_is_small', lambda *a: False)
    x = torch.tensor([[0.0], [1.0], [2.0], [3.0], [10.0], [11.0]], dtype=torch.float64)
    w = torch.tensor([0.1, 0.2, 0.3, 0.7, 0.1, 1.3], dtype=torch.float64)
    s = margin._state(x, w, x[[1, 4]].clone())
    margin._assign(s)
    old = s.labels.clone()
    for rows in ([0], [1, 2, 3]):
        rows = torch.tensor(rows)
        margin._correct(s, rows, old[rows], 1 - old[rows])
    assert s.sums[0].eq(0).all() and s.counts.tolist() == [0, pytest.approx(w.sum().item())]


@pytest.mark.skipif(not hasattr(torch.backends, 'fp32_precision'), reason='an older PyTorch')
@pytest.mark.parametrize('name, bits', [('bf16', 8), ('tf32', 11), ('ieee', 24)])
def test_precision_by_the_newer_names(monkeypatch, name, bits):
    "Once these were used, PyTorch answers questions by the older name with an error"
    x = blobs(20, 1000, dim=16, random_state=0).points
    before = lloyd_margin(x, x[::1000])
    matmul = torch.backends.mkldnn.matmul
    old = matmul.fp32_precision
    try:
        matmul.fp32_precision = name
        assert margin._unit() == 2.0**-bits
        assert torch.equal(lloyd_margin(x, x[::1000]).labels, before.labels)
    finally:
        matmul.fp32_precision = old
    assert margin._unit() == 2.0**-24


def test_inputs_are_not_changed():
    x, c = torch.randn(500, 3), torch.randn(5, 3)
    before = x.clone(), c.clone()
    state = torch.get_rng_state()
    lloyd_margin(x, c)
    assert torch.equal(x, before[0]) and torch.equal(c, before[1])
    assert torch.equal(state, torch.get_rng_state())


def wide(n=1500, d=40, seed=0):
    "Points whose products are cut in pieces, and still a small problem"
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    assert margin._is_small(n, d, 20)
    return x


@pytest.mark.parametrize('name', ['high', 'medium'])
def test_small_problems_never_ask_for_products_of_fewer_bits(monkeypatch, name):
    def narrow(*a, **k):
        raise AssertionError('this product may have fewer bits')

    for f in ('mm', 'addmm', 'matmul'):
        monkeypatch.setattr(torch, f, narrow)
    monkeypatch.setattr(torch.Tensor, '__matmul__', narrow)
    torch.set_float32_matmul_precision(name)
    try:
        same(wide(), forgy(wide(), 20), 30)
    finally:
        torch.set_float32_matmul_precision('highest')


@pytest.mark.parametrize('n, k', [(300, 5), (1500, 20), (1, 1), (7, 7), (3000, 3), (64, 64)])
@pytest.mark.parametrize('d', [1, 2, 40])
@pytest.mark.parametrize('offset', [0, 1e4])
def test_no_score_of_a_small_problem_is_wrong_by_more_than_its_bound(n, k, d, offset):
    x = wide(n, d) + offset
    c = forgy(x, k).double()
    c[0] += 30  # also one that no mean can be
    s = margin._small_state(x, None, c)
    margin._small_scores(s)
    z = x.double() - torch.from_numpy(s.mean)
    b = c - torch.from_numpy(s.mean)
    exact = b @ z.T - b.square().sum(1, keepdim=True) / 2
    assert 2 * (torch.from_numpy(s.scores) - exact).abs().max() <= s.err


def test_products_of_small_problems_are_cut_and_complete():
    for n, k, d in ((1, 1, 1), (16_000, 4, 16), (1500, 20, 40), (65_536, 1, 4), (64, 1, 4096)):
        parts = margin._cut(n, k, d)
        rows = [i for p in parts for i in range(n)[p]]
        assert rows == list(range(n))
        assert all(len(range(n)[p]) * k * d <= 2**18 for p in parts)


@pytest.mark.parametrize('k', [5, 20])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_small_problems_of_any_type(k, dtype):
    x = wide()[: 300 if k == 5 else 1500].to(dtype)
    r = same(x, forgy(x, k), 30)
    assert r.centroids.dtype == dtype and r.labels.dtype == torch.int64


def test_small_problems_with_weights_and_repeated_rows():
    x = wide(200, 4)
    rows = torch.randint(200, (20_000,), generator=torch.Generator().manual_seed(1))
    w = torch.rand(20_000, generator=torch.Generator().manual_seed(2))
    few = lloyd_margin(x[rows], x[:7], sample_weight=w)  # equal rows become one, with the sum
    own = torch.zeros(200, dtype=torch.float64).index_add_(0, rows, w.double())
    one = lloyd_margin(x, x[:7], sample_weight=own)
    assert torch.equal(few.labels, one.labels[rows]) and few.n_iter == one.n_iter
    torch.testing.assert_close(few.centroids, one.centroids)
    assert few.history[0].n_changed == 20_000


def test_threads_stay_as_they_are(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(torch, 'set_num_threads', lambda n: pytest.fail('threads were set'))
    lloyd_margin(wide(), forgy(wide(), 20))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize('product', [margin._addmm, margin._onednn])
def test_either_product_gives_the_same_labels(monkeypatch, product):
    try:
        product(torch.ones(8, 8), torch.ones(8, 8), torch.ones(8), {})
    except (AttributeError, RuntimeError, TypeError):
        pytest.skip('this build has no oneDNN')
    monkeypatch.setattr(margin, '_faster', lambda: product)
    x = blobs(40, 1000, dim=9, var=10.0, random_state=0).points
    same(x, forgy(x, 40), 20)


@pytest.mark.parametrize('cuda, scores', [(False, 2**20), (True, 2**25)])
def test_blocks_have_a_budget(cuda, scores):
    device = SimpleNamespace(is_cuda=cuda)
    for width in (1, 7, 64, 1000, 4096):
        assert margin._step(device, width) * width <= scores


def test_the_faster_product_is_chosen_whatever_the_defaults(monkeypatch):
    "Both are timed in float32, also where float64 is the default"
    asked = []

    def seconds(f, p, c):
        asked.append((f, p.dtype))
        return len(asked)

    monkeypatch.setattr(margin, '_seconds', seconds)
    torch.set_default_dtype(torch.float64)
    try:
        assert margin._faster.__wrapped__() is margin._onednn  # one second against two
    finally:
        torch.set_default_dtype(torch.float32)
    assert asked == [(f, torch.float32) for f in (margin._onednn, margin._addmm)]
