"""k-means on several processes: real ones, started here. The same result in every world, one
sentence for every fault, and a run that goes on when a process was killed."""
import json, os, signal, socket, subprocess, sys, time
from pathlib import Path

import numpy as np
import pandas as pd
import processes as p
import pytest
import torch
from torch.testing import assert_close

from clusterlearn import cli, command_shards, k_means
from clusterlearn.kmeans.checkpoint import unpack
from clusterlearn.kmeans.protocol import PlainEngine
root = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason='no torch.distributed')
environ = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': f'{root}:{root}/tests'}

def port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return str(s.getsockname()[1])

def start(size, folder):
    "The processes of a world"
    told = {'WORLD_SIZE': str(size), 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port(),
            'SECOND_PORT': port()}
    out = folder/str(size)
    out.mkdir()
    return [subprocess.Popen([sys.executable, '-m', 'processes', out, 'everything'], cwd=folder,
                             env=environ | told | {'RANK': str(r)}, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True) for r in range(size)]

def wait(group, limit=100):
    "Wait for those that end by themselves; a stopped one is ended when all others have"
    end = time.monotonic() + limit
    while sum(w.poll() is None for w in group) > (len(group) == 2) and time.monotonic() < end:
        time.sleep(.05)
    for w in group: w.kill()
    return [(w.wait(), w.stderr.read()) for w in group]

@pytest.fixture(scope='module')
def worlds(tmp_path_factory):
    "A folder in which worlds of two and three processes have done everything"
    folder = tmp_path_factory.mktemp('worlds')
    for name, shards in (('points', p.split(p.points())),
                         ('bad', p.spoil(p.split(p.points()), 5, p.with_nan))):
        (folder/name).mkdir()
        for i, x in enumerate(shards): np.save(folder/name/f'{i}.npy', x.numpy())
    groups = [start(size, folder) for size in (2, 3)]
    words = ['--standalone', '--nproc-per-node', '2', '--max-restarts', '1', '-m', 'processes']
    torchrun = subprocess.Popen(
        [sys.executable, '-m', 'torch.distributed.run', *words, folder, 'killed'],
        cwd=folder, env=environ, text=True, stderr=subprocess.PIPE)
    yield folder, {len(g): wait(g) for g in groups}, torchrun
    torchrun.kill()
    torchrun.wait()

@pytest.fixture(params=[2, 3])
def world(request, worlds):
    "One of them: its folder, its size, and how its processes ended"
    folder, ended, _ = worlds
    return folder, request.param, ended[request.param]

def told(folder, size, what, rank):
    "What a process of a world has left"
    return json.loads((folder/str(size)/f'{what} {rank}.json').read_text())

# ---- one result

@pytest.mark.parametrize('name', p.cases)
def test_every_world_finds_the_same(world, name):
    "All but the labels are equal in all processes, to the last bit, and equal to those of one"
    folder, size, ended = world
    each = [torch.load(folder/str(size)/f'{name} {r}.pt', weights_only=True) for r in range(size)]
    alone = p.result(name)
    assert torch.equal(torch.cat([r.labels for r in each]), alone.labels)
    for r in each:
        assert r._replace(centroids=0, labels=0) == each[0]._replace(centroids=0, labels=0)
        assert torch.equal(r.centroids, each[0].centroids)
        if name == 'auto': assert_close(r.centroids, alone.centroids, rtol=1e-6, atol=0)
        else: assert torch.equal(r.centroids, alone.centroids) and r.history == alone.history
        assert_close(r.inertia, alone.inertia, rtol=1e-12, atol=0)

@pytest.mark.parametrize('name', p.cases)
def test_as_k_means_in_memory(name):
    "The first centroids as init: the same labels, inertia and history"
    shards, k, options = p.cases[name]()
    first = []
    options = {n: v for n, v in options.items() if n in ('tol', 'empty', 'max_iter')}
    if name == 'stopped': options['max_iter'] = 3
    class Seen(PlainEngine):
        def __init__(self, problem, c, *rest):
            super().__init__(problem, c, *rest)
            first.append(c / problem.scale)
    x = torch.cat(shards)
    with p.warnings.catch_warnings():
        p.warnings.simplefilter('ignore')
        a = p.distributed_k_means(shards, k, **p.cases[name]()[2] | {'engine': Seen, 'n_init': 1})
        b = k_means(x, k, init=first[0].to(x.dtype), **options)
    assert torch.equal(a.labels, b.labels) and a.converged == b.converged
    few = 1e-5 if x.dtype == torch.float32 else 1e-12
    assert_close(a.centroids, b.centroids, rtol=few, atol=1e-6)
    assert_close(a.inertia, b.inertia, rtol=1e-9, atol=1e-9)
    assert [i.n_changed for i in a.history] == [i.n_changed for i in b.history]
    if name in ('farthest', 'keep'): assert a.history[0].n_empty == 2

def test_starts_are_points():
    x = p.points()
    for init in ('k-means||', 'random'):
        options = dict(init=init, random_state=0, max_iter=1, engine=First)
        c = p.distributed_k_means(p.split(x), 40, **options).centroids
        assert (c[:, None] == x).all(2).any(1).all()
        assert len(c.unique(dim=0)) == 40

class First(PlainEngine):
    "Never moves"
    def update(self, centroids): pass

# ---- faults

def test_a_fault_is_one_sentence_in_all_processes(world):
    folder, size, ended = world
    each = [told(folder, size, 'errors', r) for r in range(size)]
    assert all(e == each[0] for e in each)
    said = each[0]
    assert said['nan'] == ('ValueError: points/5.npy has nan in row 7, column 1: remove or fill '
                           'such rows (1 of 100 rows)')
    assert said['columns'] == ('ValueError: points/4.npy has 2 columns, and points/0.npy has 3: '
                               'all shards need the same')
    assert said['empty'] == 'ValueError: points/3.npy has shape (0, 3): there is nothing to cluster'
    assert "points/0.npy has 'a' in row 0" in said['text']
    assert 'process 1 was called with' in said['k'] and 'process 0 of' in said['none']
    status, line = said['command']
    assert status == 2 and line == ('clusterlearn: bad/5.npy has nan in row 7, column 1: remove or '
                                    'fill such rows (1 of 100 rows)\n')

def test_the_others_end_when_one_is_lost(world):
    "Process 1 is killed (of three) or stopped (of two): the others say so in one line"
    folder, size, ended = world
    for rank in (0, 2)[:size - 1]:
        status, line = told(folder, size, 'lost', rank)
        assert status == 1 and line.count('\n') == 1 and ended[rank][0] == 0, (line, ended)
        assert line.startswith(f'clusterlearn: process {rank} of {size} has lost another one')
    assert ended[1][0] == -signal.SIGKILL

def test_a_checkpoint_was_left(world, monkeypatch):
    "The command goes on from it, alone, and labels as if nothing had happened"
    folder, size, ended = world
    monkeypatch.chdir(folder)
    left = unpack(Path(f'lost {size}/checkpoint.npz').read_bytes())
    assert len(left.run.history) == 3
    words = ['points', '--k', '8', '--tol', '0', '--quiet', '--out']
    assert cli.main([*words, f'lost {size}']) == 0 and cli.main([*words, f'whole {size}']) == 0
    files = sorted(q.name for q in Path(f'whole {size}').iterdir())
    assert files == sorted(q.name for q in Path(f'lost {size}').iterdir() if q.suffix != '.tmp')
    assert files == [*(f'{i}.npy' for i in range(6)), 'centroids.csv']
    for f in files:
        assert Path(f'lost {size}', f).read_bytes() == Path(f'whole {size}', f).read_bytes(), f

def test_torchrun_starts_again(worlds, monkeypatch):
    "kill -9 in the middle of a run: all start again, and the result is the undisturbed one"
    folder, _, torchrun = worlds
    monkeypatch.chdir(folder)
    said = torchrun.communicate(timeout=100)[1]
    assert torchrun.returncode == 0 and 'exitcode: -9' in said, said
    words = ['points/*.npy', '--k', '8', '--tol', '0', '--n-init', '2', '--quiet', '--out', 'once']
    assert cli.main(words) == 0
    for f in Path('once').iterdir(): assert f.read_bytes() == (Path('again')/f.name).read_bytes(), f
    assert not (Path('again')/'checkpoint.npz').exists()

# ---- the command on several files, in one process

@pytest.fixture
def tables(tmp_path, monkeypatch):
    "A csv with a gap, a csv and a parquet with other orders of the columns"
    monkeypatch.chdir(tmp_path)
    x = p.points().double()
    Path('in').mkdir()
    lines = [','.join(map(str, row)) for row in x[:200].tolist()]
    lines[5] = '1,,2'
    Path('in/a.csv').write_text('\n'.join(['x,y,z', *lines]) + '\n')
    frame = pd.DataFrame(x[200:].numpy(), columns=list('xyz'))
    frame[:300][['z', 'x', 'y']].to_csv('in/b.csv', index=False)
    frame[300:][['y', 'z', 'x']].to_parquet('in/c.parquet')
    return torch.cat([x[:5], x[6:]])

def run(capsys, *words):
    "Status, standard output and standard error of the command"
    status = cli.main(['in', '--k', '8', *words])
    return status, *capsys.readouterr()

def test_tables_of_several_kinds(tables, capsys):
    status, out, err = run(capsys, '--missing', 'drop', '--json', '--tol', '0', '--out', 'labels',
                           '--centroids', 'c.tsv')
    said, read = json.loads(out), lambda f: np.load(f'labels/{f}.npy')
    assert status == 0 and 'in/a.csv: 1 of 200 rows have missing' in err
    assert said['points'] == 719 and said['columns'] == ['x', 'y', 'z'] and said['shards'] == 3
    labels = np.concatenate([read('a'), read('b'), read('c')])
    assert labels[5] == -1 and len(labels) == 720
    c = torch.tensor(said['centroids'], dtype=torch.float64)
    again = k_means(tables, 8, init=c, tol=0)
    assert again.n_iter <= 2 and np.array_equal(np.delete(labels, 5), again.labels.numpy())
    assert said['sizes'] == again.labels.bincount().tolist() and sum(said['sizes']) == 719
    assert_close(torch.tensor(said['WCSS']).double(), torch.tensor(again.inertia).double())
    assert np.loadtxt('c.tsv', skiprows=1)[:, 1].tolist() == said['sizes']
    assert Path('labels/centroids.csv').read_text() == Path('c.tsv').read_text().replace('\t', ',')

@pytest.mark.parametrize('words, why', [
    ((), 'in/a.csv, row 7, column 2 (y) is empty'),
    (('--columns', 'x,w'), "columns='w' (--columns): in/a.csv has no such column"),
    (('--out', 'in/a.csv'), 'for several files it is a folder'),
    (('--init', 'k-means++'), 'choose k-means|| or random'),
    (('--sort', 'size'), '--sort is for one file'),
    (('--timeout', '0'), 'seconds above zero are needed'),
    (('--device', 'cuda:7'), 'PyTorch finds')])
def test_refused_in_one_line(tables, capsys, words, why):
    status, out, err = run(capsys, *words)
    assert (status, out, err.count('\n')) == (2, '', 1) and why in err
    assert sorted(q.name for q in Path().iterdir()) == ['in']

def test_other_names_are_refused(tables, capsys):
    Path('in/d.csv').write_text('x,y,w\n1,2,3\n4,5,6\n')
    status, _, err = run(capsys, '--missing', 'drop')
    assert status == 2 and 'in/d.csv has the columns x, y, w, and the first file x, y, z' in err

def test_what_exists_stays(tables, capsys):
    words = '--missing', 'drop', '--quiet', '--out', 'labels'
    assert run(capsys, *words)[0] == 0
    before = {q: q.read_bytes() for q in Path('labels').iterdir()}
    status, _, err = run(capsys, *words, '--seed', '5')
    assert status == 2 and 'labels/a.npy exists: choose another folder' in err
    assert before == {q: q.read_bytes() for q in Path('labels').iterdir()}
    assert run(capsys, *words, '--force')[0] == 0

def test_a_checkpoint_of_another_run_is_refused(tables, capsys, monkeypatch):
    def full(*state): raise OSError(28, 'No space left on device')
    words = '--missing', 'drop', '--quiet', '--out', 'labels'
    with monkeypatch.context() as m:
        m.setattr('clusterlearn.command_shards.write_whole', full)
        status, _, err = run(capsys, *words)
    assert status == 1 and 'No space left' in err
    assert [q.name for q in Path('labels').iterdir()] == ['checkpoint.npz']
    status, _, err = run(capsys, *words, '--k', '7')
    assert status == 2 and 'is the checkpoint of another run (k was 8 and is 7)' in err
    assert run(capsys, *words)[0] == 0 and not Path('labels/checkpoint.npz').exists()

def test_other_algorithms_say_so(tables, capsys):
    for name in ('meanshift', 'dbscan', 'hdbscan'):
        assert cli.main([name, 'in']) == 2
        assert 'several files and several processes are for k-means' in capsys.readouterr().err

def test_sigterm_is_a_sentence():
    with pytest.raises(ConnectionError, match='process 0 was ended from outside'):
        with command_shards._told_to_end(True):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

def test_when_points_are_shards(tables, monkeypatch):
    assert command_shards.is_sharded('in') and command_shards.is_sharded('in/*.csv')
    monkeypatch.setenv('WORLD_SIZE', '2')                  # a scheduler's, not a launcher's
    assert not command_shards.is_sharded('in/b.csv')
    for name in ('RANK', 'MASTER_ADDR', 'MASTER_PORT'): monkeypatch.setenv(name, '1')
    assert command_shards.is_sharded('in/b.csv') and command_shards.is_sharded(None)
    with pytest.raises(ValueError, match='several processes need files'):
        command_shards.find_shards(None)
