"What the engines' tests share: a start, the plain engine as the judge of labels, engines by name."

import torch
from clusterlearn import k_means
from clusterlearn.kmeans.engines.auto import can_compile
from clusterlearn.kmeans.engines.compiled import CompiledEngine
from clusterlearn.kmeans.engines.tensor import TensorEngine

direct = dict(compute_mode='donot_use_mm_for_euclid_dist')


def CompiledOrTensor(problem, centroids, *options):
    "The compiled engine wherever it can read the points, at any size"
    kind = CompiledEngine if can_compile(problem.points) else TensorEngine
    return kind(problem, centroids, *options)


def forgy(x, k, seed=0):
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return x[order[:k]].clone()


def run(engine, x, c, iters=300, **kwargs):
    "A run from given centroids to rest, empty clusters kept, and the labels after each iteration"
    seen = []

    def look(i, c, labels):
        seen.append(labels.clone())

    options = dict(tol=0, empty='keep', max_iter=iters) | kwargs
    return k_means(x, len(c), init=c, engine=engine, callback=look, **options), seen


def same(engine, x, c, iters=300, **kwargs):
    "The engine's result, after every iteration's labels were compared with the plain engine's"
    (r, seen), (plain, judge) = (run(e, x, c, iters, **kwargs) for e in (engine, 'plain'))
    assert r.engine == engine and plain.engine == 'plain'
    assert len(seen) == len(judge) and r.n_iter == plain.n_iter and r.converged == plain.converged
    for step, (a, b) in enumerate(zip(seen, judge)):
        assert torch.equal(a, b), f'iteration {step + 1}: {int((a != b).sum())} labels differ'
    final = torch.cdist(x.double(), r.centroids.double(), **direct).argmin(1)
    assert torch.equal(final, r.labels) and torch.equal(r.labels, plain.labels)
    return r
