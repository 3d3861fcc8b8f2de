"What chapter 00 cannot show in a cell: odd files, damaged files, and inputs from elsewhere."

import numpy as np, pyarrow as pa, pyarrow.parquet as pq, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch.testing import assert_close
from clusterlearn.checks import as_points
from clusterlearn.data import blobs, load, portrait, to_image


def written(tmp_path, text, name='a.csv', encoding='utf-8'):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    'text, name, names',
    [
        ('1,2\n3,4\n', 'a.csv', None),
        ('1;2\n3;4\n', 'a.csv', None),
        ('1\t2\n3\t4\n', 'a.tsv', None),
        ('x,y\r\n1,2\r\n3,4\r\n', 'a.CSV', ['x', 'y']),
        ('\ufeffx,y\n1,2\n3,4', 'a.csv', ['x', 'y']),
        ('\n\nx,y\n\n1,2\n\n3,4\n\n', 'a.csv', ['x', 'y']),
        ('"x, left","y"\n"1",2\n3,"4"\n', 'a.csv', ['x, left', 'y']),
        (' 1 , 2\n3e0,+4.\n', 'a.csv', None),
    ],
)
def test_csv_dialects(tmp_path, text, name, names):
    "Separators, line ends, a byte order mark, blank lines and quotes do not matter"
    found = load(written(tmp_path, text, name))
    assert_close(
        found.points, torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64), atol=0, rtol=0
    )
    assert found.names == names


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'has no rows of numbers'),
        ('\n\n', 'has no rows of numbers'),
        ('x,y\n', 'has no rows of numbers'),
        ('1,2\n\n\nfour,2\n', "row 4, column 1: 'four' is not a number"),
        ('x,y\n1,2\n3,\n', "row 3, column 2 (y): '' is not a number"),
        ('1,2\n1_0,2\n', "'1_0' is not a number"),
        ('a,b,c\n1,2\n', 'row 2: 2 cells, and the first row has 3'),
        ('1,2\n1,2,3\n', 'row 2: 3 cells'),
        ('x,1\n1,2\n', "row 1, column 1: 'x' is not a number"),
        ('1,2\n3,inf\n', "row 2, column 2: 'inf' is not finite"),
        ('x,y\nid,no\n1,2\n', "row 2, column 1 (x): 'id' is not a number"),
    ],
)
def test_csv_faults(tmp_path, text, message):
    "Every fault is one ValueError that names the place"
    with pytest.raises(ValueError) as e:
        load(written(tmp_path, text))
    assert message in str(e.value) and '\n' not in str(e.value) and 'a.csv' in str(e.value)


def test_csv_in_another_encoding(tmp_path):
    with pytest.raises(ValueError, match='not text in UTF-8'):
        load(written(tmp_path, 'größe,y\n1,2\n', encoding='latin-1'))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=3), min_size=1, max_size=20
    )
)
def test_csv_keeps_every_digit(tmp_path_factory, rows):
    path = written(tmp_path_factory.mktemp('csv'), '\n'.join(','.join(map(repr, r)) for r in rows))
    assert_close(load(path).points, torch.tensor(rows, dtype=torch.float64), atol=0, rtol=0)


def test_parquet(tmp_path):
    "Columns of any kind of number; the first other column is named"
    x = np.arange(6.0).reshape(3, 2)
    pq.write_table(
        pa.table({'a': x[:, 0].astype(np.int32), 'b': x[:, 1].astype(np.float32)}),
        tmp_path / 'a.parquet',
    )
    found = load(tmp_path / 'a.parquet')
    assert_close(found.points, torch.from_numpy(x), atol=0, rtol=0)
    assert found.names == ['a', 'b'] and found.points.dtype == torch.float64
    pq.write_table(pa.table({'a': [1, 2], 'word': ['x', 'y']}), tmp_path / 'b.parquet')
    with pytest.raises(ValueError, match="column 'word' holds string, not numbers"):
        load(tmp_path / 'b.parquet')
    pq.write_table(pa.table({'a': pa.array([1.0, None])}), tmp_path / 'c.parquet')
    with pytest.raises(ValueError, match='has nan in row 1, column 0'):
        load(tmp_path / 'c.parquet')


def test_no_pickle(tmp_path):
    "A file that would run code is refused, and the code does not run"

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / 'ran'), 'w'))

    np.save(tmp_path / 'a.npy', np.array([Trap()], dtype=object), allow_pickle=True)
    torch.save({'points': Trap()}, tmp_path / 'a.pt')
    for name in ('a.npy', 'a.pt'):
        (tmp_path / 'ran').unlink(missing_ok=True)
        with pytest.raises(ValueError, match=f'{name} cannot be read'):
            load(tmp_path / name)
        assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('suffix', ['npy', 'npz', 'pt', 'parquet', 'png', 'jpg', 'tif', 'webp'])
@pytest.mark.parametrize('content', [b'', b'garbage that is no file of any kind'])
def test_damaged_files(tmp_path, suffix, content):
    (tmp_path / f'a.{suffix}').write_bytes(content)
    with pytest.raises(ValueError) as e:
        load(tmp_path / f'a.{suffix}')
    assert 'cannot be read' in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'RGB', 'RGBA', 'CMYK', 'LA'])
def test_pictures_of_any_mode(tmp_path, mode):
    "Whatever the picture's mode, its pixels come back as Pillow's own RGB"
    im = Image.effect_noise((9, 7), 80).convert('RGB').convert(mode)
    path = tmp_path / ('a.tif' if mode == 'CMYK' else 'a.png')
    im.save(path)
    found = load(path)
    assert found.shape == (7, 9, 3)
    assert np.array_equal(
        np.asarray(to_image(found.points, found.shape)), np.asarray(Image.open(path).convert('RGB'))
    )


def test_arrays_from_elsewhere(tmp_path):
    "A list, a tuple, non-contiguous arrays, integers, booleans, a data frame, a dict in a .pt"
    x = np.arange(12.0).reshape(4, 3)
    for given in (
        x.tolist(),
        tuple(map(tuple, x)),
        np.asfortranarray(x),
        x[::-1][::-1],
        x.astype('i8'),
        x > -1,
    ):
        assert as_points(given).shape == (4, 3)
    frame = type('Frame', (), {'to_numpy': lambda self: x})()
    assert_close(as_points(frame), torch.from_numpy(x))
    torch.save({'weights': torch.ones(2), 'points': torch.from_numpy(x)}, tmp_path / 'a.pt')
    assert_close(load(tmp_path / 'a.pt').points, torch.from_numpy(x))


@pytest.mark.parametrize(
    'x, error',
    [
        ('text', TypeError),
        (None, TypeError),
        ({'a': 1}, TypeError),
        ([[1, 2], [3]], TypeError),
        (torch.eye(3).to_sparse(), TypeError),
        (torch.zeros(2, 2, dtype=torch.cfloat), TypeError),
        (3.0, ValueError),
        (torch.zeros(2, 2, 2), ValueError),
        (torch.zeros(3, 0), ValueError),
        ([], ValueError),
        ([[1, float('inf')]], ValueError),
        (torch.full((2, 2), float('nan')).half(), ValueError),
    ],
)
def test_refused(x, error):
    with pytest.raises(error, match='^points '):
        as_points(x)


def test_half_precision_sum_overflows():
    "The quick look at the sum overflows in half precision; the numbers are finite, and pass"
    x = torch.full((100, 2), 6e4, dtype=torch.float16)
    assert torch.equal(as_points(x), x)


def test_same_seed_same_blobs():
    a, b = blobs(random_state=5), blobs(random_state=torch.Generator().manual_seed(5))
    assert all(map(torch.equal, a, b))
    assert not torch.equal(a.points, blobs(random_state=6).points)


def test_portrait_is_a_picture():
    found = portrait()
    assert (
        found.points.shape == (600 * 512, 3) and 0 <= found.points.min() < found.points.max() <= 1
    )
