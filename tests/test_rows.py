"Equal rows and chunks, against NumPy and against rows built to be equal."

import numpy as np
import pytest, torch
from hypothesis import given, settings, strategies as st
from clusterlearn import rows
from clusterlearn.rows import chunks, merge_rows, row_keys

some = settings(max_examples=25, deadline=None)
dtypes = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def table(n, d, seed, dtype=torch.float32):
    "Small halves, with zeros of both signs"
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(-2, 2, (n, d), generator=g) * 0.5
    signs = torch.where(torch.rand(n, d, generator=g) < 0.5, -0.0, 0.0)
    return torch.where(x == 0, signs, x).to(dtype)


def holds(x, m):
    "Everything that a `MergedRows` promises"
    assert torch.equal(m.points[m.which] + 0.0, x + 0.0) and m.points.dtype == x.dtype
    assert torch.equal(m.points, x[m.first])
    assert torch.equal(m.count, m.which.bincount(minlength=len(m.points)))
    lowest = torch.full((len(m.points),), len(x)).scatter_reduce(
        0, m.which, torch.arange(len(x)), 'amin'
    )
    assert torch.equal(m.first, lowest)
    return len(m.points)


@some
@given(n=st.integers(1, 200), d=st.integers(1, 6), seed=st.integers(0, 99))
def test_as_numpy(n, d, seed):
    for dtype in dtypes:
        x = table(n, d, seed, dtype)
        want = len(np.unique(x.float().numpy() + 0.0, axis=0))
        assert holds(x, merge_rows(x)) == want
        assert holds(x[:, ::2], merge_rows(x[:, ::2])) <= want


@pytest.mark.parametrize('d', [1, 3, 5, 200])
def test_equal_rows_get_equal_keys_wherever_they_stand(d):
    "In the middle of a chunk, at its end, in a table of another size and with other strides"
    x = torch.randn(3000, d, generator=torch.Generator().manual_seed(0))
    keys = row_keys(x)
    for i in (1, 7, 1023):
        assert torch.equal(row_keys(x[i:]), keys[i:])
    assert torch.equal(row_keys(x.T.contiguous().T), keys)


def test_one_bit_makes_another_row():
    x = torch.randn(500, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    near = torch.nextafter(x, torch.full_like(x, torch.inf))
    for j in range(4):
        y = x.clone()
        y[:, j] = near[:, j]
        assert len(merge_rows(torch.cat([x, y])).points) == 1000


def test_equal_keys_do_not_make_rows_equal(monkeypatch):
    "With one key for all, rows are still compared; copies may stay apart, and nothing is mixed"
    monkeypatch.setattr(rows, 'row_keys', lambda x: torch.zeros(len(x), dtype=torch.int64))
    x = table(300, 2, 0)
    m = merge_rows(x)
    assert torch.equal(m.points[m.which] + 0.0, x + 0.0)
    y = x[torch.tensor([0] * 50 + [1] * 50)]
    assert holds(y, merge_rows(y)) <= 2


def test_a_sample_says_that_few_repeat(monkeypatch):
    g = torch.Generator().manual_seed(0)
    x, seen = torch.randn(50_000, 2, generator=g), []
    was = rows._grouped
    monkeypatch.setattr(rows, '_grouped', lambda t: seen.append(len(t)) or was(t))
    assert merge_rows(x, at_most=0.7) is None and max(seen) < 5000
    y = x[torch.randint(5000, (50_000,), generator=g)]
    assert holds(y, merge_rows(y, at_most=0.7)) <= 5000
    assert merge_rows(y, at_most=0.05) is None


def test_the_order_of_the_rows_does_not_matter():
    g = torch.Generator().manual_seed(0)
    for x in (torch.arange(200.0).view(100, 2), table(100, 2, 0)):
        m, s = merge_rows(x), merge_rows(x[torch.randperm(100, generator=g)])
        assert torch.equal(m.points + 0.0, s.points + 0.0) and torch.equal(m.count, s.count)
    assert holds(x[:1], merge_rows(x[:1])) == 1
    assert len(merge_rows(x[:0]).points) == 0


def test_input_and_global_random_state_stay():
    x, state = table(100, 3, 1), torch.get_rng_state()
    copy = x.clone()
    rows._factors.cache_clear()
    merge_rows(x)
    assert torch.equal(x, copy) and torch.equal(torch.signbit(x), torch.signbit(copy))
    assert torch.equal(state, torch.get_rng_state())


@some
@given(n=st.integers(0, 100), size=st.integers(0, 50), budget=st.integers(1, 200))
def test_chunks(n, size, budget):
    parts = chunks(n, size, budget)
    assert [i for p in parts for i in range(n)[p]] == list(range(n))
    assert all(p.stop - p.start == 1 or size * (p.stop - p.start) <= budget for p in parts)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
def test_cuda():
    x = table(10_000, 3, 0)
    a, b = merge_rows(x), merge_rows(x.cuda())
    assert b.points.is_cuda and torch.equal(row_keys(x), row_keys(x.cuda()).cpu())
    assert torch.equal(a.points, b.points.cpu()) and torch.equal(a.which, b.which.cpu())
