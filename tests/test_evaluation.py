"Indices of clusterings against scikit-learn's, on inputs that a chapter has no room for."
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.spatial.distance import cdist
import sklearn
from sklearn import metrics
from packaging.version import Version
from clusterlearn import agreement, evaluation as ev

g = torch.Generator().manual_seed(0)
def normal(*shape): return torch.randn(*shape, generator=g, dtype=torch.float64)
def groups(n, k): return torch.arange(n) % k

INPUTS = {
    'random': (normal(300, 3), groups(300, 5)),
    'one column': (normal(200, 1), groups(200, 3)),
    'wide': (normal(250, 80) + 5 * normal(4, 80)[groups(250, 4)], groups(250, 4)),
    'float32': (normal(200, 2).float(), groups(200, 4)),
    'duplicates': (normal(10, 2)[groups(200, 10)], groups(200, 4)),
    'a cluster of duplicates': (torch.cat([torch.ones(50, 2), normal(50, 2)]),
                                groups(100, 2).sort()[0]),
    'singletons': (normal(60, 2), torch.cat([torch.arange(20), torch.full((40,), 20)])),
    'many clusters': (normal(200, 2), groups(200, 90)),
    'gaps in the labels': (normal(100, 2), groups(100, 3) * 7 + 2),
    'noise': (normal(100, 2), groups(100, 4) - 1),
    'tiny': (normal(3, 2), torch.tensor([0, 0, 1])),
}
INTERNAL = 'silhouette_score', 'calinski_harabasz_score', 'davies_bouldin_score'


@pytest.mark.parametrize('name', INPUTS)
@pytest.mark.parametrize('index', INTERNAL)
def test_internal_indices_are_scikit_learns(name, index):
    x, labels = INPUTS[name]
    ours, theirs = (getattr(m, index)(x.double(), labels) for m in (ev, metrics))
    assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-6)
    assert isinstance(ours, float)


@pytest.mark.parametrize('name', INPUTS)
@pytest.mark.parametrize('budget', [1, 10_000, 2**26])
def test_silhouettes_do_not_depend_on_the_budget(name, budget):
    x, labels = INPUTS[name]
    theirs = metrics.silhouette_samples(x.double(), labels)
    assert abs(ev.silhouette_samples(x, labels, budget=budget).numpy() - theirs).max() < 1e-6


@pytest.mark.parametrize('dim', [2, 50])
@pytest.mark.parametrize('offset', [1e6, 1e9])
def test_far_from_the_origin(dim, offset):
    "There scikit-learn expands squares and is inexact itself: it is given SciPy's distances"
    labels = groups(300, 4)
    x = normal(300, dim) + offset
    exact = metrics.silhouette_samples(cdist(x, x), labels, metric='precomputed')
    assert abs(ev.silhouette_samples(x, labels).numpy() - exact).max() < 1e-6
    near = (x - x[0]).double()
    for index in INTERNAL[1:]:
        theirs = getattr(metrics, index)(near, labels)
        assert getattr(ev, index)(x, labels) == pytest.approx(theirs, rel=1e-6)
    assert ev.wcss(x, labels) == pytest.approx(ev.wcss(near, labels), rel=1e-6)


def test_products_are_checked_where_points_nearly_coincide():
    "80 columns, an outlier and two clusters a millionth wide: products alone are off by 0.1"
    x = torch.cat([1e-6 * normal(40, 80), 1e-6 * normal(40, 80) + 1e-6, 100 * normal(1, 80)])
    labels = torch.cat([groups(80, 2).sort()[0], torch.tensor([2])])
    exact = metrics.silhouette_samples(cdist(x, x), labels, metric='precomputed')
    assert abs(ev.silhouette_samples(x, labels).numpy() - exact).max() < 1e-6


def test_scale_does_not_matter():
    "scikit-learn calls 1e-8 zero; ours is free of units"
    x, labels = INPUTS['random']
    for scale in 1e-12, 1e12:
        for index in INTERNAL:
            f = getattr(ev, index)
            assert f(x * scale, labels) == pytest.approx(f(x, labels), rel=1e-9)


def test_noise():
    x, labels = INPUTS['noise']
    kept = labels >= 0
    for index in INTERNAL:
        f, theirs = getattr(ev, index), getattr(metrics, index)
        assert f(x, labels, noise='drop') == pytest.approx(theirs(x[kept], labels[kept]), rel=1e-6)
        assert f(x, labels) == pytest.approx(theirs(x, labels), rel=1e-6)
    s = ev.silhouette_samples(x, labels, noise='drop')
    assert torch.equal(s.isnan(), ~kept)
    with pytest.raises(ValueError, match='every point'): ev.wcss(x, [-1] * 100, noise='drop')
    with pytest.raises(ValueError, match="noise='keep': choose"): ev.wcss(x, labels, noise='keep')


@pytest.mark.parametrize('index', INTERNAL)
def test_one_cluster_and_only_singletons_are_refused(index):
    x = normal(5, 2)
    for labels in [0] * 5, range(5):
        with pytest.raises(ValueError, match='two clusters, one of them with two points'):
            getattr(ev, index)(x, list(labels))


def test_evaluate_takes_words_and_series():
    x = normal(60, 2)
    words = np.array(['a', 'b', 'c'])[groups(60, 3)]
    want = ev.evaluate(x, groups(60, 3))
    for labels in (words, words.tolist(), pd.Series(words, index=range(5, 65))):
        assert ev.evaluate(x, labels)[:-1] == want[:-1]
    with pytest.raises(ValueError, match='not whole'): ev.evaluate(x, [.5] * 60)

def test_bad_labels_are_named():
    x = normal(4, 2)
    for labels, why in ([0, 1], r'\(4,\) is needed'), ([0., .5, 1., 1.], 'not whole'), \
                       ([[0, 1], [1, 0]], 'one label a'), ([0., math.nan, 1., 1.], 'not whole'):
        with pytest.raises(ValueError, match=why): ev.silhouette_score(x, labels)
    with pytest.raises(ValueError, match='labels_pred 2'):
        agreement.adjusted_rand_score([0], [0, 1])


def test_a_sample_is_unbiased_and_reproducible():
    x, labels = INPUTS['random']
    exact = ev.silhouette_samples(x, labels)
    means = [ev.silhouette_score(x, labels, sample_size=50, random_state=i) for i in range(200)]
    assert abs(np.mean(means) - exact.mean()) < 4 * exact.std() / math.sqrt(50 * 200)
    assert means[0] == ev.silhouette_score(x, labels, sample_size=50, random_state=0)
    assert ev.silhouette_score(x, labels, sample_size=300) == pytest.approx(exact.mean().item())


def test_inputs_are_unchanged_and_dtypes_do_not_matter():
    x, labels = INPUTS['random']
    before = x.clone(), labels.clone()
    want = ev.silhouette_score(x, labels)
    words = [f'c{i}' for i in labels]
    for l in labels.numpy(), labels.tolist(), labels.int(), words, labels.double():
        assert ev.silhouette_score(x.numpy(), l) == pytest.approx(want, abs=1e-12)
    assert torch.equal(x, before[0]) and torch.equal(labels, before[1])


def test_evaluate():
    x, labels = INPUTS['noise']
    e, kept = ev.evaluate(x, labels), labels >= 0
    assert (e.n_clusters, e.noise, e.silhouette_points, e.silhouette_error) == (3, 25, 75, 0.)
    s = torch.from_numpy(metrics.silhouette_samples(x[kept], labels[kept]))
    assert e.silhouette == pytest.approx(s.mean().item(), abs=1e-6)
    for i in range(3):
        assert e.cluster_silhouettes[i] == pytest.approx(s[labels[kept] == i].mean().item())
    one = ev.evaluate(x, labels * 0)
    assert one.n_clusters == 1 and math.isnan(one.silhouette) and one.wcss > 0
    none = ev.evaluate(x, labels * 0 - 1)
    assert none.n_clusters == 0 and none.noise == 100 and math.isnan(none.wcss)
    sampled = ev.evaluate(normal(3000, 2), groups(3000, 3), pairs=1., random_state=0)
    assert sampled.silhouette_points == 200 and sampled.silhouette_error > 0


AGREEMENT = 'adjusted_rand_score', 'adjusted_mutual_info_score', 'normalized_mutual_info_score'

@pytest.mark.skipif(Version(sklearn.__version__) < Version('1.7'),
                    reason='the adjusted mutual information of equal singletons was 0')
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=40))
def test_agreement_is_scikit_learns(pairs):
    a, b = map(list, zip(*pairs))
    for index in AGREEMENT:
        ours, theirs = (getattr(m, index)(a, b) for m in (agreement, metrics))
        assert ours == pytest.approx(theirs, abs=1e-6), index
    ours, theirs = (m.homogeneity_completeness_v_measure(a, b) for m in (agreement, metrics))
    assert ours == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize('n, k, m', [(5000, 3, 7), (3000, 60, 80), (100, 100, 5), (50, 50, 50),
                                     (2000, 1, 4)])
def test_agreement_of_many_points(n, k, m):
    a, b = torch.randint(k, (n,), generator=g), torch.randint(m, (n,), generator=g)
    b = torch.where(torch.rand(n, generator=g) < .3, a % m, b)
    for index in AGREEMENT:
        ours, theirs = (getattr(x, index)(a, b) for x in (agreement, metrics))
        assert ours == pytest.approx(theirs, abs=1e-6), index


def test_words_are_labels_and_a_million_points_do_not_overflow():
    assert agreement.adjusted_rand_score(['a', 'a', 'b'], [5, 5, 7]) == 1
    a = torch.arange(1_000_000) % 3
    assert agreement.adjusted_rand_score(a, (a + 1) % 3) == 1
    assert abs(agreement.adjusted_mutual_info_score(a, a) - 1) < 1e-9


def test_on_a_pretend_gpu_the_same():
    "Points on the device, labels on either side; samples are drawn on the processor"
    pytest.importorskip('triton')
    from clusterlearn.choosing import choose_k, stability
    from pretend import Pretend, PretendGPU
    x, labels = INPUTS['noise'][0], INPUTS['noise'][1]
    wide = INPUTS['wide'][0]
    want = {name: getattr(ev, name)(x, labels) for name in INTERNAL}
    sampled = ev.silhouette_score(x, labels, sample_size=30, random_state=0)
    e, wide_want = ev.evaluate(x, labels), ev.silhouette_score(wide, groups(250, 4))
    k, s = choose_k(x, [2, 3, 4], random_state=0), stability(x, 3, runs=2, random_state=0)
    with PretendGPU():
        there = Pretend(x.clone())
        for l in labels, Pretend(labels.clone()):
            for name in INTERNAL: assert getattr(ev, name)(there, l) == pytest.approx(want[name])
            got = ev.evaluate(there, l)
            assert got[:-1] == pytest.approx(e[:-1])
            assert ev.silhouette_score(there, l, sample_size=30, random_state=0) == \
                pytest.approx(sampled)
            assert isinstance(ev.silhouette_samples(there, l, noise='drop'), Pretend)
        got = ev.silhouette_score(Pretend(wide.clone()), groups(250, 4))
        assert got == pytest.approx(wide_want)
        assert choose_k(there, [2, 3, 4], random_state=0).scores == pytest.approx(k.scores)
        assert stability(there, 3, runs=2, random_state=0).tolist() == pytest.approx(s.tolist())
