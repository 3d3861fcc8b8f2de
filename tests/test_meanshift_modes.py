"`mean_shift` against scikit-learn, a loop that anyone can read, and its own invariances."
import functools, math, pytest, torch
from hypothesis import given, settings, strategies as st
from sklearn.cluster import MeanShift, estimate_bandwidth as sk_estimate
from sklearn.datasets import make_moons
from sklearn.metrics import adjusted_rand_score as ari
from torch.testing import assert_close
from clusterlearn.distance import nearest
from clusterlearn.meanshift.climb import climb, pick_modes
from clusterlearn.meanshift.closest import SLACK
from clusterlearn.meanshift.modes import (
    estimate_bandwidth, mean_shift, means_of, mode_counts, plateau_bandwidth, rule_bandwidth)

some = settings(max_examples=25, deadline=None)

def blobs(n, d=2, seed=42, k=6):
    g = torch.Generator().manual_seed(seed)
    c = torch.rand(k, d, generator=g) * 70 - 35
    y = torch.arange(n) % k
    return (c[y] + 5**.5 * torch.randn(n, d, generator=g)).double(), y

def unequal():
    g = torch.Generator().manual_seed(0)
    return torch.cat([torch.randn(n, 2, generator=g) * s + torch.tensor(c) for n, s, c in
                      ((600, 3., (0., 0.)), (100, 1., (12., 0.)), (30, .5, (0., 12.)))]).double()

def moons(n=500): return torch.tensor(make_moons(n, noise=.06, random_state=0)[0])

CASES = {"2d": (blobs(480)[0], 5.), "3d": (blobs(480, 3)[0], 5.), "8d": (blobs(360, 8)[0], 8.),
         "unequal": (unequal()[::2], 4.), "moons": (moons(300), .5)}

@functools.cache
def sklearn(case):
    x, h = CASES[case]
    return MeanShift(bandwidth=h).fit(x.numpy())

@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ["auto", "direct", "grid", "moments"])
def test_like_sklearn(case, engine):
    x, h = CASES[case]
    r, s = mean_shift(x, h, engine=engine), sklearn(case)
    assert r.converged and len(r.modes) == len(s.cluster_centers_)
    assert_close(r.modes, torch.tensor(s.cluster_centers_), rtol=0, atol=1e-3 * h)
    assert ari(nearest(x, r.modes)[0], s.labels_) >= .99   # its labels: the nearest mode
    assert r.n_iter == s.n_iter_ + 1   # scikit-learn does not count the first update
    if case in ("2d", "3d", "8d"): assert ari(r.labels, s.labels_) >= .99

@pytest.mark.parametrize("case", CASES)
def test_labels_of_sklearn(case):
    "With assign='nearest' labels are scikit-learn's, and the modes stay what they are"
    x, h = CASES[case]
    r, s = mean_shift(x, h, assign="nearest"), sklearn(case)
    assert ari(r.labels, s.labels_) >= .99
    assert torch.equal(r.labels, nearest(x, r.modes)[0])
    assert torch.equal(r.modes, mean_shift(x, h).modes)
    for kwargs in (dict(blurring=True), dict(bin_seeding=True)):
        b = mean_shift(x, h, assign="nearest", **kwargs)
        assert torch.equal(b.labels, nearest(x, b.modes)[0])

def loop_basins(x, h, tol=1e-3):
    "Each point alone, plainly: where does it stop?"
    stops = []
    for p in x:
        while True:
            new = x[(x - p).square().sum(1) <= h * h * SLACK].mean(0)
            p, moved = new, (new - p).norm()
            if moved <= tol * h: break
        stops.append(p)
    return torch.stack(stops)

@pytest.mark.parametrize("x,h", [(unequal()[::2], 4.), (moons(300), .5), (blobs(200, 3)[0], 6.)])
def test_labels_are_basins(x, h):
    r, stops = mean_shift(x, h), loop_basins(x, h)
    mass = ((stops[:, None] - x).norm(dim=-1) <= h).sum(1)
    assert len(r.modes) == len(pick_modes(stops, mass.double(), h)[0])
    own = (stops - r.modes[r.labels]).norm(dim=1)
    assert (own <= h * 1.001).all()   # every stop was taken by its label's mode

def test_pick_modes_is_the_sequential_rule():
    g = torch.Generator().manual_seed(0)
    for h in (.02, .1, .3, 2.):
        y = torch.rand(300, 2, generator=g).double()
        s = torch.randint(1, 50, (300,), generator=g).double()
        rows, label = pick_modes(y, s, h)
        order = sorted(range(300), key=lambda i: (float(s[i]), *y[i].tolist()), reverse=True)
        kept = []
        for i in order:
            if all((y[i] - y[j]).norm() > h for j in kept): kept.append(i)
        assert rows.tolist() == kept
        near = torch.cdist(y, y[kept]) <= h
        first = near.byte().argmax(1).tolist()
        assert label.tolist() == first

def same_partition(a, b): assert ari(a, b) == 1.

SHAPES = dict(d=st.integers(1, 12), n=st.integers(1, 120), seed=st.integers(0, 99),
              kernel=st.sampled_from(["flat", "epanechnikov", "triangular", "gaussian"]),
              blurring=st.booleans())

@some
@given(**SHAPES, dtype=st.sampled_from([torch.float32, torch.float64]), h=st.floats(1e-3, 1e3))
def test_never_nan(d, n, seed, kernel, blurring, dtype, h):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 3
    copy = x.clone()
    r = mean_shift(x, h, kernel=kernel, blurring=blurring)
    assert r.modes.isfinite().all() and r.modes.dtype == dtype and r.labels.shape == (n,)
    assert r.labels.min() == 0 and r.labels.max() < len(r.modes) and torch.equal(x, copy)

@some
@given(n=st.integers(2, 150), d=st.integers(1, 12), seed=st.integers(0, 99), blurring=st.booleans(),
       engine=st.sampled_from(["direct", "grid", "moments"]))
def test_translation_scale_permutation_duplicates(n, d, seed, blurring, engine):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).double()
    x = (x * 2**20).round() / 2**20 * 3                          # moving by 64 is then exact
    f = lambda y, h=2.: mean_shift(y, h, blurring=blurring, engine=engine)
    a = f(x)
    b = f(x + 64.);             same_partition(a.labels, b.labels)
    assert_close(a.modes + 64., b.modes, rtol=0, atol=1e-7)
    c = f(x * 4, 8.);           same_partition(a.labels, c.labels)
    assert_close(a.modes * 4, c.modes)
    p = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    e = f(x[p]);                same_partition(a.labels[p], e.labels)
    g = f(torch.cat([x, x]));   same_partition(torch.cat([a.labels] * 2), g.labels)
    assert len(a.modes) == len(b.modes) == len(c.modes) == len(e.modes) == len(g.modes)

@some
@given(d=st.integers(2, 6), seed=st.integers(0, 99))
def test_rotation(d, seed):
    "Every stop turns with the data. (Which of two equally full ones is the mode may not.)"
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(100, d, generator=g).double() * 3
    q = torch.linalg.qr(torch.randn(d, d, generator=g).double())[0]
    a, b = (climb(y, means_of(y, 2.5, engine="direct"), 2.5) for y in (x, x @ q))
    assert_close(a.stops[a.stop] @ q, b.stops[b.stop]); assert_close(a.mass[a.stop], b.mass[b.stop])

@pytest.mark.parametrize("blurring", [False, True])
def test_extremes(blurring):
    x = blobs(300)[0]
    one = mean_shift(x, 1e4, blurring=blurring)
    assert len(one.modes) == 1 and torch.allclose(one.modes[0], x.mean(0))
    many = mean_shift(x, 1e-6, blurring=blurring)
    assert len(many.modes) == 300 and many.labels.unique().numel() == 300
    r = mean_shift(torch.full((50, 3), 2.), 1., blurring=blurring)
    assert r.modes.tolist() == [[2., 2., 2.]] and r.labels.sum() == 0
    r = mean_shift([[1., 2.]], 1., blurring=blurring)
    assert r.modes.tolist() == [[1., 2.]] and r.labels.tolist() == [0]
    assert mean_shift([[1., 2.]]).labels.tolist() == [0]

def test_many_lone_points():
    x = torch.rand(30_000, 2, generator=torch.Generator().manual_seed(0)).double()
    assert len(mean_shift(x, 1e-9).modes) == 30_000

def test_blurring_finds_the_blobs():
    x, y = blobs(1500)
    for kernel, h in (("flat", 5.), ("epanechnikov", 6.), ("triangular", 6.), ("gaussian", 2.)):
        assert ari(mean_shift(x, h, kernel=kernel, blurring=True).labels, y) > .98

def test_float32_and_non_contiguous():
    x = blobs(800, 4)[0]
    a, b = mean_shift(x[:, ::2], 5.), mean_shift(x[:, ::2].contiguous(), 5.)
    assert torch.equal(a.labels, b.labels)
    c = mean_shift(x[:, ::2].float(), 5.)
    assert c.modes.dtype == torch.float32 and ari(a.labels, c.labels) > .999

@pytest.mark.parametrize("d", [2, 3])
def test_representatives(d):
    "Cells that stand in for points: the modes of all points, and nearly all labels."
    x, y = blobs(30_000 if d == 2 else 40_000, d)
    if d == 3: x = x / torch.tensor([1., 1., 8.], dtype=x.dtype)
    a = mean_shift(x, 5.)
    b = mean_shift(x, 5., exact=True)
    who, gap = nearest(a.modes, b.modes)
    assert len(a.modes) == len(b.modes) and gap.max() < 5e-3
    assert (who[a.labels] != b.labels).double().mean() < 1e-3

def test_orphans_seeds_and_bins():
    x = torch.cat([blobs(1200)[0], torch.tensor([[300., 300.]]).double()])
    seeds = x[:40]
    r = mean_shift(x, 5., seeds=seeds, cluster_all=False)
    s = MeanShift(bandwidth=5, seeds=seeds.numpy(), cluster_all=False).fit(x.numpy())
    assert_close(r.modes, torch.tensor(s.cluster_centers_))
    assert r.labels[-1] == -1
    assert torch.equal(r.labels, torch.tensor(s.labels_))
    b = mean_shift(x, 5., bin_seeding=True)
    assert len(b.modes) == 7 and ari(b.labels, mean_shift(x, 5.).labels) > .99
    assert len(mean_shift(x, 5., bin_seeding=True, min_bin_freq=5).modes) == 6

def test_callback_and_max_iter():
    seen = []
    x = blobs(300)[0]
    r = mean_shift(x, 5., callback=lambda i, p: seen.append((i, p.clone())), tol=0.)
    assert [i for i, _ in seen] == list(range(1, r.n_iter + 1))
    assert all(p.shape == x.shape for _, p in seen)
    assert r.converged
    assert not mean_shift(x, 5., max_iter=1).converged

@pytest.mark.parametrize("engine", ["direct", "grid", "moments"])
def test_tol_zero_stops(engine):
    x = blobs(600)[0]
    for y, h in ((x, 5.), (x + 1e7, 5.), (x * 1e-6, 5e-6)):
        for kernel in ("flat", "epanechnikov"):
            r = mean_shift(y, h, kernel=kernel, tol=0., engine=engine, max_iter=2000)
            assert r.converged and len(r.modes) >= 6

def test_bandwidths():
    x, y = blobs(1500)
    for q in (.1, .3):
        theirs = sk_estimate(x.numpy(), quantile=q)
        assert math.isclose(estimate_bandwidth(x, q), theirs, rel_tol=1e-9)
    third = mean_shift(x, estimate_bandwidth(x, 1 / 3))
    tenth = mean_shift(x, estimate_bandwidth(x, .1))
    assert len(third.modes) == 3 and ari(third.labels, y) < .6 and len(tenth.modes) == 6
    for rule in ("scott", "silverman", "gradient"): assert rule_bandwidth(x, rule) > 10
    assert torch.equal(mode_counts(x[:500], torch.tensor([5., 200.])), torch.tensor([6, 1]))

@pytest.mark.parametrize("seed", [0, 3, 4, 7, 9, 11, 42])   # seeds whose blobs are 9 or more apart
def test_default_bandwidth_six(seed):
    x, y = blobs(1500, seed=seed)
    r = mean_shift(x, random_state=0)
    assert ari(r.labels, y) > .95 and r.bandwidth == mean_shift(x, random_state=0).bandwidth

def test_default_bandwidth_others():
    x = unequal(); y = torch.arange(3).repeat_interleave(torch.tensor([600, 100, 30]))
    assert ari(mean_shift(x, random_state=0).labels, y) > .9
    for seed in (0, 2, 4):
        x, y = blobs(1500, 3, seed)
        assert ari(mean_shift(x, random_state=0).labels, y) > .98

@pytest.mark.parametrize("kwargs,error,match", [
    (dict(bandwidth=0), ValueError, "bandwidth=0: pass a radius above zero"),
    (dict(bandwidth=-1.), ValueError, "bandwidth=-1.0"),
    (dict(bandwidth=float("nan")), ValueError, "bandwidth=nan"),
    (dict(bandwidth="wide"), TypeError, "bandwidth='wide' is no number"),
    (dict(kernel="cosine"), ValueError, "kernel='cosine': choose flat"),
    (dict(engine="fast"), ValueError, "engine='fast': choose auto"),
    (dict(kernel="gaussian", engine="grid"), ValueError, "engine='grid' needs"),
    (dict(assign="closest"), ValueError, "assign='closest': choose basin, nearest"),
    (dict(max_iter=0), ValueError, "max_iter=0"),
    (dict(max_iter=2.5), TypeError, "float"),
    (dict(tol=-1), ValueError, "tol=-1"),
    (dict(tol=float("nan")), ValueError, "tol=nan"),
    (dict(min_bin_freq=0), ValueError, "min_bin_freq=0"),
    (dict(blurring=True, bin_seeding=True), ValueError, "blurring=True"),
    (dict(seeds=torch.zeros(2, 3)), ValueError, r"seeds has shape \(2, 3\)"),
    (dict(seeds=torch.full((1, 2), float("inf"))), ValueError, "seeds has inf in row 0"),
    (dict(seeds=torch.full((1, 2), 1e6)), ValueError, "no point was within"),
    (dict(bin_seeding=True, min_bin_freq=9), ValueError, "no point was within.*min_bin_freq"),
    (dict(x=torch.zeros(3)), ValueError, r"points has shape \(3,\)"),
    (dict(x=torch.zeros(0, 2)), ValueError, "there is nothing to cluster"),
    (dict(x=torch.tensor([[0., 1.], [float("nan"), 0.]])), ValueError, "points has nan in row 1"),
    (dict(x=torch.tensor([[0., float("inf")]])), ValueError, "points has inf in row 0"),
    (dict(x=torch.zeros(2, 2, dtype=torch.complex64)), TypeError, "complex"),
    (dict(x="points"), TypeError, "points is text: to read a file, use load")])
def test_bad_input(kwargs, error, match):
    with pytest.raises(error, match=match):
        mean_shift(**{"x": torch.zeros(4, 2), "bandwidth": 1., **kwargs})

def test_bad_input_of_the_bandwidths():
    x = torch.zeros(4, 2)
    for f, kwargs, match in (
            (estimate_bandwidth, dict(quantile=0), "quantile=0"),
            (estimate_bandwidth, dict(quantile=1.1), "quantile=1.1"),
            (estimate_bandwidth, dict(n_samples=0), "n_samples=0"),
            (rule_bandwidth, dict(rule="magic"), "rule='magic': choose scott"),
            (rule_bandwidth, dict(kernel="triangular"), "kernel='triangular'"),
            (plateau_bandwidth, dict(n_samples=0), "n_samples=0"),
            (plateau_bandwidth, dict(steps=0), "steps=0")):
        with pytest.raises(ValueError, match=match): f(x, **kwargs)
        with pytest.raises(ValueError, match="nan in row 0"): f([[float("nan")]])

def test_randomness_is_only_the_given_one():
    x, state = blobs(1500)[0], torch.get_rng_state()
    a, b = (mean_shift(x, random_state=torch.Generator().manual_seed(7)) for _ in range(2))
    assert a.bandwidth == b.bandwidth and torch.equal(a.labels, b.labels)
    assert mean_shift(x, random_state=0).bandwidth != mean_shift(x, random_state=1).bandwidth
    assert torch.equal(state, torch.get_rng_state())

def test_callback_verbose_and_gradient(capsys):
    x = blobs(300)[0].requires_grad_()
    r = mean_shift(x, 5., verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == r.n_iter and lines[0].startswith("mean shift, round 1: ")
    assert not r.modes.requires_grad

def test_half_precision():
    x, y = blobs(600)
    for dtype in (torch.float16, torch.bfloat16):
        r = mean_shift(x.to(dtype), 5.)
        assert r.modes.dtype == dtype and ari(r.labels, y) > .98

@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("n", [900, 60_000])
def test_cuda(n):
    x, _ = blobs(n)
    a, b = mean_shift(x, 5.), mean_shift(x.cuda(), 5.)
    assert b.modes.is_cuda and b.labels.is_cuda
    assert ari(a.labels, b.labels.cpu()) > .9999 and len(a.modes) == len(b.modes)
