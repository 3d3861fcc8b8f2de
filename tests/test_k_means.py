"What must hold of `k_means` for any points, weights and starts: hypothesis tries to break it."

import math

import pytest, torch
from hypothesis import HealthCheck, given, settings, strategies as st
from sklearn.cluster import KMeans
from torch.testing import assert_close

from clusterlearn import KMeansResult, k_means
from clusterlearn.checks import as_generator
from clusterlearn.data import blobs, uniform
from clusterlearn.kmeans import lloyd
from clusterlearn.kmeans.empty import refill_farthest, refill_random, refill_split
from clusterlearn.kmeans.lloyd import count_empty
from clusterlearn.kmeans import protocol
from clusterlearn.kmeans.protocol import PlainEngine, keep_empty, make_problem
from clusterlearn.kmeans.seeding import initial_centroids

seeds = st.integers(0, 2**31 - 1)
policies = st.sampled_from(['farthest', 'keep', 'random', 'split'])
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

pytestmark = pytest.mark.usefixtures('engine')


def problem(seed, n, d, k, lattice=False):
    "Points in float64 and a start of k of them; on a lattice points coincide and distances tie"
    g = as_generator(seed)
    if lattice:
        x = torch.randint(-3, 4, (n, d), generator=g).double()
    else:
        x = torch.randn(n, d, generator=g, dtype=torch.float64)
    return x, x[torch.randperm(n, generator=g)[:k]]


def distances(x, c):
    return ((x.double()[:, None] - c.double()[None]) ** 2).sum(2)


@st.composite
def problems(draw, lattice=st.booleans()):
    n = draw(st.integers(1, 90))
    d, k = draw(st.integers(1, 6)), draw(st.integers(1, n))
    return problem(draw(seeds), n, d, k, draw(lattice))


@quick
@given(problem=problems(), empty=policies, seed=seeds)
def test_inertia_never_rises(problem, empty, seed):
    "Neither an iteration nor a refill may cost anything, and it comes to rest"
    x, init = problem
    r = k_means(x, len(init), init=init, tol=0, empty=empty, random_state=seed)
    costs = [i.inertia for i in r.history] + [r.inertia]
    assert all(b <= a + 1e-12 * (1 + x.square().sum().item()) for a, b in zip(costs, costs[1:]))
    assert r.converged and r.n_iter == len(r.history) <= 300


@quick
@given(problem=problems(), empty=policies, dtype=st.sampled_from(['half', 'float', 'double']))
def test_the_result_is_consistent_and_a_fixed_point(problem, empty, dtype):
    x, init = (getattr(t, dtype)() for t in problem)
    r = k_means(x, len(init), init=init, tol=0, empty=empty, random_state=0)
    s = distances(x, r.centroids)
    own = s.gather(1, r.labels[:, None])[:, 0]
    assert (own <= s.amin(1) * (1 + 1e-12)).all()
    size = x.double().square().sum().item()
    assert r.inertia >= 0
    assert math.isclose(r.inertia, own.sum().item(), rel_tol=1e-9, abs_tol=1e-13 * size)
    if dtype == 'double':
        counts = r.labels.bincount(minlength=len(init))
        sums = torch.zeros_like(init).index_add_(0, r.labels, x)
        mean = sums / counts[:, None]
        assert_close(r.centroids[counts > 0], mean[counts > 0], atol=1e-12, rtol=1e-12)
        again = k_means(x, len(init), init=r.centroids, tol=0, empty=empty, random_state=0)
        assert again.inertia <= r.inertia + 1e-12 * size
        if (counts > 0).all():
            assert torch.equal(again.labels, r.labels)


@quick
@given(problem=problems(st.just(False)), seed=seeds)
def test_permuting_points_permutes_labels(problem, seed):
    x, init = problem
    order = torch.randperm(len(x), generator=as_generator(seed))
    a = k_means(x, len(init), init=init, tol=0)
    b = k_means(x[order], len(init), init=init, tol=0)
    assert torch.equal(a.labels[order], b.labels)
    assert_close(a.centroids, b.centroids, atol=1e-12, rtol=1e-12)


@quick
@given(problem=problems(st.just(False)), seed=seeds)
def test_permuting_centroids_permutes_clusters(problem, seed):
    x, init = problem
    order = torch.randperm(len(init), generator=as_generator(seed))
    a = k_means(x, len(init), init=init, tol=0, empty='keep')
    b = k_means(x, len(init), init=init[order], tol=0, empty='keep')
    assert torch.equal(a.labels, order[b.labels])


@quick
@given(
    problem=problems(st.just(False)),
    empty=st.sampled_from(['farthest', 'keep', 'split']),
    shift=st.integers(-1000, 1000),
    scale=st.integers(-20, 20),
)
def test_moving_and_scaling(problem, empty, shift, scale):
    "By a power of two, so that scaling rounds nothing; moving does"
    x, init = problem
    a = k_means(x, len(init), init=init, empty=empty)
    s, b = 2.0**scale, None
    b = k_means(x * s, len(init), init=init * s, empty=empty)
    assert torch.equal(a.labels, b.labels) and a.n_iter == b.n_iter
    size = x.square().sum().item()
    assert math.isclose(b.inertia / s / s, a.inertia, rel_tol=1e-9, abs_tol=1e-13 * size)
    c = k_means(x + shift, len(init), init=init + shift, empty=empty)
    assert math.isclose(c.inertia, a.inertia, rel_tol=1e-6, abs_tol=1e-9)
    assert_close(c.centroids, a.centroids + shift, atol=1e-9, rtol=1e-9)


@quick
@given(problem=problems(), seed=seeds, empty=st.sampled_from(['keep', 'split']))
def test_whole_weights_equal_repetition(problem, seed, empty):
    x, init = problem
    g = as_generator(seed)
    w = torch.randint(0, 5, (len(x),), generator=g)
    w[0] = 1
    # Of two clusters that are equally bad, rounding decides which is split.
    if empty == 'split':
        x = x + torch.randn(x.shape, generator=g, dtype=x.dtype)
    a = k_means(x, len(init), init=init, tol=0, sample_weight=w, empty=empty)
    again = x.repeat_interleave(w, 0)
    repeated = make_problem(again)  # perhaps fewer points than clusters, which k_means refuses
    refill = refill_split if empty == 'split' else keep_empty
    b = protocol.lloyd(repeated, PlainEngine(repeated, init), refill=refill)
    assert_close(a.centroids, b.centroids, atol=1e-9, rtol=1e-9)
    assert math.isclose(a.inertia, b.inertia, rel_tol=1e-9, abs_tol=1e-11)
    assert torch.equal(a.labels.repeat_interleave(w), b.labels)


@quick
@given(problem=problems(st.just(False)), seed=seeds)
def test_weights_that_are_no_whole_numbers(problem, seed):
    "Against a plain loop in float64, from centroids that need not be points"
    (x, init), g = problem, as_generator(seed)
    w = torch.rand(len(x), generator=g).double()
    init = init + torch.randn(init.shape, generator=g, dtype=x.dtype)
    c, labels, last = init, distances(x, init).argmin(1), None
    while last is None or not torch.equal(labels, last):
        counts = torch.zeros(len(c)).double().index_add_(0, labels, w)
        sums = torch.zeros_like(c).index_add_(0, labels, x * w[:, None])
        c = torch.where(counts[:, None] > 0, sums / counts[:, None], c)
        labels, last = distances(x, c).argmin(1), labels
    r = k_means(x, len(c), init=init, tol=0, sample_weight=w, empty='keep')
    assert torch.equal(r.labels, labels)
    assert_close(r.centroids, c, atol=1e-9, rtol=1e-9)


@quick
@given(problem=problems(st.just(False)), size=st.integers(-40, 40))
def test_only_ratios_of_weights_matter(problem, size):
    x, init = problem
    w = torch.rand(len(x), generator=as_generator(0), dtype=torch.float64) + 0.01
    a = k_means(x, len(init), init=init, tol=0, sample_weight=w)
    b = k_means(x, len(init), init=init, tol=0, sample_weight=w * 2.0**size)
    assert torch.equal(a.centroids, b.centroids) and torch.equal(a.labels, b.labels)
    assert math.isclose(b.inertia / 2.0**size, a.inertia, rel_tol=1e-9, abs_tol=1e-11)


@quick
@given(seed=seeds, k=st.integers(1, 12), d=st.integers(1, 9), weigh=st.booleans())
def test_scikit_learn_agrees(seed, k, d, weigh):
    "From the same start to rest, with tol and without: labels, centroids, inertia"
    x, init = problem(seed, 150, d, k)
    w = torch.rand(150, generator=as_generator(seed)).double() + 0.1 if weigh else None
    for tol in (0, 1e-3):
        r = k_means(x, k, init=init, tol=tol, sample_weight=w, empty='error')
        theirs = KMeans(k, init=init.numpy(), n_init=1, tol=tol, algorithm='lloyd')
        theirs.fit(x.numpy(), sample_weight=None if w is None else w.numpy())
        assert (r.labels.numpy() == theirs.labels_).all() and r.n_iter == theirs.n_iter_
        assert math.isclose(r.inertia, theirs.inertia_, rel_tol=1e-9)
        assert_close(r.centroids, torch.from_numpy(theirs.cluster_centers_), atol=1e-9, rtol=1e-9)


@quick
@given(seed=seeds, n=st.integers(1, 3000), d=st.integers(1, 5), offset=st.floats(-1e4, 1e4))
def test_a_problem_knows_the_mean_variance(seed, n, d, offset):
    "The unit of tol: scikit-learn's, without weights, of all points"
    x = torch.randn(n, d, generator=as_generator(seed), dtype=torch.float64) * 3 + offset
    for y in (x, x.half(), x.float(), x[torch.arange(3 * 2**13) % n]):
        want = y.double().numpy().var(0).mean()
        assert math.isclose(make_problem(y).variance, want, rel_tol=1e-9, abs_tol=1e-9)


# ---- refills


@quick
@given(problem=problems(), weigh=st.booleans(), seed=seeds)
@pytest.mark.parametrize('policy', [refill_farthest, refill_random, refill_split])
def test_a_refill_never_costs(policy, problem, weigh, seed):
    "With the new centroids no point is dearer than with its own cluster's mean, all in all"
    (x, init), g = problem, as_generator(seed)
    k = len(init)
    w = (
        torch.randint(0, 3, (len(x),), generator=g).double()
        if weigh
        else torch.ones(len(x)).double()
    )
    labels = distances(x, init[: max(1, k // 2)]).argmin(1)
    counts = torch.zeros(k).double().index_add_(0, labels, w)
    sums = torch.zeros(k, x.shape[1]).double().index_add_(0, labels, x * w[:, None])
    before = [t.clone() for t in (x, w, labels, init, sums, counts)]
    new = policy(x, w if weigh else None, labels, init, sums, counts)
    assert all(torch.equal(a, b) for a, b in zip(before, (x, w, labels, init, sums, counts)))
    assert new.shape == init.shape and new.dtype == torch.float64 and new.isfinite().all()
    means = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1e-9), init)
    old = ((x - means[labels]) ** 2).sum(1) @ w
    assert distances(x, new).amin(1) @ w <= old * (1 + 1e-9) + 1e-12
    if policy is refill_farthest:  # it weighs a move by the old centroids, as scikit-learn does
        moved = (new[counts == 0] != init[counts == 0]).any(1)
        there = [(x[w > 0] == c).all(1).any() for c in new[counts == 0][moved]]
        assert all(there)


def test_equal_distances_go_to_the_lower_index():
    x = torch.tensor([[3.0], [-3.0], [3.0], [0.0], [-3.0]]).double()
    labels, init = torch.zeros(5).long(), torch.tensor([[0.0], [90.0], [91.0]]).double()
    sums, counts = torch.tensor([[0.0], [0], [0]]).double(), torch.tensor([5.0, 0, 0]).double()
    new = refill_farthest(x, None, labels, init, sums, counts)
    assert new[1:].flatten().tolist() == [3.0, -3.0] and new[0].item() == 0


def test_a_last_point_stays():
    "The farthest point is alone in its cluster, so the second farthest goes"
    x = torch.tensor([[0.0], [1.0], [3.0], [50.0]]).double()
    labels = torch.tensor([0, 0, 0, 1])
    init = torch.tensor([[1.0], [20.0], [999.0]]).double()
    sums, counts = torch.tensor([[4.0], [50], [0]]).double(), torch.tensor([3.0, 1, 0]).double()
    new = refill_farthest(x, None, labels, init, sums, counts)
    assert new.flatten().tolist() == [0.5, 50.0, 3.0]
    weights = torch.tensor([1.0, 1.0, 0.0, 1.0]).double()
    new = refill_farthest(
        x,
        weights,
        labels,
        init,
        sums - x[[2, 0, 0]] * torch.tensor([[1.0], [0], [0]]),
        counts - torch.tensor([1.0, 0, 0]),
    )
    assert new.flatten().tolist() == [1.0, 50.0, 0.0]  # 3 has no weight; 0 leaves, 1 stays


def test_split_cuts_the_worst_cluster():
    x = torch.tensor([[0.0], [1.0], [10.0], [12.0], [30.0], [32.0]]).double()
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    sums, counts = torch.tensor([[1.0], [84], [0]]).double(), torch.tensor([2.0, 4, 0]).double()
    new = refill_split(x, None, labels, torch.zeros(3, 1).double(), sums, counts)
    assert sorted(new.flatten().tolist()) == [0.5, 11.0, 31.0]


# ---- the outer loop


class Spy(list):
    def __call__(self, iteration, centroids, labels):
        self.append((iteration, centroids.clone(), labels.clone()))


def test_callback_sees_the_history():
    x, spy = uniform(500, 3, random_state=0), Spy()
    r = k_means(x, 9, init=x[:9], tol=0, callback=spy)
    assert len(spy) > 3 and [s[0] for s in spy] == r.history[: len(spy)]
    assert len(spy) >= r.n_iter - 1  # an assignment that changes nothing needs no update
    assert all(s[1].shape == (9, 3) and s[1].dtype == torch.float64 for s in spy)
    assert_close(spy[-1][1].float(), r.centroids)
    assert isinstance(r, KMeansResult)


def test_a_callback_ends_it_all():
    x, calls = uniform(500, 3, random_state=0), []

    def twice(iteration, centroids, labels):
        calls.append(iteration)
        return len(calls) == 2

    r = k_means(x, 9, n_init=10, tol=0, random_state=0, callback=twice)
    assert len(calls) == 2 and r.n_iter == 2 and not r.converged
    best = distances(x, r.centroids).amin(1).sum().item()
    assert math.isclose(r.inertia, best, rel_tol=1e-9)


def test_an_error_in_a_callback_comes_through():
    def fails(*args):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        k_means(uniform(50, random_state=0), 3, callback=fails, verbose=True)


def test_verbose_says_one_line_a_run(capsys):
    x = blobs(5, 40, random_state=0).points
    init = torch.cat([x[:160:40], torch.full((1, 2), 900.0)])
    plain = k_means(x, 5, init=init)
    assert capsys.readouterr() == ('', '')
    r = k_means(x, 5, init=init, verbose=True)
    out, err = capsys.readouterr()
    assert torch.equal(r.centroids, plain.centroids) and out == ''
    last = err.strip().splitlines()[-1]
    assert (
        last
        == f'k-means 1/1: at rest after {r.n_iter} iterations, inertia {r.inertia:.6g}, '
        + f'{count_empty(r)} times empty, engine {r.engine}'
    )
    k_means(x, 5, n_init=3, verbose=True, max_iter=1, random_state=0, tol=0)
    err = capsys.readouterr().err.replace('\r', '\n')
    said = [line for line in err.splitlines() if 'iterations, inertia' in line and 'after' in line]
    assert [line.split(':')[0] for line in said] == [f'k-means {i}/3' for i in (1, 2, 3)]


@pytest.mark.parametrize('init', ['random', 'k-means++'])
@pytest.mark.parametrize('weigh', [False, True])
def test_the_best_of_several_runs(init, weigh):
    "By the weighted inertia; the starts are those that the generator gives one after the other"
    x = uniform(300, 2, random_state=0)
    w = torch.rand(300, generator=as_generator(1)) if weigh else None
    r = k_means(x, 12, init=init, n_init=6, random_state=3, sample_weight=w)
    g = as_generator(3)
    starts = [initial_centroids(x, 12, init, sample_weight=w, random_state=g) for _ in range(6)]
    runs = [k_means(x, 12, init=c, sample_weight=w) for c in starts]
    best = min(runs, key=lambda run: run.inertia)
    assert torch.equal(r.centroids, best.centroids) and r.inertia == best.inertia
    assert r.history == best.history


def test_rounding_does_not_choose_among_equal_runs(monkeypatch):
    x, whole, runs = uniform(300, 2, random_state=0), lloyd.lloyd, []
    for n, best in ((3, 0), (5, 3)):  # the fourth run is better, the rest alike but for rounding
        off = iter([0, -1e-15, 1e-15, -1e-9, -1e-9 - 1e-15])
        runs.clear()

        def near(problem, engine, **kwargs):
            r = whole(problem, PlainEngine(problem, x[:4].double()), **kwargs)
            runs.append(r._replace(inertia=r.inertia * (1 + next(off))))
            return runs[-1]

        monkeypatch.setattr(lloyd, 'lloyd', near)
        assert k_means(x, 4, n_init=n, random_state=0) is runs[best]


def test_the_starts_do_not_depend_on_empty_clusters():
    x = blobs(5, 30, random_state=0).points
    far = lambda x, k, random_state: torch.cat(
        [x[torch.randperm(len(x), generator=random_state)[: k - 1]], torch.full((1, 2), 1e3)]
    )
    seen = {}
    for empty in ('farthest', 'keep', 'random', 'split'):
        spy, g = Spy(), as_generator(0)
        k_means(x, 5, init=far, n_init=3, max_iter=1, empty=empty, random_state=g, callback=spy)
        seen[empty] = [s[0].inertia for s in spy]
    assert len(set(seen['keep'])) == 3 and all(v == seen['keep'] for v in seen.values())


def test_a_function_as_policy_and_as_start():
    x = blobs(4, 50, random_state=0).points
    calls = []

    def policy(x, weights, labels, centroids, sums, counts):
        calls.append(int((counts == 0).sum()))
        return refill_split(x, weights, labels, centroids, sums, counts)

    def start(x, k, random_state):
        return torch.cat([x[: k - 2], torch.full((2, 2), 1e4)])

    r = k_means(x, 4, init=start, empty=policy, tol=0)
    assert calls and calls[0] == 2 and len(r.labels.unique()) == 4
    assert count_empty(r) == sum(calls)


def test_a_callable_that_is_wrong_is_refused():
    with pytest.raises(ValueError, match='init has shape'):
        k_means(uniform(20, random_state=0), 3, init=lambda x, k, random_state: x[:2])
