"Points larger than memory: sources, refusals, results as in memory, the budget, files of labels."

import json, subprocess, sys
import numpy as np
import pytest, torch
from torch.utils.data import DataLoader, TensorDataset
from clusterlearn.batches import as_batches, is_batched
from clusterlearn.data import blobs
from clusterlearn.kmeans.empty import refill_farthest
from clusterlearn.kmeans.lloyd import count_empty, k_means
from clusterlearn.kmeans import streamed
from clusterlearn.kmeans.engines.streamed import StreamedEngine
from clusterlearn.kmeans.engines.swept import SweptEngine
from clusterlearn.kmeans.streamed import k_means_streamed, refill_streamed
from clusterlearn.parts import InOrder

pa = pytest.importorskip('pyarrow')
ds, pq = pytest.importorskip('pyarrow.dataset'), pytest.importorskip('pyarrow.parquet')
feather = pytest.importorskip('pyarrow.feather')


@pytest.fixture(scope='module')
def points():
    x = blobs(20, 100, dim=5, var=12.0, extent=12.0, random_state=1).points
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]


def safetensors(path, x, name='points'):
    kind = {torch.float32: 'F32', torch.float64: 'F64', torch.bfloat16: 'BF16'}[x.dtype]
    raw = x.view(torch.int16) if kind == 'BF16' else x
    about = {'dtype': kind, 'shape': list(x.shape), 'data_offsets': [0, raw.numpy().nbytes]}
    header = json.dumps({'__metadata__': {'made': 'here'}, name: about}).encode()
    path.write_bytes(len(header).to_bytes(8, 'little') + header + raw.numpy().tobytes())


@pytest.fixture(scope='module')
def sources(points, tmp_path_factory):
    "Every kind of source of the same points"
    f, x = tmp_path_factory.mktemp('points'), points.numpy()
    np.save(f / 'x.npy', x)
    np.save(f / 'fortran.npy', np.asfortranarray(x))
    np.save(f / 'swapped.npy', x.astype('>f4'))
    safetensors(f / 'x.safetensors', points)
    table = pa.table({f'x{j}': x[:, j] for j in range(x.shape[1])})
    pq.write_table(table, f / 'x.parquet', row_group_size=333)
    feather.write_feather(table, f / 'x.feather', chunksize=170)
    pq.write_table(pa.table({'e': pa.array(x.tolist(), pa.list_(pa.float32()))}), f / 'e.parquet')
    (f / 'folder' / 'deep').mkdir(parents=True)
    pq.write_table(table[:700], f / 'folder' / 'a.parquet')
    pq.write_table(table[700:900], f / 'folder' / 'deep' / 'b.parquet')
    np.save(f / 'folder' / 'deep' / 'c.npy', x[900:])
    (f / 'folder' / '_SUCCESS.npy').write_bytes(b'')
    mapped = np.load(f / 'x.npy', mmap_mode='r')
    return {
        'npy': f / 'x.npy',
        'text': str(f / 'x.npy'),
        'Fortran': f / 'fortran.npy',
        'swapped': f / 'swapped.npy',
        'memmap': mapped,
        'part of a memmap': mapped[:],
        'safetensors': f / 'x.safetensors',
        'parquet': f / 'x.parquet',
        'feather': f / 'x.feather',
        'lists': f / 'e.parquet',
        'folder': f / 'folder',
        'list': [f / 'folder' / 'a.parquet', f / 'folder' / 'deep'],
        'pattern': str(f / 'folder' / '**' / '*.*'),
        'data set': ds.dataset(f / 'x.parquet'),
        'loader': DataLoader(TensorDataset(points, torch.arange(len(points))), batch_size=300),
        'function': lambda: (p.numpy() for p in points.split(444)),
        'batches': as_batches(lambda: points.split(100)),
    }


kinds = [
    'npy',
    'text',
    'Fortran',
    'swapped',
    'memmap',
    'part of a memmap',
    'safetensors',
    'parquet',
    'feather',
    'lists',
    'folder',
    'list',
    'data set',
    'loader',
    'function',
    'batches',
]


@pytest.mark.parametrize('kind', kinds)
def test_every_source_gives_the_points_on_every_pass(sources, points, kind):
    source = sources[kind]
    b = as_batches(source, batch_bytes=3000)
    assert is_batched(source) and (b.n_columns, b.dtype) == (5, torch.float32)
    for _ in range(2):
        walk = list(b.walk())
        assert torch.equal(torch.cat([w.read() for w in walk]), points)
        assert [w.start for w in walk] == np.cumsum([0] + [w.n_rows for w in walk])[:-1].tolist()
    assert b.n_rows == len(points)
    if b.parts is not None:
        assert max(w.n_rows for w in walk) <= 150
        rows = torch.tensor([0, 7, 7, 3])
        assert torch.equal(walk[2].read(rows), points[walk[2].start + rows])
        shares = [torch.cat(list(b.shard(i, 4))) for i in range(4)]
        assert torch.equal(torch.cat(shares), points)
        assert max(map(len, shares)) - min(map(len, shares)) <= 300


def test_patterns_follow_names(sources):
    assert as_batches(sources['pattern'].replace('*.*', '*.parquet')).n_rows == 900


@pytest.mark.parametrize('kind', kinds)
def test_every_source_is_clustered_as_in_memory(sources, points, kind):
    "The same seed, the same start: through the door of `k_means`, and in batches in any case"
    want = k_means(points, 30, random_state=3, tol=0)
    door = k_means(sources[kind], 30, random_state=3, tol=0)
    small = k_means_streamed(
        sources[kind], 30, random_state=3, tol=0, engine='streamed', budget=2**20
    )
    assert small.engine == 'streamed'
    for got in (door, small):
        assert torch.equal(got.labels, want.labels) and got.labels.dtype == torch.int64
        assert abs(got.inertia / want.inertia - 1) < 1e-9 and got.n_iter == want.n_iter
        assert got.centroids.dtype == want.centroids.dtype
        assert [i.n_changed for i in got.history] == [i.n_changed for i in want.history]


cases = {
    'float64': lambda x: x.double(),
    'bfloat16': lambda x: x.bfloat16(),
    'large': lambda x: x * 1e15,
    'small': lambda x: x.double() * 1e-200,
    'far away': lambda x: x.double() + 1e7,
    'few values': lambda x: x.round(),
    'one column': lambda x: x[:, :1],
    'sorted': lambda x: x[x[:, 0].argsort()],
    'equal': lambda x: x * 0 + 1,
}


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('case', cases)
@pytest.mark.parametrize('engine', [StreamedEngine, SweptEngine])
def test_labels_and_inertia_as_in_memory(points, case, weighted, engine, monkeypatch):
    x = cases[case](points)
    if engine is SweptEngine and x.dtype == torch.bfloat16:
        pytest.skip('compiled code reads float32 and float64')
    monkeypatch.setattr(streamed, '_engine', lambda *_: engine)
    w = (
        torch.randint(4, (len(x),), generator=torch.Generator().manual_seed(2))
        if weighted
        else None
    )
    for k, start in ((1, x[:1]), (2, x[:2]), (25, x[:25])):
        how = dict(init=start, sample_weight=w, tol=0, max_iter=12, empty='keep')
        want = k_means(x, k, engine='plain', **how)
        got = k_means_streamed(lambda: x.split(333), k, engine='streamed', **how)
        assert torch.equal(got.labels, want.labels), (case, k)
        assert got.inertia == pytest.approx(want.inertia, rel=1e-9, abs=1e-12 * (1 + want.inertia))
        assert got.n_iter == want.n_iter and count_empty(got) == count_empty(want)


@pytest.mark.parametrize('engine', [StreamedEngine, SweptEngine])
@pytest.mark.parametrize('weighted', [False, True])
def test_empty_clusters_as_in_memory(points, weighted, engine, monkeypatch):
    monkeypatch.setattr(streamed, '_engine', lambda *_: engine)
    x, g = points.round().double(), torch.Generator().manual_seed(4)
    w = torch.randint(3, (len(x),), generator=g).double() if weighted else None
    far = torch.cat([x[:10], x[:15] + 1e5])
    want = k_means(x, 25, init=far, sample_weight=w, tol=0, engine='plain')
    got = k_means_streamed(
        lambda: x.split(170), 25, init=far, sample_weight=w, tol=0, engine='streamed'
    )
    assert count_empty(want) and count_empty(got) == count_empty(want)
    assert torch.equal(got.labels, want.labels)
    assert torch.allclose(got.centroids, want.centroids, rtol=1e-10)


def test_no_cluster_loses_its_last_point():
    "Ten clusters of one far point each must stay, as `refill_farthest` says"
    x = torch.cat(
        [
            torch.randn(50, 2, generator=torch.Generator().manual_seed(0)),
            torch.arange(10)[:, None] * 1000.0 + torch.tensor([500.0, 0.0]),
        ]
    ).double()
    labels = torch.cat([torch.zeros(50).long(), torch.arange(1, 11)])
    counts = labels.bincount(minlength=14).double()
    sums = torch.zeros(14, 2, dtype=torch.float64).index_add_(0, labels, x)
    c = torch.zeros(14, 2, dtype=torch.float64)
    want = refill_farthest(x, None, labels, c, sums, counts)
    got = refill_streamed(as_batches(lambda: x.split(7)), None, labels, c, sums, counts)
    assert torch.equal(got, want)


def test_a_policy_of_ones_own_and_those_that_need_memory(points):
    def origin(x, weights, labels, centroids, sums, counts):
        assert x.n_rows == len(labels) == len(points)
        return torch.where(counts[:, None] > 0, sums / counts[:, None], 0.0)

    far = torch.cat([points[:3], points[:1] + 1e5])
    r = k_means_streamed(lambda: points.split(300), 4, init=far, empty=origin, max_iter=1)
    assert (r.centroids == 0).all(1).any()
    for empty in ('split', 'random'):
        with pytest.raises(ValueError, match=f'empty={empty!r} needs the points in memory'):
            k_means(lambda: points.split(300), 4, empty=empty)
    with pytest.raises(ValueError, match='clusters are empty'):
        k_means(lambda: points.split(300), 4, init=far, empty='error')


def test_a_sample_is_uniform_and_starts_well(points):
    r = k_means_streamed(lambda: points.split(300), 20, sample_size=400, random_state=0)
    again = k_means_streamed(lambda: points.split(70), 20, sample_size=400, random_state=0)
    whole = k_means(points, 20, random_state=0, n_init=3)
    assert r.inertia < 1.2 * whole.inertia and again.inertia == pytest.approx(r.inertia, rel=0.2)
    assert torch.equal(
        r.labels, k_means(points, 20, init=r.centroids, tol=0, max_iter=1).labels
    ) or (not r.converged)
    with pytest.raises(ValueError, match='sample_size=10 is less than the 20 clusters'):
        k_means_streamed(lambda: points.split(300), 20, sample_size=10)


def test_restarts_callback_and_verbose(points, capsys):
    seen = []
    how = dict(n_init=3, random_state=5, tol=0)
    want = k_means(points, 30, engine='plain', **how)
    got = k_means_streamed(
        lambda: points.split(300), 30, verbose=True, callback=lambda *a: seen.append(a), **how
    )
    assert torch.equal(got.labels, want.labels) and len(seen) > got.n_iter
    assert len(seen[0][2]) == len(points) and 'engine streamed' in capsys.readouterr().err
    part = k_means_streamed(lambda: points.split(300), 30, callback=lambda *a: True, **how)
    assert part.n_iter == 1 and not part.converged


def saying(points, sources, tmp_path):
    "Bad sources, and a part of what is said"
    bad, nan = points.clone(), tmp_path / 'nan.npy'
    bad[1234, 3] = torch.nan
    np.save(nan, bad.numpy())
    np.save(tmp_path / 'empty.npy', np.empty((0, 4)))
    np.save(tmp_path / 'flat.npy', np.ones(9))
    np.save(tmp_path / 'objects.npy', np.array([[1, 'a']], dtype=object), allow_pickle=True)
    (tmp_path / 'cut.npy').write_bytes(sources['npy'].read_bytes()[:2000])
    (tmp_path / 'cut.safetensors').write_bytes(sources['safetensors'].read_bytes()[:60])
    (tmp_path / 'no.parquet').write_bytes(b'this is no parquet file at all')
    (tmp_path / 'none').mkdir()
    (tmp_path / 'two').mkdir()
    np.save(tmp_path / 'two' / 'a.npy', points.numpy())
    np.save(tmp_path / 'two' / 'b.npy', points[:, :3].numpy())
    text = pa.table(
        {'a': [1.0, 2.0], 'city': ['x', 'y'], 'when': pa.array([1, 2], pa.timestamp('s'))}
    )
    pq.write_table(text, tmp_path / 'text.parquet')
    pq.write_table(pa.table({'a': [1.0, None, 3.0]}), tmp_path / 'null.parquet')
    pq.write_table(pa.table({'e': [[1.0, 2.0], [3.0]]}), tmp_path / 'ragged.parquet')
    narrow = [points, points[:, :2]]
    passes = iter([points.split(300), points.split(300), points.flip(0).split(300)])
    fewer = iter([points.split(300), points.split(300), points[:900].split(300)])
    once = iter(points.split(300))
    return [
        (nan, ValueError, r'nan.npy has nan in row 1234, column 3'),
        (lambda: bad.split(300), ValueError, r'points, batch 4, has nan in row 1234, column 3'),
        (tmp_path / 'empty.npy', ValueError, r'empty.npy.* no'),
        (tmp_path / 'flat.npy', ValueError, r'flat.npy.*shape \(9,\), and \(n, d\) is needed'),
        (tmp_path / 'objects.npy', ValueError, r'objects.npy cannot be read as npy'),
        (tmp_path / 'cut.npy', ValueError, r'cut.npy cannot be read as npy'),
        (tmp_path / 'cut.safetensors', ValueError, r'cut off'),
        (tmp_path / 'no.parquet', ValueError, r'no.parquet'),
        (tmp_path / 'none', ValueError, r'holds no file of'),
        (tmp_path / 'two', ValueError, r'b.npy has 3 columns, and .*a.npy has 5'),
        (tmp_path / 'text.parquet', ValueError, r'city \(string\), when .*Columns of numbers: a'),
        (tmp_path / 'null.parquet', ValueError, r'null.parquet has nan in row 1, column 0'),
        (
            tmp_path / 'ragged.parquet',
            ValueError,
            r"column 'e': lists of different lengths \(1 to 2\)",
        ),
        (tmp_path / 'none.npy', FileNotFoundError, r'none.npy: there is no such file'),
        (tmp_path / 'a.csv', FileNotFoundError, r'there is no such file'),
        (lambda: narrow, ValueError, r'batch 1, has 2 columns from row 2000 on, and 5 before'),
        (lambda: [points, points.double()], ValueError, r'batch 1, is torch.float64'),
        (lambda: [], ValueError, r'points has no rows'),
        (lambda: [points[:0]], ValueError, r'points has no rows'),
        (lambda: [points[:, 0]], ValueError, r'batch 0, has shape'),
        (lambda: [['a', 'b']], TypeError, r'batch 0'),
        (iter([points]), TypeError, r'pass the function that makes it'),
        (lambda: once, ValueError, r'the iterator of the first'),
        (lambda: next(passes), ValueError, r'batch 0, has other points than in the first pass'),
        (lambda: next(fewer), ValueError, r'points: 900 rows, and 2000 in the first pass'),
        (DataLoader(TensorDataset(points), shuffle=True), ValueError, r'use shuffle=False'),
    ]


def test_bad_sources_are_refused_with_the_row_and_the_remedy(points, sources, tmp_path):
    for source, error, said in saying(points, sources, tmp_path):
        with pytest.raises(error, match=said):
            k_means_streamed(source, 2, engine='streamed', max_iter=3, random_state=0)
    (tmp_path / 'a.csv').write_text('1,2\n')
    with pytest.raises(ValueError, match='load reads others as a whole'):
        as_batches(tmp_path / 'a.csv')
    with pytest.raises(ValueError, match='columns and ignore are for files'):
        as_batches(lambda: [points], columns='1')
    with pytest.raises(ValueError, match='cannot be cut into shares'):
        as_batches(lambda: [points]).shard(0, 2)
    with pytest.raises(ValueError, match='too few for 3 shares'):
        as_batches(sources['npy']).shard(1, 3)


def test_bad_options_are_refused_before_any_pass(points, tmp_path):
    def never():
        raise AssertionError('a pass began')

    for options, said in (
        (dict(max_iter=0), 'max_iter=0'),
        (dict(tol=-1), 'tol=-1'),
        (dict(engine='none'), "engine='none'"),
        (dict(empty='none'), "empty='none'"),
        (dict(labels_out=tmp_path / 'l.csv'), 'ends in .npy'),
        (dict(labels_out=tmp_path / 'no' / 'l.npy'), 'no folder'),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            k_means_streamed(never, 3, **options)
    with pytest.raises(ValueError, match='n_clusters=2001 is more than the 2000 points'):
        k_means(lambda: points.split(300), 2001)
    with pytest.raises(ValueError, match="engine='tensor' needs the points in memory"):
        k_means(lambda: points.split(300), 3, engine='tensor')
    with pytest.raises(ValueError, match=r'sample_weight has shape \(3,\), needed is \(2000,\)'):
        k_means(lambda: points.split(300), 3, sample_weight=[1, 2, 3])
    assert k_means(points.numpy(), 2).engine != 'streamed' and not is_batched(points.tolist())


def test_labels_are_there_as_a_whole_or_not_at_all(points, sources, tmp_path):
    out = tmp_path / 'labels.npy'
    want = k_means(points, 12, random_state=0, tol=0)
    for engine, budget in (('streamed', 2**16), ('streamed', 2**24), ('auto', 2**24)):
        r = k_means_streamed(
            sources['npy'],
            12,
            init=want.centroids,
            n_init=1,
            tol=0,
            engine=engine,
            budget=budget,
            labels_out=out,
        )
        assert np.array_equal(np.load(out), want.labels) and torch.equal(
            r.labels.long(), want.labels
        )
        assert np.load(out).dtype == np.int32 and [p.name for p in tmp_path.iterdir()] == [
            'labels.npy'
        ]
    before = out.read_bytes()

    def stop(*_):
        raise KeyboardInterrupt

    def broken():
        yield points
        raise OSError('the disk is gone')

    for source, error, more in (
        (sources['npy'], KeyboardInterrupt, dict(callback=stop)),
        (broken, OSError, {}),
    ):
        with pytest.raises(error):
            k_means_streamed(source, 12, labels_out=out, engine='streamed', budget=2**16, **more)
        assert out.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    best = k_means_streamed(
        sources['npy'], 12, n_init=3, random_state=1, labels_out=out, tol=0, engine='streamed'
    )
    assert torch.equal(best.labels.long(), k_means(points, 12, init=best.centroids, tol=0).labels)
    with pytest.raises(ValueError, match="labels_out='labels.npy'"):
        k_means_streamed(sources['npy'], 12, engine='streamed', budget=2**14)


def test_rows_in_order_cost_one_pass(points):
    passes = []
    flow = InOrder(lambda: passes.append(0) or points.split(130))
    for i in range(0, 2000, 77):
        assert torch.equal(flow[i : i + 77], points[i : i + 77])
    assert len(passes) == 1 and torch.equal(flow[5:9], points[5:9]) and len(passes) == 2


@pytest.mark.parametrize('engine', [StreamedEngine, SweptEngine])
@pytest.mark.parametrize('labels', [False, True])
def test_what_is_kept_in_files_is_kept_exactly(
    sources, points, engine, labels, monkeypatch, tmp_path
):
    "Bounds in files, batches that are calm, batches that are skipped"
    monkeypatch.setattr(streamed, '_engine', lambda *_: engine)
    x = points[points[:, 0].argsort()]
    np.save(tmp_path / 'x.npy', x.numpy())
    how = dict(init=x[::100], tol=0)
    want = k_means(x, 20, engine='plain', **how)
    searched = []
    for budget in (2**15 if labels else 2**17, 2**24):
        out = tmp_path / 'l.npy' if labels else None
        budget = 48_100 if not labels and budget == 2**17 else budget  # labels only just fit
        got = k_means_streamed(
            tmp_path / 'x.npy',
            20,
            engine='streamed',
            budget=budget,
            sample_size=20,
            labels_out=out,
            **how,
        )
        assert torch.equal(got.labels.long(), want.labels) and got.n_iter == want.n_iter
        searched.append([i.n_searched for i in got.history])
    assert min(searched[0]) < 400
    assert sorted(p.name for p in tmp_path.iterdir()) == (['l.npy'] if labels else []) + ['x.npy']


@pytest.mark.skipif(sys.platform != 'linux', reason='the pretend GPU needs Triton')
@pytest.mark.parametrize('more', [dict(empty='farthest'), dict(sample_size=300, init='k-means++')])
def test_batches_stay_on_their_device(points, more):
    pytest.importorskip('triton')
    from pretend import Pretend, PretendGPU

    x = points[:600] * 1e12
    w = torch.randint(3, (600,), generator=torch.Generator().manual_seed(0)).double()
    how = (
        dict(init=torch.cat([x[:10], x[:10]]), max_iter=8, random_state=0, engine='streamed') | more
    )
    want = k_means_streamed(lambda: x.split(150), 20, sample_weight=w, **how)
    if torch.is_tensor(how['init']):
        how['init'] = Pretend(how['init'].clone())
    with PretendGPU():
        there = [Pretend(p.clone()) for p in x.split(150)]
        got = k_means_streamed(lambda: there, 20, sample_weight=Pretend(w.clone()), **how)
        assert isinstance(got.centroids, Pretend)
        assert torch.equal(got.labels.cpu(), want.labels) and got.n_iter == want.n_iter
    assert got.inertia == pytest.approx(want.inertia, rel=1e-9)


memory = """
import re, sys, numpy as np
from pathlib import Path
from clusterlearn.kmeans.streamed import k_means_streamed
def status(name):
    return int(re.search(name + r':\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024
folder, budget = Path(sys.argv[1]), int(sys.argv[2]) * 2**20
def run(x): return k_means_streamed(x, 8, engine='streamed', max_iter=1, budget=budget,
                                    random_state=0, labels_out=folder/'labels.npy')
g = np.random.default_rng(0)
run(lambda: np.random.default_rng(0).standard_normal((4, 5000, 64)))
x = np.lib.format.open_memmap(folder/'x.npy', 'w+', np.float32, (1_200_000, 64))     # sparse: zeros
for i in range(0, len(x), 4000): x[i] = g.standard_normal(64)
del x
Path('/proc/self/clear_refs').write_text('5')
before = status('VmRSS'); run(folder/'x.npy'); print(status('VmHWM') - before)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='/proc tells the peak')
def test_memory_stays_within_the_budget(tmp_path):
    "A file of 300 MB and 1.2 million points, with 40 MB"
    done = subprocess.run(
        [sys.executable, '-c', memory, tmp_path, '40'], capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    assert float(done.stdout) < 40
