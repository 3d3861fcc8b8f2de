"""What only a GPU can show: its own roundings, its own orders, numbers beyond 32 bits.

Functions without arguments, by asserts alone, so that `python -m benchmarks gpu` runs them on a
machine without pytest; test_gpu.py hands them to pytest. The most telling come first. Where there
is no GPU they are tiny, and Triton's interpreter runs them. Each combination of format, shape and
dtype is a kernel of its own, which takes a second to compile: so not all are combined."""
from dataclasses import replace
from unittest import mock
import torch

from clusterlearn import k_means
from clusterlearn.kmeans.engines.launch import FORMATS, missing_for
from clusterlearn.kmeans.engines import fused, triton_certificate
from clusterlearn.kmeans.engines.triton_certificate import Bounds, CertifiedSearch, settle
from clusterlearn.kmeans.engines.triton_search import fused_two
from clusterlearn.kmeans.engines.triton_sums import atomic_sums, sorted_sums
from clusterlearn.kmeans.protocol import make_problem

on_gpu = torch.cuda.is_available()
device = 'cuda' if on_gpu else 'cpu'
close, forms = torch.testing.assert_close, list(FORMATS)

def sized(large, tiny): return large if on_gpu else tiny

def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)

def ranked(x, centroids):
    "c, bias and shift as the engine hands them to a search"
    mean = x.double().mean(0).to(torch.promote_types(x.dtype, torch.float32))
    c = centroids.double() - mean
    return c.float(), -(c.square().sum(1) / 2).float(), mean

def check(x, c, bias, shift, rows=None, **options):
    "Errors are below the bound, proven labels right; returns the proven share"
    found = fused_two(x, c, bias, rows, shift=shift, **options)
    proven = found[1] - found[2] > 2 * found[3]
    rows = torch.arange(len(x), device=x.device) if rows is None else rows
    for at in torch.arange(len(rows), device=x.device).split(2**14):
        labels, best, second, err = (v[at] for v in found)
        score = (x[rows[at]].double() - shift) @ c.double().T + bias.double()
        top = torch.cat([score, torch.full_like(score[:, :1], -torch.inf)], 1).topk(2)
        assert ((best - top.values[:, 0]).abs() <= err).all()
        if len(c) > 1: assert ((second - top.values[:, 1]).abs() <= err).all()
        assert (labels == top.indices[:, 0])[proven[at]].all()
    return proven.double().mean().item()

def certified(x, centroids, form):
    "Labels are those of products in float64, margins never too large; the share that looks prove"
    problem, left = make_problem(x), []
    def watched(*args):
        left.append(settle(*args))
        return left[-1]
    labels = torch.empty(len(x), dtype=torch.int64, device=device)
    bounds = Bounds(problem.mean.new_empty(len(x)), problem.mean.new_zeros(len(centroids)))
    with mock.patch.object(triton_certificate, 'settle', watched):
        CertifiedSearch(problem, form)(centroids, labels, bounds=bounds)
    c = centroids - problem.mean
    for at in torch.arange(len(x), device=device).split(2**14):
        p = x[at].double() - problem.mean
        d2 = p.square().sum(1, keepdim=True) + c.square().sum(1) - 2 * p @ c.T
        two = d2.topk(2, largest=False)
        assert torch.equal(labels[at], two.indices[:, 0])
        own, other = two.values.clamp(min=0).sqrt().unbind(1)
        assert (bounds.used_up_at[at] <= (other - own) * (1 + 1e-9) + 1e-9).all()
        assert bounds.used_up_at[at].sum() > .5 * (other - own).sum()
    return 1 - len(left[-1]) / len(x)

def test_the_kernels_run_here(): assert missing_for(torch.empty(0, device=device)) == ''

def test_large():
    n, k = sized((300_000, 4096), (300, 70))
    x = normal(n, 128)
    for form in FORMATS:
        share = certified(x, x[:k].double() + .01, form)
        assert share > .99, (form, share)
        share = check(x, *ranked(x, x[:k]), precision=form)
        assert share > (.6 if form == 'bf16' else .8), (form, share)

def test_tensor_cores_stay_below_the_bound():
    "The adversary: a one, then products that lose nearly all they have when they are cut off"
    for d in (64, sized(1024, 100)):
        x, c = torch.ones(2, 64, d, device=device)
        x[:, 1:], c[:, 1:] = 2**-11, 2**-12 * (1 - 2**-11)
        zero = torch.zeros(d, device=device)
        for form in FORMATS: check(x, c[:1].contiguous(), zero[:1], zero, precision=form)

def test_random_products_stay_below_the_bound():
    "Many signs and sizes: terms from a millionth of the sum to all of it"
    x = normal(sized(20_000, 100), 256) * torch.logspace(-3, 3, 256, device=device)
    for form in FORMATS: check(x, *ranked(x, x[:64]), precision=form)

def test_labels_are_the_processors():
    n, k = sized((20_000, 67), (150, 9))
    for dtype in (torch.float32, *sized((torch.float16, torch.bfloat16, torch.float64), ())):
        x = normal(n, 17).to(dtype)
        options = dict(init=x[:k].cpu(), tol=0, empty='keep', max_iter=sized(50, 4))
        want = k_means(x.cpu(), k, engine='tensor', **options)
        for weights in (None, torch.ones(n)):
            r = k_means(x, k, engine='fused', sample_weight=weights, **options)
            assert r.engine == 'fused' and r.labels.device.type == device
            assert torch.equal(r.labels.cpu(), want.labels)
            assert abs(r.inertia / want.inertia - 1) < 1e-9

def test_bounds_change_no_label():
    "The engine keeps them where a search is costly; here once with and once without"
    n, options, runs = sized(200_000, 200), dict(tol=0, max_iter=sized(40, 4), engine='fused'), []
    x = normal(n, 32) + 2 * normal(20, 32, seed=1)[torch.arange(n, device=device) % 20]
    for pay in (0, 2**60):
        with mock.patch.object(fused, 'BOUNDS_PAY', pay):
            runs.append(k_means(x, 12, init=x[:12], **options))
    assert torch.equal(runs[0].labels, runs[1].labels) and runs[0].n_iter == runs[1].n_iter
    few, all_ = (sum(i.n_searched for i in r.history) for r in runs)
    assert few < .9 * all_, (few, all_)

def test_deterministic_runs_have_the_same_bits():
    n, k = sized((50_000, 200), (60, 4))
    x, w = normal(n, 20), normal(n, seed=3).abs()
    for engine, weights in (('fused', None), ('fused', w), ('tensor', None), ('tensor', w)):
        once, again = (k_means(x, k, init=x[:k], tol=0, max_iter=sized(20, 3), engine=engine,
                               sample_weight=weights, deterministic=True) for _ in range(2))
        assert torch.equal(once.centroids, again.centroids) and once.history == again.history

def test_sums():
    n = sized(100_000, 200)
    x, w, labels = normal(n, 33), normal(n, seed=1).abs(), torch.arange(n, device=device) % 97 % 11
    member = torch.nn.functional.one_hot(labels, 13).double()
    for weights in (None, w):
        m = member if weights is None else member * w.double()[:, None]
        for f in (sorted_sums, atomic_sums):
            sums, counts = f(x, labels, 13, weights)
            close(sums, m.T @ x.double(), rtol=1e-9, atol=1e-9)
            close(counts, m.sum(0), rtol=1e-9, atol=1e-9)
        once, again = (sorted_sums(x, labels, 13, weights) for _ in range(2))
        assert torch.equal(once[0], again[0]) and torch.equal(once[1], again[1])

def test_a_search_holds_for_centroids_in_float64():
    for offset in (0, 1e4):
        x = normal(sized(50_000, 200), 24) + offset
        for form in FORMATS: certified(x, x[:100].double() + .01, form)

def test_more_numbers_than_32_bits_count():
    n = sized(2**25, 2000)                                           # on a GPU 2.7 billion numbers
    x = torch.zeros(n, 80, dtype=torch.float16, device=device)
    x[-1000:] = normal(1000, 80).half()
    c, bias, shift = ranked(x[-1000:], x[-50:])
    rows = torch.arange(n - 1000, n, device=device)
    check(x, c, bias, shift, rows, precision='fp16')
    whole, part = (fused_two(x, c, bias, r, precision='fp16', shift=shift) for r in (None, rows))
    assert torch.equal(whole[0][-1000:], part[0])
    labels = (torch.arange(n, device=device) >= n - 1000).long()
    for f in (sorted_sums, atomic_sums): close(f(x, labels, 2)[0][1], x[-1000:].double().sum(0))
    search = CertifiedSearch(make_problem(x[-1000:]), 'fp16')
    search.problem = replace(search.problem, points=x, squares=x.new_zeros(n).float())
    search.problem.squares[-1000:] = (x[-1000:].double() - search.problem.mean).square().sum(1)
    search(x[-50:].double(), labels, rows)
    d2 = torch.cdist(x[-1000:].double(), x[-50:].double())
    assert torch.equal(labels[-1000:], d2.argmin(1)) and not labels[:-1000].any()

def test_fast_is_near():
    n, k = sized((50_000, 100), (150, 7))
    x = normal(n, 20)
    fast, exact = (k_means(x, k, init=x[:k], tol=0, engine='fused', precision=p)
                   for p in ('fast', 'exact'))
    assert fast.inertia < 1.05 * exact.inertia

def test_any_shape():
    "Each with tiles of its own: whole rows, rows in chunks, one column, groups of four and eight"
    shapes = [(300, 1, 5), (1000, 2, 300), (500, 17, 1), (700, 64, 64)]
    shapes += sized([(9999, 200, 1000), (3000, 257, 90), (500, 1537, 333), (4000, 32, 5000)],
                    [(60, 257, 20)])
    for i, (n, d, k) in enumerate(shapes):
        x = 3 * normal(n, d) + 1
        for form in {'fp16', forms[i % 4]}: check(x, *ranked(x, x[:k]), precision=form)

def test_any_dtype_and_stride():
    for i, dtype in enumerate([torch.float16, torch.bfloat16, torch.float32, torch.float64]):
        x = (normal(40, 300).T + 2).to(dtype)
        rows = torch.randperm(300, generator=torch.Generator().manual_seed(1))[:77].to(device)
        for form in {'fp16', forms[i]}: check(x, *ranked(x, x[:33]), rows, precision=form)
