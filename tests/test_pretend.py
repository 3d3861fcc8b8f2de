"""All of `k_means` on a pretend GPU: the results of the processor, no mixed memories, few waits.

It runs no code of a GPU: Triton's interpreter does what the kernels do. Seeds, weights, empty
clusters and what is around the loop are the same for every engine, so the tensor engine, which
starts no kernel, stands for both there."""
import sys, warnings
from unittest import mock
import pytest, torch
from clusterlearn import k_means
from clusterlearn.kmeans.lloyd import count_empty

if sys.platform != 'linux':
    pytest.skip('Triton has releases for Linux only', allow_module_level=True)
pytest.importorskip('triton')

from clusterlearn.kmeans.engines import auto
from clusterlearn.kmeans.engines.launch import launch
from pretend import Pretend, PretendGPU

@pytest.fixture
def gpu():
    with PretendGPU() as made: yield made

def data(n=700, d=5):
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
    'weights': dict(sample_weight=w), 'centroids': dict(init=x[:40]), 'verbose': dict(verbose=True),
    'stopped': dict(callback=lambda i, c, labels: i.shift < 5),
    'in order': dict(deterministic=True),
    'weights in order': dict(deterministic=True, sample_weight=w)}
cases |= {e: dict(empty=e, init=twice) for e in policies}
cases |= {f'{e} with weights': dict(empty=e, init=twice, sample_weight=w) for e in policies}
cases = {n: dict(engine='tensor') | c for n, c in cases.items()}
cases |= {f'fused, {n}': dict(engine='fused', max_iter=6, init=x[:40]) | c for n, c in {
    'plain': {}, 'seeded': dict(init='k-means++'), 'weights': dict(sample_weight=w),
    'empty': dict(init=twice), 'in order': dict(deterministic=True, max_iter=3),
    'weights in order': dict(sample_weight=w, deterministic=True, max_iter=3)}.items()}

def there(options): return {a: Pretend(v.clone()) if torch.is_tensor(v) else v
                            for a, v in options.items()}

@pytest.mark.parametrize('case', cases)
def test_the_same_as_on_a_processor(gpu, case):
    options = dict(random_state=0, max_iter=12) | cases[case]
    got = k_means(Pretend(x.clone()), 40, **there(options))
    want = k_means(x, 40, **options | dict(engine='tensor'))
    assert isinstance(got.labels, Pretend) and isinstance(got.centroids, Pretend)
    assert got.engine == options['engine'] and ('kernel' in gpu.starts) == case.startswith('fused')
    assert torch.equal(got.labels.cpu(), want.labels)
    torch.testing.assert_close(got.centroids.cpu(), want.centroids, rtol=1e-6, atol=1e-6)
    said = [(r.n_iter, r.converged, count_empty(r)) for r in (got, want)]
    assert said[0] == said[1]
    assert got.inertia == pytest.approx(want.inertia, rel=1e-9)

def test_what_is_given_on_the_processor_goes_along(gpu):
    options = dict(init=x[:40], sample_weight=w, max_iter=5, engine='tensor')
    got, want = k_means(Pretend(x), 40, **options), k_means(x, 40, **options)
    assert torch.equal(got.labels.cpu(), want.labels)

def test_equal_rows_are_merged_there_too(gpu):
    y = x[:30].repeat(300, 1)                                # 9,000 rows, 30 different ones
    options = dict(init=y[:7], tol=0, max_iter=5)
    got = k_means(Pretend(y), 7, engine='fused', **there(options))
    want = k_means(y, 7, engine='tensor', **options)
    assert torch.equal(got.labels.cpu(), want.labels) and got.inertia == pytest.approx(want.inertia)
    assert [i.n_searched for i in got.history][0] == 9000

@pytest.fixture
def tiers(monkeypatch, tmp_path):
    "As in a process that has not run k_means on a GPU, on a machine that never compiled for it"
    monkeypatch.setattr(auto, 'FUSED_TIERS', {})
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    return auto.FUSED_TIERS

def tried(gpu, y, k=40, **options):
    "Engine of a run with the processor's labels, and whether it started kernels"
    want = k_means(y, k, init=y[:k], max_iter=3, engine='tensor')
    gpu.clear()
    r = k_means(Pretend(y), k, init=Pretend(y[:k]), max_iter=3, **options)
    assert torch.equal(r.labels.cpu(), want.labels)
    assert [i.n_changed for i in r.history] == [i.n_changed for i in want.history]
    return r.engine, 'kernel' in gpu.starts

def test_kernels_serve_when_their_price_is_earned(gpu, tiers):
    "Later in the process, in the middle of a run, and then at once"
    y = data(2000)[0]
    assert tried(gpu, y) == ('tensor', False)
    tier, = tiers.values()
    assert tier.runs == 1 and 0 < tier.spent < tier.load and not tier.loaded
    tier.spent = tier.load
    assert tried(gpu, y) == ('tensor', False)                     # not the price of a compiler yet
    tier.spent = tier.compile
    assert tried(gpu, y) == ('fused', True) and tier.loaded and tier.is_cached()
    assert tried(gpu, y) == ('fused', True) and tier.runs == 3
    tier.loaded = False
    with mock.patch.object(tier, 'earned', lambda turns=iter([False, True]): next(turns)):
        assert tried(gpu, y) == ('fused', True)

def test_each_kind_of_points_has_a_price_of_its_own(gpu, tiers):
    "What one has earned says nothing of others: columns, dtypes, tiles for more centroids"
    y = data(5000)[0]
    tried(gpu, y)
    first, = tiers.values()
    first.spent = first.compile
    assert tried(gpu, y) == ('fused', True) and len(tiers) == 1
    for x, k in ((data(5000, 6)[0], 40), (y.double(), 40), (y, 100), (y, 30)):
        assert tried(gpu, x, k) == ('tensor', False)
    assert len({t.mark for t in tiers.values()}) == len(tiers) == 5
    assert tried(gpu, y, 50) == ('fused', True) and len(tiers) == 5      # the tiles of 40

def test_a_new_process_knows_what_is_compiled(gpu, tiers):
    y = data(2000)[0]
    assert auto.tier_of(Pretend(y), 40).prepare(Pretend(y))
    tiers.clear()
    tried(gpu, y)
    tier, = tiers.values()
    tier.spent = tier.load
    assert tried(gpu, y) == ('fused', True)

def test_a_trial_starts_every_kernel_that_the_run_starts(gpu, tiers):
    y, names = data(5000)[0], []
    def known(kernel, grid, args, options, start=launch.start):
        shown = sorted((n, str(v)) for n, v in options.items() if n != 'BN')
        names.append((kernel.__name__, *shown))
        start(kernel, grid, args, options)
    with mock.patch.object(launch, 'start', known):
        for k in (20, 40, 100):
            tier, names[:] = auto.tier_of(Pretend(y), k), []
            assert tier.prepare(Pretend(y))
            compiled, names[:] = set(names), []
            assert tried(gpu, y, k) == ('fused', True) and names
            assert set(names) <= compiled

def test_deterministic_runs_do_not_change_engines(gpu, tiers):
    assert tried(gpu, data(2000)[0], deterministic=True) == ('fused', True)
    tier, = tiers.values()
    assert tier.loaded and tier.runs == 0

def test_kernels_that_cannot_be_compiled_are_said_once(gpu, tiers):
    y = data(2000)[0]
    def broken(*args): raise RuntimeError('Failed to find C compiler')
    with mock.patch.object(launch, 'start', broken):
        with pytest.warns(RuntimeWarning, match='Failed to find C compiler.*Deleting '):
            assert tried(gpu, y, deterministic=True) == ('tensor', False)
    tier, = tiers.values()
    assert tier.failed
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        tier.spent = tier.compile
        assert tried(gpu, y) == ('tensor', False)
    assert tried(gpu, y.double(), deterministic=True) == ('fused', True)     # another kind may

def test_small_problems_are_the_processors(gpu, tiers):
    got, want = (k_means(v, 6, init=v[:6], random_state=0) for v in (Pretend(x[:300]), x[:300]))
    assert got.engine == 'small' and 'kernel' not in gpu.starts and isinstance(got.labels, Pretend)
    assert torch.equal(got.labels.cpu(), want.labels) and got.inertia == want.inertia

#  Waits

def per_iteration(x, start, gpu, first=3, last=7): # Waits and starts, on average
    counts = []
    for n in (first, last):
        gpu.clear()
        r = k_means(Pretend(x), len(start), init=Pretend(start), tol=0, max_iter=n, engine='fused')
        assert r.n_iter == n and not count_empty(r)
        counts.append((len(gpu.waits), len(gpu.starts)))
    return [(b - a) / (last - first) for a, b in zip(*counts)]

def test_few_waits_for_each_iteration(gpu):
    """Labels left by the first look, by both, labels changed, empty clusters. When the margins were
    PyTorch's operations there were 5.0 waits and 97 starts, which took most of the time."""
    y = data(2000, 8)[0]
    waits, starts = per_iteration(y, y[::40], gpu)
    assert waits <= 4 and starts <= 35, (waits, starts)

#  The pretend GPU itself

def test_the_pretend_gpu_refuses_and_counts(gpu):
    a, b = Pretend(torch.ones(3)), torch.ones(3)
    at = torch.tensor([0])
    for f in (lambda: a + b, lambda: torch.cat([a, b]), lambda: a.index_add_(0, at, b[:1]),
              lambda: a.index_add_(0, Pretend(at), b[:1]), lambda: b @ a,
              lambda: torch.equal(a, b)):
        with pytest.raises(RuntimeError, match='same device'): f()
    with pytest.raises(TypeError, match='numpy'): a.numpy()
    with pytest.raises(ValueError, match='cannot be accessed from Triton'):
        launch(None, (1,), a, a, b)
    with pytest.raises(RuntimeError, match='generator'):
        torch.rand(3, device=a.device, generator=torch.Generator())
    gpu.clear()
    assert (a + b[0] + 1).sum().item() == 9 and gpu.waits == ['_local_scalar_dense']
    assert a[a > 0].shape == (3,) and gpu.waits[-1] == 'index' and len(gpu.starts) >= 4
    assert torch.zeros(2, device=a.device).device == a.device and a.cpu().device.type == 'cpu'
    assert gpu.waits[-1] == 'to'
