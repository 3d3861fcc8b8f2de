"Estimators: scikit-learn's own checks and tests, kinds of input, weights, copies, files"
import io, json, os, pickle, subprocess, sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn.cluster
import sklearn.metrics.pairwise
import sklearn.neighbors
import torch
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from packaging.version import Version

from benchmarks import conformance
from clusterlearn import k_means
from clusterlearn.data import blobs
from clusterlearn.density.hdbscan import hdbscan
from clusterlearn.density.hdbscan_select import choose_clusters
from clusterlearn.estimator_base import read_points
from clusterlearn.estimator_kmeans import _start_of
from clusterlearn.estimators import (DBSCAN, HDBSCAN, KMeans, MeanShift, MiniBatchKMeans,
                                     NearestNeighbors)

root = Path(__file__).parent.parent
X = blobs(4, 60, random_state=0).points.double().numpy()
models = [KMeans(4, random_state=0), MiniBatchKMeans(4, random_state=0, batch_size=50),
          MeanShift(bandwidth=8.), DBSCAN(eps=2.), HDBSCAN()]
with_predict = models[:3]

def name(model): return type(model).__name__

def as_array(a): return a.numpy() if isinstance(a, torch.Tensor) else np.asarray(a)

def needs(package, release): # What an older release of `package` does otherwise is no fault of ours
    return pytest.mark.skipif(Version(package.__version__) < Version(release),
                              reason=f'needs {package.__name__} {release}')

#  Outside authorities

@needs(sklearn, '1.6')
def test_check_estimator_passes_and_skips_nothing():
    for name, ended in conformance.in_process('ours').items():
        assert ended['passed'] > 40 and not ended['not_passed'], name

def test_a_file_of_scikit_learns_tests():
    pytest.importorskip('nbval')   # the folder's conftest.py asks for it
    record = conformance.summary('test_dbscan', conformance.in_process('test_dbscan'))
    assert record['reach_ours'] == record['passed'] >= 25

def recorded():
    return json.loads((root/'benchmarks/results/conformance.json').read_text())['records']

def test_recorded_failures_have_reasons():
    files = [r for r in recorded() if 'tests' in r]
    assert [r['name'] for r in files] == list(conformance.files)
    failures = [f for r in files for f in r['failures']]
    for f in failures:
        kind, reason = conformance.reason_of(f['test'])
        assert kind in ('private', 'other') and reason, f['test']
        assert (f['kind'], f['reason']) == (kind, reason), f['test']
    assert {f['test'].split('[')[0] for f in failures} == set(conformance.reasons)
    for r in files: assert r['passed'] >= .95 * r['reach_ours'] and not r['skipped'], r['name']

def test_recorded_checks_all_pass():
    checks = {r['name'].split()[-1]: r['ours'] for r in recorded() if 'ours' in r}
    assert list(checks) == list(conformance.classes)
    assert not any(c['not_passed'] for c in checks.values())

def test_a_failure_without_a_reason_is_found():
    ended = {'test_new[1]': ['failed', True, 'said'], 'test_not_ours': ['failed', False, '']}
    record = conformance.summary('file', ended)
    assert record['reach_ours'] == record['failed'] == 1
    assert record['failures'][0]['kind'] == 'unknown'

#  Kinds

frames = [np.asarray, torch.from_numpy, pd.DataFrame, csr_matrix, list, np.asfortranarray,
          lambda a: pl.DataFrame(a, schema=['a', 'b'])]

@pytest.mark.parametrize('kind', frames)
@pytest.mark.parametrize('model', models, ids=name)
def test_every_kind_has_the_same_labels(model, kind):
    want, given = clone(model).fit(X), clone(model).fit(kind(X.copy()))
    tensor = kind is torch.from_numpy
    assert isinstance(given.labels_, torch.Tensor if tensor else np.ndarray)
    assert np.array_equal(as_array(given.labels_), want.labels_)
    for a, v in vars(given).items():
        if a.endswith('_') and isinstance(getattr(want, a, 0), np.ndarray) and 'tree' not in a:
            assert isinstance(v, torch.Tensor) == tensor, a

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.int32])
@pytest.mark.parametrize('model', with_predict, ids=name)
def test_labels_are_predictions(model, dtype):
    x = torch.from_numpy(X).to(dtype)
    m = clone(model).fit(x)
    assert torch.equal(m.labels_, m.predict(x)) and m.labels_.dtype == torch.int64
    assert m.cluster_centers_.dtype == (x.dtype if x.is_floating_point() else torch.float64)

def test_labels_beyond_the_bandwidth_are_predictions():
    m = MeanShift(bandwidth=3., cluster_all=False).fit(X)
    assert (m.labels_ < 0).any() and np.array_equal(m.labels_, m.predict(X))

def test_one_kind_in_another_out():
    m = KMeans(4, random_state=0).fit(X)
    assert torch.equal(m.predict(torch.from_numpy(X)), torch.from_numpy(m.labels_))
    t = clone(m).fit(torch.from_numpy(X))
    assert np.array_equal(t.predict(X), m.labels_) and isinstance(t.transform(X), np.ndarray)
    assert t.score(X) == pytest.approx(-m.inertia_)

@pytest.mark.parametrize('to, frame', [('pandas', pd.DataFrame), ('polars', pl.DataFrame)])
def test_set_output(to, frame):
    m = KMeans(3, random_state=0).set_output(transform=to)
    for given in (pd.DataFrame(X, columns=['a', 'b']), pl.DataFrame(X, schema=['a', 'b'])):
        out = clone(m).fit(given).transform(given)
        assert isinstance(out, frame) and list(out.columns) == ['kmeans0', 'kmeans1', 'kmeans2']

def test_columns_are_compared():
    m = KMeans(3, random_state=0).fit(pd.DataFrame(X, columns=['a', 'b']))
    assert list(m.feature_names_in_) == ['a', 'b']
    with pytest.raises(ValueError, match='same order'):
        m.predict(pd.DataFrame(X, columns=['b', 'a']))
    with pytest.raises(ValueError, match='X has 3 features, but KMeans is expecting 2'):
        m.predict(torch.ones(2, 3))
    assert not hasattr(m.fit(torch.from_numpy(X)), 'feature_names_in_')

dispatch = '''
import torch, sklearn
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from clusterlearn.estimators import KMeans
with sklearn.config_context(array_api_dispatch=True):
    for scaler in SCALERS:
        x = torch.randn(90, 3)
        m = make_pipeline(scaler(), KMeans(3, random_state=0)).fit(x)
        for t in (m[-1].labels_, m[-1].cluster_centers_, m.predict(x), m.transform(x)):
            assert isinstance(t, torch.Tensor), (scaler, type(t))
'''

@needs(sklearn, '1.7.2')
def test_array_api_dispatch():
    env = os.environ | {'SCIPY_ARRAY_API': '1'}
    able = Version(sklearn.__version__) >= Version('1.8')
    scalers = 'MinMaxScaler, StandardScaler' if able else 'MinMaxScaler,'
    code = dispatch.replace('SCALERS', f'({scalers})')
    subprocess.run([sys.executable, '-c', code], check=True, env=env, cwd=root)

@pytest.mark.skipif(sys.platform != 'linux', reason='Triton has releases for Linux only')
@pytest.mark.parametrize('model', models, ids=name)
def test_tensors_stay_on_a_pretend_gpu(model):
    pytest.importorskip('triton')
    from pretend import Pretend, PretendGPU
    x, m = torch.from_numpy(X).float(), clone(model)
    if isinstance(m, KMeans): m.set_params(max_iter=4)
    with PretendGPU():
        m.fit(Pretend(x.clone()))
        learned = [v for v in vars(m).values() if isinstance(v, torch.Tensor)]
        assert len(learned) > 1 and all(isinstance(v, Pretend) for v in learned)
        if hasattr(m, 'predict'):
            assert torch.equal(m.predict(Pretend(x.clone())).cpu(), m.labels_.cpu())
            assert isinstance(m.predict(X.astype('float32')), np.ndarray)

#  Weights, order, starts

@pytest.mark.parametrize('init', ['k-means++', 'random', 'k-means||'])
def test_a_weight_is_a_repetition_and_order_does_not_matter(init):
    times = np.random.RandomState(1).randint(0, 4, len(X))
    rows = np.random.RandomState(2).permutation(X.repeat(times, axis=0))
    m = KMeans(7, init=init, n_init=1, random_state=3)
    a = clone(m).fit(X, sample_weight=times)
    b = clone(m).fit(rows)
    assert np.allclose(a.cluster_centers_, b.cluster_centers_) and a.n_iter_ == b.n_iter_
    assert a.inertia_ == pytest.approx(b.inertia_)
    assert a.score(X, sample_weight=times) == pytest.approx(-a.inertia_)

@pytest.mark.parametrize('init', ['k-means++', 'random'])
def test_points_without_weight_are_no_starts(init):
    m, w = KMeans(9, init=init), torch.rand(len(X)).double()
    w[::2] = 0
    x = read_points(m, X, reset=True)
    start = _start_of(m, X, x, w, np.random.RandomState(0))(x, 9, torch.Generator().manual_seed(0))
    assert torch.cdist(start, x[::2]).min() > 0

@pytest.mark.parametrize('n, k', [(3000, 12), (400, 30)])
def test_given_a_start_k_means_is_scikit_learns(n, k):
    r = np.random.RandomState(0)
    x, w = r.normal(size=(n, 3)), r.uniform(.1, 2., n)
    for weights in (None, w):
        ours, sk = (M(k, init=x[:k], n_init=1, tol=0, max_iter=500).fit(x, sample_weight=weights)
                    for M in (KMeans, sklearn.cluster.KMeans))
        assert np.array_equal(ours.labels_, sk.labels_) and ours.n_iter_ == sk.n_iter_
        assert np.allclose(ours.cluster_centers_, sk.cluster_centers_)

def test_cosine():
    r = np.random.RandomState(0)
    x = np.concatenate([r.normal(c, .3, (60, 3)) for c in np.eye(3) * 3])
    x *= r.uniform(.5, 9, (180, 1))
    w = r.randint(0, 4, len(x))
    for kind in (np.asarray, torch.from_numpy):
        m = KMeans(3, metric='cosine', init=x[[0, 60, 120]], n_init=1, tol=0).fit(kind(x))
        want = k_means(torch.from_numpy(x), 3, init=x[[0, 60, 120]], tol=0, metric='cosine')
        assert np.array_equal(as_array(m.labels_), want.labels)
        assert np.array_equal(as_array(m.predict(kind(x * 7))), want.labels)
        assert m.inertia_ == want.inertia == pytest.approx(-m.score(kind(x)))
        far = sklearn.metrics.pairwise.cosine_distances(x, as_array(m.cluster_centers_))
        assert np.allclose(as_array(m.transform(kind(x))), far)
        with pytest.raises(ValueError, match='only zeros in row 0'): m.predict(kind(x * 0))
    a = KMeans(5, metric='cosine', random_state=0).fit(x, sample_weight=w)
    b = clone(a).fit(r.permutation(x.repeat(w, 0)))
    assert np.allclose(a.cluster_centers_, b.cluster_centers_)
    with pytest.raises(ValueError, match='metric='): KMeans(metric='manhattan').fit(x)

#  Batches

def test_batches_go_on_after_a_file(tmp_path):
    a = MiniBatchKMeans(4, random_state=0)
    for batch in X.reshape(6, -1, 2): a.partial_fit(batch)
    b = MiniBatchKMeans(4, random_state=0)
    for batch in torch.from_numpy(X).split(40):
        b.partial_fit(batch).save(tmp_path/'b.npz')
        b = MiniBatchKMeans.load(tmp_path/'b.npz')
    assert a.n_steps_ == b.n_steps_ == 6 and isinstance(b.cluster_centers_, torch.Tensor)
    assert np.allclose(a.cluster_centers_, b.cluster_centers_, atol=1e-12)
    assert a._counts.sum() == len(X)
    with pytest.raises(ValueError, match='X has 3 features'): a.partial_fit(np.ones((9, 3)))

def test_batches_after_a_fit_and_without_labels():
    m = MiniBatchKMeans(4, random_state=0, compute_labels=False, batch_size=50).fit(X)
    assert not hasattr(m, 'labels_') and m.n_iter_ == np.ceil(m.n_steps_ * 50 / len(X))
    steps = m.n_steps_
    assert m.partial_fit(X[:50], sample_weight=np.ones(50)).n_steps_ == steps + 1

#  Density and neighbours

choices = [dict(), dict(cluster_selection_method='leaf'), dict(allow_single_cluster=True),
           dict(cluster_selection_epsilon=.3), dict(max_cluster_size=60), dict(alpha=1.3),
           dict(allow_single_cluster=True, cluster_selection_epsilon=.4), dict(metric='manhattan'),
           dict(min_samples=3, min_cluster_size=9), dict(algorithm='brute'),
           pytest.param(dict(metric='cosine'), marks=needs(np, '2'))]   # ties are sorted otherwise

@pytest.mark.parametrize('how', choices, ids=str)
def test_hdbscan_chooses_as_scikit_learn(how):
    for seed in range(3):
        r = np.random.RandomState(seed)
        x = np.concatenate([r.normal(c, .3, (80, 2)) for c in ((0, 0), (2, 2), (2.8, 2))]
                           + [r.uniform(-2, 5, (60, 2))])
        ours = HDBSCAN(store_centers='both', **how).fit(x)
        sk = sklearn.cluster.HDBSCAN(store_centers='both', copy=True, **how).fit(x)
        assert adjusted_rand_score(ours.labels_, sk.labels_) == 1
        assert np.allclose(ours.probabilities_, sk.probabilities_, equal_nan=True)
        order = [np.sort(m.centroids_, 0) for m in (ours, sk)]
        assert np.allclose(*order)
        x[3, 1], x[5] = np.nan, np.inf
        ours, sk = HDBSCAN(**how).fit(x), sklearn.cluster.HDBSCAN(copy=True, **how).fit(x)
        assert ours.labels_[[3, 5]].tolist() == [-3, -2]
        for cut in (.2, .5):
            assert adjusted_rand_score(*(m.dbscan_clustering(cut) for m in (ours, sk))) == 1

@pytest.mark.parametrize('epsilon', [.25, .4, .6])
def test_clusters_are_not_born_below_a_distance(epsilon):
    "By the definition: scikit-learn's own search stops with a TypeError where it climbs two steps"
    x = torch.from_numpy(np.random.RandomState(0).uniform(0, 4, (400, 2)))
    tree = hdbscan(x).tree
    born = 1 / tree.birth[1:].clip(1e-12)
    plain, owner = (choose_clusters(tree, 'leaf', e) for e in (0., epsilon))
    chosen = np.flatnonzero(owner == np.arange(len(owner)))
    assert len(chosen) < (plain == np.arange(len(plain))).sum()
    for c in np.flatnonzero(plain == np.arange(len(plain))):
        up = c
        while born[up - 1] <= epsilon and tree.parent[up] > 0: up = tree.parent[up]
        assert owner[c] >= 0 and (owner[c] == up or owner[up] == owner[c])
    for c in chosen: assert born[c - 1] >= epsilon or tree.parent[c] == 0

@pytest.mark.parametrize('copies', [1, 9])
def test_neighbours_are_scikit_learns(copies):
    x = np.random.RandomState(0).normal(size=(60, 3)).repeat(copies, 0)
    ours, sk = (M(n_neighbors=4, radius=.9).fit(x)
                for M in (NearestNeighbors, sklearn.neighbors.NearestNeighbors))
    for given in (None, x[:20] + .1):
        assert np.allclose(ours.kneighbors(given)[0], sk.kneighbors(given)[0], atol=1e-6)
        for a, b in zip(ours.radius_neighbors(given)[1], sk.radius_neighbors(given)[1]):
            assert set(a) == set(b)
        for graph in ('kneighbors_graph', 'radius_neighbors_graph'):
            a, b = (getattr(m, graph)(given, mode='distance') for m in (ours, sk))
            assert a.shape == b.shape and np.allclose(a.sum(1), b.sum(1), atol=1e-5)
    with pytest.raises(ValueError, match='n_neighbors < n_samples_fit'):
        ours.kneighbors(None, len(x))

def test_neighbours_of_tensors():
    x = torch.from_numpy(X)
    m = NearestNeighbors().fit(x)
    d, i = m.kneighbors(x[:3])
    assert isinstance(d, torch.Tensor) and i[:, 0].tolist() == [0, 1, 2]
    assert all(isinstance(t, torch.Tensor) for t in m.radius_neighbors(x[:3], 3.)[0])
    assert isinstance(m.kneighbors(X[:3], return_distance=False), np.ndarray)

#  Copies, searches, files

@pytest.mark.parametrize('way', ['pickle', 'joblib'])
@pytest.mark.parametrize('model', [*models, NearestNeighbors()], ids=name)
def test_copies(model, way):
    m, f = clone(model).fit(torch.from_numpy(X)), io.BytesIO()
    if way == 'pickle': again = pickle.loads(pickle.dumps(m))
    else:
        joblib.dump(m, f); f.seek(0)
        again = joblib.load(f)
    assert again.get_params() == m.get_params() and vars(again).keys() == vars(m).keys()
    assert clone(again).get_params() == m.get_params()

def test_pipeline_and_search():
    pipe = make_pipeline(StandardScaler(), KMeans(random_state=0))
    search = GridSearchCV(pipe, {'kmeans__n_clusters': [2, 4], 'kmeans__init': ['random']}, cv=3)
    search.fit(X)
    assert search.best_params_['kmeans__n_clusters'] == 4
    assert search.predict(X).shape == (len(X),) and search.transform(X).shape == (len(X), 4)

@pytest.mark.parametrize('kind', [np.asarray, torch.from_numpy, pd.DataFrame])
@pytest.mark.parametrize('model', [*models, NearestNeighbors(n_neighbors=2)], ids=name)
def test_files(model, kind, tmp_path):
    m, file = clone(model).fit(kind(X)), tmp_path/'model.npz'
    m.save(file)
    again = type(m).load(file)
    assert again.get_params() == m.get_params() and vars(again).keys() == vars(m).keys()
    for n, v in vars(m).items():
        got = getattr(again, n)
        assert type(got) is type(v), n
        if isinstance(v, (np.ndarray, torch.Tensor)):
            assert got.dtype == v.dtype and np.array_equal(as_array(got), as_array(v)), n
        else: assert got == v, n
    other = DBSCAN if not isinstance(m, DBSCAN) else KMeans
    with pytest.raises(ValueError, match=f'holds a {name(m)}: use {name(m)}.load'): other.load(file)

def test_files_are_whole_or_not_there(tmp_path):
    file = tmp_path/'model.npz'
    good = KMeans(3, init=X[:3], random_state=0).fit(X)
    good.save(file)
    before = file.read_bytes()
    for bad in (dict(init=lambda x, k, random_state: x[:k]),
                dict(random_state=np.random.RandomState())):
        with pytest.raises(TypeError, match=f'{next(iter(bad))} is a .* without pickle'):
            KMeans(3, n_init=1, **bad).fit(X).save(file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]
    assert np.array_equal(KMeans.load(file).init, X[:3])
    with pytest.raises(ValueError, match='.npz'): good.save(tmp_path/'model.pt')
    for content in (b'', before[:-40], pickle.dumps(good)):
        file.write_bytes(content)
        with pytest.raises(ValueError, match='is no model: write one with save'): KMeans.load(file)
    assert KMeans(n_init=1).fit(torch.from_numpy(X).bfloat16()).save(tmp_path/'b.npz') is None
    assert KMeans.load(tmp_path/'b.npz').cluster_centers_.dtype == torch.bfloat16

#  What is refused

@pytest.mark.parametrize('model, error', [
    (KMeans(0), 'n_clusters=0'), (KMeans(2.5), 'n_clusters=2.5'), (KMeans(n_init='many'), 'n_init'),
    (KMeans(init='best'), 'init='), (KMeans(algorithm='full'), 'algorithm='),
    (KMeans(tol=-1.), 'tol='), (MeanShift(bandwidth=-1.), 'bandwidth=-1'),
    (DBSCAN(eps=0.), 'eps=0'), (MiniBatchKMeans(batch_size=0), 'batch_size=0'),
    (DBSCAN(min_samples=0), 'min_samples=0'), (HDBSCAN(min_cluster_size=1), 'min_cluster_size'),
    (HDBSCAN(cluster_selection_method='tree'), 'cluster_selection_method'),
    (HDBSCAN(store_centers='all'), 'store_centers'), (NearestNeighbors(p=1), 'p=1')], ids=str)
def test_bad_parameters(model, error):
    with pytest.raises((ValueError, TypeError), match=error): model.fit(X)

without = '''
import importlib, sys; sys.modules['sklearn'] = None
import clusterlearn.density.metrics
for room in ('estimators', *(f'estimator_{n}' for n in ('base', 'parts', 'kmeans', 'density'))):
    try: importlib.import_module(f'clusterlearn.{room}')
    except ImportError as e: assert 'clusterlearn[sklearn]' in str(e), (room, e)
    else: raise AssertionError('no error')
'''

def test_without_scikit_learn_the_error_names_the_extra():
    subprocess.run([sys.executable, '-c', without], check=True, cwd=root)
