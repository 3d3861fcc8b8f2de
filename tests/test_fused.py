"""The fused engine's rooms: bounds that hold, ties, hard inputs, sums, the compiler, no GPU.

Without a GPU Triton's interpreter runs the kernels (conftest.py switches it on). What only a
GPU can show is in on_gpu.py, what an engine does with them in test_pretend.py."""
import json, os, re, subprocess, sys
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close
from clusterlearn.data import blobs, uniform

if sys.platform != 'linux':
    pytest.skip('Triton has releases for Linux only', allow_module_level=True)

triton = pytest.importorskip('triton')
from clusterlearn import k_means
from clusterlearn.kmeans.engines import triton_certificate
from clusterlearn.kmeans.engines.fused import FusedEngine, has_fused
from clusterlearn.kmeans.engines.launch import FORMATS, TRITON_NEEDED, launch, missing_for
from clusterlearn.kmeans.engines.triton_certificate import Bounds, CertifiedSearch, settle
from clusterlearn.kmeans.engines.triton_search import fused_two, tile_sizes
from clusterlearn.kmeans.engines.triton_sums import (AtomicTotals, OrderedTotals, add_in_order,
    atomic_sums, sorted_sums)
from clusterlearn.kmeans.protocol import lloyd, make_problem
from judge import forgy, same
from tools.cells import settings as project

device = 'cuda' if torch.cuda.is_available() else 'cpu'
forms = list(FORMATS)
seeds = st.integers(0, 2**31 - 1)

def ranks(x, centroids, shift=None):
    "c and bias of the scores that rank centroids by their distance to x"
    mean = x.double().mean(0)
    c = centroids.double() - mean
    v = 0 if shift is None else shift.double()
    return c.float(), -(c.square().sum(1) / 2 + c @ (mean - v)).float()

def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)

def check(x, c, bias, search=fused_two, shift=None, **options):
    "Errors are below the bound, proven labels right; returns the used and the proven share"
    rows = options.get('rows')
    labels, best, second, err = search(x, c, bias, shift=shift, **options)
    points = (x if rows is None else x[rows]).double()
    if shift is not None: points = points - shift.to(torch.promote_types(x.dtype, torch.float32))
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

@settings(max_examples=40, deadline=None)
@given(seed=seeds, n=st.integers(1, 140), d=st.integers(1, 150), k=st.integers(1, 140),
       form=st.sampled_from(forms), offset=st.sampled_from([0., 1., 300.]), moved=st.booleans(),
       dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_errors_stay_below_the_bound(seed, n, d, k, form, offset, moved, dtype):
    x = (3 * normal(n, d, seed=seed) + offset).to(dtype)
    shift = x.double().mean(0).float() if moved else None
    centroids = x[torch.arange(k) % n].double() + .1 * normal(k, d, seed=seed + 1).double()
    check(x, *ranks(x, centroids, shift), precision=form, shift=shift)

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
@pytest.mark.parametrize('factor', [1e-30, 1e-19, 1e8, 3e18])
def test_any_scale_is_safe(form, factor):
    x = factor * normal(80, 12)
    c, bias = ranks(x, x[:20])
    check(x, c, bias, precision=form)

@pytest.mark.parametrize('form', forms)
@pytest.mark.parametrize('power', range(114, 130, 4))
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
    rounded, ours = fused_two(x, one, zero, precision=form)[1], x.to(FORMATS[form]).float()[:, 0]
    if form == 'tf32': ours = ((x[:, 0].view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)
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
    stored, shift = fused_two(x, c, bias, precision='fp16')[3], x.mean(0).float()
    moved = fused_two(x, *ranks(x, x[:50].double(), shift), precision='fp16', shift=shift)[3]
    assert (stored < .7 * moved).all()

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
    part = fused_two(x, c, bias, rows, precision=form)
    assert torch.equal(part[0], whole[0][rows])
    for one, other in zip(part[1:], whole[1:]): assert_close(one, other[rows])
    none = fused_two(x, c, bias, rows[:0], precision=form)
    assert [v.shape for v in none] == [(0,)] * 4

def test_strides_and_views():
    base = normal(90, 400)
    for x in (base.T, base[:, ::3], base[5:80, 7:50], base[:, :1].expand(90, 40)):
        c, bias = ranks(x, x[:20])
        check(x, c.T.contiguous().T, bias, rows=torch.arange(3, len(x), 2, device=device))

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
    for form in forms: fused_two(x, c, bias, precision=form)
    assert all(torch.equal(a, b) for a, b in zip(kept, (x, c, bias)))
    problem = make_problem(x)
    kept = [v.clone() for v in (problem.mean, problem.squares, c.double())]
    CertifiedSearch(problem)(c.double(), torch.empty(50, dtype=torch.int64, device=device))
    assert all(torch.equal(a, b) for a, b in zip(kept, (problem.mean, problem.squares, c.double())))

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

def true_two(problem, centroids, rows=None):
    "The nearest centroid of each point, and how much farther the second is, in float64"
    x = problem.points if rows is None else problem.points[rows]
    d = torch.cdist(x.double(), centroids, compute_mode='donot_use_mm_for_euclid_dist')
    own, labels = d.min(1)                                      # of equal ones the lower index
    return labels, d.scatter(1, labels[:, None], torch.inf).amin(1) - own

def searched(problem, centroids, precision='exact', rows=None, losses=None):
    "Labels are the nearest, margins never too large; the rows that each look left"
    n, left = len(problem.points), []
    labels = torch.full((n,), -1, device=device)
    lost = problem.mean.new_zeros(len(centroids)) if losses is None else losses
    bounds = Bounds(problem.mean.new_full((n,), -1), lost)
    def watched(*args): left.append(settle(*args)); return left[-1]
    with mock.patch.object(triton_certificate, 'settle', watched):
        CertifiedSearch(problem, precision)(centroids, labels, rows, bounds)
    want, margins = true_two(problem, centroids, rows)
    at = slice(None) if rows is None else rows
    assert torch.equal(labels[at], want)
    found = bounds.used_up_at[at] - lost[want]
    assert (found <= margins * (1 + 1e-12) + 1e-300).all() and not found.isnan().any()
    if rows is not None:
        others = torch.ones(n, dtype=torch.bool, device=device)
        others[rows] = False
        assert (labels[others] == -1).all() and (bounds.used_up_at[others] == -1).all()
    return [rows.sort().values for rows in left], (found / margins).nanmean().item()

@pytest.mark.parametrize('form', ['tf32', 'bf16', 'fp16'])
def test_what_is_left_is_looked_at_again(form):
    problem = make_problem(uniform(500, 16, random_state=0).to(device) + 5)
    centroids = problem.points[:100].double() + .01
    (low, both), share = searched(problem, centroids, form)
    (ieee,), _ = searched(problem, centroids, 'ieee')
    assert 0 < len(low) and torch.equal(both, ieee) and .5 < share <= 1
    rows = torch.arange(490, 10, -3, device=device)
    (some, rest), _ = searched(problem, centroids, form, rows, torch.arange(100.).to(problem.mean))
    assert torch.equal(some, low[torch.isin(low, rows)])
    assert torch.equal(rest, both[torch.isin(both, rows)])
    assert searched(problem, centroids, form, rows[:0])[0][0].shape == (0,)

@settings(max_examples=15, deadline=None)
@given(seed=seeds, n=st.integers(1, 120), d=st.integers(1, 40), k=st.integers(1, 60),
       form=st.sampled_from(forms), offset=st.sampled_from([0., 1., 300., 1e6]),
       dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_what_is_found_holds_for_centroids_in_float64(seed, n, d, k, form, offset, dtype):
    problem = make_problem((3 * normal(n, d, seed=seed) + min(offset, 6e4)).to(dtype))
    points = problem.points.double()
    searched(problem, points[torch.arange(k) % n] + .1 * normal(k, d, seed=seed + 1).double(), form)

@pytest.mark.parametrize('offset', [0., 1e4])
def test_search_shifts_far_data(offset):
    x = uniform(400, 8, random_state=0).to(device) - .5 + offset
    problem = make_problem(x)
    assert (CertifiedSearch(problem).shift is None) == (offset == 0)
    rows = torch.arange(399, 3, -2, device=device)
    for some in (None, rows):
        (low, _), _ = searched(problem, x[:30].double(), rows=some)
        assert len(low) < .1 * len(x if some is None else rows)
    _, plain = check(x, *ranks(x, x[:30]), precision='fp16')
    assert plain < .1 if offset else plain > .9

def test_coinciding_centroids_are_left_to_differences():
    problem = make_problem(uniform(300, 8, random_state=0).to(device))
    left, _ = searched(problem, problem.points[:9].double().repeat(2, 1))
    assert [len(rows) for rows in left] == [300, 300]

def settled(best, second, err, squares, **options):
    "Labels of four points, 9 where nothing was written, and the rows that are left"
    labels = torch.full((4,), 9, device=device)
    fill = lambda v: torch.as_tensor(v, dtype=torch.float32).to(device).expand(4).contiguous()
    found = torch.tensor([3, 1, 2, 0], device=device), *map(fill, (best, second, err))
    left = settle(found, fill(squares), labels, **options)
    return labels.tolist(), sorted(left.tolist())

def test_a_lead_beyond_twice_the_bound_is_proven_and_no_other():
    lead = [2., 2.01, 1.9, torch.inf]
    assert settled(lead, 0., 1., 0.) == ([9, 1, 9, 0], [0, 2])
    assert settled(lead, 0., 0., 2.**24) == ([9, 1, 9, 0], [0, 2])     # squares are rounded, too
    assert settled(lead, 0., .5, 2.**23) == ([9, 1, 9, 0], [0, 2])
    assert settled(0., 0., [0., torch.inf, 0., 1.], 1.) == ([9] * 4, [0, 1, 2, 3])
    assert settled(1., -torch.inf, [0., torch.inf, 1., 0.], 1.)[1] == [1]    # one centroid

def test_without_a_certificate_leads_count_as_they_are():
    assert settled([0., 1e-9, -1., 1.], 0., 1e3, 1e9, certified=False) == ([9, 1, 9, 0], [0, 2])
    far = settled(0., 0., torch.inf, 1., certified=False)             # what overflows is no answer
    assert far == ([9] * 4, [0, 1, 2, 3])

#  Sums

@settings(max_examples=10, deadline=None)
@given(seed=seeds, n=st.integers(0, 150), d=st.integers(1, 140), k=st.integers(1, 20),
       piece=st.sampled_from([7, 64, 1024]), weighted=st.booleans(), skew=st.booleans())
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

def test_strides_of_labels_weights_and_rows():
    "Every second entry of a longer vector, as a column of a table is"
    x, w = normal(60, 5), normal(120).abs()[::2]
    labels = (torch.arange(120, device=device) % 4)[::2]
    for f in (sorted_sums, atomic_sums):
        for one, other in zip(f(x, labels, 4, w), f(x, labels.contiguous(), 4, w.contiguous())):
            assert_close(one, other)
    problem, rows = make_problem(x), torch.arange(60, device=device)[::3]
    searched(problem, x[:9].double(), rows=rows)
    for kind in ('fused', 'plain', 'tensor'):
        column = normal(60, 2).abs().double()[:, 0]
        r = k_means(x, 4, init=x[:4], engine=kind, sample_weight=column)
        plain = k_means(x, 4, init=x[:4], engine='plain', sample_weight=column.clone())
        assert torch.equal(r.labels, plain.labels) and abs(r.inertia / plain.inertia - 1) < 1e-9

@pytest.mark.parametrize('m', [5, 6, 7, 8])
def test_every_tensor_begins_where_16_bytes_do(m):
    "Else Triton compiles anew, in the middle of a run"
    x, k = normal(40, 6), 5
    problem, start, offsets = make_problem(x), launch.start, set()
    rows = torch.arange(m, device=device)
    def watched(kernel, grid, args, options):
        offsets.update(v.data_ptr() % 16 for v in args if torch.is_tensor(v) and v.numel())
        start(kernel, grid, args, options)
    with mock.patch.object(launch, 'start', watched):
        engine = FusedEngine(problem, x[:k].double())
        engine.assign()
        labels = engine.labels.clone()
        bounds = Bounds(problem.mean.new_zeros(40), problem.mean.new_zeros(k))
        CertifiedSearch(problem)(x[:k].double(), labels, rows, bounds)
        engine.update(x[1:k + 1].double())
        engine.assign()
    assert offsets == {0}

def test_sorted_sums_have_the_same_bits_each_time():
    "And those of a sum in the order of the points, whatever the pieces do"
    x, w = 1e3 * normal(2000, 33), normal(2000, seed=1).abs()
    labels = (normal(2000, seed=2) * 3).long().clamp(0, 5)
    once, again = (sorted_sums(x, labels, 7, w, piece=100) for _ in range(2))
    assert torch.equal(once[0], again[0]) and torch.equal(once[1], again[1])
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3)).to(device)
    renamed = sorted_sums(x, order[labels], 7, w, piece=100)         # other programs, same slices
    assert torch.equal(renamed[0][order], once[0]) and torch.equal(renamed[1][order], once[1])

def test_what_is_there_is_added_to():
    x, labels = normal(300, 4), torch.arange(300, device=device) % 7
    sums = torch.ones(9, 4, device=device).double()
    add_in_order(sums, labels, x)
    assert_close(sums, 1 + sorted_sums(x, labels, 9)[0], rtol=1e-15, atol=0)

@settings(max_examples=15, deadline=None)
@given(seed=seeds, n=st.integers(1, 400), d=st.integers(1, 150), k=st.integers(1, 20),
       share=st.sampled_from([0., .01, .5, 1.]), weighted=st.booleans(), merged=st.booleans())
def test_totals_follow_the_labels(seed, n, d, k, share, weighted, merged):
    "Twice from scratch and twice by what changed: sums, counts, points; empty clusters are zero"
    x, g = normal(n, d, seed=seed), torch.Generator().manual_seed(seed)
    w = (torch.rand(n, generator=g) * (torch.rand(n, generator=g) > .3)).to(device)
    w[0] = 1.                                                         # not all may be zero
    times = torch.randint(1, 9, (n,), generator=g).to(device)
    problem = make_problem(x, w if weighted else None)
    if merged: problem = replace(problem, multiplicity=times)
    old = torch.randint(k, (n,), generator=g).to(device)
    new = torch.where(torch.rand(n, generator=g).to(device) < share, (old + 1) % k, old)
    for kind in (AtomicTotals, OrderedTotals):
        totals, before = kind(problem, k), None
        for labels in (old, new):
            changed = torch.ones_like(old) if before is None else labels != before
            moved = totals.follow(before, labels)
            assert moved == (changed * (times if merged else 1)).sum()
            member = torch.nn.functional.one_hot(labels, k).double()
            there = (member * (w > 0)[:, None] if weighted else member).sum(0) > 0
            if weighted: member *= w.double()[:, None]
            sums, counts, n_empty = totals.read()
            assert_close(sums, member.T @ x.double(), rtol=1e-12, atol=1e-10)
            assert_close(counts, member.sum(0), rtol=1e-12, atol=1e-12)
            assert n_empty == k - there.sum()
            assert not sums[~there].any() and not counts[~there].any()
            before = labels

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

#  The engine

cases = {'blobs': lambda: blobs(8, 40, 5, random_state=0).points,
         'noise': lambda: uniform(300, 12, random_state=1),
         'far': lambda: uniform(300, 3, random_state=2) + 1e4,
         'equal': lambda: uniform(30, 3, random_state=3).repeat(8, 1),
         'float64': lambda: uniform(150, 4, random_state=4).double()}

@pytest.mark.parametrize('form', ['exact', 'ieee', 'bf16'])
@pytest.mark.parametrize('name', cases)
def test_labels_are_the_plain_engines(form, name):
    x = cases[name]().to(device)
    w = normal(len(x), seed=9).abs().double()
    for weights in (None, w):
        options = dict(init=x[:8], tol=0, empty='keep', sample_weight=weights)
        plain = k_means(x, 8, engine='plain', **options)
        problem = make_problem(x, weights)
        mine = lloyd(problem, FusedEngine(problem, x[:8].double() * problem.scale, form))
        assert mine.engine == 'fused' and torch.equal(mine.labels, plain.labels)
        assert_close(mine.centroids, plain.centroids, rtol=1e-6, atol=1e-6)
        assert (mine.n_iter, mine.converged) == (plain.n_iter, plain.converged)
        assert_close(mine.inertia, plain.inertia, rtol=1e-9, atol=1e-9)

@pytest.mark.parametrize('name', cases)
def test_every_iterations_labels_are_the_plain_engines(name):
    x = cases[name]().to(device)
    same('fused', x, forgy(x, 9), 6)

def test_fast_is_near():
    x = uniform(400, 6, random_state=0).to(device)
    fast, plain = (k_means(x, 9, init=x[:9], tol=0, engine=e, precision=p)
                   for e, p in (('fused', 'fast'), ('plain', 'exact')))
    assert fast.engine == 'fused' and fast.centroids.dtype == x.dtype
    assert abs(fast.inertia / plain.inertia - 1) < .02

def test_deterministic_mode_adds_in_order():
    x = uniform(150, 4, random_state=0).to(device)
    start, kernels = launch.start, []
    def counted(kernel, *rest):
        kernels.append(kernel.__name__)
        start(kernel, *rest)
    options = dict(init=x[:5], tol=0, engine='fused')
    with mock.patch.object(launch, 'start', counted):
        once, again = (k_means(x, 5, deterministic=True, **options) for _ in range(2))
        assert sum('slice' in name for name in kernels) > 8
        kernels.clear()
        k_means(x, 5, **options)
        assert len(kernels) > 4 and not any('slice' in name for name in kernels)
    assert torch.equal(once.centroids, again.centroids) and torch.equal(once.labels, again.labels)
    assert torch.equal(once.labels, k_means(x, 5, init=x[:5], tol=0, engine='plain').labels)

def test_precision_is_checked():
    problem = make_problem(uniform(50, 2, random_state=0).to(device))
    with pytest.raises(ValueError, match="precision='double': known are exact, fast, ieee"):
        FusedEngine(problem, problem.points[:5].double(), 'double')

#  Where the kernels cannot run, or not be trusted

def test_the_release_that_is_needed_is_the_extras():
    said = re.search(r'triton>=(\d+)\.(\d+)', project()['gpu_requirements'])
    assert tuple(map(int, said.groups())) == TRITON_NEEDED

@pytest.mark.parametrize('what, name, value, why', [
    (torch.version, 'hip', '6.4', 'ROCm'), (triton, '__version__', '3.2.1', 'Triton is 3.2.1')])
def test_the_tensor_engine_takes_over(what, name, value, why):
    x = uniform(300, 4, random_state=0).to(device)
    with mock.patch.object(what, name, value):
        assert why in missing_for(x) and not has_fused(x)
        r = k_means(x, 5, init=x[:5], tol=0, engine='fused', deterministic=True)
        with pytest.raises(ValueError, match=why): fused_two(x, x[:5], x[:5, 0])
        with pytest.raises(ValueError, match=why): sorted_sums(x, torch.zeros(300).long(), 1)
    assert r.engine == 'tensor'
    assert torch.equal(r.labels, k_means(x, 5, init=x[:5], tol=0, engine='plain').labels)

def test_an_old_triton_on_a_gpu_is_worth_a_warning():
    with mock.patch.object(triton, '__version__', '3.2.1'):
        with pytest.warns(RuntimeWarning, match='leaves its fused engine out: Triton is 3.2.1'):
            assert not has_fused(SimpleNamespace(is_cuda=True))

def python(code, **env):
    env = {a: b for a, b in os.environ.items() if a != 'TRITON_INTERPRET'} | env
    ran = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    assert not ran.returncode, ran.stderr[-3000:]
    return ran.stdout

alone = '''
import sys, clusterlearn
assert "triton" not in sys.modules                           # the package does not import it
{block}
import torch
from clusterlearn import k_means
from clusterlearn.kmeans.engines.fused import has_fused
from clusterlearn.kmeans.engines.triton_search import fused_two
x = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
assert not has_fused(x)
a, b = (k_means(x, 5, init=x[:5], engine=e, deterministic=True) for e in ("fused", "tensor"))
assert torch.equal(a.labels, b.labels) and torch.equal(a.centroids, b.centroids)
assert a.engine == b.engine == "tensor"
try: fused_two(x, x[:5], x[:5, 0])
except ValueError as e: print(e)
'''

@pytest.mark.parametrize('block, why', [
    ('sys.modules["triton"] = None', 'Triton is not installed'),
    ('', 'points are on cpu, and a GPU is needed'),
    ('import triton; triton.__version__ = "2.9"', 'Triton is 2.9')])
def test_plain_where_there_is_no_triton_or_no_gpu(block, why):
    assert why in python(alone.format(block=block))

#  The compiler

def test_tile_sizes_fit():
    for d in (1, 2, 16, 31, 64, 100, 128, 200, 256, 257, 1537, 20_000):
        for form in forms:
            for shared in (227, 163, 99, 64):
                t = tile_sizes(d, form, shared * 1024)
                few = tile_sizes(d, form, shared * 1024, k=20)
                assert few == t | dict(BK=min(32, t['BK']), num_stages=few['num_stages'])
                assert all(v & (v - 1) == 0 for n, v in t.items() if n != 'num_stages')
                assert min(t['BN'], t['BK'], t['BD']) >= 16 and 1 <= t['num_stages'] <= 3
                size = 2 if form in ('fp16', 'bf16') else 4
                assert t['BK'] * t['BD'] * size * t['num_stages'] <= shared * 1024
                wide = tile_sizes(d, form, 2**30)['BK']                # stages go before centroids
                assert t['BK'] == wide or t['num_stages'] == 1

compiled = '''
import json
from clusterlearn.kmeans.engines.triton_search import compile_two
out = []
dtypes = {"ieee": "fp32", "tf32": "fp32", "bf16": "bf16", "fp16": "fp32"}
for capability, limit, d, forms in ((80, 163, 128, "tf32"), (89, 99, 256, "fp16"),
                                    (90, 227, 128, "ieee bf16"), (90, 227, 1537, "tf32")):
    for form in forms.split():
        k = compile_two(d, form, capability, rows=d > 100, dtype=dtypes[form])
        out.append((capability, d, form, k.metadata.shared, limit * 1024,
                    sum(k.asm["ptx"].count(i) for i in ("wgmma.mma_async", "mma.sync"))))
print(json.dumps(out))'''

def test_kernels_compile_for_gpus_that_are_not_here(tmp_path):
    found = json.loads(python(compiled, TRITON_CACHE_DIR=str(tmp_path)))
    assert len(found) == 5
    for capability, d, form, shared, limit, on_tensor_cores in found:
        assert shared <= limit, (capability, d, form)
        assert (on_tensor_cores > 0) == (form != 'ieee'), (capability, d, form)

seen = '''
import re, torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from clusterlearn.kmeans.engines.launch import launch
from clusterlearn.kmeans.engines import triton_certificate, triton_search, triton_sums
def kind(v):
    short = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32",
             torch.float64: "fp64", torch.int64: "i64"}
    return "*" + short[v.dtype] if torch.is_tensor(v) else "i32" if isinstance(v, int) else "fp32"
def compiled(kernel, args, options): # For an H200, with the types that the library starts it with
    names, options = kernel.arg_names, dict(options)
    how = {n: options.pop(n) for n in ("num_warps", "num_stages") if n in options}
    kinds = {n: kind(v) for n, v in zip(names, args)} | dict.fromkeys(options, "constexpr")
    free = {p.name for p in kernel.params if p.do_not_specialize}
    ones = {n: 1 for n, v in zip(names, args) if isinstance(v, int) and v == 1 and n not in free}
    kinds |= dict.fromkeys(ones, "constexpr")                # Triton makes constants of them
    at = {(names.index(n),): v for n, v in (options | ones).items()}
    made = triton.compile(ASTSource(kernel, kinds, at, {}), target=GPUTarget("cuda", 90, 32),
                          options=how)
    ptx = made.asm["ptx"]
    print(kernel.__name__, len(re.findall(r"\\b(?:atom|red)\\.", ptx)), *sorted(free))
launch.start = lambda kernel, grid, args, options: compiled(kernel, args, options)
class There(torch.Tensor): is_cuda = True # A tensor that says it is on a GPU
torch.cuda.get_device_properties = lambda d: __import__("types").SimpleNamespace(
    shared_memory_per_block_optin=227 * 1024, major=9)
torch.cuda.device_of = lambda x: __import__("contextlib").nullcontext()
def there(*shape, dtype=torch.float32): return torch.ones(shape, dtype=dtype).as_subclass(There)
'''

def started(code, folder):
    "Kernel, atomic instructions and arguments without a code of their own, for each start"
    lines = python(seen + code, TRITON_CACHE_DIR=str(folder)).splitlines()
    return {name: (int(atomics), set(free)) for name, atomics, *free in map(str.split, lines)}

def test_what_is_started_compiles_and_varies_without_new_code(tmp_path):
    "One column, strides of one, float64 points: constants to Triton. Where are atomic additions?"
    found = started('''
one, c, bias = there(40, 1, dtype=torch.float64), there(3, 1), there(3)
some = torch.arange(9).as_subclass(There)
triton_search.fused_two(one, c, bias, some, precision="fp16", shift=there(1), scale=1.)
triton_search.fused_two(there(40, 20), there(3, 20), bias, precision="bf16")
labels = torch.arange(40).as_subclass(There) % 3
for f in triton_sums.sorted_sums, triton_sums.atomic_sums: f(there(40, 20), labels, 3, there(40))
x, w, k, wide = there(40, 20), there(40), there(3).double(), there(3, 20).double()
triton_sums._follow(x, w, labels, labels, labels, wide, k, k)
settled = triton_certificate.Bounds(there(40).double(), k)
for rows, bounds in (None, None), (labels, settled):
    triton_certificate.settle((labels, w, w, w), w, labels, rows, bounds)
''', tmp_path)
    two, centroids, slices, follow, settle = (found[f'_{n}_kernel'] for n in
        ('two', 'centroid', 'slice', 'follow', 'settle'))
    assert two == (0, {'n', 'k'}) and centroids == (0, {'k'})
    assert slices[0] == 0 and follow[0] > 0 and follow[1] == {'n'} and settle == (1, {'n'})
