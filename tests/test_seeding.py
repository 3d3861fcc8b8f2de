"Starts of k-means: probabilities by chi-square, savings that change nothing, hard inputs, errors."
import math, warnings
import pytest, torch
from hypothesis import given, settings, strategies as st
from scipy.stats import chisquare
from sklearn.cluster import kmeans_plusplus as sk_plusplus
from torch.testing import assert_close
from clusterlearn.data import blobs, uniform
from clusterlearn.distance import nearest
from clusterlearn.kmeans.greedy import (CandidateBatch, CandidatePool, Seeds, kmeans_plusplus,
    prepare)
from clusterlearn.kmeans.loop import initialize_centroids, random_partition, wcss
from clusterlearn.kmeans.parallel import gather_candidates, kmeans_parallel
from clusterlearn.kmeans.scatter import k_means_cluster
from clusterlearn.kmeans.seeding import (STARTS, FewDistinctPoints, best_of, initial_centroids,
    lloyd_batch, places_of, plusplus_loop, plusplus_pruned, potential, weighted_draw)

seeds = st.integers(0, 2**31 - 1)
names = list(STARTS)

def fits(counts, probabilities):
    "Do `counts` fit the probabilities? Nothing impossible happened, and chi-square finds p > 0.001"
    want = probabilities / probabilities.sum() * counts.sum()
    assert (counts[want == 0] == 0).all()
    often = want >= 5                                            # the rare ones count as one
    counts, want = (torch.cat([v[often].double(), v[~often].sum()[None].double()])
                    for v in (counts, want))
    return chisquare(counts[want > 0], want[want > 0]).pvalue > .001

def pair_probabilities(x, w):
    "P(first i, then j) of k-means++ with weights"
    square = torch.cdist(x.double(), x.double()) ** 2 * w
    return (w / w.sum())[:, None] * square / square.sum(1, keepdim=True)

#  Draws

@settings(max_examples=60, deadline=None)
@given(seed=seeds, n=st.integers(1, 50), m=st.integers(0, 30))
def test_zero_weights_are_never_drawn(seed, n, m):
    g = torch.Generator().manual_seed(seed)
    w = torch.rand(n, generator=g) * (torch.rand(n, generator=g) < .5)
    w[torch.randint(n, (1,), generator=g)] = 1e-30
    drawn = weighted_draw(w, m, g)
    assert drawn.shape == (m,) and (w[drawn] > 0).all()

def test_weighted_draw_frequencies():
    w = torch.tensor([1., 0., 1e-3, 3., 2., 0.])
    drawn = weighted_draw(w, 100_000, torch.Generator().manual_seed(0))
    assert fits(torch.bincount(drawn, minlength=6), w.double())

@pytest.mark.parametrize('dtype, offset', [(torch.float32, 0.), (torch.float32, 4096.),
                                           (torch.float64, 4096.)])
@pytest.mark.parametrize('weighted', [False, True])
def test_pairs_have_their_probabilities(dtype, weighted, offset):
    "Drawn ahead or not, each ordered pair comes as often as D² sampling says"
    g = torch.Generator().manual_seed(5)
    x = torch.tensor([[0.], [1.], [3.], [4.], [8.], [9.]], dtype=dtype).repeat(1, 8)
    w = torch.tensor([1., 2., 0., 1., .5, 3.], dtype=torch.float64) if weighted else None
    exact = pair_probabilities(x, torch.ones(6).double() if w is None else w)
    pairs = torch.stack([kmeans_plusplus(x + offset, 2, n_trials=1, sample_weight=w, random_state=g,
                                         ahead=(1, 4)[i % 2])[1] for i in range(1500)])
    assert fits(torch.bincount(6 * pairs[:, 0] + pairs[:, 1], minlength=36), exact.flatten())

#  Compared on a sample

def test_a_sample_leaves_the_draws_alone():
    "One trial is plain k-means++, however small the sample"
    g = torch.Generator().manual_seed(7)
    x = torch.tensor([[0.], [1.], [3.], [4.], [8.], [9.]]).repeat(1, 8)
    w = torch.tensor([1., 2., 0., 1., .5, 3.], dtype=torch.float64)
    pairs = torch.stack([kmeans_plusplus(x, 2, n_trials=1, sample_weight=w, random_state=g,
                                         sample_size=1)[1] for _ in range(1500)])
    assert fits(torch.bincount(6 * pairs[:, 0] + pairs[:, 1], minlength=36),
                pair_probabilities(x, w).flatten())

@pytest.mark.parametrize('weighted', [False, True])
def test_a_sample_chooses_as_all_points_do(weighted):
    "The mean potential of 20 seeds, on a quarter or a tenth of the points, against all of them"
    x = blobs(20, 400, 8, random_state=0).points
    w = torch.rand(len(x), generator=torch.Generator().manual_seed(0)) if weighted else None
    def mean(size):
        starts = [kmeans_plusplus(x, 40, sample_size=size, sample_weight=w, random_state=s)[0]
                  for s in range(20)]
        return sum(potential(x, c, w) for c in starts) / 20
    best, plain = mean(len(x)), sum(potential(x, kmeans_plusplus(
        x, 40, n_trials=1, sample_weight=w, random_state=s)[0], w) for s in range(20)) / 20
    assert plain > 1.1 * best
    for size in (2000, 800): assert abs(mean(size) / best - 1) < .02

@pytest.mark.parametrize('budget', [1, 2000, 10**5])
@pytest.mark.parametrize('offset', [0., 1e4])
def test_a_sample_of_clusters_so_tight_that_squares_cancel(offset, budget):
    "And on copies: each place once, the last ones by differences"
    g = torch.Generator().manual_seed(0)
    places = (100 * torch.randn(30, 3, generator=g)).repeat_interleave(2, 0)
    places[1::2] += 1 / 16
    x = places.double().repeat(20, 1) + offset
    for seed in range(5):
        c, _ = kmeans_plusplus(x, 60, sample_size=50, budget=budget, random_state=seed)
        assert len(c.unique(dim=0)) == 60

@pytest.mark.parametrize('size', [50, 2400])
def test_differences_once_they_are_needed_are_kept(monkeypatch, size):
    "And the candidates drawn by then are dropped only once"
    asked, whole = [], Seeds.by_differences
    monkeypatch.setattr(Seeds, 'by_differences', lambda s: asked.append(1) or whole(s))
    places = 100 * torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    x = places.double().repeat(80, 1)
    x += 1e-4 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    kmeans_plusplus(x, 60, sample_size=size, random_state=0)
    assert len(asked) == 1

def test_a_sample_of_fewer_points_than_clusters():
    x = torch.tensor([[0., 0.], [1., 0.], [0., 5.]]).repeat(40, 1)
    with pytest.warns(FewDistinctPoints):
        c, indices = kmeans_plusplus(x, 5, sample_size=10, random_state=0)
    assert len(c.unique(dim=0)) == 3 and len(indices.unique()) == 5

@settings(max_examples=40, deadline=None)
@given(seed=seeds, k=st.integers(1, 30), size=st.integers(1, 40), ahead=st.integers(1, 9))
def test_a_sample_chooses_different_points_of_weight(seed, k, size, ahead):
    g = torch.Generator().manual_seed(seed)
    x, w = torch.randn(200, 3, generator=g), (torch.rand(200, generator=g) < .5).float()
    _, indices = kmeans_plusplus(x, k, sample_size=size, ahead=ahead, sample_weight=w, random_state=g)
    assert len(indices.unique()) == k and w[indices].all()

def chance_of_next(shares, potentials, trials):
    "The chance of each point to be the best of `trials` draws by shares, without equal potentials"
    order = potentials.argsort()
    no_better = (shares[order] / shares.sum()).flip(0).cumsum(0).flip(0)       # all draws from here
    none = torch.cat([no_better, no_better.new_zeros(1)]) ** trials
    return (none[:-1] - none[1:])[order.argsort()]

@pytest.mark.parametrize('trials', [1, 2])
def test_drawn_ahead_has_the_loop_s_distribution(trials):
    "The second and third of seven points, greedy or not, against their probabilities"
    line = torch.tensor([[0.], [1.], [3.], [4.], [8.], [9.], [15.]])
    w = torch.linspace(1, 2, 7).double()                         # no two potentials are equal
    square = torch.cdist(line.double(), line.double()) ** 2
    def chance(d2): return chance_of_next(w * d2, torch.minimum(d2, square) @ w, trials)
    exact = torch.zeros(7, 7, dtype=torch.float64)
    for i in range(7):
        second = chance(square[i])
        for j in set(range(7)) - {i}:
            exact[j] += w[i] / w.sum() * second[j] * chance(torch.minimum(square[i], square[j]))
    wide, g = line.repeat(1, 16), torch.Generator().manual_seed(2)
    runs = [kmeans_plusplus(wide, 3, n_trials=trials, sample_weight=w, random_state=g, ahead=8)[1]
            for _ in range(2000)]
    chosen = torch.stack(runs)[:, 1:]
    assert fits(torch.bincount(7 * chosen[:, 0] + chosen[:, 1], minlength=49), exact.flatten())

#  Parts

@pytest.mark.parametrize('offset', [0., 1e4])
def test_squares_of_prepared_points(offset):
    "By products and by differences, of all points and of some"
    x = blobs(4, 50, 6, random_state=0).points.double()
    p, want = prepare(x + offset), torch.cdist(x[:3], x) ** 2
    for q in (p, p.by_differences()):
        some = torch.tensor([5, 0, 199])
        assert_close(q.squares(q.points[:3]).double(), want, atol=.01, rtol=1e-4)
        assert_close(q.squares(q.points[:3], some).double(), want[:, some], atol=.01, rtol=1e-4)
    assert p.differ([4, 5], [4, 9]).tolist() == [False, True]

def test_a_candidate_that_coincides_is_not_taken():
    "Its D² is rounding, or it has fallen below what it needs"
    x = torch.tensor([[0., 1.], [3., 0.], [0., 1.], [0., 5.], [2., 2.]])
    seeds = Seeds(x, None, torch.Generator().manual_seed(0))
    seeds.chosen = [0]
    limits = [(2, 0., .1), (1, 0., .1), (3, 9., .1), (4, 0., .1)]
    batch = CandidateBatch(torch.tensor([2, 1, 3, 4]), torch.tensor([1e-6, 10., 8., .05]), limits,
                           torch.zeros(4, 5), torch.ones(5), None)
    assert batch.take(1, seeds) == [(1, 1)] and batch.at == 2
    assert batch.take(5, seeds) == [(3, 4)] and (batch.at, batch.kept) == (4, 2)

@pytest.mark.parametrize('weighted', [False, True])
def test_the_estimate_of_a_sample_is_unbiased(weighted):
    "Of the potential after a step of one trial; 30 steps, a sample of 200 of 4,000 points"
    x, g = blobs(50, 80, 3, random_state=0).points, torch.Generator().manual_seed(1)
    w = torch.rand(4000, generator=g) if weighted else None
    pool = CandidatePool(Seeds(x, w, g), g, 1, None, 200, 2**26)
    ratios = [pool.step(9) / potential(x, x[pool.seeds.chosen], w).item() for _ in range(30)]
    assert pool.sample_size == 200 and abs(sum(ratios) / 30 - 1) < .02

@pytest.mark.parametrize('weighted', [False, True])
def test_candidates_of_k_means_parallel_stand_for_their_points(weighted):
    x, g = blobs(6, 50, 3, random_state=0).points, torch.Generator().manual_seed(0)
    w = torch.rand(300, generator=g) if weighted else None
    found, mass = gather_candidates(x, 6, w, g, 12, 5)
    owner = nearest(x, x[found])[0]
    want = torch.zeros(len(found)).double().index_add_(0, owner, (torch.ones(300) if w is None
                                                                  else w).double())
    assert_close(mass, want)
    assert len(found) == len(x[found].unique(dim=0))

@given(seed=seeds, n=st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_places(seed, n):
    "Each place lies in its piece; both ends of the line belong to points of weight above zero"
    g = torch.Generator().manual_seed(seed)
    w = torch.rand(n, generator=g) * (torch.rand(n, generator=g) < .6)
    w[torch.randint(n, (1,), generator=g)] = .5
    u = torch.cat([torch.tensor([0., 1.]).double(), torch.rand(9, generator=g).double()])
    i, ends = places_of(w, u), w.cumsum(0, dtype=torch.float64)
    assert (w[i] > 0).all()
    assert (u[2:] * ends[-1] < ends[i[2:]]).all()
    assert (u[2:] * ends[-1] >= ends[i[2:]] - w[i[2:]] - 1e-9).all()

#  Savings that change nothing

@settings(max_examples=25, deadline=None)
@given(seed=seeds, n=st.integers(12, 150), d=st.integers(1, 9), k=st.integers(1, 12),
       trials=st.integers(1, 4))
def test_pruned_and_products_choose_as_the_loop(seed, n, d, k, trials):
    x = uniform(n, d, random_state=seed)
    want = plusplus_loop(x, k, trials, seed)
    indices, computed = plusplus_pruned(x, k, trials, seed)
    assert torch.equal(indices, want)
    assert computed <= n + (k - 1) * trials * (n + k)
    indices = kmeans_plusplus(x.double(), k, n_trials=trials, random_state=seed, ahead=1)[1]
    assert (indices != want).sum() == 0 or torch.unique(indices).numel() == k   # a draw on a border

@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_products_choose_as_the_loop(seed, dtype):
    x = blobs(8, 60, 20, random_state=seed).points.to(dtype)
    indices = kmeans_plusplus(x, 9, n_trials=3, random_state=seed, ahead=1)[1]
    assert torch.equal(indices, plusplus_loop(x, 9, 3, seed))

def test_pruning_saves_on_blobs():
    x = blobs(16, 100, 8, random_state=0).points
    assert plusplus_pruned(x, 64, 1, 0)[1] < .3 * 64 * len(x)

@settings(max_examples=30, deadline=None)
@given(seed=seeds, budget=st.integers(1, 20_000))
def test_any_budget(seed, budget):
    "However little memory there is for candidates, there are k different points"
    x = uniform(200, 30, random_state=seed)
    c, indices = kmeans_plusplus(x, 9, random_state=seed, budget=budget)
    assert len(indices.unique()) == 9 and torch.equal(c, x[indices])

def test_as_good_as_scikit_learn():
    "Mean potential of twenty seeds"
    x = blobs(40, 100, 16, random_state=0).points
    ours = sum(potential(x, kmeans_plusplus(x, 64, random_state=s)[0]) for s in range(20))
    theirs = sum(potential(x, torch.from_numpy(sk_plusplus(x.numpy(), 64, random_state=s)[0]))
                 for s in range(20))
    assert abs(ours / theirs - 1) < .01
    parallel = sum(potential(x, kmeans_parallel(x, 64, random_state=s)[0]) for s in range(20))
    assert parallel < 1.2 * theirs
    forgy = sum(potential(x, initialize_centroids(64, x, s)) for s in range(20))
    assert forgy > 2 * theirs

#  Hard inputs

both = pytest.mark.parametrize('f', [kmeans_plusplus, kmeans_parallel])

@both
@settings(max_examples=60, deadline=None)
@given(seed=seeds, n=st.integers(1, 40), d=st.integers(1, 3), data=st.data())
def test_integers_with_duplicates(f, seed, n, d, data):
    "As many different centroids as there can be, a warning only where some must repeat"
    k = data.draw(st.integers(1, n))
    x = torch.randint(-2, 3, (n, d), generator=torch.Generator().manual_seed(seed)).float()
    x = x + data.draw(st.sampled_from([0., 1000.]))
    distinct = len(x.unique(dim=0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        c, indices = f(x, k, random_state=seed)
    assert torch.equal(c, x[indices]) and len(indices.unique()) == k
    assert len(c.unique(dim=0)) == min(k, distinct)
    assert [w.category for w in caught] == [FewDistinctPoints] * (k > distinct)

@both
@settings(max_examples=40, deadline=None)
@given(seed=seeds, n=st.integers(2, 60), data=st.data())
def test_weights(f, seed, n, data):
    "Points of weight zero are never chosen, and the weights' scale does not matter"
    g = torch.Generator().manual_seed(seed)
    w = torch.randint(0, 3, (n,), generator=g).double()
    w[0] = 1
    x, k = uniform(n, 2, random_state=seed), data.draw(st.integers(1, int((w > 0).sum())))
    _, indices = f(x, k, sample_weight=w, random_state=seed)
    assert (w[indices] > 0).all() and len(indices.unique()) == k
    assert torch.equal(indices, f(x, k, sample_weight=w * 2.**100, random_state=seed)[1])

@both
def test_fewer_weighted_points_than_clusters(f):
    x, w = uniform(10, 2, random_state=0), torch.tensor([0., 1.] + [0.] * 7 + [1.])
    with pytest.warns(FewDistinctPoints, match='only 2 different points'):
        _, indices = f(x, 5, sample_weight=w, random_state=0)
    assert set(indices.tolist()) == {1, 9}

@both
@pytest.mark.parametrize('scale', [1e-30, 1e-12, 1., 1e12, 1e30])
def test_any_scale(f, scale):
    x = blobs(6, 20, random_state=1).points * scale
    c, indices = f(x, 6, random_state=0)
    assert len(indices.unique()) == 6 and c.isfinite().all()
    assert torch.equal(indices, f(x, 6, random_state=0)[1])

@both
def test_tight_clusters_far_apart(f):
    "Distances inside are lost in the squares of those between, even in float64: not here"
    g = torch.Generator().manual_seed(0)
    for dtype, far in ((torch.float32, 1e4), (torch.float64, 1e9)):
        places = far * torch.eye(4, dtype=dtype).repeat_interleave(5, 0)
        places = places + torch.arange(20)[:, None] % 5 / 4
        x = places.repeat(6, 1)[torch.randperm(120, generator=g)]
        c, _ = f(x, 20, random_state=1)
        assert len(c.unique(dim=0)) == 20

@both
def test_far_from_the_origin_is_no_worse(f):
    x = blobs(8, 100, 4, var=1., random_state=3).points
    near, far = ([potential(x, (f(x + o, 8, random_state=s)[0] - o)) for s in range(15)]
                 for o in (0., 1e4))
    assert sum(far) < 1.25 * sum(near)

@both
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_and_layouts(f, dtype):
    x = uniform(60, 6, random_state=0).to(dtype)[:, ::2].requires_grad_()
    c, indices = f(x, 5, random_state=0)
    assert c.dtype == dtype and not c.requires_grad and indices.dtype == torch.int64
    assert torch.equal(c, x[indices]) and len(indices.unique()) == 5
    assert f(x, 1, random_state=0)[0].shape == (1, 3)
    whole, half = f(x, 60, random_state=0)[1], uniform(60, 6, random_state=0)
    assert sorted(whole.tolist()) == list(range(60))
    assert f(half.tolist(), 3, random_state=0)[0].shape == (3, 6)

@pytest.mark.parametrize('init', names)
def test_nothing_outside_changes(init):
    x, w = uniform(80, 3, random_state=0), uniform(80, 1, random_state=1)[:, 0].abs()
    kept, kept_w, state = x.clone(), w.clone(), torch.get_rng_state()
    for weights in (None, w):
        a, b = (initial_centroids(x, 7, init, sample_weight=weights, random_state=4)
                for _ in range(2))
        assert torch.equal(a, b)
    best_of(x, 3, 3, init=init, random_state=0)
    assert torch.equal(x, kept) and torch.equal(w, kept_w)
    assert torch.equal(state, torch.get_rng_state())

#  Names

def test_names_mean_what_they_say():
    x = uniform(50, 2, random_state=0)
    assert torch.equal(initial_centroids(x, 4, 'random', random_state=1),
                       initialize_centroids(4, x, 1))
    assert torch.equal(initial_centroids(x, 4, 'random_partition', random_state=1),
                       random_partition(4, x, 1))
    assert torch.equal(initial_centroids(x, 4, random_state=1),
                       kmeans_plusplus(x, 4, random_state=1)[0])
    c = initial_centroids(x, 4, x[:4])
    c += 1                                                                  # a copy
    assert (c != x[:4]).all()
    ours = initial_centroids(x, 3, lambda x, k, random_state: x[:k].numpy(), random_state=0)
    assert torch.equal(ours, x[:3])

@pytest.mark.parametrize('init', ['random', 'random_partition'])
def test_weighted_starts(init):
    x, w = torch.arange(20.)[:, None], (torch.arange(20) % 2).float()
    c = initial_centroids(x, 10, init, sample_weight=w, random_state=0)
    assert sorted(c[:, 0].tolist()) == list(range(1, 20, 2))
    with pytest.raises(ValueError, match='n_clusters=11 is more than the 10'):
        initial_centroids(x, 11, init, sample_weight=w)

def test_weighted_forgy_frequencies():
    w = torch.tensor([1., 2., 5.])
    g, x = torch.Generator().manual_seed(0), torch.arange(3.)[:, None]
    first = torch.stack([initial_centroids(x, 1, 'random', sample_weight=w, random_state=g)[0, 0]
                         for _ in range(4000)])
    assert fits(torch.bincount(first.long(), minlength=3), w.double())

@settings(max_examples=15, deadline=None)
@given(seed=seeds, r=st.integers(1, 5), k=st.integers(1, 6), steps=st.integers(1, 30))
def test_runs_together_are_runs_in_turn(seed, r, k, steps):
    x = uniform(90, 2, random_state=seed).double()
    starts = torch.stack([initialize_centroids(k, x, seed + i) for i in range(r)])
    c, labels = lloyd_batch(x, starts, steps)
    for i in range(r):
        want_c, want = k_means_cluster(k, x, steps, 0., init=starts[i])
        assert torch.equal(labels[i], want)
        assert_close(c[i], want_c, atol=1e-9, rtol=0)

@pytest.mark.parametrize('n', [60, 30_000])
def test_best_of_is_the_best(n):
    x = uniform(n, 2, random_state=0)
    c, labels, inertias = best_of(x, 4, 3, max_iters=8, random_state=0)
    assert inertias.shape == (3,) and math.isclose(wcss(x, c, labels), inertias.min(), rel_tol=1e-6)
    assert_close(nearest(x, c)[1], (x - c[labels]).norm(dim=1), atol=1e-4, rtol=1e-5)

@pytest.mark.parametrize('call, error, message', [
    (lambda x: kmeans_plusplus(x, 0), ValueError, 'n_clusters=0'),
    (lambda x: kmeans_plusplus(x, 51), ValueError, 'n_clusters=51 is more than the 50'),
    (lambda x: kmeans_plusplus(x, 2.5), TypeError, 'n_clusters=2.5'),
    (lambda x: kmeans_plusplus(x, 2, n_trials=0), ValueError, 'n_trials=0'),
    (lambda x: kmeans_plusplus(x, 2, ahead=0), ValueError, 'ahead=0'),
    (lambda x: kmeans_plusplus(x, 2, sample_size=0), ValueError, 'sample_size=0'),
    (lambda x: kmeans_plusplus(x, 2, sample_size=2.5), TypeError, 'sample_size=2.5'),
    (lambda x: kmeans_plusplus(x * math.nan, 2), ValueError, 'points has nan'),
    (lambda x: kmeans_plusplus(x, 2, random_state='x'), TypeError, 'random_state'),
    (lambda x: kmeans_plusplus(x, 2, sample_weight=[1.]), ValueError,
     r'shape \(1,\), needed is \(50,\)'),
    (lambda x: kmeans_plusplus(x, 2, sample_weight=-x[:, 0].abs()), ValueError,
     r'sample_weight\[0\] is -'),
    (lambda x: kmeans_plusplus(x, 2, sample_weight=x[:, 0] / 0), ValueError, 'sample_weight'),
    (lambda x: kmeans_plusplus(x, 2, sample_weight=[0.] * 50), ValueError, 'zero everywhere'),
    (lambda x: kmeans_parallel(x, 2, oversampling=0), ValueError, 'oversampling=0'),
    (lambda x: kmeans_parallel(x, 2, n_rounds=0), ValueError, 'n_rounds=0'),
    (lambda x: initial_centroids(x, 2, 'kmeans'), ValueError, "init='kmeans': known are"),
    (lambda x: initial_centroids(x, 2, x), ValueError,
     r'init has shape \(50, 2\), needed is \(2, 2\)'),
    (lambda x: best_of(x, 2, 0), ValueError, 'n_init=0'),
    (lambda x: kmeans_plusplus(x, 2, sample_weight=['a'] * 50), TypeError, 'sample_weight'),
    (lambda x: weighted_draw(torch.zeros(2), 1), ValueError, 'all zero'),
    (lambda x: weighted_draw(torch.tensor([1., -2.]), 1), ValueError, 'one is -2.0'),
    (lambda x: weighted_draw(torch.tensor([1., math.nan]), 1), ValueError, 'one is nan'),
    (lambda x: plusplus_loop(x[:1].repeat(5, 1), 2), ValueError, 'all zero')])
def test_refused(call, error, message):
    with pytest.raises(error, match=message): call(uniform(50, 2, random_state=0))
