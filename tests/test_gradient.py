"Learning through `argmin`: finite differences, Newton against Lloyd, what training promises."
import math, pytest, torch
from functools import partial
from hypothesis import given, settings, strategies as st
from sklearn.cluster import MiniBatchKMeans
from torch.testing import assert_close
from clusterlearn.data import blobs, uniform
from clusterlearn.distance import nearest
from clusterlearn.kmeans.gradient import kmeans_loss, kmeans_loss_loop, newton_step
from clusterlearn.kmeans.loop import wcss
from clusterlearn.kmeans.scatter import cluster_means, k_means_cluster
from clusterlearn.kmeans.sgd import mini_batch_step, sgd_k_means, soft_kmeans_loss

seeds = st.integers(0, 2**31 - 1)
sizes = dict(seed=seeds, n=st.integers(1, 40), d=st.integers(1, 4), k=st.integers(1, 6))

def problem(seed, n, d, k):
    "Points and centroids in float64 without ties; centroids need not be points, some stay empty"
    g = torch.Generator().manual_seed(seed)
    c = torch.randn(k, d, generator=g).double() * 3
    return torch.randn(n, d, generator=g).double() * 3, c

def gradient(f, x, c):
    c = c.clone().requires_grad_()
    return torch.autograd.grad(f(x, c), c)[0]

@settings(max_examples=60, deadline=None)
@given(**sizes)
def test_loop_and_gathered(seed, n, d, k):
    "The same loss and gradient; and the gradient is 2 * (count * c - sum)"
    x, c = problem(seed, n, d, k)
    assert_close(kmeans_loss(x, c), kmeans_loss_loop(x, c))
    g = gradient(kmeans_loss, x, c)
    assert_close(g, gradient(kmeans_loss_loop, x, c), atol=1e-10, rtol=0)
    means, counts = cluster_means(x, nearest(x, c)[0], c)
    assert_close(g, 2 * counts[:, None] * (c - means), atol=1e-10, rtol=0)

@pytest.mark.parametrize('reduction', ['sum', 'mean', 'none'])
def test_gradcheck(reduction):
    "In the centroids and in the points, once and twice differentiated"
    x, c = (t.requires_grad_() for t in problem(0, 12, 3, 4))
    f = partial(kmeans_loss, reduction=reduction)
    assert torch.autograd.gradcheck(f, (x, c))
    assert torch.autograd.gradgradcheck(f, (x, c))
    assert torch.autograd.gradcheck(lambda c: soft_kmeans_loss(x, c, 3.), c)
    assert torch.autograd.gradgradcheck(lambda c: soft_kmeans_loss(x, c, 3.), c)

def test_reductions():
    x, c = problem(1, 30, 2, 4)
    none = kmeans_loss(x, c, 'none')
    assert_close(none, nearest(x, c)[1] ** 2)
    assert_close(none.sum(), kmeans_loss(x, c))
    assert_close(none.mean(), kmeans_loss(x, c, 'mean'))

losses = [kmeans_loss, kmeans_loss_loop, partial(soft_kmeans_loss, temperature=2.)]

@pytest.mark.parametrize('f', losses)
def test_kinds_of_points(f):
    "Half precision, integers, lists; a centroid on a point and one without points give no NaN"
    x = torch.tensor([[0., 0.], [3., 4.], [6., 0.]])
    c = torch.tensor([[0., 0.], [6., 0.], [90., 0.]])
    want = f(x, c)
    for to in (torch.Tensor.half, torch.Tensor.bfloat16):
        assert_close(f(to(x), to(c)), want)
    for to in (torch.Tensor.int, torch.Tensor.tolist):              # these are float64
        assert_close(f(to(x), to(c)), f(x.double(), c.double()))
    assert f(x.half(), c.half()).dtype == torch.float32 and f(x.double(), c).dtype == torch.float64
    assert gradient(f, x, c).isfinite().all()
    big = torch.full((2000, 2), 300.).half()
    assert f(big, torch.zeros(1, 2).half()).isfinite()              # 3.6e8 is beyond float16

def test_memory_stays_linear():
    "No (n, k) or (n, k, d) tensor is kept for the way back"
    x, c = uniform(40_000, 16, random_state=0), uniform(200, 16, random_state=1).requires_grad_()
    for f in (kmeans_loss, lambda x, c: soft_kmeans_loss(x[:8000], c, 30.)):
        saved = []
        keep = lambda t: saved.append(t.numel()) or t
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t): f(x, c)
        assert max(saved) <= x.numel() * 2

@settings(max_examples=60, deadline=None)
@given(**sizes)
def test_newton_is_lloyd(seed, n, d, k):
    "To 1e-10, empty clusters included"
    x, c = problem(seed, n, d, k)
    want = cluster_means(x, nearest(x, c)[0], c)[0]
    assert_close(newton_step(x, c), want, atol=1e-10, rtol=0)

@settings(max_examples=40, deadline=None)
@given(**sizes)
def test_weighted_newton(seed, n, d, k):
    "Weighted means; a cluster without weight stays; whole weights are repeated points"
    x, c = problem(seed, n, d, k)
    w = torch.randint(4, (n,), generator=torch.Generator().manual_seed(seed))
    labels, want = nearest(x, c)[0], c.clone()
    for j in range(k):
        own = labels == j
        if w[own].sum() > 0: want[j] = (w[own, None] * x[own]).sum(0) / w[own].sum()
    assert_close(newton_step(x, c, w), want, atol=1e-10, rtol=0)
    if w.sum(): assert_close(newton_step(x.repeat_interleave(w, 0), c), want, atol=1e-10, rtol=0)

def test_newton_to_the_end():
    "Step by step k-means, near the origin and far from it, with an empty and a doubled centroid"
    for offset in (0., 1e4):
        x = blobs(5, 30, 3, random_state=0).points.double() + offset
        c = torch.cat([x[[0, 40, 40, 80]], x.new_full((1, 3), 1e5)])
        for _ in range(8):
            want = cluster_means(x, nearest(x, c)[0], c)[0]
            c = newton_step(x, c)
            assert_close(c, want, atol=1e-10 * max(1, offset / 100), rtol=0)

@settings(max_examples=40, deadline=None)
@given(**sizes)
def test_rate_of_one_over_two_counts(seed, n, d, k):
    "Gradient descent with 1/(2 * count) is Lloyd's step, and so is a mini-batch of everything"
    x, c = problem(seed, n, d, k)
    means, counts = cluster_means(x, nearest(x, c)[0], c)
    assert_close(c - gradient(kmeans_loss, x, c) / (2 * counts.clamp(min=1)[:, None]), means,
                 atol=1e-10, rtol=0)
    got, n_seen = mini_batch_step(x, c, torch.zeros(k, dtype=torch.long))
    assert_close(got, means, atol=1e-10, rtol=0)
    assert torch.equal(n_seen, counts)

@settings(max_examples=30, deadline=None)
@given(seed=seeds, k=st.integers(1, 6), size=st.integers(1, 30))
def test_mini_batches_are_running_means(seed, k, size):
    "Each centroid is the mean of all it was given; scikit-learn, on the same batches, agrees"
    x, c = problem(seed, 90, 2, k)
    counts, given_to = torch.zeros(k, dtype=torch.long), [[] for _ in range(k)]
    peer = MiniBatchKMeans(k, init=c.numpy(), n_init=1, reassignment_ratio=0)
    first = c
    for batch in x.split(size):
        for p, j in zip(batch, nearest(batch, c)[0].tolist()): given_to[j].append(p)
        c, counts = mini_batch_step(batch, c, counts)
        if len(batch) >= k: peer.partial_fit(batch.numpy())      # it refuses a first batch below k
    want = [torch.stack(g).mean(0) if g else first[j] for j, g in enumerate(given_to)]
    assert_close(c, torch.stack(want), atol=1e-10, rtol=0)
    assert counts.tolist() == [len(g) for g in given_to]
    if 90 % size == 0 and size >= k:
        assert_close(c, torch.from_numpy(peer.cluster_centers_), atol=1e-8, rtol=0)

@settings(max_examples=60, deadline=None)
@given(temperature=st.floats(1e-6, 1e4), **sizes)
def test_soft_limit(temperature, seed, n, d, k):
    "Below the hard loss by at most n * T * log k; in the limit the same gradient"
    x, c = problem(seed, n, d, k)
    gap = (kmeans_loss(x, c) - soft_kmeans_loss(x, c, temperature)).item()
    slack = 1e-9 * (1 + kmeans_loss(x, c).item() + n * temperature)
    assert -slack <= gap <= n * temperature * math.log(k) + slack
    share = (-torch.cdist(x, c) ** 2 / temperature).softmax(1)
    soft = gradient(partial(soft_kmeans_loss, temperature=temperature), x, c)
    assert_close(soft, 2 * (share.sum(0)[:, None] * c - share.T @ x), atol=1e-7, rtol=1e-7)

def test_soft_limit_of_the_gradient():
    x, c = problem(3, 40, 2, 5)
    soft = gradient(partial(soft_kmeans_loss, temperature=1e-6), x, c)
    assert_close(soft, gradient(kmeans_loss, x, c))

def test_soft_in_chunks():
    "Long inputs take the road with recomputed chunks: the same loss, the same gradient"
    x, c = uniform(9000, 8, random_state=0).double(), uniform(300, 8, random_state=1).double()
    f = partial(soft_kmeans_loss, temperature=50.)
    parts = x.split(500)
    assert_close(f(x, c), sum(f(p, c) for p in parts))
    assert_close(gradient(f, x, c), sum(gradient(f, p, c) for p in parts))

def test_trained_is_k_means():
    "From a good start full-batch descent ends at scikit-learn's and Lloyd's rest"
    x, _, true_centroids = blobs(random_state=42)
    x = x.double()
    got = sgd_k_means(x, 6, lr=1e-3, batch_size=1500, steps=200, init=true_centroids)
    want, labels = k_means_cluster(6, x, 100, init=true_centroids)
    assert_close(got.centroids, want, atol=1e-8, rtol=0)
    assert torch.equal(got.labels, labels)
    assert math.isclose(wcss(x, got.centroids, got.labels), wcss(x, want, labels), rel_tol=1e-10)

@settings(max_examples=20, deadline=None)
@given(seed=seeds, k=st.integers(1, 8))
def test_safe_rate_never_rises(seed, k):
    x, costs = uniform(60, 2, random_state=seed).double(), []
    sgd_k_means(x, k, lr=.99 / 60, batch_size=60, steps=15, random_state=seed,
                callback=lambda i, c, loss: costs.append(kmeans_loss(x, c).item()))
    assert all(b <= a * (1 + 1e-12) for a, b in zip(costs, costs[1:]))

@pytest.mark.parametrize('optimizer', [torch.optim.SGD, torch.optim.Adam, torch.optim.LBFGS,
                                       partial(torch.optim.SGD, momentum=.9)])
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
def test_what_training_promises(optimizer, dtype):
    "Shapes, dtype, fitting labels, the same again, nothing outside changed, even under no_grad"
    x, init = blobs(3, 40, random_state=0).points.to(dtype), uniform(3, random_state=1).to(dtype)
    kept, kept_init, state, calls = x.clone(), init.clone(), torch.get_rng_state(), []
    args = dict(lr=.01, batch_size=32, steps=9, optimizer=optimizer, init=init, random_state=5)
    with torch.no_grad():
        first = sgd_k_means(x, 3, callback=lambda *a: calls.append(a), **args)
        again = sgd_k_means(x, 3, **args | dict(random_state=torch.Generator().manual_seed(5)))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert first.centroids.shape == (3, 2) and first.centroids.dtype == dtype
    assert not first.centroids.requires_grad and first.losses.shape == (9,)
    assert torch.equal(first.labels, nearest(x, first.centroids)[0])
    assert [i for i, _, _ in calls] == list(range(1, 10))
    assert torch.equal(calls[-1][1], first.centroids)
    assert not torch.equal(calls[0][1], calls[-1][1])
    assert_close(torch.tensor([loss for _, _, loss in calls]), first.losses.float())
    assert torch.equal(x, kept) and torch.equal(init, kept_init)
    assert torch.equal(state, torch.get_rng_state())

def test_grad_mode_stays():
    "A callback runs with the caller's grad mode, and training leaves it as it was"
    modes, x = [], uniform(20, random_state=0)
    with torch.no_grad():
        sgd_k_means(x, 2, lr=.01, batch_size=20, steps=2, random_state=0,
                    callback=lambda *a: modes.append(torch.is_grad_enabled()))
        assert not torch.is_grad_enabled()
    assert modes == [False, False]

def test_batches_are_a_deck():
    "One round holds each point once: with batches of one, a rate of 1/2 jumps onto the point"
    x, seen = uniform(10, random_state=0).double(), []
    sgd_k_means(x, 1, lr=.5, batch_size=1, steps=20, random_state=0,
                callback=lambda i, c, loss: seen.append((x - c).abs().sum(1).argmin().item()))
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]

def test_edges():
    x = uniform(30, random_state=0).double()
    one = sgd_k_means(x, 1, lr=1 / 60, batch_size=30, steps=1, init=x[:1])
    assert_close(one.centroids[0], x.mean(0))
    own = sgd_k_means(x, 30, lr=.01, batch_size=7, steps=5, random_state=0)
    assert kmeans_loss(x, own.centroids) == 0 and len(own.labels.unique()) == 30
    same = sgd_k_means(torch.ones(5, 2), 3, lr=.01, batch_size=2, steps=4)
    assert (same.centroids == 1).all() and (same.labels == 0).all()
    far = sgd_k_means(x, 2, lr=.01, batch_size=30, steps=3, init=[[0., 0.], [1e3, 0.]])
    assert far.centroids[1].tolist() == [1e3, 0.]                          # no points, no gradient

@pytest.mark.parametrize('bad, error, message', [
    (dict(n_clusters=0), ValueError, 'n_clusters=0'),
    (dict(n_clusters=51), ValueError, 'more than the 50'),
    (dict(n_clusters=2.), TypeError, 'n_clusters=2.0'),
    (dict(lr=0), ValueError, 'lr=0'), (dict(lr=-1.), ValueError, 'lr=-1'),
    (dict(lr=math.nan), ValueError, 'lr=nan'), (dict(lr=math.inf), ValueError, 'lr=inf'),
    (dict(batch_size=0), ValueError, 'batch_size=0'),
    (dict(batch_size=51), ValueError, 'batch_size=51: .* 50'),
    (dict(batch_size=2.5), TypeError, 'batch_size=2.5'), (dict(steps=0), ValueError, 'steps=0'),
    (dict(steps=1.5), TypeError, 'steps=1.5'), (dict(lr='fast'), TypeError, "lr='fast'"),
    (dict(optimizer='SGD'), TypeError, "optimizer='SGD'"),
    (dict(optimizer=dict), TypeError, 'torch.optim.SGD'),
    (dict(optimizer=lambda p, lr: None), TypeError, 'NoneType'),
    (dict(init=torch.zeros(3, 2)), ValueError, r'init has shape \(3, 2\), needed is \(2, 2\)'),
    (dict(x=[[1., math.nan]] * 50), ValueError, 'points has nan in row 0'),
    (dict(random_state='x'), TypeError, 'random_state'),
    (dict(lr=9., steps=300), ValueError, 'lr=9.0 made the centroids infinite: try one below 0.1')])
def test_refused(bad, error, message):
    args = dict(x=uniform(50, random_state=0), n_clusters=2, lr=.01, batch_size=10, steps=5) | bad
    with pytest.raises(error, match=message): sgd_k_means(**args)

def test_losses_refuse():
    x, c = uniform(10, random_state=0), uniform(3, random_state=1)
    for f in (*losses, newton_step):
        with pytest.raises(ValueError, match='points have 2 columns and c has 1'): f(x, c[:, :1])
        with pytest.raises(ValueError, match='c has inf in row 0'): f(x, c / 0)
        with pytest.raises(ValueError, match='points has nan in row 0'): f(x * math.nan, c)
    for T in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match='temperature='): soft_kmeans_loss(x, c, T)
    with pytest.raises(ValueError, match="reduction='max'"): kmeans_loss(x, c, 'max')
    with pytest.raises(ValueError, match='weight has shape'): newton_step(x, c, torch.ones(3))
    with pytest.raises(ValueError, match='has a negative'): newton_step(x, c, -torch.ones(10))
    with pytest.raises(ValueError, match='counts has shape'): mini_batch_step(x, c, torch.zeros(4))
