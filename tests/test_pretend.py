"""All of `k_means` on a pretend GPU: the results of the processor, no mixed memories, few waits.

It runs no code of a GPU; what the kernels do, the interpreter tests (test_fused.py)."""
import sys
from unittest import mock
import pytest, torch
from clusterlearn import k_means
from clusterlearn.kmeans.lloyd import count_empty

if sys.platform != 'linux':
    pytest.skip('Triton has releases for Linux only', allow_module_level=True)
pytest.importorskip('triton')

from clusterlearn.kmeans import fused, margin
from pretend import Kernel, Pretend, PretendGPU, real

kernels = '_two_kernel', '_centroid_kernel', '_slice_kernel', '_atomic_kernel'

@pytest.fixture
def gpu(monkeypatch):
    "A pretend GPU; instead of the two kernels that search, a product in float64 fills the results"
    for n in kernels: monkeypatch.setattr(fused, n, Kernel(getattr(fused, n), n in kernels[2:]))
    two = fused._two
    def searched(x, c, bias, rows, places, out, *rest):
        two(x, c, bias, rows, places, out, *rest)                # all but the kernels
        p, at = real(x), slice(None) if places is None else real(places)
        p = (p if rows is None else p[real(rows)]).double()
        score = p @ real(c).double().T + real(bias).double()
        score = torch.cat([score, torch.full_like(score[:, :1], -torch.inf)], 1)
        best, labels = score.topk(2)
        err = 1e-5 * (1 + p.norm(dim=1) * (1 + real(c).double().norm(dim=1).max()))
        found = labels[:, 0], best[:, 0], best[:, 1], err
        for o, v in zip(out, found): real(o)[at] = v.to(o.dtype)
        return out
    monkeypatch.setattr(fused, '_two', searched)
    with PretendGPU() as made: yield made

def data(n=4000, d=5):
    g = torch.Generator().manual_seed(0)
    x, w = torch.randn(n, d, generator=g), torch.rand(n, generator=g)
    x[:n // 3] += 6
    w[::7] = 0
    return x, w

x, w = data()
twice = torch.cat([x[:20], x[:20]])
policies = 'keep', 'farthest', 'random', 'split'

cases = {
    'plain': {}, 'forgy': dict(init='random'), 'parallel': dict(init='k-means||'),
    'partition': dict(init='random_partition'), 'restarts': dict(n_init=2), 'to rest': dict(tol=0),
    'weights': dict(sample_weight=w), 'in order': dict(deterministic=True, max_iter=4),
    'weights in order': dict(sample_weight=w, deterministic=True, max_iter=3),
    'centroids': dict(init=x[:40]), 'verbose': dict(verbose=True),
    'stopped': dict(callback=lambda i, c, labels: i.shift < 5)}
cases |= {e: dict(empty=e, init=twice) for e in policies}
cases |= {f'{e} with weights': dict(empty=e, init=twice, sample_weight=w) for e in policies}

@pytest.mark.parametrize('case', cases)
def test_the_same_as_on_a_processor(gpu, case):
    options = dict(random_state=0, max_iter=12) | cases[case]
    there = {a: Pretend(v.clone()) if torch.is_tensor(v) else v for a, v in options.items()}
    got, want = k_means(Pretend(x.clone()), 40, **there), k_means(x, 40, **options)
    assert isinstance(got.labels, Pretend) and isinstance(got.centroids, Pretend)
    assert 'kernel' in gpu.starts
    assert torch.equal(got.labels.cpu(), want.labels)
    torch.testing.assert_close(got.centroids.cpu(), want.centroids, rtol=1e-6, atol=1e-6)
    said = [(r.n_iter, r.converged, count_empty(r)) for r in (got, want)]
    assert said[0] == said[1]
    assert got.inertia == pytest.approx(want.inertia, rel=1e-9)

def test_what_is_given_on_the_processor_goes_along(gpu):
    options = dict(init=x[:40], sample_weight=w, max_iter=5)
    got, want = k_means(Pretend(x), 40, **options), k_means(x, 40, **options)
    assert torch.equal(got.labels.cpu(), want.labels)

def test_a_small_problem_is_the_processors(gpu):
    got, want = k_means(Pretend(x[:300]), 6, random_state=0), k_means(x[:300], 6, random_state=0)
    assert isinstance(got.labels, Pretend) and 'kernel' not in gpu.starts
    assert torch.equal(got.labels.cpu(), want.labels) and got.inertia == want.inertia

def test_the_interpreter_runs_the_kernels(monkeypatch):
    for n in kernels: monkeypatch.setattr(fused, n, Kernel(getattr(fused, n), True))
    with PretendGPU() as gpu:
        got = fused.lloyd_fused(Pretend(x[:700]), x[:30], max_iter=4, deterministic=True)
        assert gpu.starts.count('kernel') > 16
    want = fused.lloyd_margin(x[:700], x[:30], max_iter=4)
    assert torch.equal(real(got.labels), want.labels)

#  Waits

def per_iteration(x, start, gpu, first=4, last=9): # Waits and starts, on average
    counts = []
    for n in (first, last):
        gpu.clear()
        r = fused.lloyd_fused(Pretend(x), Pretend(start), max_iter=n)
        assert r.n_iter == n and not count_empty(r)
        counts.append((len(gpu.waits), len(gpu.starts)))
    return [(b - a) / (last - first) for a, b in zip(*counts)]

def test_few_waits_for_each_iteration(gpu):
    y = data(6000, 8)[0]
    waits, starts = per_iteration(y, y[::100], gpu)
    assert waits <= 5 and starts <= 100, (waits, starts)

def test_few_waits_with_tiers(gpu):
    g = torch.Generator().manual_seed(0)
    y = torch.randn(512, 8, generator=g).repeat(40, 1) + .6 * torch.randn(20_480, 8, generator=g)
    tier, times = margin._tier, []
    def counted(*args):
        times.append(1)
        return tier(*args)
    with mock.patch.object(margin, '_tier', counted):
        waits, starts = per_iteration(y, y[300:812], gpu)
    assert len(times) >= 3 and waits <= 9 and starts <= 170, (len(times), waits, starts)

def test_the_pretend_gpu_refuses_and_counts(gpu):
    a, b = Pretend(torch.ones(3)), torch.ones(3)
    at = torch.tensor([0])
    for f in (lambda: a + b, lambda: torch.cat([a, b]), lambda: a.index_add_(0, at, b[:1]),
              lambda: a.index_add_(0, Pretend(at), b[:1]), lambda: b @ a,
              lambda: torch.equal(a, b)):
        with pytest.raises(RuntimeError, match='same device'): f()
    with pytest.raises(TypeError, match='numpy'): a.numpy()
    with pytest.raises(RuntimeError, match='generator'):
        torch.rand(3, device=a.device, generator=torch.Generator())
    gpu.clear()
    assert (a + b[0] + 1).sum().item() == 9 and gpu.waits == ['_local_scalar_dense']
    assert a[a > 0].shape == (3,) and gpu.waits[-1] == 'index' and len(gpu.starts) >= 4
    assert torch.zeros(2, device=a.device).device == a.device and a.cpu().device.type == 'cpu'
    assert gpu.waits[-1] == 'to'
