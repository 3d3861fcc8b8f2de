"""Inputs on which k-means implementations fail, each as a function of a `fit`.

    fit(x, k, init=None, seed=0, tol=None, max_iter=300) -> (centroids (k, d), labels (n,))

takes and gives tensors; `tol=None` means: until nothing changes.
A hazard returns None if all is well, or a few words that say what is
wrong; what `fit` raises it lets through. `Inapplicable` says that a way cannot be asked this."""

import random
import numpy as np
import torch

HAZARDS = {}


class Inapplicable(Exception):
    pass


def hazard(name):
    def add(f):
        HAZARDS[name] = f
        return f

    return add


#  What every result must be


def groups(n, d, k, seed=0, apart=10.0):
    "Points around k means that keep their distance, in random order"
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(k, d, generator=g) * apart
    own = torch.arange(n)[torch.randperm(n, generator=g)] % k
    return centres[own] + torch.randn(n, d, generator=g)


def squares(x, c):
    "Squared distances (n, k), by differences, in float64"
    return torch.cdist(x, c, compute_mode='donot_use_mm_for_euclid_dist') ** 2


def lloyd(x, c, max_iter=300):
    "The plain loop in float64: the inertia it ends with"
    x, c, old = x.double(), c.double().clone(), None
    for _ in range(max_iter):
        labels = squares(x, c).argmin(1)
        if old is not None and torch.equal(labels, old):
            break
        old = labels
        for j in labels.unique():
            c[j] = x[labels == j].mean(0)
    return squares(x, c).amin(1).sum().item()


def misfit(x, k, c, labels, rest=1e-6, rtol=1e-4):
    """What is wrong with a result, if anything.

    `rest` is how far centroids may be from the means of their points, squared and as a share of the
    variance (None: anywhere), `rtol` how much farther than the nearest a point's own may be."""
    n, d = x.shape
    if tuple(c.shape) != (k, d):
        return f'centroids have shape {tuple(c.shape)}, not {(k, d)}'
    if tuple(labels.shape) != (n,):
        return f'labels have shape {tuple(labels.shape)}, not {(n,)}'
    if not c.isfinite().all():
        return f'{int((~c.isfinite()).any(1).sum())} of {k} centroids are not finite'
    labels = labels.long()
    if not ((labels >= 0) & (labels < k)).all():
        return 'labels out of range'
    x, c = x.detach().double(), c.detach().double()
    mean = x.mean(0)
    x, c = x - mean, c - mean
    spread = (x**2).sum(1).mean()
    d2 = squares(x, c)
    taken = d2.gather(1, labels[:, None])[:, 0]
    wrong = int((taken > d2.amin(1) * (1 + rtol) + 1e-6 * spread).sum())
    if wrong:
        return f'{wrong} of {n} labels are not the nearest centroid'
    if rest is not None:
        for j in labels.unique():
            off = ((c[j] - x[labels == j].mean(0)) ** 2).sum()
            if off > rest * spread + 1e-12:
                far = (off / spread).sqrt().item()
                return f'a centroid is {far:.2g} standard deviations from the mean of its points'


def start(x, k, seed=1):
    "k different points"
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:k]].clone()


def ends_well(fit, x, k):
    "From a given start, where one can be given: at rest, and no worse than the plain loop"
    init = None if 'init' in getattr(fit, 'cannot', ()) else start(x, k)
    c, labels = fit(x, k, init=init)
    wrong = misfit(x, k, c, labels)
    if wrong or init is None:
        return wrong
    ratio = squares(x.double(), c.double()).amin(1).sum().item() / lloyd(x, init)
    if ratio > 1.01:
        return f'inertia is {ratio:.3g} times that of the plain loop'


#  Shapes


@hazard('n and k fit no tile')
def tiles(fit):
    for n, d, k in (1009, 13, 7), (257, 65, 33), (130, 3, 5), (2049, 16, 65):
        if wrong := ends_well(fit, groups(n, d, k), k):
            return f'n = {n}, d = {d}, k = {k}: {wrong}'


def _dimension(d):
    def f(fit):
        return ends_well(fit, groups(600, d, 5), 5)

    return f


for _d in 1, 3, 17, 50, 1537:
    hazard(f'd = {_d}')(_dimension(_d))


@hazard('k = 1')
def one_cluster(fit):
    x = groups(10_000, 3, 4) + 100
    c, labels = fit(x, 1)
    return misfit(x, 1, c, labels)


@hazard('k = n')
def all_clusters(fit):
    x = groups(50, 2, 5)
    init = None if 'init' in getattr(fit, 'cannot', ()) else x.clone()
    c, labels = fit(x, 50, init=init)
    if wrong := misfit(x, 50, c, labels):
        return wrong
    if len(labels.unique()) < 50:
        return f'{len(labels.unique())} clusters used, though each of 50 points could have its own'


#  Numbers


@hazard('float16, |x|² > 65,504')
def half(fit):
    x = (groups(500, 8, 4) * 8 + 200).half()
    assert ((x.double() ** 2).sum(1) > 65_504).all()
    c, labels = fit(x, 4)
    # half precision keeps 11 bits: centroids may be off by the rounding of such numbers
    return misfit(x, 4, c.float(), labels, rest=None, rtol=0.05)


@hazard('far from the origin (1e4)')
def offset(fit):
    x = groups(2000, 8, 6, apart=3.0) + 1e4
    c, labels = fit(x, 6)
    return misfit(x, 6, c, labels, rest=1e-4, rtol=1e-3)


@hazard('float64 keeps its digits')
def double(fit):
    x = groups(500, 4, 5).double() + 1e7
    c, labels = fit(x, 5)
    return misfit(x, 5, c, labels)


@hazard('integers')
def integers(fit):
    x = (groups(500, 3, 4) * 10).long()
    c, labels = fit(x, 4)
    return misfit(x.float(), 4, c, labels)


@hazard('NaN is refused')
def nan(fit):
    return _refused(fit, float('nan'))


@hazard('infinity is refused')
def infinity(fit):
    return _refused(fit, float('inf'))


def _refused(fit, value):
    x = groups(200, 3, 4)
    x[17, 1] = value
    try:
        c, _ = fit(x, 4)
    except Inapplicable:
        raise
    except Exception:
        return None
    bad = int((~c.isfinite()).any(1).sum())
    return f'taken without a word; {bad} of 4 centroids are not finite'


#  Clusters without points


@hazard('a million copies of one point')
def copies(fit):
    x = torch.cat([torch.full((1_000_000, 2), 3.0), torch.eye(2) * 9, torch.zeros(1, 2)])
    c, labels = fit(x, 4)
    return misfit(x, 4, c, labels, rest=None)


@hazard('clusters that begin empty')
def empty(fit):
    if 'init' in getattr(fit, 'cannot', ()):
        raise Inapplicable('takes no start')
    x = groups(300, 2, 5) + 100
    init = start(x, 8)
    init[6:] = torch.tensor([[1e5, 1e5], [-1e5, 2e5]])
    c, labels = fit(x, 8, init=init)
    if (c.isfinite().all(1) & (c == 0).all(1)).any():
        return f'{int((c == 0).all(1).sum())} of 8 centroids went to the origin'
    if wrong := misfit(x, 8, c, labels):
        return wrong
    unused = 8 - len(labels.unique())
    if unused:
        return f'{unused} of 8 clusters stay empty'


#  Tensors of all kinds


@hazard('not contiguous')
def strided(fit):
    big = groups(900, 12, 5)
    x = big[::2, ::3]
    return ends_well(fit, x, 5) or ends_well(fit, x.T.contiguous().T, 5)


@hazard('requires_grad')
def grad(fit):
    if getattr(fit, 'takes', 'torch') == 'numpy':
        raise Inapplicable('takes arrays')
    x = groups(300, 3, 4).requires_grad_()
    c, labels = fit(x, 4)
    if c.requires_grad:
        return 'the result drags a graph along'
    return misfit(x.detach(), 4, c, labels)


@hazard('input stays as it was')
def unchanged(fit):
    x = groups(500, 3, 4) + 50
    before = x.clone()
    init = None if 'init' in getattr(fit, 'cannot', ()) else start(x, 4)
    kept = None if init is None else init.clone()
    fit(x, 4, init=init)
    if not torch.equal(x, before):
        return 'the points were changed'
    if init is not None and not torch.equal(init, kept):
        return 'the given start was changed'


#  Stopping, and chance


@hazard('tol = 0 stops')
def stops(fit):
    x = groups(400, 2, 6, apart=2.0)
    c, labels = fit(x, 6, tol=0.0, max_iter=1_000_000)
    return misfit(x, 6, c, labels)


@hazard('labels belong to the centroids')
def together(fit):
    if 'max_iter' in getattr(fit, 'cannot', ()):
        raise Inapplicable('cannot be stopped early')
    x = groups(3000, 2, 12, apart=1.0)
    init = None if 'init' in getattr(fit, 'cannot', ()) else start(x, 12)
    c, labels = fit(x, 12, init=init, max_iter=2)
    return misfit(x, 12, c, labels, rest=None)


def _states():
    legacy = np.random.get_state()
    return torch.get_rng_state().tolist(), (legacy[1].tolist(), legacy[2]), random.getstate()


@hazard("global generators stay as they were")
def generators(fit):
    before = _states()
    fit(groups(500, 3, 4), 4, seed=3)
    names = [n for n, a, b in zip(('torch', 'numpy', 'random'), before, _states()) if a != b]
    if names:
        return f'used or seeded: {", ".join(names)}'


@hazard('same seed, same result')
def repeatable(fit):
    if 'seed' in getattr(fit, 'cannot', ()):
        raise Inapplicable('takes no seed')
    x = groups(2000, 3, 12, apart=1.0)
    (c1, l1), (c2, l2) = fit(x, 12, seed=5), fit(x, 12, seed=5)
    if not (torch.equal(c1, c2) and torch.equal(l1, l2)):
        return 'two results for one seed'


#  For the benchmark's ways


def adapter(way, fit):
    "A way of `benchmarks.peers` as the `fit` that hazards call"

    def give(a):
        return a.detach().numpy() if way.takes == 'numpy' and a is not None else a

    def f(x, k, init=None, seed=0, tol=None, max_iter=300):
        tol = way.rest if tol is None else tol
        c, labels, _ = fit(give(x), k, give(init), seed, tol, max_iter)
        return torch.as_tensor(c), torch.as_tensor(labels)

    f.cannot, f.takes = way.cannot, way.takes
    return f


def outcome(f, fit):
    "What comes of one hazard, as a record"
    try:
        wrong = f(fit)
    except Inapplicable as e:
        return dict(outcome='does not apply', what=str(e))
    except Exception as e:
        return dict(outcome='error', what=f'{type(e).__name__}: {e}'.splitlines()[0][:200])
    return dict(outcome='wrong', what=wrong) if wrong else dict(outcome='ok')
