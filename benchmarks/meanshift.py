"""Mean shift on six blobs, against scikit-learn: seconds, modes, agreement; terms of one update."""

import torch
from sklearn.cluster import MeanShift
from sklearn.metrics import adjusted_rand_score
from benchmarks.harness import race, timed
from clusterlearn.data import blobs
from clusterlearn.meanshift.batch import meanshift, meanshift_blocks
from clusterlearn.meanshift.cells import cell_shift
from clusterlearn.meanshift.grid import grid_means, make_grid
from clusterlearn.meanshift.kernels import direct_means
from clusterlearn.meanshift.modes import mean_shift
from clusterlearn.meanshift.tree import make_tree, tree_means

bandwidth = 5.0


def _blobs(n, d):  # Six blobs of variance 5, in random order, as data comes
    x = blobs(6, -(-n // 6), d, random_state=42).points.double()
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(1))[:n]]


def _found(out):  # Labels, modes and, where known, rounds of what one of the ways returned
    if isinstance(out, tuple) and hasattr(out, 'modes'):
        return dict(labels=out.labels, modes=len(out.modes), rounds=out.n_iter)
    if isinstance(out, tuple):
        return dict(labels=out[1], modes=len(out[0]), rounds=out[2])
    return dict(labels=out.labels_, modes=len(out.cluster_centers_), rounds=out.n_iter_)


def _clusterings(n, d, repeats):
    "A record of whole clusterings: the same points for all"
    x = _blobs(n, d)
    a = x.numpy()
    ways = {
        'mean_shift': lambda: mean_shift(x, bandwidth),
        'cell_shift': lambda: cell_shift(x, bandwidth),
        'sklearn, bins': lambda: MeanShift(bandwidth=bandwidth, bin_seeding=True).fit(a),
    }
    if n <= 10_000:
        ways['sklearn'] = lambda: MeanShift(bandwidth=bandwidth).fit(a)
    res = race(ways, repeats, budget=3.0, check=_found)
    ran = {way: r for way, r in res.items() if 'error' not in r}
    ours = ran['mean_shift']['labels']
    ari = {way: adjusted_rand_score(ours, r['labels']) for way, r in ran.items()}
    for r in ran.values():
        del r['labels']
    return dict(
        workload='blobs',
        n=n,
        d=d,
        bandwidth=bandwidth,
        seconds={way: r['best'] for way, r in ran.items()},
        modes={way: r['modes'] for way, r in ran.items()},
        ari=ari,
        times=res,
    )


def _means(n, d, queries):
    "A record of one flat update by tree and grid: microseconds and terms for each query"
    x = _blobs(n, d)
    q = x if queries == 'all' else x[:10_000]
    tree, counted = make_tree(x), {}
    seconds = timed(lambda: tree_means(q, tree, bandwidth, stats=counted))[0]
    if seconds < 5:
        seconds = min(timed(lambda: tree_means(q, tree, bandwidth))[0] for _ in range(3))
    record = dict(workload='new means', n=n, d=d, bandwidth=bandwidth, queries=queries)
    for name, count in counted.items():
        record[f'tree_{name}'] = count / len(q)
    record['tree_us'] = 1e6 * seconds / len(q)
    if n <= 100_000:
        q, grid, counted = q[:1000], make_grid(x, bandwidth), {}
        grid_means(q, grid, bandwidth, stats=counted)
        seconds = min(timed(lambda: grid_means(q, grid, bandwidth))[0] for _ in range(2))
        record |= dict(grid_terms=counted['terms'] / len(q), grid_us=1e6 * seconds / len(q))
    return record


def _five_updates(repeats):
    "A record of the original lesson's task: five Gaussian updates of 1500 points in float32"
    x = blobs(random_state=42).points

    def direct(dtype=None):
        y = x
        for _ in range(5):
            y = direct_means(y, y, 2.5, 'gaussian', dtype=dtype)[0]
        return y

    ways = {
        'meanshift': lambda: meanshift(x, 250),
        'meanshift_blocks': lambda: meanshift_blocks(x),
        'direct_means': direct,
        'direct_means, 32 bit': lambda: direct(torch.float32),
    }
    truth = direct()
    res = race(ways, repeats, check=lambda y: dict(off_by=float((y - truth).abs().max())))
    best = {way: r['best'] for way, r in res.items()}
    return dict(workload='five updates', n=len(x), d=2, bandwidth=2.5, seconds=best, times=res)


def run(quick):
    "Yield a record for each workload"
    yield _five_updates(5 if quick else 30)
    sizes = (1500, 10_000) if quick else (1500, 10_000, 100_000, 1_000_000)
    for d in (2, 3):
        for n in sizes:
            yield _clusterings(n, d, 1 if quick else 4)
    for d in (2, 3):
        for n in sizes[1:]:
            for queries in ('all', 'scattered'):
                if (n, d, queries) != (1_000_000, 3, 'all'):  # minutes
                    yield _means(n, d, queries)
