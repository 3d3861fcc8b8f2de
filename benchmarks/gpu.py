"""Everything that a GPU is needed for, in one command: python -m benchmarks gpu [--dry] [--resume]

It needs the package, torch and triton; pytest and the peers are used where they are. The steps run
in order, the most valuable first, each in a process of its own with its own limit; eight minutes in
all. Each record is written as soon as it is there, and a short table comes last. `--resume` leaves
out the steps that are recorded and did not fail. `--dry` runs all of it on a CPU, with tiny sizes
and Triton's interpreter, and records nothing."""

import contextlib, importlib.util, json, os, selectors, signal, subprocess, sys, time
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from benchmarks.harness import race, timed

packages = ('triton', 'flash-kmeans', 'flashlib')
root = Path(__file__).parent.parent
here = 'cuda'  # The device; --dry makes it the CPU
dry = False


def sized(large, tiny):
    return tiny if dry else large


def key(r):
    return r['step'], r['case']


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


def ours(x, k, init, tol, max_iter, precision='exact'):
    from clusterlearn import k_means

    r = k_means(
        x, k, init=init, tol=0, max_iter=max_iter, empty='keep', precision=precision, engine='fused'
    )
    return r.centroids, r.labels, r.n_iter


def fits():
    "Each way's fit(x, k, init, tol, max_iter), or why there is none"
    from benchmarks.peers import flash_kmeans, flashlib

    res = {'exact': ours, 'fast': partial(ours, precision='fast'), 'torch': plain_torch}
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
    "One search of all points and one update, and what share of labels each look proves"
    from clusterlearn.kmeans.engines.triton_search import certified_two, fused_two
    from clusterlearn.kmeans.engines.triton_sums import atomic_sums, sorted_sums

    c, bias, shift = ranked(x, start)
    ways, shares = {}, {}
    for p in sized(('fp16', 'bf16', 'tf32', 'ieee'), ('fp16', 'ieee')):
        for name, look in (('one look', fused_two), ('certified', certified_two)):
            if (p, name) == ('ieee', 'certified'):
                continue
            f = partial(look, x, c, bias, precision=p, shift=shift, scale=2.0**11)
            _, best, second, err = f()
            shares[f'{p} {name}'] = (best - second > 2 * err).double().mean().item()
            ways[f'{p} {name}'] = f
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
            [sys.executable, '-m', 'pytest', '-q', '--noconftest', '-o', 'addopts=', '-k', 'cuda']
            + ['-p', 'no:cacheprovider', f'tests/{name}.py'],
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
        [(300, 8, 7, half[:2], 4)],
    ):
        for dtype in dtypes:
            x, start = mixture(n, d, k, dtype)
            name = str(dtype).removeprefix('torch.')
            about = dict(n=n, d=d, k=k, dtype=name)
            yield dict(case=f'search {n} {d} {k} {name}', **about, **searches(x, start))
            for ways in compared(x, start, iterations, again=not dry):
                yield dict(case=f'run {n} {d} {k} {name}', **about, ways=ways)


def few_tiles(precision, d):
    "What the register counts leave beside the choice of `tile_sizes`"
    from clusterlearn.kmeans.engines.triton_search import tile_sizes

    tried = [(128, 64, 8, 3), (128, 64, 4, 3), (64, 128, 4, 3), (256, 64, 8, 3), (128, 128, 8, 2)]
    if precision == 'ieee':
        tried = [(64, 64, 4, 3), (64, 64, 8, 2), (128, 64, 8, 3), (64, 128, 8, 3)]
    for bn, bk, warps, stages in tried:
        yield tile_sizes(d, precision) | dict(BN=bn, BK=bk, num_warps=warps, num_stages=stages)


def tiles():
    "The kernel alone with each choice of tiles; the fastest as a line for `TIMED`"
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
        best = json.loads(min(good, key=good.get))
        values = tuple(best[v] for v in ('BN', 'BK', 'num_warps', 'num_stages'))
        padded = max(16, 1 << (d - 1).bit_length())
        yield dict(
            case=f'{precision} {d}',
            own=good.get(json.dumps(own)),
            best=min(good.values()),
            line=f'({precision!r}, {padded}): {values},',
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


def huge():
    "10,000,000 points, 20,000 clusters, ten iterations"
    import torch

    n, d, k = sized((10_000_000, 128, 20_000), (500, 8, 30))
    for dtype in (torch.float16,):
        x, start = mixture(n, d, k, dtype)
        name = str(dtype).removeprefix('torch.')
        for ways in compared(x, start, sized(10, 3), short=1, again=False):
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


# Seconds at most; eight minutes together
STEPS = dict(tests=100, kmeans=170, tiles=60, course=40, huge=80, others=30)


# ---- processes and the table


def lines(worker, limit):
    "Lines that a process writes, until it ends; a failure if its time is up before"
    end, rest = time.monotonic() + limit, b''
    with selectors.DefaultSelector() as ready:
        ready.register(worker.stdout, selectors.EVENT_READ)
        while ready.select(max(0, end - time.monotonic())):
            part = os.read(worker.stdout.fileno(), 65536)
            if not part:
                return
            *whole, rest = (rest + part).split(b'\n')
            yield from whole
    yield json.dumps(dict(case='end', failed=f'not done within {limit:g} s')).encode()


def run(quick, dry=False, done=(), only=None):
    "Yield the records of all steps; those in `done` are left out"
    import torch

    if quick or dry:
        settings = {'TRITON_INTERPRET': '1', 'CUDA_VISIBLE_DEVICES': ''}
    elif torch.cuda.is_available():
        settings = {}
    else:
        sys.exit('python -m benchmarks gpu needs a GPU; --dry runs it on a CPU, with tiny sizes')
    if only and only not in STEPS:
        sys.exit(f'--only {only}: known are {", ".join(STEPS)}')
    for step, limit in STEPS.items():
        if step in done or only not in (None, step):
            continue
        begin = time.monotonic()
        worker = subprocess.Popen(
            [sys.executable, '-m', 'benchmarks.gpu', step] + ['--dry'] * bool(settings),
            cwd=root,
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            start_new_session=True,  # what it starts itself ends with it
        )
        last = {}
        try:
            for line in lines(worker, limit):
                if line.startswith(b'{'):
                    last = json.loads(line)
                    if last['case'] != 'end':
                        yield dict(step=step) | last
            if not last.get('failed'):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(10)  # it has closed its output; how does it end?
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            code = worker.wait()
            worker.stdout.close()
        failed = last.get('failed') if last.get('case') == 'end' else f'ended with {code}'
        yield dict(step=step, case='end', seconds=time.monotonic() - begin, failed=failed)


def finished(records):
    "The steps that are recorded and did not fail, for --resume"
    return {r['step'] for r in records if r['case'] == 'end' and not r['failed']}


def table(records):
    "What a reader wants to know first, a line each"
    for r in records:
        name = f'{r["step"]}: {r["case"]}'
        if why := r.get('failed') or r.get('error'):
            yield f'{name}: FAILED {why}'
        elif r.get('skipped'):
            yield f'{name}: skipped, {r["skipped"]}'
        elif r['step'] == 'tests' and r['case'] != 'end':
            yield f'{name}: passed, {r["seconds"]:.1f} s {r.get("said", "")}'
        elif 'line' in r:
            yield f'{name}: {1e3 * r["best"]:.2f} ms, ours {1e3 * (r["own"] or 0):.2f}; {r["line"]}'
        elif r['case'] == 'end':
            yield f'{name} after {r["seconds"]:.0f} s'
        else:
            yield name + (f', the same on both: {r["same"]}' if 'same' in r else '')
        for way, w in r.get('ways', {}).items():
            if 'error' in w:
                yield f'  {way:24s} {w["error"]}'
                continue
            more = f' {100 * r["proven"][way]:.3f} % proven' if way in r.get('proven', {}) else ''
            if 'iteration' in w:
                more = f' {1e3 * w["iteration"]:.2f} ms an iteration, {w["n_iter"]} iterations'
                more += f', wrong {100 * w["wrong"]:.3f} %, inertia {w["inertia"]:.6g}'
            yield f'  {way:24s} {1e3 * w.get("seconds", w.get("best", 0)):10.2f} ms{more}'


if __name__ == '__main__':
    step, dry = sys.argv[1], '--dry' in sys.argv
    here = 'cpu' if dry else 'cuda'
    for r in globals()[step]():
        print(json.dumps(r), flush=True)
    print(json.dumps(dict(case='end', failed=None)), flush=True)
