"""Greedy k-means++ against scikit-learn's: seconds of one start, potentials over twenty seeds.

Seconds are the best of several, taken in turn; `potential_…` is the mean over the seeds and
`error_…` its standard error. With k blobs for k centroids a single missed blob raises the potential
by several per cent and twenty seeds say little, so potentials are taken on k/4 blobs and noise."""
import statistics
import torch
from sklearn.cluster import kmeans_plusplus as sk_plusplus
from benchmarks.harness import race
from clusterlearn.data import blobs, uniform
from clusterlearn.kmeans.greedy import kmeans_plusplus

def _blobs(n, d, groups):
    "Blobs in random order, as data comes"
    x = blobs(groups, -(-n // groups), d, random_state=0).points[:n]
    return x[torch.randperm(n, generator=torch.Generator().manual_seed(1))]

def _potential(x, c):
    "In float64, some points at a time; centred, so that the expanded square keeps its digits"
    mean, total = x.mean(0, dtype=torch.float64), 0.
    c = torch.as_tensor(c).double() - mean
    for part in x.split(20_000):
        part = part.double() - mean
        square = (part ** 2).sum(1)[:, None] + (c ** 2).sum(1) - 2 * part @ c.T
        total += square.amin(1).clamp(min=0).sum().item()
    return total

def _potentials(who, x, start, seeds=20):
    "Mean and standard error over the seeds"
    values = [_potential(x, start(seed)[0]) for seed in range(seeds)]
    return {f'potential_{who}': statistics.mean(values),
            f'error_{who}': statistics.stdev(values) / seeds ** .5}

def _case(workload, x, k, repeats, potentials):
    n, d = x.shape
    starts = {'clusterlearn': lambda seed: kmeans_plusplus(x, k, random_state=seed),
              'sklearn': lambda seed: sk_plusplus(x.numpy(), k, random_state=seed)}
    times = race({who: lambda f=f: f(0) for who, f in starts.items()}, repeats)
    best = {who: t['best'] for who, t in times.items()}
    record = dict(workload=workload, n=n, d=d, k=k, dtype=str(x.dtype).removeprefix('torch.'),
                  **best, speedup=best['sklearn'] / best['clusterlearn'], times=times)
    for who, f in starts.items(): record |= _potentials(who, x, f) if potentials else {}
    return record

def run(quick):
    "Yield a record for each workload"
    large = [(100_000, 16, 64, 9), (100_000, 128, 256, 4)]
    for n, d, k, repeats in [(10_000, 16, 64, 3)] if quick else large:
        yield _case('k/4 blobs', _blobs(n, d, k // 4), k, repeats, True)
        yield _case('noise', uniform(n, d, random_state=0), k, repeats, True)
        yield _case('k blobs', _blobs(n, d, k), k, repeats, False)
        yield _case('k blobs', _blobs(n, d, k).double(), k, repeats, False)
