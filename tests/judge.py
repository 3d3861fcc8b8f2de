"What the engines' tests share: a start, and the plain loop in float64 as the judge of labels."

import torch
from clusterlearn.kmeans.margin import lloyd_plain

direct = dict(compute_mode='donot_use_mm_for_euclid_dist')


def forgy(x, k, seed=0):
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return x[order[:k]].clone()


def same(engine, x, c, iters=300, **kwargs):
    "The engine's result, after every iteration's labels were compared with the plain loop's"
    seen = []

    def look(i, c, labels):
        seen.append(labels.clone())

    r = engine(x, c, max_iter=iters, callback=look, **kwargs)
    judge = lloyd_plain(x, c, iters)[1]
    assert len(seen) >= min(len(judge) - 1, iters)
    for step, (a, b) in enumerate(zip(seen, judge)):
        assert torch.equal(a, b), f'iteration {step + 1}: {int((a != b).sum())} labels differ'
    final = torch.cdist(x.double(), r.centroids.double(), **direct).argmin(1)
    assert torch.equal(final, r.labels)
    return r
