"""DBSCAN and HDBSCAN against their peers: seconds, and whether the results agree.

Half of the points are in blobs, half are noise, so that neighbourhoods of all sizes occur; `dense`
has core points only. Ways are called in turn; `speedup` is the best peer's time over ours. Labels
of DBSCAN must equal scikit-learn's, those of HDBSCAN as a partition."""
import numpy as np
import torch
from sklearn import cluster
from benchmarks.harness import race
from clusterlearn.density.dbscan import dbscan
from clusterlearn.density.hdbscan import hdbscan

packages = ('hdbscan', 'fast-hdbscan', 'scipy')

def key(r): return r['algorithm'], r['workload'], r['n'], r['d']

def _mixed(n, d, groups, seed=0):
    "Half blobs of standard deviation 1/2, half uniform noise, in random order"
    g = np.random.default_rng(seed)
    centers, m = g.uniform(-10, 10, (groups, d)), n // 2
    x = np.concatenate([centers[g.integers(groups, size=m)] + g.normal(size=(m, d)) / 2,
                        g.uniform(-12, 12, (n - m, d))])
    return x[g.permutation(n)]

def _dense(n, d): return np.random.default_rng(0).normal(size=(n, d))

def _dbscans(x, eps):
    t = torch.from_numpy(x)
    return {'clusterlearn': lambda: dbscan(t, eps).labels.numpy(),
            'sklearn': lambda: cluster.DBSCAN(eps=eps).fit(x).labels_}

def _hdbscans(x, size, with_sklearn):
    t = torch.from_numpy(x)
    ways = {'clusterlearn': lambda: hdbscan(t, size).labels.numpy()}
    if with_sklearn:
        ways['sklearn'] = lambda: cluster.HDBSCAN(min_cluster_size=size, copy=True).fit(x).labels_
    try:
        import fast_hdbscan
        ways['fast_hdbscan'] = lambda: fast_hdbscan.HDBSCAN(min_cluster_size=size).fit(x).labels_
    except ImportError: pass
    try:
        import hdbscan as original
        ways['hdbscan'] = lambda: original.HDBSCAN(min_cluster_size=size).fit(x).labels_
    except ImportError: pass
    return ways

def _partition(a, b):
    "How many points must change for two labellings to be the same but for numbers, noise kept"
    pairs, counts = np.unique(np.stack([a, b]), axis=1, return_counts=True)
    best = {}
    for (i, j), c in zip(pairs.T, counts):
        if (i < 0) == (j < 0): best[i] = max(best.get(i, 0), c)
    return int(len(a) - sum(best.values()))

def _record(algorithm, workload, x, ways, repeats, differ, **settings):
    labels = {who: f() for who, f in ways.items()}       # also the cold call of each
    times = race(ways, repeats)
    best = {who: t['best'] for who, t in times.items() if 'best' in t}
    peers = {who: s for who, s in best.items() if who != 'clusterlearn'}
    ours = labels['clusterlearn']
    return dict(algorithm=algorithm, workload=workload, n=len(x), d=x.shape[1], **settings, **best,
                speedup={who: s / best['clusterlearn'] for who, s in peers.items()},
                noise=float((ours < 0).mean()), clusters=int(ours.max()) + 1,
                differ={who: differ(ours, labels[who]) for who in peers}, times=times)

def run(quick):
    "Yield a record for each workload"
    dbscans = [('mixed', _mixed(1_000_000, 2, 300), .02), ('mixed', _mixed(100_000, 3, 300), .4),
               ('mixed', _mixed(50_000, 10, 50), 1.3), ('mixed', _mixed(50_000, 16, 50), 1.9),
               ('dense', _dense(12_000, 16), 5.), ('dense', _dense(20_000, 2), .3)]
    hdbscans = [(_mixed(10_000, 2, 50), True), (_mixed(100_000, 2, 50), True),
                (_mixed(20_000, 10, 20), True)]
    if quick:
        dbscans = [('mixed', _mixed(20_000, 2, 50), .15), ('dense', _dense(3000, 16), 5.)]
        hdbscans = [(_mixed(6000, 2, 50), True)]
    dbscan(torch.from_numpy(_mixed(2000, 2, 5)), .5, engine='tree')            # compile
    hdbscan(torch.from_numpy(_mixed(2000, 2, 5)), 5, engine='boruvka')
    for name, x, eps in dbscans:
        yield _record('dbscan', name, x, _dbscans(x, eps), 2 if len(x) > 500_000 else 3,
                      lambda a, b: int((a != b).sum()), eps=eps)
    for x, with_sklearn in hdbscans:
        yield _record('hdbscan', 'mixed', x, _hdbscans(x, 10, with_sklearn),
                      1 if len(x) > 50_000 else 3, _partition, min_cluster_size=10)
