"What people bring to the library: every kind of array, with the right value or the right refusal."
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np, pandas as pd, polars as pl, pyarrow as pa, pytest, scipy.sparse, torch
from torch.testing import assert_close

from clusterlearn import k_means, k_means_cluster, mean_shift
from clusterlearn.checks import as_points, as_tensor, as_weights, without_autocast
from clusterlearn.kmeans.seeding import initial_centroids
from clusterlearn.kmeans.gradient import newton_step
from clusterlearn.data import blobs

table = np.array([[1.0, 2.0], [3.0, 4.5], [-5.0, 6.0]])
whole = np.array([[1, 2], [3, 4], [-5, 6]])

def exact(got, want, dtype=torch.float64):
    assert_close(got, torch.tensor(np.asarray(want, dtype=np.float64).tolist(), dtype=dtype),
                 atol=0, rtol=0)

class Dlpack:
    "An array that speaks nothing but DLPack, as JAX's and CuPy's do"
    def __init__(self, a): self.a = a
    def __dlpack__(self, **kwargs): return self.a.__dlpack__(**kwargs)
    def __dlpack_device__(self): return self.a.__dlpack_device__()

floats = {
    'negative strides': table[::-1, ::-1][::-1, ::-1][:, ::-1][:, ::-1],
    'column-major': np.asfortranarray(table),
    'a field of records': np.rec.fromarrays([table[:, 0], whole[:, 0].astype('i1')]).f0[:, None],
    'big endian': table.astype('>f8'), 'longdouble': table.astype(np.longdouble),
    'objects': table.astype(object), 'objects in lists': [[Decimal('1'), 2], [3, Fraction(9, 2)],
                                                         [np.int8(-5), np.float32(6)]],
    'a list': table.tolist(), 'a tuple': tuple(map(tuple, table)), 'rows': list(table),
    'tensors': list(torch.tensor(table)), 'scalars': [[torch.tensor(v) for v in r] for r in table],
    'memory': memoryview(table), 'matrix': np.asmatrix(table), 'dlpack': Dlpack(table),
    'pandas': pd.DataFrame(table), 'nullable': pd.DataFrame(table).convert_dtypes(),
    'arrow-backed': pd.DataFrame(table).convert_dtypes(dtype_backend='pyarrow'),
    'twice one name': pd.DataFrame(table, columns=['a', 'a']),
    'decimals': pd.DataFrame([[Decimal(str(v)) for v in r] for r in table]),
    'polars': pl.DataFrame(table, orient='row'),
    'polars decimals': pl.DataFrame([[Decimal(str(v)) for v in r] for r in table], orient='row'),
    'arrow table': pa.table({'a': table[:, 0], 'b': table[:, 1]}),
    'arrow batch': pa.RecordBatch.from_pydict({'a': table[:, 0], 'b': table[:, 1]}),
    'wide decimals': pa.table({c: [Decimal(str(v)) for v in table[:, i]]
                               for i, c in enumerate('ab')}),
}

@pytest.mark.parametrize('kind', floats)
def test_numbers_of_any_origin(kind):
    got = as_tensor(floats[kind])
    exact(got, table[:, :got.shape[1]])
    assert got.is_contiguous() or got.stride(0) > 0

@pytest.mark.parametrize('dtype', ['i1', 'u1', 'i2', 'u2', '>i4', 'u4', 'i8', 'u8', '>u8', '?'])
def test_integers_become_float64(dtype):
    x = np.abs(whole).astype(dtype)
    for given in (x, pd.DataFrame(x), pl.DataFrame(x.astype(x.dtype.newbyteorder('='))),
                  x.tolist(), x[::-1][::-1]):
        exact(as_points(given), x)
    exact(as_points(torch.tensor(whole)), whole)

def test_timestamps_keep_their_digits():
    "The issue's example: float32 gives an inertia of 32768 and centroids that no point is near"
    t = np.r_[np.arange(0, 60, 3), np.arange(200, 260, 3)] + 1_757_000_000
    for given in (t[:, None], t[:, None].tolist(), torch.tensor(t)[:, None],
                  pd.DataFrame({'t': t}), [[Decimal(int(v))] for v in t]):
        r = k_means(given, 2, random_state=0)
        assert r.centroids.dtype == torch.float64 and r.inertia == pytest.approx(11970, abs=1e-3)
        assert sorted(r.centroids.flatten().tolist()) == pytest.approx(
            [1_757_000_028.5, 1_757_000_228.5], abs=1e-6)

@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_floats_keep_their_dtype_and_their_memory(dtype):
    x = table.astype(dtype)
    assert as_points(x).data_ptr() == x.ctypes.data
    assert as_points(torch.from_numpy(x)).data_ptr() == x.ctypes.data
    want = torch.from_numpy(x)
    for given in (x[:, ::-1][:, ::-1], x.astype(x.dtype.newbyteorder('>')), list(x), list(want),
                  pd.DataFrame(x), Dlpack(x)):
        assert_close(as_points(given), want, atol=0, rtol=0)
    assert as_points(torch.ones(2, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16

def test_negative_strides_cluster_as_their_copy():
    x = blobs(3, 40, 3, random_state=0).points.numpy()
    a, b = k_means(x[:, ::-1], 3, random_state=0), k_means(x[:, ::-1].copy(), 3, random_state=0)
    assert torch.equal(a.labels, b.labels) and torch.equal(a.centroids, b.centroids)

def test_read_only_memory_is_shared_without_a_warning(tmp_path):
    np.save(tmp_path / 'a.npy', table)
    mapped = np.load(tmp_path / 'a.npy', mmap_mode='r')
    fixed = table.copy()
    fixed.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for x in (mapped, fixed, np.broadcast_to(table[0], (3, 2))):
            exact(as_points(x), x)
        assert as_points(fixed).data_ptr() == fixed.ctypes.data
        kept = as_points(table.copy()[:2])      # the memory outlives the array's name
    exact(kept, table[:2])
    assert not fixed.flags.writeable

def test_gradients_stop_here():
    x = torch.tensor(table, requires_grad=True)
    assert not as_points(x).requires_grad and not as_tensor(list(x)).requires_grad

def test_booleans_beside_floats():
    x = np.array([[1.5, 1], [2.5, 0], [0.5, 1]])
    frame = pd.DataFrame({'a': x[:, 0], 'b': x[:, 1] > 0})
    for given in (frame, frame.convert_dtypes(), pl.from_pandas(frame), pa.table(frame),
                  [[1.5, True], [2.5, False], [0.5, True]]):
        exact(as_points(given), x)

def test_a_frame_of_mixed_widths_is_exact():
    big = [2**40 + 1, 2**40 + 2]
    frame = pd.DataFrame({'f': np.float32([.5, 1]), 'i': np.int64(big), 'b': [True, False]})
    for given in (frame, pl.from_pandas(frame), pa.table(frame)):
        exact(as_points(given), [[.5, big[0], 1], [1, big[1], 0]])

missing = {
    'masked': np.ma.masked_array([[1., 9.], [3., 4.]], [[False, True], [False, False]]),
    'masked integers': np.ma.masked_array([[1, 9], [3, 4]], [[False, True], [False, False]]),
    'masked objects': np.ma.masked_array(np.array([[1, 'x'], [3, 4]], dtype=object),
                                         [[False, True], [False, False]]),
    'None': [[1, None], [3, 4]], 'NA': pd.DataFrame({'a': [1, 3], 'b': [pd.NA, 4]}),
    'nullable': pd.DataFrame({'a': [1, 3], 'b': pd.array([None, 4], dtype='Int64')}),
    'arrow-backed': pd.DataFrame({'a': [1, 3], 'b': [None, 4]}).convert_dtypes(
        dtype_backend='pyarrow'),
    'polars': pl.DataFrame({'a': [1, 3], 'b': [None, 4]}),
    'arrow': pa.table({'a': [1, 3], 'b': [None, 4]}),
}

@pytest.mark.parametrize('kind', missing)
def test_missing_entries_are_nan_and_refused(kind):
    got = as_tensor(missing[kind])
    assert got.isnan().tolist() == [[False, True], [False, False]] and got[1, 1] == 4
    with pytest.raises(ValueError, match='^points has nan in row 0, column 1.*remove or fill'):
        as_points(missing[kind])

def test_a_masked_array_without_a_mask_passes():
    exact(as_points(np.ma.masked_array(table)), table)

day = np.array(['2024-01-01', '2024-01-02'], dtype='M8[D]')
frames = [lambda **c: pd.DataFrame(c), lambda **c: pl.DataFrame(c), lambda **c: pa.table(c)]

@pytest.mark.parametrize('make', frames)
def test_the_column_that_is_no_number_is_named(make):
    with pytest.raises(TypeError, match="^points, column 'city', has 'Rome' in row 0.*leave such"):
        as_points(make(x=[1., 2.], city=['Rome', 'Oslo']))
    with pytest.raises(TypeError, match="^points, column 'when', (holds dates|has )"):
        as_points(make(x=[1., 2.], when=day))
    with pytest.raises(ValueError, match=r'row 1, column 1 \(y\)'):
        as_points(make(x=[1., 2.], y=[1., np.inf]))

@pytest.mark.parametrize('x, error, why', [
    (scipy.sparse.eye(4, format='csr'), TypeError, r'points\.toarray\(\), or reduce the columns'),
    (scipy.sparse.coo_array(np.eye(3)), TypeError, r'points\.toarray\(\)'),
    (torch.eye(3).to_sparse(), TypeError, r'points is sparse: use points\.to_dense'),
    (np.zeros((4, 50, 1)), ValueError, r'points\.reshape\(len\(points\), -1\)'),
    (torch.zeros(4, 5, 3), ValueError, r'pixels of a picture use points\.reshape\(-1, 3\)'),
    ([[1, 2], [3]], TypeError, 'row 1 has 1 numbers, and row 0 has 2'),
    ([torch.zeros(2), torch.zeros(3)], TypeError, 'row 1 has 3 numbers, and row 0 has 2'),
    ([['1', '2']], TypeError, "has '1' in row 0, column 0, which cannot be read as a number"),
    (np.array([['a']]), TypeError, "has 'a' in row 0"), ('a.csv', TypeError, 'use load'),
    (day[:, None], TypeError, r"holds dates or times \(datetime64.*astype\('int64'\)"),
    (np.array([[1j]]), TypeError, 'complex'), ([[1, 2j]], TypeError, 'complex'),
    (np.array([(1, 2.)], dtype=[('a', 'i4'), ('b', 'f8')]), TypeError,
     'structured_to_unstructured'),
    ({'a': 1}, TypeError, 'of type dict'), (None, TypeError, 'of type NoneType'),
    (object(), TypeError, 'of type object'),
    (pl.LazyFrame({'a': [1]}), TypeError, r'points\.collect\(\)'),
    ([], ValueError, 'nothing to cluster'), (pd.DataFrame(), ValueError, 'nothing to cluster')])
def test_refusals_say_the_remedy(x, error, why):
    with pytest.raises(error, match=why) as e: as_points(x)
    assert str(e.value).startswith('points ')

def test_arguments_in_the_wrong_order():
    with pytest.raises(ValueError, match=r'number 6.*k_means_cluster\(k, points\)'):
        k_means_cluster(table, 6)
    with pytest.raises(TypeError, match=r'shape \(3, 2\).*order is \(points, k\)'):
        k_means(table, table)

def test_weights_of_any_kind():
    x = torch.tensor(table)
    for w in ([1, 2, 3], np.array([1, 2, 3], dtype='>i2'), pd.Series([1, 2, 3], dtype='Int64'),
              np.arange(3, 0, -1)[::-1], torch.arange(1, 4), pl.Series([1, 2, 3])):
        exact(as_weights(w, x), [1, 2, 3])

def test_jax_arrays():
    jax = pytest.importorskip('jax.numpy')
    assert_close(as_points(jax.array(table, dtype='float32')), torch.tensor(table).float())

# ---- under torch.autocast

def product(x): return x @ x.T

def test_autocast_is_off_inside_and_on_again_outside():
    @without_autocast
    def f(x, *, fail=False):
        if fail: raise ValueError
        return product(x)
    x = torch.rand(4, 3)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert f(x).dtype == torch.float32 and torch.equal(f(x=x), f(x))
        with pytest.raises(ValueError): f(x, fail=True)
        assert product(x).dtype == torch.bfloat16
    assert f.__name__ == 'f'

large, small = (blobs(8, n, 6, random_state=0).points for n in (5000, 100))
autocast = {
    'k_means': lambda: k_means(large, 8, random_state=0)[:3],
    'initial_centroids': lambda: initial_centroids(large, 8, random_state=0),
    'newton_step': lambda: newton_step(small, small[:8]),
    'mean_shift': lambda: mean_shift(small, 20.)[:2],
    'k_means_cluster': lambda: k_means_cluster(8, small, random_state=0),
}

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', autocast)
def test_public_functions_under_autocast(name, dtype):
    "The same start and the same numbers, to the last bit"
    want = autocast[name]()
    with torch.autocast('cpu', dtype=dtype): got = autocast[name]()
    assert_close(got, want, atol=0, rtol=0)
