"Cells of mean shift: numbers, neighbours, levels, seeds, and the mean shift that moves them."

import pytest, torch
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close
from clusterlearn.meanshift.cells import bin_seeds, cell_levels, cell_shift, number_cells
from clusterlearn.meanshift.grid import neighbour_cells
from clusterlearn.meanshift.kernels import BUDGET

some = settings(max_examples=25, deadline=None)


def draw(n, d, seed, dtype=torch.float64, spread=10.0):
    g = torch.Generator().manual_seed(seed)
    c = torch.rand(5, d, generator=g, dtype=dtype) * spread
    return c[torch.randint(5, (n,), generator=g)] + torch.randn(n, d, generator=g, dtype=dtype)


def test_cell_numbers_never_overflow():
    "A product of ranges of 2^60 each would wrap around"
    cell = torch.randint(0, 2**60, (500, 5), generator=torch.Generator().manual_seed(0))
    cell = torch.cat([cell, cell])
    cells, number = number_cells(cell)
    assert len(cells) == 500 and torch.equal(cells[number], cell)


@pytest.mark.parametrize('d', range(1, 9))
def test_touching_cells(d):
    "Above three axes a corner neighbour is farther away than a cell is wide"
    g = torch.Generator().manual_seed(d)
    cell = torch.randint(0, 3 if d > 3 else 9, (400, d), generator=g).unique(dim=0)
    want = ((cell[:, None] - cell[None]).abs().amax(2) <= 1).nonzero()
    for budget in (1, 500, BUDGET):
        pairs = torch.cat([torch.stack(p, 1) for p in neighbour_cells(cell, budget)])
        assert len(pairs) == len(want) and torch.equal(pairs.unique(dim=0), want)


@some
@given(seed=st.integers(0, 50), d=st.integers(1, 5), shift=st.integers(-1000, 1000))
def test_cell_shift_translation(seed, d, shift):
    "Moving the data (by whole numbers, so that nothing rounds) moves the answer, nothing else"
    x = (draw(300, d, seed) * 1024).round() / 1024
    a, b = cell_shift(x, 2.0), cell_shift(x + shift, 2.0)
    assert torch.equal(a[1], b[1]) and a[2] == b[2]
    assert_close(a[0] + shift, b[0], rtol=0, atol=1e-9)


def test_cell_shift_order_weights_and_dtype():
    x, p = draw(500, 2, 5), torch.randperm(500, generator=torch.Generator().manual_seed(0))
    a, b = cell_shift(x, 2.0), cell_shift(x[p], 2.0)
    assert_close(a[0][a[1]][p], b[0][b[1]])
    twice, heavy = cell_shift(x.repeat(2, 1), 2.0), cell_shift(x, 2.0, torch.full((500,), 2.0))
    assert_close(twice[0][twice[1]][:500], heavy[0][heavy[1]])
    assert cell_shift(x.float(), 2.0)[0].dtype == torch.float32


def test_cell_shift_of_what_as_points_takes():
    assert cell_shift([[0, 0], [1, 0], [9, 9]], 2.0)[1].tolist() == [0, 0, 1]
    for x in (torch.zeros(1, 3), torch.full((100, 2), 7.0)):
        assert_close(cell_shift(x, 0.5)[0], x[:1])
    with pytest.raises(ValueError, match='must be above zero'):
        cell_shift(x, -1.0)


@some
@given(d=st.integers(1, 4), n=st.integers(1, 300), h=st.floats(0.1, 50), seed=st.integers(0, 99))
def test_levels_hold_all_points(d, n, h, seed):
    "Weights and means add up, each level is twice as coarse as the next, and points are near"
    x, w = draw(n, d, seed), torch.rand(n, generator=torch.Generator().manual_seed(seed)) + 0.1
    levels, number = cell_levels(x, w.double(), h)
    for lv in levels:
        assert_close(lv.weight.sum(), w.double().sum())
        total = (lv.mean * lv.weight[:, None]).sum(0)
        assert_close(total, (x * w[:, None]).sum(0), rtol=1e-9, atol=1e-9)
    for lv, fine in zip(levels, levels[1:]):
        assert torch.equal(lv.cell[fine.parent], fine.cell // 2)
    assert levels[0].parent is None
    assert (x - levels[-1].mean[number]).abs().max() <= h / 64 * (1 + 1e-9)


def test_bin_seeds():
    x = draw(500, 2, 0)
    low = x.amin(0)
    cell = ((x - low) / 2.0).long()
    want = {tuple(c): x[(cell == torch.tensor(c)).all(1)] for c in cell.unique(dim=0).tolist()}
    for least in (1, 5):
        means = torch.stack([p.mean(0) for p in want.values() if len(p) >= least])
        seeds = bin_seeds(x, 2.0, least)
        gap = (means[:, None] - seeds[None]).abs().amax(2).amin(1).max()
        assert len(seeds) == len(means) and gap < 1e-9
    assert len(bin_seeds(x, 2.0, 501)) == 0
