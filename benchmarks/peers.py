"""Ways to run k-means: ours, and other libraries', each behind the same function.

A way's `open` imports its library and returns `fit(x, k, init, seed, tol, max_iter)`, which gives
`(centroids, labels, n_iter)`. An argument that is None is left to the library's own default, but
that all start once (`n_init=1`), with k-means++ where they have it, and on all points: none takes
a sample. `labels` come from the library, inside the time. Nothing here is imported before `open`:
each way runs in a process of its own, with only its own libraries."""

from typing import Callable, NamedTuple


class Way(NamedTuple):
    open: Callable  # Imports the library; returns `fit`
    package: str  # Its name on PyPI
    takes: str  # 'numpy' or 'torch': what `fit` is given
    cannot: dict = {}  # {'init' | 'seed' | 'max_iter': why it has none}
    note: str = ''  # In what it differs from the others
    rest: float = 0.0  # The tol that means: until nothing changes
    least_d: int = 1  # Dimensions it needs
    cap: int | None = 300  # Iterations after which it stops if it is told nothing
    gpu: bool = False  # Does it need one?


def given(**kwargs):
    "The arguments that are not None"
    return {name: value for name, value in kwargs.items() if value is not None}


def clusterlearn():
    from clusterlearn import k_means

    def fit(x, k, init=None, seed=0, tol=None, max_iter=None):
        options = given(init=init, tol=tol, max_iter=max_iter)
        r = k_means(x, k, n_init=1, random_state=seed, **options)
        return r.centroids, r.labels, r.n_iter

    return fit


def like_sklearn(KMeans, **fixed):
    def fit(x, k, init=None, seed=0, tol=None, max_iter=None):
        options = given(init=init, tol=tol, max_iter=max_iter)
        m = KMeans(k, n_init=1, random_state=seed, **options, **fixed).fit(x)
        return m.cluster_centers_, m.labels_, m.n_iter_

    return fit


def sklearn_lloyd():
    from sklearn.cluster import KMeans

    return like_sklearn(KMeans)


def sklearn_elkan():
    from sklearn.cluster import KMeans

    return like_sklearn(KMeans, algorithm='elkan')


def sklearn_intelex():
    from sklearnex.cluster import KMeans

    return like_sklearn(KMeans)


def faiss_kmeans():
    import faiss

    plusplus = faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS

    def fit(x, k, init=None, seed=0, tol=None, max_iter=None):
        options = dict(seed=seed, max_points_per_centroid=10**9, min_points_per_centroid=1)
        m = faiss.Kmeans(x.shape[1], k, init_method=plusplus, **options, **given(niter=max_iter))
        m.train(x, init_centroids=init)
        return m.centroids, m.assign(x)[1], len(m.obj)

    return fit


def faiss_super():
    import faiss

    def fit(x, k, init=None, seed=0, tol=None, max_iter=None):
        options = dict(seed=seed, max_points_per_centroid=10**9, min_points_per_centroid=1)
        m = faiss.SuperKmeans(x.shape[1], k, **options, **given(niter=max_iter))
        m.train(x)
        return m.centroids, m.assign(x)[1], len(m.obj)

    return fit


def fastkmeans():
    from fastkmeans import FastKMeans

    def fit(x, k, init=None, seed=0, tol=None, max_iter=None):
        m = FastKMeans(x.shape[1], k, seed=seed, **given(niter=max_iter, tol=tol))
        labels = m.fit_predict(x)
        return m.centroids, labels, None

    return fit


def counted(f):
    "`f`, and a list that grows by one with each call: iterations of those who do not tell"
    calls = []

    def g(*args, **kwargs):
        calls.append(1)
        return f(*args, **kwargs)

    return g, calls


def fast_pytorch_kmeans():
    from fast_pytorch_kmeans import KMeans

    def fit(x, k, init=None, seed=0, tol=None, max_iter=None):
        m = KMeans(k, init_method='kmeans++', **given(tol=tol, max_iter=max_iter))
        m.max_sim, calls = counted(m.max_sim)
        labels = m.fit_predict(x, centroids=init)
        return m.centroids, labels, len(calls)

    return fit


def torch_kmeans():
    from torch_kmeans import KMeans

    def fit(x, k, init=None, seed=0, tol=None, max_iter=None):
        options = given(tol=tol, max_iter=max_iter)
        m = KMeans('k-means++', num_init=1, verbose=False, seed=seed, **options)
        m._assign, calls = counted(m._assign)
        r = m(x[None], k, None if init is None else init[None])
        return r.centers[0], r.labels[0], len(calls) - 1  # the last one only labels

    return fit


def kmeans_pytorch():
    from kmeans_pytorch import kmeans

    def fit(x, k, init=None, seed=0, tol=None, max_iter=None):
        labels, centroids = kmeans(x, k, device=x.device, **given(tol=tol))
        return centroids, labels, None

    return fit


def flash_kmeans():
    from flash_kmeans import batch_kmeans_Euclid

    def fit(x, k, init=None, seed=0, tol=None, max_iter=None):
        start = None if init is None else init[None]
        options = given(tol=tol, max_iters=max_iter)
        labels, c, n_iter = batch_kmeans_Euclid(x[None], k, init_centroids=start, **options)
        return c[0], labels[0], n_iter

    return fit


def flashlib():
    from flashlib import flash_kmeans

    def fit(x, k, init=None, seed=0, tol=None, max_iter=None):
        options = given(tol=tol, max_iters=max_iter, init_centroids=init)
        labels, c, n_iter = flash_kmeans(x, k, **options)
        return c, labels, n_iter

    return fit


only_below = 1e-30  # for those who stop when a shift is *below* tol: at 0 they never would
random_start = 'its only start is random points'
no_rule = 'has no tol; it stops when the inertia, in 32 bits, repeats itself'

flash = dict(
    cannot={'seed': 'draws from the global generator'},
    note='starts at random points',
    cap=100,
    rest=only_below,
    gpu=True,
)
WAYS = {
    'scikit-learn': Way(sklearn_lloyd, 'scikit-learn', 'numpy'),
    'clusterlearn': Way(clusterlearn, 'clusterlearn', 'torch'),
    'scikit-learn elkan': Way(sklearn_elkan, 'scikit-learn', 'numpy'),
    'scikit-learn-intelex': Way(sklearn_intelex, 'scikit-learn-intelex', 'numpy'),
    'faiss': Way(faiss_kmeans, 'faiss-cpu', 'numpy', note=no_rule, cap=25),
    'faiss SuperKmeans': Way(
        faiss_super,
        'faiss-cpu',
        'numpy',
        cannot={'init': random_start},
        cap=25,
        least_d=32,
    ),
    'fastkmeans': Way(
        fastkmeans,
        'fastkmeans',
        'numpy',
        cannot={'init': random_start},
        cap=25,
        rest=only_below,
    ),
    'fast-pytorch-kmeans': Way(
        fast_pytorch_kmeans,
        'fast-pytorch-kmeans',
        'torch',
        cannot={'seed': 'draws from the global generator'},
        cap=100,
    ),
    'torch-kmeans': Way(
        torch_kmeans,
        'torch-kmeans',
        'torch',
        cap=100,
        rest=only_below,
    ),
    'kmeans-pytorch': Way(
        kmeans_pytorch,
        'kmeans-pytorch',
        'torch',
        cannot={
            'init': random_start,
            'seed': "draws from numpy's global generator",
            'max_iter': 'has no limit',
        },
        cap=None,
        rest=only_below,
    ),
    'clusterlearn GPU': Way(clusterlearn, 'clusterlearn', 'torch', gpu=True),
    'flash-kmeans': Way(flash_kmeans, 'flash-kmeans', 'torch', **flash),
    'flashlib': Way(flashlib, 'flashlib', 'torch', **flash),
}
