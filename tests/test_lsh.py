"Hash functions collide as often as the formulas say; candidates are measured exactly."

import math

import pytest
import torch

from clusterlearn.data import blobs
from clusterlearn.neighbors.lsh import (
    LSH,
    _portions,
    angle_collision,
    distance_collision,
    found_probability,
    recall,
)
from clusterlearn.neighbors.search import neighbors, square_distances

torch.set_num_threads(1)


def points(n=800, d=6, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def share(x, y, **kw):
    "How often the keys of two points agree, over a thousand tables"
    index = LSH(1000, **kw).fit(torch.stack([x, y, -x, -y]))       # the mean is zero
    keys = index.keys(torch.stack([x, y]))
    return (keys[:, 0] == keys[:, 1]).double().mean().item()


@pytest.mark.parametrize('degrees', [10, 60, 120])
def test_hyperplanes_collide_by_the_angle(degrees):
    t = math.radians(degrees)
    x, y = torch.tensor([1.0, 0, 0, 0]), torch.tensor([math.cos(t), math.sin(t), 0, 0])
    for bits in (1, 3):
        p = angle_collision(torch.tensor(t)).item() ** bits
        got = share(x, 7 * y, n_bits=bits, random_state=1)
        assert abs(got - p) < 5 * (p * (1 - p) / 1000) ** 0.5


@pytest.mark.parametrize('distance', [0.5, 2.0, 6.0])
def test_projections_collide_by_the_distance(distance):
    x, y = torch.zeros(5), torch.eye(5)[2] * distance
    for bits in (1, 3):
        p = distance_collision(torch.tensor(distance), 2.0).item() ** bits
        got = share(x, y, n_bits=bits, width=2.0, random_state=2)
        assert abs(got - p) < 5 * (p * (1 - p) / 1000) ** 0.5


def test_formula_of_projections_is_the_integral():
    t = torch.linspace(0, 3, 100_001, dtype=torch.float64)
    for c in (0.3, 1.0, 5.0):
        density = 2 / (c * math.sqrt(2 * math.pi)) * (-(t**2) / (2 * c * c)).exp()
        want = torch.trapezoid(density * (1 - t / 3), t).item()
        got = distance_collision(torch.tensor(c, dtype=torch.float64), 3.0).item()
        assert abs(got - want) < 1e-8
    assert found_probability(0.5, 2, 1) == 0.75


@pytest.mark.parametrize('width', [None, 2.0])
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
def test_candidates_are_measured_exactly(width, dtype):
    x = points().to(dtype)
    found = LSH(6, 4, width=width, random_state=0).fit(x).query(x[:50], 12)
    assert found.distances.dtype == dtype and found.distances.shape == (50, 12)
    for i in range(50):
        there = found.indices[i] >= 0
        j = found.indices[i][there]
        assert there.sum() == min(12, found.counts[i]) and len(j.unique()) == len(j)
        d = square_distances(x[j], x[i]).sqrt()
        assert torch.equal(found.distances[i][there], d.to(dtype)) and (d.diff() >= 0).all()
        assert found.distances[i][~there].isinf().all()
    assert (found.indices[:, 0] == torch.arange(50)).all()          # itself is in its own bucket


def test_one_bucket_for_all_is_exact():
    x = blobs(5, 40, random_state=0).points
    found = LSH(1, 1, width=1e9, random_state=0).fit(x).query(x, 9)
    assert torch.equal(found.indices, neighbors(x, k=9).indices)
    assert recall(found.indices, neighbors(x, k=9).indices) == 1 and (found.counts == 200).all()


def test_more_tables_find_more_and_more_bits_leave_fewer():
    x = points(1500, 8)
    exact = neighbors(x, k=5).indices
    tables = [LSH(t, 8, width=3.0, random_state=0).fit(x).query(x, 5) for t in (1, 5, 25)]
    found = [recall(t.indices, exact) for t in tables]
    assert found[0] < found[1] < found[2]
    bits = [LSH(5, b, width=3.0, random_state=0).fit(x).query(x, 5).counts.sum() for b in (2, 5, 9)]
    assert bits[0] > bits[1] > bits[2]


def test_duplicates_are_taken_in_portions():
    x = points(3)[torch.arange(3000) % 3]
    index = LSH(3, 4, random_state=0).fit(x)
    sizes = _portions(index.tables, index.keys(x[:100]), most=10_000)
    assert sum(sizes) == 100 and max(sizes) < 10
    found = index.query(x[:100], 4)
    assert found.indices[0].tolist() == [0, 3, 6, 9] and (found.distances == 0).all()


def test_one_point_far_off_and_repeatable():
    one = LSH(2, 3, random_state=0).fit([[5.0, 5.0]])
    assert one.query([[0.0, 5.0]]).distances.item() in (5, math.inf)
    x = points(500, 4).double()
    near, far = (
        LSH(4, 6, width=1.5, random_state=3).fit(x + shift).query(x[:40] + shift, 5)
        for shift in (0, 2.0**20)
    )
    assert (near.indices == far.indices).double().mean() > 0.99


@pytest.mark.parametrize(
    'error, words, make',
    [
        (ValueError, 'n_tables=0: choose from 1', lambda: LSH(0)),
        (TypeError, 'n_bits=2.5: a whole number', lambda: LSH(1, 2.5)),
        (ValueError, 'n_bits=65: choose from 1 to 64', lambda: LSH(1, 65)),
        (ValueError, 'width=0', lambda: LSH(width=0)),
        (ValueError, "width='a'", lambda: LSH(width='a')),
        (ValueError, 'nan in row 0', lambda: LSH().fit([[float('nan')]])),
        (ValueError, 'first fit points', lambda: LSH().query(points())),
        (ValueError, 'query has 1 columns', lambda: LSH().fit(points()).query(torch.ones(2, 1))),
        (ValueError, 'there are 800 points', lambda: LSH().fit(points()).query(points(), 801)),
    ],
)
def test_bad_input(error, words, make):
    with pytest.raises(error) as e:
        make()
    assert words in str(e.value)
