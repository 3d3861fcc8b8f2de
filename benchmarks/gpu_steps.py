"""The steps of `make gpu`, each in a process: python -m benchmarks.gpu_steps STEP [--dry]

A step is a generator of records."""

import importlib.util, json, os, subprocess, sys, tempfile, time
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from unittest import mock
from benchmarks.harness import race, timed

root = Path(__file__).parent.parent
here = 'cuda'  # The device; --dry makes it the CPU
dry = False


def sized(large, tiny):
    return tiny if dry else large


# ---- what steps share


def mixture(n, d, k, dtype, seed=0):
    "Points around k centres, a part at a time: nothing but the result is large"
    import torch

    g = torch.Generator(here).manual_seed(seed)
    centres = torch.randn(k, d, generator=g, device=here)
    x = torch.empty(n, d, dtype=dtype, device=here)
    for part in x.split(2**18):
        own = torch.randint(k, (len(part),), generator=g, device=here)
        part.copy_(centres[own] + torch.randn(part.shape, generator=g, device=here))
    return x, x[torch.randperm(n, generator=g, device=here)[:k]].clone()


def ranked(x, centroids):
    "c, bias and shift as the engine hands them to the kernel"
    import torch

    mean = x.mean(0, dtype=torch.float32)
    c = centroids.double() - mean.double()
    return c.float(), -(c.square().sum(1) / 2).float(), mean


def judged(x, c, labels, sample=20_000):
    "Inertia in float64, and the share of wrong labels in a sample, by differences in float64"
    import torch

    c, total = c.double(), 0.0
    for rows, own in zip(x.split(2**16), labels.split(2**16)):
        total += (rows.double() - c[own.long()]).square().sum().item()
    at = torch.arange(0, len(x), max(1, len(x) // sample), device=x.device)
    wrong = 0
    for some in at.split(1000):
        direct = torch.cdist(
            x[some].double(), c, compute_mode='donot_use_mm_for_euclid_dist'
        )
        taken = direct.gather(1, labels[some].long()[:, None])[:, 0]
        wrong += (taken > direct.amin(1) * (1 + 1e-12)).sum().item()
    return dict(inertia=total, wrong=wrong / len(at))


def plain_torch(x, k, init, tol, max_iter):
    "The loop that anyone would write, in blocks of scores"
    import torch

    def assign(c):
        bias = -c.float().square().sum(1).to(c.dtype) / 2
        return torch.cat([torch.addmm(bias, p, c.T).argmax(1) for p in x.split(2**28 // k)])

    c = init.clone()
    for i in range(max_iter):
        labels = assign(c)
        sums = torch.zeros_like(c, dtype=torch.float32)
        for p, own in zip(x.split(2**20), labels.split(2**20)):
            sums.index_add_(0, own, p.float())
        counts = torch.bincount(labels, minlength=k)[:, None]
        c = torch.where(counts > 0, sums / counts, c.float()).to(c.dtype)
    return c, assign(c), max_iter


def ours(x, k, init, tol, max_iter, precision='exact', bounds=None):
    from clusterlearn import k_means
    from clusterlearn.kmeans.engines import fused

    pay = {None: fused.BOUNDS_PAY, True: 0, False: 2**62}[bounds]
    with mock.patch.object(fused, 'BOUNDS_PAY', pay):
        options = dict(tol=0, max_iter=max_iter, empty='keep', precision=precision)
        r = k_means(x, k, init=init, engine='fused', **options)
    return r.centroids, r.labels, r.n_iter


def fits():
    "Each way's fit(x, k, init, tol, max_iter), or why there is none"
    from benchmarks.peers import flash_kmeans, flashlib

    res = {'exact': ours, 'fast': partial(ours, precision='fast'), 'torch': plain_torch}
    res |= {'bounds': partial(ours, bounds=True), 'no bounds': partial(ours, bounds=False)}
    for name, load in (('flash-kmeans', flash_kmeans), ('flashlib', flashlib)):
        try:
            res[name] = load()
        except ImportError as e:
            res[name] = str(e)
    return res


def run_of(fit, x, start, iterations):
    "One fit from `start`: seconds, what it found, and the most memory that it had"
    import torch

    if here == 'cuda':
        torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated() if here == 'cuda' else 0
    seconds, (c, labels, n_iter) = timed(
        partial(fit, x, len(start), init=start, tol=0, max_iter=iterations)
    )
    peak = (torch.cuda.max_memory_allocated() - held) / 2**20 if here == 'cuda' else None
    return seconds, c, labels, None if n_iter is None else int(n_iter), peak


def compared(x, start, iterations, short=2, again=True):
    "All ways from the same start for the same number of iterations; a growing dict after each way"
    ways = {}
    for name, fit in fits().items():
        if not again and 'bounds' in name:  # which compile more on the way
            continue
        if isinstance(fit, str):
            ways[name] = dict(error=fit)
            yield ways
            continue
        try:
            run_of(fit, x, start, short)  # compiles
            few = run_of(fit, x, start, short)[0]
            seconds, c, labels, n_iter, peak = run_of(fit, x, start, iterations)
            if again:
                seconds = min(seconds, run_of(fit, x, start, iterations)[0])
            done = n_iter or iterations
            ways[name] = dict(
                seconds=seconds,
                iteration=max(0.0, seconds - few) / max(1, done - short),
                n_iter=done,
                peak_mb=peak,
                **judged(x, c, labels),
            )
        except Exception as e:
            ways[name] = dict(error=f'{type(e).__name__}: {e}'.splitlines()[0][:200])
        yield ways


def searches(x, start, repeats=3):
    "One look or search of all points and one update; what share of labels each look proves"
    import torch
    from clusterlearn.kmeans.engines.triton_certificate import CertifiedSearch
    from clusterlearn.kmeans.engines.triton_search import fused_two
    from clusterlearn.kmeans.protocol import make_problem
    from clusterlearn.kmeans.engines.triton_sums import atomic_sums, sorted_sums

    c, bias, shift = ranked(x, start)
    ways, shares, problem = {}, {}, make_problem(x)
    labels = torch.empty(len(x), dtype=torch.int64, device=here)
    for p in sized(('fp16', 'bf16', 'tf32', 'ieee'), ('fp16', 'ieee')):
        f = partial(fused_two, x, c, bias, precision=p, shift=shift, scale=2.0**11)
        _, best, second, err = f()
        shares[f'{p} look'] = (best - second > 2 * err).double().mean().item()
        ways[f'{p} look'] = f
        if p != 'ieee':
            ways[f'{p} search'] = partial(CertifiedSearch(problem, p), start.double(), labels)
    labels = fused_two(x, c, bias, shift=shift)[0]
    ways |= {'sums in order': partial(sorted_sums, x, labels, len(start))}
    ways |= {'sums in any order': partial(atomic_sums, x, labels, len(start))}
    return dict(ways=race(ways, sized(repeats, 0)), proven=shares)


# ---- the steps: each yields records


def tests():
    "tests/on_gpu.py by a loop of our own; the other files' CUDA tests by pytest, if it is there"
    spec = importlib.util.spec_from_file_location('on_gpu', root / 'tests/on_gpu.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in [n for n in vars(module) if n.startswith('test_')]:
        begin, said = time.perf_counter(), None
        try:
            getattr(module, name)()
        except Exception as e:
            said = f'{type(e).__name__}: {e}'[:500]
        yield dict(case=name, seconds=time.perf_counter() - begin, error=said)
    if importlib.util.find_spec('pytest') is None:
        yield dict(case='pytest', skipped='pytest is not installed')
        return
    files = sized(['test_hazards', 'test_meanshift_modes', 'test_rows', 'test_cli'], ['test_rows'])
    for name in files:
        begin = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, '-m', 'pytest', '-q', '--confcutdir=tests', '-o', 'addopts=']
            + ['-k', 'cuda', '-p', 'no:cacheprovider', f'tests/{name}.py'],
            cwd=root,
            env=os.environ | {'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1', 'PYTHONPATH': str(root)},
            capture_output=True,
            text=True,
        )
        last = (ran.stdout.strip().splitlines() or [''])[-1].strip('= ')
        bad = None if ran.returncode in (0, 5) else (ran.stdout + ran.stderr)[-500:]
        yield dict(case=name, seconds=time.perf_counter() - begin, said=last, error=bad)


def kmeans():
    "Whole runs and single iterations, beside the peers"
    import torch

    half = (torch.float32, torch.bfloat16, torch.float16)
    for n, d, k, dtypes, iterations in sized(
        [
            (1_000_000, 128, 4096, half, 40),
            (1_000_000, 64, 64, half[:1], 100),
            (100_000, 128, 256, half[:1], 100),
        ],
        [(100, 8, 7, half[:2], 3)],
    ):
        for dtype in dtypes:
            x, start = mixture(n, d, k, dtype)
            name = str(dtype).removeprefix('torch.')
            about = dict(n=n, d=d, k=k, dtype=name)
            yield dict(case=f'search {n} {d} {k} {name}', **about, **searches(x, start))
            for ways in compared(x, start, iterations, again=not dry):
                yield dict(case=f'run {n} {d} {k} {name}', **about, ways=ways)


def few_tiles(precision, d):
    "Others than the choice of `tile_sizes` that registers and shared memory leave"
    from clusterlearn.kmeans.engines.triton_search import tile_sizes

    tried = [(128, 64, 8, 3), (128, 64, 4, 2), (64, 128, 4, 3), (256, 64, 8, 3), (128, 128, 8, 2)]
    if precision == 'ieee':
        tried = [(64, 64, 4, 3), (64, 64, 8, 3), (128, 64, 8, 3)]
    for bn, bk, warps, stages in tried:
        yield tile_sizes(d, precision) | dict(BN=bn, BK=bk, num_warps=warps, num_stages=stages)


def tiles():
    "One look with each choice of tiles"
    import torch
    from clusterlearn.kmeans.engines.triton_search import fused_two, tile_sizes

    n, k = sized((500_000, 2048), (64, 20))
    for precision, d in sized(
        [('fp16', 128), ('fp16', 64), ('tf32', 128), ('ieee', 128)], [('fp16', 16)]
    ):
        x, start = mixture(n, d, k, torch.float32)
        c, bias, shift = ranked(x, start)
        look = partial(fused_two, x, c, bias, precision=precision, scale=2.0**11, shift=shift)
        own = tile_sizes(d, precision)
        tried = [own, *(t for t in few_tiles(precision, d) if t != own)][: sized(None, 2)]
        res = race({json.dumps(t): partial(look, tiles=t) for t in tried}, sized(3, 0))
        good = {t: r['best'] for t, r in res.items() if 'best' in r}
        yield dict(
            case=f'{precision} {d}',
            own=good.get(json.dumps(own)),
            best=min(good.values()),
            tiles=json.loads(min(good, key=good.get)),
            tried=good,
        )


def course():
    "The timings of chapters 10, 11 and 22, on this GPU"
    from clusterlearn.data import blobs, uniform
    from clusterlearn.kmeans import batch, loop, scatter
    from clusterlearn.meanshift import batch as means, loop as one_by_one

    points = blobs(n_samples=sized(250, 10), random_state=42).points.to(here)
    size = min(1250, len(points))
    ways = {'loop': partial(one_by_one.meanshift, points)}
    ways |= {f'in batches of {size}': partial(means.meanshift, points, size)}
    ways |= {'by blocks': partial(means.meanshift_blocks, points)}
    yield dict(case='mean shift', n=len(points), ways=race(ways, 3))
    for n, k in sized([(1500, 6), (100_000, 6)], [(60, 3)]):
        flat = uniform(n, random_state=0)
        first, flat = loop.initialize_centroids(k, flat, 0).to(here), flat.to(here)
        versions = [batch.k_means_cluster_v2, scatter.k_means_cluster_v3]
        versions += [scatter.k_means_cluster_v3_1, scatter.k_means_cluster]
        if n <= 1500:
            versions.append(loop.k_means_cluster_v1)
        ways = {f.__name__: partial(f, k, flat, 10, 0.0, init=first) for f in versions}
        yield dict(case=f'k-means {n}', n=n, ways=race(ways, 3, budget=5))


first_calls = """
import sys, time, torch
from clusterlearn import k_means
x = torch.load(sys.argv[1]).to(sys.argv[2])
(x @ x[:8].T).sum().item()  # the GPU is awake
for i in range(3):
    begin = time.perf_counter()
    r = k_means(x, 64, random_state=i, engine=sys.argv[3])
    r.centroids.cpu()
    print(time.perf_counter() - begin)
print(r.engine)
"""


def first():
    "Three calls in new processes: PyTorch alone, Triton without and with what was compiled before"
    import torch

    with tempfile.TemporaryDirectory() as folder:
        torch.save(mixture(sized(100_000, 300), 16, 64, torch.float32)[0].cpu(), f'{folder}/x.pt')
        for case, engine in (('auto', 'auto'), ('no cache', 'fused'), ('with a cache', 'fused')):
            ran = subprocess.run(
                [sys.executable, '-c', first_calls, f'{folder}/x.pt', here, engine],
                cwd=root,
                env=os.environ | {'TRITON_CACHE_DIR': f'{folder}/cache'},
                capture_output=True,
                text=True,
            )
            *calls, used = ran.stdout.split() or ['']
            error = ran.stderr[-300:] if ran.returncode else None
            yield dict(case=case, calls=[float(s) for s in calls], engine=used, error=error)


def huge():
    "10,000,000 points, 20,000 clusters, ten iterations"
    import torch

    n, d, k = sized((10_000_000, 128, 20_000), (100, 8, 9))
    for dtype in (torch.float16,):
        x, start = mixture(n, d, k, dtype)
        name = str(dtype).removeprefix('torch.')
        for ways in compared(x, start, sized(10, 2), short=1, again=False):
            yield dict(case=f'run {n} {d} {k} {name}', n=n, d=d, k=k, dtype=name, ways=ways)


def others():
    "Mean shift, neighbours and DBSCAN on the GPU against the CPU, as far as they exist"
    import torch
    from clusterlearn import mean_shift
    from clusterlearn.data import uniform

    x = uniform(sized(20_000, 200), 3, random_state=0)

    def both(f):
        got = [f(x.to(device)) for device in ('cpu', here)]
        first, other = (next(v for v in r if torch.is_tensor(v)).cpu() for r in got)
        ways = {'cpu': partial(f, x), f'on {here}': partial(f, x.to(here))}
        return dict(ways=race(ways, sized(1, 0), budget=20), same=torch.equal(first, other))

    yield dict(case='mean shift', n=len(x), **both(lambda x: mean_shift(x, 0.2)))
    for name, where, call in (
        ('neighbors', 'clusterlearn.neighbors.search:neighbors', lambda f, x: f(x, 15)),
        ('dbscan', 'clusterlearn.density.dbscan:dbscan', lambda f, x: f(x, 0.02)),
    ):
        try:
            f = resolve_name(where)
        except (ImportError, AttributeError):
            yield dict(case=name, skipped=f'{where} does not exist yet')
            continue
        yield dict(case=name, n=len(x), **both(partial(call, f)))


if __name__ == '__main__':
    step, dry = sys.argv[1], '--dry' in sys.argv
    here = 'cpu' if dry else 'cuda'
    for r in globals()[step]():
        print(json.dumps(r), flush=True)
    print(json.dumps(dict(case='end', failed=None)), flush=True)
