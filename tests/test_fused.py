"""The kernels of `kmeans.fused`: bounds that hold, ties, hard inputs, sums, the compiler, no GPU.

Without a GPU Triton's interpreter runs them (conftest.py switches it on)."""
import os, subprocess, sys
from unittest import mock
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close
from clusterlearn.data import blobs, uniform

if sys.platform != 'linux':
    pytest.skip('Triton has releases for Linux only', allow_module_level=True)

pytest.importorskip('triton')
import triton.language as tl
from clusterlearn.kmeans import fused
from clusterlearn.kmeans.fused import (atomic_sums, certified_two, fused_search, fused_two,
    lloyd_fused, sorted_sums, tile_sizes)
from clusterlearn.kmeans.margin import lloyd_margin

on_gpu = torch.cuda.is_available()
device = 'cuda' if on_gpu else 'cpu'
needs_gpu = pytest.mark.skipif(not on_gpu, reason='needs a GPU')
forms = ['ieee', 'tf32', 'bf16', 'fp16']
seeds = st.integers(0, 2**31 - 1)

def ranks(x, centroids):
    "c and bias as the engine hands them to a search"
    mean = x.double().mean(0)
    c = centroids.double() - mean
    return c.float(), -(c.square().sum(1) / 2 + c @ mean).float()

def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)

def check(x, c, bias, search=fused_two, **options):
    "Errors are below the bound, proven labels right; returns the used and the proven share"
    rows = options.get('rows')
    labels, best, second, err = search(x, c, bias, **options)
    points = (x if rows is None else x[rows]).double()
    score = points @ c.double().T + bias.double()
    top = torch.cat([score, torch.full_like(score[:, :1], -torch.inf)], 1).topk(2).values
    assert labels.dtype == torch.int64 and labels.shape == (len(points),)
    assert ((0 <= labels) & (labels < len(c))).all()
    assert not best.isnan().any() and not second.isnan().any() and not err.isnan().any()
    error = (best - top[:, 0]).abs()
    if len(c) > 1: error = torch.maximum(error, (second - top[:, 1]).abs())
    else: assert (second[err.isfinite()] == -torch.inf).all()
    assert (error <= err).all()
    proven = best - second > 2 * err
    assert (score[proven].argmax(1) == labels[proven]).all()
    return (error / err).max().item(), proven.double().mean().item()

#  The bound

@settings(max_examples=60, deadline=None)
@given(seed=seeds, n=st.integers(1, 140), d=st.integers(1, 150), k=st.integers(1, 140),
       form=st.sampled_from(forms), offset=st.sampled_from([0., 1., 300.]), moved=st.booleans(),
       dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_errors_stay_below_the_bound(seed, n, d, k, form, offset, moved, dtype):
    x = (3 * normal(n, d, seed=seed) + offset).to(dtype)
    c, bias = ranks(x, x[torch.arange(k) % n].double() + .1 * normal(k, d, seed=seed + 1).double())
    check(x, c, bias, precision=form, shift=x.double().mean(0) if moved else None)

@pytest.mark.parametrize('form, digits', [('tf32', 11), ('fp16', 11), ('bf16', 8)])
@pytest.mark.parametrize('d', [1, 64, 200])
def test_the_bound_is_nearly_reached(form, digits, d):
    "All coordinates rounded the same way, nearly by the full unit"
    x = torch.full((20, d), 1 + .999 * 2. ** -digits, device=device)
    used, _ = check(x, x[:1].clone(), torch.zeros(1, device=device), precision=form)
    assert .8 < used <= 1

@pytest.mark.parametrize('form', forms)
def test_alternating_signs_and_cancelling_sums(form):
    x = normal(100, 64) * torch.tensor([1e4, -1e-4], device=device).repeat(32)
    x[:, 1::2] -= x[:, ::2]
    c = torch.ones(70, 64, device=device) + 1e-3 * normal(70, 64, seed=1)
    check(x, c, torch.zeros(70, device=device), precision=form)

@pytest.mark.parametrize('form', forms)
@pytest.mark.parametrize('factor', [1e-30, 1e-19, 1e-8, 1e8, 1e17, 3e18])
def test_any_scale_is_safe(form, factor):
    x = factor * normal(80, 12)
    c, bias = ranks(x, x[:20])
    check(x, c, bias, precision=form)

@pytest.mark.parametrize('form', forms)
def test_the_engines_rounding_far_away(form):
    "The bound holds for the centroids in float64, too, of which `c` is the rounded one"
    pair = torch.tensor([[1 + .49 * 2. ** -23, -1 + .49 * 2. ** -24]], dtype=torch.float64)
    exact, x = pair.repeat(1, 32), torch.full((5, 64), 1e4)
    assert (exact.float().double() - exact).abs().min() > 0 and exact.float().sum() == 0
    at, c, bias = x.to(device), exact.float().to(device), torch.zeros(1, device=device)
    _, best, _, err = fused_two(at, c, bias, precision=form, shift=at[0])
    used = ((best.cpu().double() - x.double() @ exact[0]).abs() / err.cpu()).max()
    assert .5 < used <= 1

@fused._jit
def bound_kernel(facts, out, d, FORM: tl.constexpr):
    per_lost, per_kept, rest, limit = fused._bound(facts, d, FORM)
    tl.store(out, per_lost)
    tl.store(out + 1, per_kept)
    tl.store(out + 2, rest)
    tl.store(out + 3, limit)

@pytest.mark.parametrize('form', forms)
@pytest.mark.parametrize('d', [1, 16, 130, 100_000, 5_000_000])
def test_the_bound_is_the_chapters_formula(form, d):
    "From norms in float64: no smaller, and hardly larger"
    facts = 3., 2.9, .01, 7., 5., 6.
    whole, short, lost, away, largest, most = torch.tensor(facts).double().tolist()
    u, terms = 2. ** -24, -(-d // 16) * 16 * (1 if form == 'ieee' else 4)
    gamma = terms * u / (1 - terms * u) if terms * u < 1 else torch.inf
    want = torch.tensor([whole * (1 + 2 * u),
                         lost + gamma * short + u * (2 * whole + short * (1 + gamma)),
                         u * (2 * most + largest + away * whole),
                         1e37 / (whole + short + 1)], dtype=torch.float64)
    got = torch.empty(4, device=device)
    bound_kernel[(1,)](torch.tensor(facts, device=device), got, d, FORM=form)
    more, slack = got.cpu().double() / want, (d + 64) * u
    if gamma == torch.inf: more[1] = 1 + slack if got[1].isinf() else 0
    assert (more[:3] >= 1 + slack).all() and (more[:3] <= 1 + 8 * slack).all(), more
    assert .999 < more[3] < 1.001

@pytest.mark.parametrize('form', forms)
@pytest.mark.parametrize('power', range(112, 130, 2))
def test_scores_whose_scale_vanishes(form, power):
    "The two powers of two of fp16, multiplied, may be too small for float32"
    for part in (20, 60):
        x = torch.full((3, 64), 1.9 * 2. ** -part, device=device)
        c = torch.full((2, 64), 1.9 * 2. ** (part - power), device=device)
        c[1] *= -1
        check(x, c, torch.zeros(2, device=device), precision=form)

@pytest.mark.parametrize('form', forms)
@pytest.mark.parametrize('factor', [1e-6, 1e6])
def test_scales_beyond_fp16_are_proven(form, factor):
    x = factor * normal(80, 12)
    assert check(x, *ranks(x, x[:20]), precision=form)[1] > .8

@pytest.mark.parametrize('form', forms)
def test_points_whose_squares_vanish(form):
    c, bias = 1e20 * normal(30, 5), torch.zeros(30, device=device)
    check(1e-23 * normal(60, 5), c, bias, precision=form)

@pytest.mark.parametrize('form', forms)
def test_points_are_rounded_to_nearest(form):
    x = normal(100, 1)
    one, zero = torch.ones(1, 1, device=device), torch.zeros(1, device=device)
    rounded = fused_two(x, one, zero, precision=form)[1]
    ours = fused._narrowed(x, form).float()[:, 0]
    unit = {'ieee': 2**-24, 'bf16': 2**-8}.get(form, 2**-11)
    assert_close(rounded, ours, rtol=0, atol=1e-7 if form == 'fp16' else 0)
    assert ((rounded - x[:, 0]).abs() <= unit * x[:, 0].abs()).all()

@pytest.mark.filterwarnings('ignore:.*encountered in:RuntimeWarning', 'ignore:All-NaN')
@pytest.mark.parametrize('form', forms)
def test_nothing_is_claimed_where_a_score_overflows(form):
    x = torch.cat([normal(20, 4), 1e30 * normal(20, 4)])
    c = torch.cat([normal(5, 4), 1e25 * normal(5, 4)])
    labels, best, second, err = fused_two(x, c, torch.zeros(10, device=device), precision=form)
    assert err[20:].isinf().all() and best.isfinite().all()
    far = torch.cat([1e15 * normal(20, 4).abs(), -1e15 * normal(20, 4).abs()])   # finite norms
    c = torch.cat([1e25 * normal(5, 4).abs(), -1e25 * normal(5, 4).abs()])
    assert fused_two(far, c, torch.zeros(10, device=device), precision=form)[3].isinf().all()
    near = far / 1000                                             # so near that nothing is claimed
    assert fused_two(near, c, torch.zeros(10, device=device), precision=form)[3].isinf().all()
    bias = torch.tensor([-1e38, 0.], device=device)
    assert fused_two(x, c[:2], bias, precision=form)[3].isinf().all()

@pytest.mark.parametrize('form', forms)
def test_a_bias_of_minus_infinity_never_wins(form):
    x = normal(90, 5)
    c, bias = ranks(x, x[:20])
    bias[::2] = -torch.inf
    labels, best, second, err = fused_two(x, c, bias, precision=form)
    odd = fused_two(x, c[1::2].contiguous(), bias[1::2].contiguous(), precision=form)
    assert (labels % 2 == 1).all() and err.isfinite().all() and second.isfinite().all()
    assert (best - odd[1]).abs().max() < 1e-2 and (best - second > 2 * err).double().mean() > .5

def test_fp16_norms_beyond_its_range():
    x = 200 * normal(150, 128)                                  # squared norms of five million
    c, bias = ranks(x, x[:40])
    assert x.square().sum(1).min() > 65504
    used, proven = check(x, c, bias, precision='fp16')
    assert used < 1 and proven > .95
    again = fused_two(x.half(), c, bias, precision='fp16')            # stored in fp16: still finite
    assert all(v.isfinite().all() for v in again)

def test_points_stored_in_fp16_lose_nothing():
    x = normal(200, 32).half()
    c, bias = ranks(x, x[:50].double())
    stored = fused_two(x, c, bias, precision='fp16')[3]
    assert (stored < .7 * fused_two(x, c, bias, precision='tf32', shift=x.mean(0).float())[3]).all()

#  Shapes

@pytest.mark.parametrize('form', forms)
@pytest.mark.parametrize('d, k', [(1, 1), (1, 300), (3, 17), (17, 2), (50, 129), (129, 33),
                                  (257, 20), (1537, 5)])
def test_any_d_and_k(form, d, k):
    x = normal(131, d) + 2
    c, bias = ranks(x, x[torch.arange(k) % 131].double() + normal(k, d, seed=5).double())
    check(x, c, bias, precision=form)

@pytest.mark.parametrize('form', forms)
def test_rows(form):
    x = normal(300, 20)
    c, bias = ranks(x, x[:33])
    whole = fused_two(x, c, bias, precision=form)
    rows = torch.randint(300, (137,), generator=torch.Generator().manual_seed(2)).to(device)
    check(x, c, bias, rows=rows, precision=form)
    part = fused_two(x, c, bias, rows, torch.zeros_like(rows), precision=form)
    assert torch.equal(part[0], whole[0][rows])
    for one, other in zip(part[1:], whole[1:]): assert_close(one, other[rows])
    none = fused_two(x, c, bias, rows[:0], precision=form)
    assert [v.shape for v in none] == [(0,)] * 4

def test_strides_and_views():
    base = normal(90, 400)
    for x in (base.T, base[:, ::3], base[5:80, 7:50], base[:, :1].expand(90, 40)):
        c, bias = ranks(x, x[:20])
        check(x, c, bias, rows=torch.arange(3, len(x), 2, device=device))

@pytest.mark.parametrize('form', forms)
def test_ties_go_to_the_lower_index(form):
    x = (3 * normal(100, 7)).round()                                  # integers: nothing is rounded
    c = x[:9].repeat(30, 1)
    bias = -c.square().sum(1) / 2
    labels, best, second, err = fused_two(x, c, bias, precision=form)
    assert (labels < 9).all() and torch.equal(best, second)
    zero = fused_two(x, torch.zeros_like(c), torch.zeros_like(bias), precision=form)
    assert (zero[0] == 0).all() and (zero[1] == 0).all()

@pytest.mark.parametrize('tiles', [dict(BN=16, BK=16, BD=16), dict(BN=32, BK=128, BD=32)])
def test_tiles_of_any_size_agree(tiles):
    x = normal(100, 45)
    c, bias = ranks(x, x[:37])
    mine = fused_two(x, c, bias, tiles=tiles | dict(num_warps=4, num_stages=2))
    for one, other in zip(mine, fused_two(x, c, bias)): assert_close(one, other)

def test_inputs_are_not_changed():
    x = normal(50, 6)
    c, bias = ranks(x, x[:9])
    kept = [v.clone() for v in (x, c, bias)]
    for form in forms: certified_two(x, c, bias, precision=form)
    assert all(torch.equal(a, b) for a, b in zip(kept, (x, c, bias)))

@pytest.mark.parametrize('change, says', [
    (dict(precision='half'), "precision='half': known are ieee"),
    (dict(x=torch.ones(5, 3, dtype=torch.int64)), 'x is torch.int64'),
    (dict(x=torch.ones(5)), 'x is torch.float32 of shape (5,)'),
    (dict(c=torch.ones(4, 2)), 'c is torch.float32 of shape (4, 2)'),
    (dict(c=torch.ones(0, 3)), 'k at least 1'),
    (dict(c=torch.ones(4, 3).double()), 'c is torch.float64'),
    (dict(bias=torch.ones(3)), 'bias is torch.float32 of shape (3,)'),
    (dict(rows=torch.ones(3)), 'rows is torch.float32')])
def test_bad_input_is_refused(change, says):
    good = dict(x=torch.ones(5, 3), c=torch.ones(4, 3), bias=torch.ones(4), rows=None) | change
    with pytest.raises(ValueError) as e: fused_two(**good)
    assert says in str(e.value)

#  The certificate

@pytest.mark.parametrize('form', ['tf32', 'bf16', 'fp16'])
def test_what_is_left_is_looked_at_again(form):
    x = uniform(500, 16, random_state=0).to(device) + 5
    c, bias = ranks(x, x[:100])
    _, low = check(x, c, bias, precision=form)
    _, both = check(x, c, bias, search=certified_two, precision=form)
    _, ieee = check(x, c, bias)
    assert low < both == ieee
    rows = torch.arange(490, 10, -3, device=device)
    check(x, c, bias, search=certified_two, rows=rows, precision=form)

def test_search_notices_other_points():
    search, x = fused_search('fp16', fused_two), normal(100, 6)
    for y in (x, 1e6 * x + 1e7, x):
        c, bias = ranks(y, y[:9])
        assert check(y, c, bias, search=lambda *args: search(*args))[1] > .8

@pytest.mark.parametrize('offset', [0., 1e4])
def test_search_shifts_far_data(offset):
    x = uniform(400, 8, random_state=0).to(device) - .5 + offset
    c, bias = ranks(x, x[:30])
    where = fused._whereabouts(x, 'fp16')
    assert (where['shift'] is None) == (offset == 0)
    _, proven = check(x, c, bias, precision='fp16', **where)
    found = fused_search('fp16', fused_two)(x, c, bias)
    assert (found[1] - found[2] > 2 * found[3]).double().mean() == proven
    _, plain = check(x, c, bias, precision='fp16')
    assert proven > .9 and (plain < .1 if offset else plain == proven)

#  Sums

@settings(max_examples=15, deadline=None)
@given(seed=seeds, n=st.integers(0, 300), d=st.integers(1, 140), k=st.integers(1, 40),
       piece=st.sampled_from([1, 7, 64, 1024]), weighted=st.booleans(), skew=st.booleans())
def test_sums_are_the_direct_ones(seed, n, d, k, piece, weighted, skew):
    g = torch.Generator().manual_seed(seed)
    x, labels = normal(n, d, seed=seed) + 50, torch.randint(k, (n,), generator=g).to(device)
    if skew: labels = labels * (torch.rand(n, generator=g) < .1).to(device)
    w = torch.rand(n, generator=g).to(device) if weighted else None
    full = torch.ones(n, device=device).double() if w is None else w.double()
    member = torch.nn.functional.one_hot(labels, k).double() * full[:, None]
    for sums, counts in (sorted_sums(x, labels, k, w, piece=piece), atomic_sums(x, labels, k, w)):
        assert_close(sums, member.T @ x.double(), rtol=1e-12, atol=1e-12)
        assert_close(counts, member.sum(0), rtol=1e-12, atol=1e-12)

def test_sorted_sums_do_not_depend_on_who_comes_first():
    x, w = 1e3 * normal(2000, 33), normal(2000, seed=1).abs()
    labels = (normal(2000, seed=2) * 3).long().clamp(0, 5)
    order = labels.argsort(stable=True)
    begins, ends, _, _ = fused._pieces(torch.bincount(labels, minlength=7), 100)
    parts = fused._slice_sums(x, w, order, begins, ends)
    mixed = torch.randperm(len(begins), generator=torch.Generator().manual_seed(3)).to(device)
    assert len(parts) > 20
    assert torch.equal(fused._slice_sums(x, w, order, begins[mixed], ends[mixed]), parts[mixed])
    once, again = (sorted_sums(x, labels, 7, w, piece=100) for _ in range(2))
    assert torch.equal(once[0], again[0]) and torch.equal(once[1], again[1])

def test_sums_refuse_bad_labels():
    x = normal(4, 2)
    for labels, says in ((torch.tensor([0, 1, 2, 3]), 'labels go from 0 to 3'),
                         (torch.tensor([0, -1, 2, 1]), 'labels go from -1'),
                         (torch.tensor([0, 1]), 'labels is torch.int64 of shape (2,)')):
        for f in (sorted_sums, atomic_sums):
            with pytest.raises(ValueError) as e: f(x, labels.to(device), 3)
            assert says in str(e.value)
    with pytest.raises(ValueError, match='weights has shape'):
        sorted_sums(x, torch.zeros(4, dtype=torch.int64, device=device), 1, torch.ones(3))

#  Lloyd's iteration

@pytest.mark.parametrize('form', ['exact', 'ieee', 'tf32', 'bf16'])
@pytest.mark.parametrize('name', ['blobs', 'noise', 'far', 'equal', 'float64'])
def test_lloyd_fused_is_lloyd_margin(form, name):
    x = {'blobs': lambda: blobs(8, 40, 5, random_state=0).points,
         'noise': lambda: uniform(300, 12, random_state=1),
         'far': lambda: uniform(300, 3, random_state=2) + 1e4,
         'equal': lambda: uniform(30, 3, random_state=3).repeat(8, 1),
         'float64': lambda: uniform(300, 4, random_state=4).double()}[name]().to(device)
    w = normal(len(x), seed=9).abs().double()
    for weights in (None, w):
        plain = lloyd_margin(x, x[:8], sample_weight=weights)
        mine = lloyd_fused(x, x[:8], sample_weight=weights, precision=form)
        assert torch.equal(mine.labels, plain.labels)
        assert_close(mine.centroids, plain.centroids, rtol=1e-6, atol=0)
        assert (mine.n_iter, mine.converged) == (plain.n_iter, plain.converged)
        assert_close(mine.inertia, plain.inertia, rtol=1e-9, atol=0)

@pytest.mark.filterwarnings('ignore:.*encountered in:RuntimeWarning')
def test_fast_is_near():
    x = uniform(400, 6, random_state=0).to(device)
    fast, plain = lloyd_fused(x, x[:9], precision='fast'), lloyd_margin(x, x[:9])
    assert abs(fast.inertia / plain.inertia - 1) < .02 and fast.centroids.dtype == x.dtype
    search = fused._uncertified(fused_search('bf16', fused_two))
    err = search(torch.cat([x, 1e30 * x[:1]]), *ranks(x, x[:9]))[3]
    assert (err[:-1] == 0).all() and err[-1].isinf()                  # what overflows is no answer

def test_deterministic_mode():
    x = uniform(300, 4, random_state=0).to(device)
    called, add = [], fused._add_in_order
    with mock.patch.object(fused, '_add_in_order', lambda *a: called.append(1) or add(*a)):
        once, again = (lloyd_fused(x, x[:5], deterministic=True) for _ in range(2))
    assert len(called) > 4
    assert torch.equal(once.centroids, again.centroids) and torch.equal(once.labels, again.labels)
    assert torch.equal(once.labels, lloyd_margin(x, x[:5]).labels)

def test_callback_stops_and_precision_is_checked():
    x = uniform(200, 4, random_state=0).to(device)
    r = lloyd_fused(x, x[:5], callback=lambda iteration, centroids, labels: True)
    assert r.n_iter == 1
    with pytest.raises(ValueError, match="precision='double'"):
        lloyd_fused(x, x[:5], precision='double')

#  Without Triton, without a GPU

def python(code, **env):
    env = {a: b for a, b in os.environ.items() if a != 'TRITON_INTERPRET'} | env
    ran = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    assert not ran.returncode, ran.stderr[-3000:]
    return ran.stdout

alone = '''
import sys
{block}
import torch
from clusterlearn.kmeans.fused import fused_two, has_fused, lloyd_fused
from clusterlearn.kmeans.margin import lloyd_margin
x = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
assert not has_fused(x)
a, b = lloyd_fused(x, x[:5], deterministic=True), lloyd_margin(x, x[:5])
assert torch.equal(a.labels, b.labels) and torch.equal(a.centroids, b.centroids)
try: fused_two(x, x[:5], x[:5, 0])
except ValueError as e: print(e)
'''

@pytest.mark.parametrize('block', ['sys.modules["triton"] = None', ''])
def test_plain_where_there_is_no_triton_or_no_gpu(block):
    said = python(alone.format(block=block))
    assert 'x is on cpu: a GPU and Triton are needed' in said and 'lloyd_margin' in said

def test_the_package_does_not_import_triton():
    code = 'import sys, clusterlearn; assert "triton" not in sys.modules; print("light")'
    assert 'light' in python(code)

#  The compiler

def test_tile_sizes_fit():
    for d in (1, 2, 16, 31, 64, 100, 128, 200, 256, 257, 1537, 20_000):
        for form in forms:
            for shared in (227, 163, 99, 64):
                t = tile_sizes(d, form, shared * 1024)
                assert all(v & (v - 1) == 0 for n, v in t.items() if n != 'num_stages')
                assert min(t['BN'], t['BK'], t['BD']) >= 16 and 1 <= t['num_stages'] <= 3
                size = 2 if form in ('fp16', 'bf16') else 4
                assert t['BK'] * t['BD'] * size * t['num_stages'] <= shared * 1024

compiled = '''
import json
from clusterlearn.kmeans.fused import _compile
out = []
dtypes = {"ieee": "fp32", "tf32": "fp32", "bf16": "bf16", "fp16": "fp32"}
for capability, limit, d, forms in ((80, 163, 128, "ieee tf32 fp16"), (89, 99, 256, "tf32 fp16"),
                                    (90, 227, 1, "fp16"), (90, 227, 128, "ieee tf32 bf16"),
                                    (90, 227, 1537, "tf32 fp16")):
    for form in forms.split():
        k = _compile(d, form, capability, rows=d > 100, dtype=dtypes[form])
        out.append((capability, d, form, k.metadata.shared, limit * 1024,
                    sum(k.asm["ptx"].count(i) for i in ("wgmma.mma_async", "mma.sync"))))
print(json.dumps(out))'''

def test_kernels_compile_for_gpus_that_are_not_here(tmp_path):
    import json
    found = json.loads(python(compiled, TRITON_CACHE_DIR=str(tmp_path)))
    assert len(found) == 11
    for capability, d, form, shared, limit, on_tensor_cores in found:
        assert shared <= limit, (capability, d, form)
        assert (on_tensor_cores > 0) == (form != 'ieee'), (capability, d, form)

sums_compiled = '''
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from clusterlearn.kmeans import fused
integers = dict(_slice_kernel="order begins ends", _atomic_kernel="labels")
for name, ints in integers.items():
    kernel = getattr(fused, name)
    known = dict(WEIGHTED=True, BN=16, BD=128)
    kinds = {a: "constexpr" if a in known else "*i64" if a in ints.split() else
             "*fp64" if a in ("out", "sums") else "*fp32" if a in ("x", "weights") else "i32"
             for a in kernel.arg_names}
    at = {(kernel.arg_names.index(a),): v for a, v in known.items()}
    source = ASTSource(kernel, kinds, at, {})
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    print(made.asm["ptx"].count("atom.") + made.asm["ptx"].count("red."))'''

ones_compiled = '''
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from clusterlearn.kmeans import fused
others = dict.fromkeys("n k d step_n step_d step_k width".split(), "i32")
others |= dict(scale="fp32", back="fp32")
def compiles(kernel, kinds, **known):
    names = kernel.arg_names
    def kind(a): return "constexpr" if a in known else kinds.get(a) or others.get(a, "*fp32")
    at = {(names.index(a),): v for a, v in known.items()}
    source = ASTSource(kernel, {a: kind(a) for a in names}, at, {})
    triton.compile(source, target=GPUTarget("cuda", 90, 32))
ones = dict(d=1, step_d=1)                                  # Triton makes constants of them
kinds = dict(rows="*i64", places="*i64", labels="*i64", c="*fp16", x="*fp64", shift="*fp64")
compiles(fused._two_kernel, kinds, **ones, step_n=1, FORM="fp16", ROWS=True, PLACES=True,
         SHIFT=True, WHOLE=True, BY_HAND=False, GROUP=4, BN=128, BK=128, BD=16, BT=16)
for form, kind in ("fp16", "*fp16"), ("bf16", "*bf16"), ("tf32", "*fp32"):
    for known in ones, {}:
        compiles(fused._centroid_kernel, dict(narrow_out=kind, shift="*fp64"), **known, FORM=form,
                 SHIFT=True, GROUP=4, TILE=128, BK=16, BD=16)
varying = {k: {p.name for p in k.params if p.do_not_specialize}
           for k in (fused._two_kernel, fused._centroid_kernel, fused._atomic_kernel)}
print(*varying.values())'''

def test_ones_compile_and_so_do_centroids(tmp_path):
    "What varies in a run of `k_means` has no code of its own"
    said = python(ones_compiled, TRITON_CACHE_DIR=str(tmp_path))
    assert said in ("{'n', 'k'} {'k'} {'n'}\n", "{'k', 'n'} {'k'} {'n'}\n")

def test_sums_compile_and_only_one_has_atomics(tmp_path):
    in_order, atomic = map(int, python(sums_compiled, TRITON_CACHE_DIR=str(tmp_path)).split())
    assert in_order == 0 and atomic > 0

#  The benchmark

def test_benchmark_refuses_without_a_gpu():
    if on_gpu: pytest.skip('there is a GPU')
    from benchmarks.fused import run
    with pytest.raises(SystemExit, match='needs a GPU'): next(run(True))

def test_benchmark_runs_dry():
    from benchmarks.fused import run
    found = list(run(True, device, [(300, 5, 7)], [torch.float32], repeats=1, tries=2))
    assert [r['kind'] for r in found] == ['iteration', 'run'] + ['tiles'] * 3
    ways = found[0]['ways'] | {f'run {n}': w for n, w in found[1]['ways'].items()}
    assert all(w['best'] > 0 for n, w in ways.items() if 'flash' not in n)
    assert found[1]['ways']['exact']['inertia'] > 0 and len(found[2]['best']) == 2

#  Only on a GPU

@needs_gpu
@pytest.mark.parametrize('form', forms)
def test_large_on_a_gpu(form):
    x = torch.randn(300_000, 128, device='cuda')
    c, bias = ranks(x, x[:4096])
    labels, best, second, err = fused_search(form)(x, c, bias)
    proven = best - second > 2 * err
    assert proven.double().mean() > .99
    for rows in torch.arange(len(x), device='cuda').split(20_000):
        score = x[rows].double() @ c.double().T + bias.double()
        assert ((score.argmax(1) == labels[rows]) | ~proven[rows]).all()
        assert ((best[rows] - score.amax(1)).abs() <= err[rows]).all()

@needs_gpu
def test_more_numbers_than_32_bits_count():
    x = torch.zeros(2**25, 80, dtype=torch.float16, device='cuda')       # 2.7 billion numbers
    x[-1000:] = torch.randn(1000, 80, device='cuda').half()
    c, bias = ranks(x[-1000:], x[-50:].double())
    rows = torch.arange(len(x) - 1000, len(x), device='cuda')
    check(x, c, bias, rows=rows, precision='fp16')
    whole, part = (fused_two(x, c, bias, r, precision='fp16') for r in (None, rows))
    assert torch.equal(whole[0][-1000:], part[0])
    sums, _ = sorted_sums(x, (torch.arange(len(x), device='cuda') >= len(x) - 1000).long(), 2)
    assert_close(sums[1], x[-1000:].double().sum(0))

@needs_gpu
@pytest.mark.parametrize('form', forms)
def test_real_tensor_cores_stay_below_the_bound(form):
    "The adversary of the chapter: a one, then products that lose nearly all they have"
    x, c = torch.ones(64, 1024, device='cuda'), torch.ones(64, 1024, device='cuda')
    x[:, 1:], c[:, 1:] = 2**-11, 2**-12 * (1 - 2**-11)
    check(x, c[:1].contiguous(), torch.zeros(1, device='cuda'), precision=form)
