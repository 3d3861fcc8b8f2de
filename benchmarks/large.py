"""K-means on files larger than memory: seconds of a pass and peak memory, from 1e5 to 1e8 rows.

Points are blobs in a .npy file in the temporary folder (TMPDIR; 6.4 GB for 1e8 rows, and 2.4 GB for
bounds), read with a budget of 256 MB and labels in a file. `iterations` are the seconds of each
pass; the first searches all points, later ones those whose bound is used up. `peak_mb` is what the
peak rises by, with compiled code loaded before. `in_memory` is the same run on points in memory, up
to 1e7 rows. Records are kept by their number of rows: `--only 1e7` measures one of them."""
import tempfile, time
from pathlib import Path
import numpy as np
import torch
from benchmarks.worker import high_water, settle
from clusterlearn.kmeans.engines.auto import TIER
from clusterlearn.kmeans.lloyd import k_means
from clusterlearn.kmeans.streamed import k_means_streamed

D, K, BUDGET, ITERATIONS = 16, 100, 2**28, 8

def key(r): return r['n']

def _write(path, n, chunk=2**20):
    "Overlapping blobs in random order, a chunk at a time"
    g = np.random.default_rng(0)
    centers = g.uniform(-10, 10, (K, D)).astype(np.float32)
    x = np.lib.format.open_memmap(path, 'w+', np.float32, (n, D))
    for i in range(0, n, chunk):
        m = min(chunk, n - i)
        x[i:i + m] = centers[g.integers(K, size=m)] + 3 * g.standard_normal((m, D), np.float32)
    return torch.from_numpy(np.array(x[:K]))

class _Watch:
    "Notes when each iteration ended"
    def __init__(self): self.times = [time.perf_counter()]
    def __call__(self, *_): self.times.append(time.perf_counter())
    def each(self): return [b - a for a, b in zip(self.times, self.times[1:])]

def _fit(f, x, start, **options):
    watch, before = _Watch(), settle()
    begin = time.perf_counter()
    r = f(x, K, init=start, tol=0, max_iter=ITERATIONS, callback=watch, **options)
    seconds = time.perf_counter() - begin
    peak = high_water()
    return r, dict(seconds=seconds, iterations=watch.each()[1:], engine=r.engine,
                   peak_mb=None if peak is None else peak - before)

def _case(folder, n):
    start = _write(folder/'points.npy', n)
    r, streamed = _fit(k_means_streamed, folder/'points.npy', start, engine='streamed',
                       budget=BUDGET, labels_out=folder/'labels.npy')
    record = dict(n=n, d=D, k=K, budget_mb=BUDGET / 2**20, file_mb=n * D * 4 / 2**20, **streamed,
                  searched=[i.n_searched / n for i in r.history])
    if n <= 10**7:
        x = torch.from_numpy(np.load(folder/'points.npy'))
        inside, record['in_memory'] = _fit(k_means, x, start)
        record['equal'] = bool(torch.equal(r.labels.long(), inside.labels))
    return record

def run(quick, only=None):
    "Yield a record for each number of rows"
    TIER.prepare(torch.empty(1, 1))
    for n in [10**5] if quick else [int(float(only))] if only else [10**5, 10**6, 10**7, 10**8]:
        with tempfile.TemporaryDirectory() as f: yield _case(Path(f), n)
