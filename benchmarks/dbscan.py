"""DBSCAN and HDBSCAN against their peers: seconds, and whether the results agree.

Half of the points are in blobs, half are noise, so that neighbourhoods of all sizes occur; `dense`
has core points only. Ways are called in turn; `speedup` is the best peer's time over ours. Labels
of DBSCAN must equal scikit-learn's, those of HDBSCAN as a partition. `aims` says what was aimed at,
what was measured, and whether it is met. All of it takes about nine minutes on two cores, a third
of that scikit-learn's HDBSCAN of 100,000 points; `--quick` takes one."""
import numpy as np
import torch
from sklearn import cluster
from benchmarks.fresh import aim, dense, first_call, mixed, peak_memory
from benchmarks.harness import race
from clusterlearn.density.dbscan import dbscan
from clusterlearn.density.hdbscan import hdbscan

packages = ('hdbscan', 'fast-hdbscan', 'scipy')

def key(r): return r['algorithm'], r['workload'], r['n'], r['d']

def _dbscans(x, eps):
    t = torch.from_numpy(x)
    return {'clusterlearn': lambda: dbscan(t, eps).labels.numpy(),
            'sklearn': lambda: cluster.DBSCAN(eps=eps).fit(x).labels_}

def _hdbscans(x, size):
    t = torch.from_numpy(x)
    ways = {'clusterlearn': lambda: hdbscan(t, size).labels.numpy(),
            'sklearn': lambda: cluster.HDBSCAN(min_cluster_size=size, copy=True).fit(x).labels_}
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

def _record(algorithm, workload, x, ways, repeats, differ, aims, **settings):
    labels = {}
    def caught(who, f):
        def call():
            labels[who] = f()
            return labels[who]
        return call
    times = race({who: caught(who, f) for who, f in ways.items()}, repeats)
    best = {who: t['best'] for who, t in times.items() if 'best' in t}
    speedup = {who: s / best['clusterlearn'] for who, s in best.items() if who != 'clusterlearn'}
    ours, size = labels['clusterlearn'], f'{algorithm}, {len(x):,} × {x.shape[1]}, {workload}'
    return dict(algorithm=algorithm, workload=workload, n=len(x), d=x.shape[1], **settings, **best,
                speedup=speedup, noise=float((ours < 0).mean()), clusters=int(ours.max()) + 1,
                differ={who: differ(ours, labels[who]) for who in speedup}, times=times,
                aims=[aim(f'{size}: times as fast as {who}', speedup.get(who), at_least=least)
                      for who, least in aims.items()])

def _points(name, n, d, groups=0):
    "Code that makes the same points in another process"
    args = (n, d, groups) if groups else (n, d)
    return f'from benchmarks.fresh import {name}\nx = torch.from_numpy({name}{args})'

def _first(algorithm, name, n, d, groups, parameter, repeats):
    "Seconds of the first call in new processes, imports included, without machine code on disk"
    kind = dict(dbscan=f'DBSCAN(eps={parameter})',
                hdbscan=f'HDBSCAN(min_cluster_size={parameter}, copy=True)')[algorithm]
    ours = f'{algorithm}(torch.from_numpy(x), {parameter})'
    calls = {'clusterlearn': (f'from clusterlearn import {algorithm}', ours),
             'sklearn': ('from sklearn import cluster', f'cluster.{kind}.fit(x)')}
    best, alone = first_call(_points(name, n, d, groups) + '.numpy()', calls, repeats)
    speedup = best['sklearn'] / best['clusterlearn']
    what = f'{algorithm}, {n:,} × {d}, {name}, first call: times as fast as sklearn'
    return dict(algorithm=algorithm, workload=f'first call, {name}', n=n, d=d, **best,
                speedup=speedup, without_imports=alone, aims=[aim(what, speedup, at_least=1)])

def _memory(algorithm, n, parameter, engine):
    call = f'r = {algorithm}(x, {parameter}, engine="{engine}")'
    warm = (f'from clusterlearn import {algorithm}\n'
            f'{algorithm}(torch.rand(2000, 2).double(), {parameter}, engine="{engine}")')
    mb = peak_memory(_points('mixed', n, 2, 300), call, warm)
    what = f'{algorithm}, {n:,} × 2, mixed: MB at most, results included'
    return dict(algorithm=algorithm, workload='memory', n=n, d=2, peak_mb=mb,
                aims=[aim(what, mb, at_most=500)])

_dbscan_sets = [ # workload, points, eps, aims
    ('mixed', (1_000_000, 2, 300), .02, dict(sklearn=10)),
    ('mixed', (100_000, 3, 300), .4, dict(sklearn=5)),
    ('mixed', (50_000, 10, 50), 1.3, dict(sklearn=2.5)),
    ('mixed', (50_000, 16, 50), 1.9, dict(sklearn=3)),
    ('dense', (12_000, 16), 5., dict(sklearn=1)), ('dense', (20_000, 2), .3, dict(sklearn=1))]
_hdbscan_sets = [
    ((10_000, 2, 50), dict(sklearn=10, fast_hdbscan=1)),
    ((100_000, 2, 50), dict(sklearn=100, fast_hdbscan=1)),
    ((20_000, 10, 20), dict(sklearn=3, fast_hdbscan=1))]
_firsts = [('dbscan', 'dense', 5_000, 2, 0, .3), ('dbscan', 'dense', 20_000, 2, 0, .3),
           ('dbscan', 'mixed', 20_000, 2, 50, .15), ('dbscan', 'mixed', 20_000, 10, 50, 1.3),
           ('hdbscan', 'mixed', 2_000, 2, 20, 10), ('hdbscan', 'mixed', 5_000, 2, 20, 10),
           ('hdbscan', 'mixed', 10_000, 2, 50, 10), ('hdbscan', 'mixed', 5_000, 10, 20, 10)]
_memories = [('dbscan', .02, 'tree'), ('hdbscan', 10, 'boruvka')]

def _records(dbscans, hdbscans, firsts, million, repeats):
    make = dict(mixed=mixed, dense=dense)
    for name, size, eps, aims in dbscans:
        x = make[name](*size)
        yield _record('dbscan', name, x, _dbscans(x, eps), repeats if len(x) < 500_000 else 2,
                      lambda a, b: int((a != b).sum()), aims, eps=eps)
    for size, aims in hdbscans:
        x = mixed(*size)
        yield _record('hdbscan', 'mixed', x, _hdbscans(x, 10), repeats, _partition, aims,
                      min_cluster_size=10)
    for args in firsts: yield _first(*args, repeats)
    for algorithm, parameter, engine in _memories:
        yield _memory(algorithm, million, parameter, engine)

def run(quick):
    "Yield a record for each workload"
    dbscan(torch.from_numpy(mixed(2000, 2, 5)), .5, engine='tree')            # compile
    hdbscan(torch.from_numpy(mixed(2000, 2, 5)), 5, engine='boruvka')
    if not quick:
        yield from _records(_dbscan_sets, _hdbscan_sets, _firsts, 1_000_000, 3)
        return
    dbscans = [('mixed', (20_000, 2, 50), .15, dict(sklearn=1)),
               ('dense', (3000, 16), 5., dict(sklearn=1))]
    hdbscans = [((6000, 2, 50), dict(sklearn=1, fast_hdbscan=1))]
    for r in _records(dbscans, hdbscans, _firsts[:1], 50_000, 1): yield r | dict(quick=True)
