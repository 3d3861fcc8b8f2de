"""What k-means is timed on: points and first centroids, the same for everybody.

A *mixture* is k Gaussian blobs that overlap, with unequal shares and unequal widths."""

from typing import NamedTuple
import numpy as np
import torch
from torch import Tensor


class Workload(NamedTuple):
    x: Tensor  # Points, shape (n, d), float32
    k: int  # How many clusters
    init: Tensor  # k different points, drawn at random, no two alike, shape (k, d)


def mixture(n, d, k, seed=0):
    "n points of k blobs: shares between 1 and 5 parts, standard deviations between 0.5 and 1.5"
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(k, d, generator=g)
    shares = torch.rand(k, generator=g) + 0.25
    own = torch.multinomial(shares, n, True, generator=g)
    width = 0.5 + torch.rand(k, 1, generator=g)
    return centres[own] + torch.randn(n, d, generator=g) * width[own]


def six_blobs():
    "The course's 1,500 points"
    from clusterlearn.data import blobs

    return blobs(random_state=42).points


def noise(n, d):
    return torch.rand(n, d, generator=torch.Generator().manual_seed(0))


def photograph():
    "Pixels as points: red, green, blue"
    from sklearn.datasets import load_sample_image

    return torch.from_numpy(load_sample_image('china.jpg').reshape(-1, 3).astype(np.float32))


def digits():
    from sklearn.datasets import load_digits

    return torch.from_numpy(load_digits().data.astype(np.float32))


# name: (what it is, k, function that makes the points)
WORKLOADS = {
    'W1': ('the six blobs of the course', 6, six_blobs),
    'W2': ('mixture of 64', 64, lambda: mixture(100_000, 16, 64)),
    'W3': ('mixture of 256', 256, lambda: mixture(100_000, 128, 256)),
    'W4': ('mixture of 1,000', 1000, lambda: mixture(200_000, 32, 1000)),
    'W5': ('pixels of a photograph', 64, photograph),
    'W6': ('handwritten digits', 10, digits),
    'W7': ('mixture of 100', 100, lambda: mixture(1_000_000, 64, 100)),
    'W8': ('uniform noise', 64, lambda: noise(50_000, 32)),
    # the same kinds, small enough for `--quick`
    'W2 small': ('mixture of 64', 64, lambda: mixture(10_000, 16, 64)),
    'W5 small': ('every tenth pixel', 64, lambda: photograph()[::10].contiguous()),
}
FULL = [name for name in WORKLOADS if 'small' not in name]
QUICK = ['W1', 'W6', 'W8', 'W2 small', 'W5 small']


def different(x, k):
    "k random points, no two alike: two equal centroids would be an empty cluster from the start"
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    found = {tuple(row): None for row in x[order[: 100 * k]].tolist()}
    return torch.tensor(list(found)[:k])


def load(name):
    "The workload called `name`"
    _, k, make = WORKLOADS[name]
    x = make()
    return Workload(x, k, different(x, k))
