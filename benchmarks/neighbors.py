"""Neighbours against other libraries: exact and approximate search, and a process's first call.

`wrong` counts the indices that differ from direct float64 differences, on a sample of 200 queries;
`recall` is the share of the true neighbours found. Times include building the index, except where
`index` gives its seconds apart. A library that is not installed is left out. `aims` says what was
aimed at, what was measured, and whether it is met. All of it takes about nine minutes on two cores,
`--quick` one."""
import importlib.util
import torch
from benchmarks.fresh import aim, first_call, peak_memory
from benchmarks.harness import race, timed
from clusterlearn.data import blobs, uniform
from clusterlearn.neighbors.lists import build_lists, lists_nearest
from clusterlearn.neighbors.lsh import LSH
from clusterlearn.neighbors.search import neighbors, neighbors_direct

packages = ('scikit-learn', 'scipy', 'faiss-cpu', 'hnswlib', 'pynndescent', 'numba')
k = 10

def key(record): return record['workload']

def _there(name): return importlib.util.find_spec(name) is not None

def _clustered(n, d):
    "About √n clusters, in random order, as data comes"
    groups = round(n ** .5)
    x = blobs(groups, -(-n // groups), d, var=9., random_state=0).points[:n]
    return x[torch.randperm(n, generator=torch.Generator().manual_seed(1))]

def _trees(x):
    from scipy.spatial import cKDTree
    from sklearn.neighbors import KDTree, NearestNeighbors
    z, threads = x.double().numpy(), torch.get_num_threads()
    return {'scipy cKDTree': lambda: cKDTree(z).query(z, k, workers=threads)[1],
            'sklearn kd_tree': lambda: KDTree(z).query(z, k)[1],
            'sklearn kd_tree, all cores': lambda: NearestNeighbors(
                n_neighbors=k, algorithm='kd_tree', n_jobs=threads).fit(z).kneighbors(z)[1]}

def _faiss_flat(x):
    import faiss
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatL2(x.shape[1])
    index.add(x.numpy())
    return index.search(x.numpy(), k)[1]

def _faiss_ivf(x, probes):
    import faiss
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(x.shape[1]), x.shape[1], round(len(x) ** .5))
    index.train(x.numpy())
    index.add(x.numpy())
    def search(p):
        index.nprobe = p
        return index.search(x.numpy(), k)[1]
    return {f'faiss IVF, nprobe {p}': lambda p=p: search(p) for p in probes}

def _hnsw(x):
    import hnswlib
    index = hnswlib.Index('l2', x.shape[1])
    index.init_index(len(x), M=16, ef_construction=100)
    index.set_num_threads(torch.get_num_threads())
    index.add_items(x.numpy())
    index.set_ef(50)
    return {'hnswlib, ef 50': lambda: index.knn_query(x.numpy(), k)[0]}

def _pynndescent(x):
    from pynndescent import NNDescent
    return {'pynndescent': lambda: NNDescent(x.numpy(), n_neighbors=k + 1).neighbor_graph[0][:, :k]}

def _judge(x):
    "How many indices of a sample are not those of direct differences, and the recall"
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(2))[:200]
    want = neighbors_direct(x, x[rows], k)[1]
    def check(found):
        got = torch.as_tensor(found)[rows].long()
        hit = (got[:, :, None] == want[:, None]).any(2).double().mean().item()
        return dict(wrong=int((got != want).sum()), recall=hit)
    return check

def _record(workload, x, ways, repeats, index=None):
    times = race(ways, repeats, check=_judge(x))
    return dict(workload=workload, n=len(x), d=x.shape[1], k=k, threads=torch.get_num_threads(),
                index=index or {}, times=times)

def _best(record, way):
    "The best seconds of a way, or None"
    return record['times'].get(way, {}).get('best')

def _ratio(record, a, b):
    a, b = _best(record, a), _best(record, b)
    return a / b if a and b else None

def _size(record): return f"{record['n']:,} × {record['d']}"

def _exact(workload, x, engines, repeats):
    ways = {f'clusterlearn {e}': lambda e=e: neighbors(x, k=k, engine=e).indices for e in engines}
    if x.shape[1] <= 10: ways |= _trees(x)
    elif _there('faiss'): ways['faiss flat'] = lambda: _faiss_flat(x)
    r = _record(workload, x, ways, repeats)
    ours = f'clusterlearn {engines[0]}'
    if x.shape[1] == 3:
        what = f'{_size(r)}: times as fast as scikit-learn\'s kd_tree'
        r['aims'] = [aim(what, _ratio(r, 'sklearn kd_tree', ours), at_least=6)]
    elif x.shape[1] == 64:
        what = f'{_size(r)}: share of the time of faiss flat'
        r['aims'] = [aim(what, _ratio(r, ours, 'faiss flat'), at_most=.9)]
    wrong = r['times'][ours].get('wrong')
    right = aim(f'{_size(r)}: wrong indices of {200 * k}', wrong, at_most=0)
    r.setdefault('aims', []).append(right)
    return r

def _lists(workload, x, repeats):
    "Indexes are built before; their seconds stand in `index`"
    seconds, lists = timed(lambda: build_lists(x))
    index, probes = {'clusterlearn lists': seconds}, (1, 4, 16)
    ways = {'clusterlearn lists, exact': lambda: lists_nearest(x, x, k, lists=lists)[1]}
    for p in probes:
        ways[f'clusterlearn lists, nprobe {p}'] = lambda p=p: lists_nearest(
            x, x, k, nprobe=p, lists=lists)[1]
    index['clusterlearn LSH'], lsh = timed(lambda: LSH(10, 10, width=60., random_state=0).fit(x))
    ways['clusterlearn LSH'] = lambda: lsh.query(x, k).indices
    makers = {'hnswlib': _hnsw, 'pynndescent': _pynndescent}
    if _there('faiss'):
        ways['faiss flat'] = lambda: _faiss_flat(x)
        index['faiss IVF'], more = timed(lambda: _faiss_ivf(x, probes))
        ways |= more
    for name, make in makers.items():
        if _there(name):
            index[name], more = timed(lambda: make(x))
            ways |= more
    r, flat = _record(workload, x, ways, repeats, index), 'faiss flat'
    exact = aim(f'{_size(r)}, clustered, lists, exact: share of the time of faiss flat',
                _ratio(r, 'clusterlearn lists, exact', flat), at_most=.3)
    good = [t for way, t in r['times'].items() if 'lists' in way and t.get('recall', 0) >= .97]
    share = min(t['best'] for t in good) / _best(r, flat) if good and _best(r, flat) else None
    r['aims'] = [exact, aim(f'{_size(r)}, clustered, lists with recall of at least 0.97: share of '
                            'the time of faiss flat', share, at_most=.25)]
    return r

def _radius(workload, x, radius, repeats):
    from sklearn.neighbors import KDTree
    from scipy.spatial import cKDTree
    z = x.double().numpy()
    ways = {'clusterlearn tree': lambda: neighbors(x, radius=radius, engine='tree'),
            'sklearn kd_tree': lambda: KDTree(z).query_radius(z, radius, return_distance=True),
            'scipy cKDTree': lambda: cKDTree(z).query_ball_point(
                z, radius, workers=torch.get_num_threads())}
    found = neighbors(x, radius=radius, engine='tree')
    return dict(workload=workload, n=len(x), d=x.shape[1], radius=radius,
                threads=torch.get_num_threads(), pairs=len(found.indices),
                times=race(ways, repeats))

_calls = {'clusterlearn': ('from clusterlearn import neighbors', 'neighbors(x, k=10)'),
          'sklearn': ('from sklearn.neighbors import NearestNeighbors',
                      'NearestNeighbors(n_neighbors=10, n_jobs=-1).fit(x.numpy()).kneighbors()')}
_data = 'x = torch.rand({n}, {d}, generator=torch.Generator().manual_seed(0)).double()'

def _first(n, d, repeats):
    "Seconds of the first call in new processes, imports included, without machine code on disk"
    best, alone = first_call(_data.format(n=n, d=d), _calls, repeats)
    speedup = best['sklearn'] / best['clusterlearn']
    what = f'{n:,} × {d}, first call of a process: times as fast as scikit-learn'
    return dict(workload=f'first call {n}×{d}', n=n, d=d, k=k, **best, speedup=speedup,
                without_imports=alone, aims=[aim(what, speedup, at_least=1)])

def _memory(n, d):
    warm = ('from clusterlearn.neighbors.search import neighbors\n'
            'neighbors(torch.rand(3000, 3), k=10, engine="tree")')
    mb = peak_memory(_data.format(n=n, d=d), 'r = neighbors(x, k=10, engine="tree")', warm)
    return dict(workload=f'memory {n}×{d}', n=n, d=d, k=k, peak_mb=mb,
                aims=[aim(f'{n:,} × {d}, k = {k}: MB at most, results included', mb, at_most=500)])

def _quick():
    yield _exact('uniform', uniform(20_000, 3, random_state=0), ['tree'], 2)
    yield _exact('noise', uniform(8_000, 64, random_state=0), ['scores', 'products'], 2)
    yield _lists('clustered', _clustered(8_000, 64), 1)
    yield _radius('radius', uniform(20_000, 3, random_state=0), 3., 2)
    yield _first(5_000, 3, 1)
    yield _memory(50_000, 3)

def run(quick):
    "Yield a record for each workload"
    if quick:
        for r in _quick(): yield r | dict(quick=True)
        return
    for n, d, repeats in ((1_000_000, 3, 2), (100_000, 3, 4), (100_000, 8, 2)):
        yield _exact(f'uniform {n}×{d}', uniform(n, d, random_state=0), ['tree'], repeats)
    for n, d in ((100_000, 64), (20_000, 784)):
        yield _exact(f'noise {n}×{d}', uniform(n, d, random_state=0), ['scores', 'products'], 2)
    yield _lists('clustered 100000×64', _clustered(100_000, 64), 2)
    yield _radius('radius 100000×3', uniform(100_000, 3, random_state=0), 2., 3)
    for n, d in ((1_000, 3), (5_000, 3), (20_000, 3), (100_000, 3), (20_000, 8), (5_000, 30)):
        yield _first(n, d, 3)
    yield _memory(1_000_000, 3)
