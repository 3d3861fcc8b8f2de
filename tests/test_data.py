"What chapter 00 cannot show in a cell: inputs from elsewhere, seeds, saved blobs."
import numpy as np, pytest, torch
from torch.testing import assert_close

from clusterlearn.checks import as_points
from clusterlearn.data import Blobs, blobs, portrait
from clusterlearn.files import load

def test_arrays_from_elsewhere(tmp_path):
    "A list, a tuple, non-contiguous arrays, integers, booleans, a data frame, a dict in a .pt"
    x = np.arange(12.0).reshape(4, 3)
    for given in (x.tolist(), tuple(map(tuple, x)), np.asfortranarray(x), x[::-1][::-1],
                  x.astype('i8'), x > -1):
        assert as_points(given).shape == (4, 3)
    frame = type('Frame', (), {'to_numpy': lambda self: x})()
    assert_close(as_points(frame), torch.from_numpy(x))
    torch.save({'weights': torch.ones(2), 'points': torch.from_numpy(x)}, tmp_path / 'a.pt')
    assert_close(load(tmp_path / 'a.pt').points, torch.from_numpy(x))

@pytest.mark.parametrize('x, error', [
    ('text', TypeError), (None, TypeError), ({'a': 1}, TypeError), ([[1, 2], [3]], TypeError),
    (torch.eye(3).to_sparse(), TypeError), (torch.zeros(2, 2, dtype=torch.cfloat), TypeError),
    (3.0, ValueError), (torch.zeros(2, 2, 2), ValueError), (torch.zeros(3, 0), ValueError),
    ([], ValueError), ([[1, float('inf')]], ValueError),
    (torch.full((2, 2), float('nan')).half(), ValueError)])
def test_refused(x, error):
    with pytest.raises(error, match='^points '): as_points(x)

def test_half_precision_sum_overflows():
    "The quick look at the sum overflows in half precision; the numbers are finite, and pass"
    x = torch.full((100, 2), 6e4, dtype=torch.float16)
    assert torch.equal(as_points(x), x)

def test_same_seed_same_blobs():
    a, b = blobs(random_state=5), blobs(random_state=torch.Generator().manual_seed(5))
    assert all(map(torch.equal, a, b))
    assert not torch.equal(a.points, blobs(random_state=6).points)

def test_blobs_can_be_saved(tmp_path):
    torch.save(blobs(random_state=0), tmp_path / 'a.pt')
    again = torch.load(tmp_path / 'a.pt', weights_only=True)
    assert isinstance(again, Blobs) and all(map(torch.equal, again, blobs(random_state=0)))
    assert torch.equal(load(tmp_path / 'a.pt').points, again.points)

def test_portrait_is_a_picture():
    found = portrait()
    assert found.points.shape == (600 * 512, 3)
    assert 0 <= found.points.min() < found.points.max() <= 1
