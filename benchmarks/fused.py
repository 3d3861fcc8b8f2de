"""The kernels of `kmeans.fused` on a GPU: an assignment with its update, tiles, whole runs.

Peers are flash-kmeans and flashlib with the same points in the same dtype. Three kinds of records:
`iteration` (one search of all points and one update; a peer's is the difference of a longer and a
shorter run, divided), `run` (same start until it rests; the final inertia is computed anew in
float64) and `tiles` (the kernel alone, for each choice of tiles that fits)."""

import itertools, sys
from functools import partial
import torch
from benchmarks.harness import race, timed
from benchmarks.peers import flash_kmeans, flashlib
from clusterlearn.kmeans.fused import (
    atomic_sums,
    fused_search,
    fused_two,
    has_fused,
    lloyd_fused,
    sorted_sums,
    tile_sizes,
)

packages = ('triton', 'flash-kmeans', 'flashlib')
large = [(1_000_000, 128, 4096), (10_000_000, 128, 20_000)]
small = [(200_000, 128, 1000)]


def mixture(n, d, k, dtype, device, seed=0):
    "Points around k centres, a part at a time: nothing but the result is large"
    g = torch.Generator(device).manual_seed(seed)
    centres = torch.randn(k, d, generator=g, device=device)
    x = torch.empty(n, d, dtype=dtype, device=device)
    for part in x.split(2**18):
        own = torch.randint(k, (len(part),), generator=g, device=device)
        part.copy_(centres[own] + torch.randn(part.shape, generator=g, device=device))
    return x, x[torch.randperm(n, generator=g, device=device)[:k]].clone()


def inertia(x, c, labels):
    "In float64, of these labels"
    c, total = c.double(), 0.0
    for rows, own in zip(x.split(2**16), labels.split(2**16)):
        total += (rows.double() - c[own.long()]).square().sum().item()
    return total


def ranks(x, centroids):
    "c and bias as the engine hands them to a search"
    mean = x.mean(0, dtype=torch.float32).double()
    c = centroids.double() - mean
    return c.float(), -(c.square().sum(1) / 2 + c @ mean).float()


def iterations(x, start, repeats):
    "Seconds of one search of all points and one update"
    k, peers = len(start), {'flash-kmeans': flash_kmeans, 'flashlib': flashlib}
    c, bias = ranks(x, start)

    def ours(search, sums):
        labels = search(x, c, bias, None, None)[0]
        return sums(x, labels, k)

    ways = {}
    for p in ('fp16', 'bf16', 'tf32'):
        ways[f'{p} certified, sorted'] = partial(ours, fused_search(p), sorted_sums)
        ways[f'{p} uncertified, atomic'] = partial(ours, fused_search(p, fused_two), atomic_sums)
    res = race(ways, repeats)
    for name, load in peers.items():
        try:
            fit = load()
            fit(x, k, start, tol=0, max_iter=2)
            short, long = (
                min(timed(partial(fit, x, k, start, tol=0, max_iter=m))[0] for _ in range(repeats))
                for m in (2, 7)
            )
            res[name] = {'best': (long - short) / 5}
        except Exception as e:
            res[name] = {'error': f'{type(e).__name__}: {e}'.splitlines()[0]}
    return res


def runs(x, start, repeats):
    "Seconds from the same start until it rests, at most 300 iterations"
    k = len(start)

    def ours(precision):
        r = lloyd_fused(x, start, precision=precision)
        return r.centroids, r.labels, r.n_iter

    def peer(load):
        return load()(x, k, start, tol=0, max_iter=300)

    ways = {p: partial(ours, p) for p in ('exact', 'fast')}
    ways |= {'flash-kmeans': partial(peer, flash_kmeans), 'flashlib': partial(peer, flashlib)}

    def check(out):
        c, labels, n_iter = out
        return {'inertia': inertia(x, c, labels), 'n_iter': None if n_iter is None else int(n_iter)}

    return race(ways, repeats, check=check)


def candidates(d, precision):
    "Tiles worth a try beside the library's own choice"
    own = tile_sizes(d, precision)
    for bn, bk, warps, stages in itertools.product(
        (64, 128, 256), (32, 64, 128), (4, 8), (2, 3, 4)
    ):
        yield own | dict(BN=bn, BK=bk, num_warps=warps, num_stages=stages)


def tiles(x, start, repeats, limit=None):
    "Seconds of the kernel for each choice of tiles, in order; those that do not fit are left out"
    c, bias = ranks(x, start)
    for p in ('ieee', 'tf32', 'fp16'):
        own = tile_sizes(x.shape[1], p)
        tried = [own, *(t for t in candidates(x.shape[1], p) if t != own)][:limit]
        look = partial(fused_two, x, c, bias, precision=p, scale=1.0)
        res = race({str(t): partial(look, tiles=t) for t in tried}, repeats)
        good = {t: r['best'] for t, r in res.items() if 'best' in r}
        yield p, {'own': good.get(str(own)), 'best': dict(sorted(good.items(), key=lambda b: b[1]))}


def run(
    quick, device='cuda', sizes=None, dtypes=(torch.float16, torch.float32), repeats=3, tries=None
):
    "Yield a record for each workload and kind"
    if device == 'cuda' and not torch.cuda.is_available():
        sys.exit('python -m benchmarks fused needs a GPU: the interpreter is no place for times')
    if not has_fused(torch.empty(0, 1, device=device)):
        sys.exit('python -m benchmarks fused needs Triton: pip install triton')
    for (n, d, k), dtype in itertools.product(sizes or (small if quick else large), dtypes):
        x, start = mixture(n, d, k, dtype, device)
        about = dict(n=n, d=d, k=k, dtype=str(dtype).removeprefix('torch.'))
        yield dict(kind='iteration', **about, ways=iterations(x, start, repeats))
        yield dict(kind='run', **about, ways=runs(x, start, 1))
        part = x[: min(n, 2_000_000)]
        for p, found in tiles(part, start, repeats, tries):
            yield dict(kind='tiles', **about, precision=p, **found)
