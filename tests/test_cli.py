"The command: what it prints and writes, how it refuses, and that it leaves nothing when it fails."
import errno, fcntl, gzip, io, json, os, pty, re, select, shutil, signal, struct, subprocess, sys
import termios, time
from types import SimpleNamespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import pairwise_distances_argmin

from clusterlearn import algorithms, command as commands, film, k_means
from clusterlearn.algorithms import Algorithm, Found, Option
from clusterlearn.cli import main
from clusterlearn.options import common, pick_device
from clusterlearn.output import check_targets, load_model, write_whole
from clusterlearn.data import blobs
from clusterlearn.kmeans.seeding import initial_centroids
from clusterlearn.meanshift.modes import estimate_bandwidth, mean_shift

command = [sys.executable, '-m', 'clusterlearn.cli']

@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    "An empty folder to work in"
    monkeypatch.chdir(tmp_path)
    return tmp_path

def run(*args, **kwargs):
    "The real command in a process of its own"
    words = [*command, *map(str, args)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, **kwargs)

def table(text):
    "The facts at the top of the report, by name"
    return dict(re.split(r'\s{2,}|(?<=iterations) |(?<=dimensions) ', line, maxsplit=1)
                for line in text.split('\n\n')[0].splitlines())

def files(): return sorted(p.name for p in Path().iterdir())

def picture(path='in.png', size=(40, 30)):
    "Four areas of colour, each with a little noise"
    w, h = size
    rgb = np.zeros((h, w, 3), np.uint8)
    rgb[:h//2, :w//2], rgb[:h//2, w//2:], rgb[h//2:, :w//2], rgb[h//2:, w//2:] = (
        (200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 220))
    noise = np.random.default_rng(0).integers(-9, 10, rgb.shape)
    Image.fromarray((rgb + noise).astype(np.uint8)).save(path)
    return path

def csv(path='in.csv', head='width,height', n=30, d=2, seed=0):
    x = blobs(3, n // 3, d, random_state=seed).points.numpy()
    np.savetxt(path, x, delimiter=',', header=head, comments='', fmt='%.9g')
    return path

# ---- the real command, end to end

def test_module_and_script_do_the_same():
    "The module on a table, the script on a broken one: what each prints and how it ends"
    csv()
    words = ['in.csv', '--k', '3', '--out', 'a.csv', '--device', 'cpu']
    a = run(*words)
    assert (a.returncode, a.stderr) == (0, '') and 'wrote       a.csv' in a.stdout
    assert Path('a.csv').read_text().startswith('label\n')
    script = Path(sys.executable).with_name('clusterlearn')
    if not script.exists(): script = shutil.which('clusterlearn')
    if not script: pytest.skip('the package is not installed')
    b = subprocess.run([script, *words, '--plot', 'p.png'], capture_output=True, text=True)
    assert (b.returncode, b.stdout) == (2, '') and files() == ['a.csv', 'in.csv']
    assert b.stderr.startswith('clusterlearn: --out a.csv exists') and b.stderr.count('\n') == 1

def test_a_reader_that_leaves_early():
    pipe = subprocess.PIPE
    p = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    p.stdout.close()
    assert p.stderr.read() == '' and p.wait() == 0
    p.stderr.close()

@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full here')
def test_output_on_a_full_disk():
    with open('/dev/full', 'w') as full:
        r = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert r.returncode == 1 and r.stderr == 'clusterlearn: No space left on device\n'

def test_bar_and_ctrl_c():
    "A terminal sees the bar on standard error; Ctrl-C ends with one line, status 130 and no file"
    np.save('big.npy', np.random.default_rng(0).random((400_000, 16), np.float32))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    words = 'big.npy --k 200 --max-iters 5000 --tol 0 --out l.csv --device cpu'.split()
    p = subprocess.Popen([*command, *words],
                         stdout=subprocess.PIPE, stderr=theirs, start_new_session=True)
    os.close(theirs)
    seen, sent, end = b'', False, time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([ours], [], [], .2)[0]: continue
        try: more = os.read(ours, 4096)
        except OSError as e:
            if e.errno == errno.EIO: break   # the other end has closed
            raise
        if not more: break
        seen += more
        if not sent and seen.count(b'\rk-means') > 1:   # the bar is there, and it moves
            p.send_signal(signal.SIGINT)
            sent = True
    out = p.communicate(timeout=30)[0]
    os.close(ours)
    assert sent and p.returncode == 130 and out == b''
    last = seen.decode().replace('\r', '\n').strip().splitlines()[-1]
    assert last.strip() == 'clusterlearn: stopped'
    assert b'Traceback' not in seen and files() == ['big.npy']

def test_imports_no_matplotlib_without_a_plot():
    code = """if True:
        import sys, clusterlearn.cli as cli
        assert not {'matplotlib', 'sklearn', 'triton'} & set(sys.modules)
        assert cli.main(['--device', 'cpu']) == 0
        assert 'matplotlib.pyplot' not in sys.modules"""
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr

# ---- the same in this process: quick

def test_blobs_and_all_files(capsys):
    words = '--out l.csv --plot p.png --animate s.html --centroids c.csv --model m.npz --device cpu'
    assert main(words.split()) == 0
    out, err = capsys.readouterr()
    facts = table(out)
    assert ' '.join(facts) == 'points dimensions clusters iterations WCSS seconds device'
    for name, value in dict(points='1,500', dimensions='2', clusters='6', device='cpu').items():
        assert facts[name] == value
    assert files() == ['c.csv', 'l.csv', 'm.npz', 'p.png', 's.html'] and err == ''
    assert 'wrote       l.csv, c.csv, p.png, s.html, m.npz' in out and '\33' not in out
    lines = Path('l.csv').read_text().splitlines()
    assert lines[0] == 'label' and len(lines) == 1501
    assert Image.open('p.png').format == 'PNG'

def test_no_bar_where_no_terminal_watches(capsys):
    np.save('big.npy', np.random.default_rng(0).random((40_000, 16), np.float32))
    assert main('big.npy --k 50 --max-iters 20 --init random --device cpu'.split()) == 0
    out, err = capsys.readouterr()
    assert err == '' and 'k-means' not in out
    assert table(out)['iterations'].startswith('20 (the limit: a higher --max-iters')

def refused(capsys, *args, why, status=2):
    "Run, and check one line on standard error, the status, and that no file came or went"
    before = {p: p.stat().st_mtime_ns for p in Path().rglob('*')}
    assert main([str(a) for a in args]) == status
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1, err
    assert err.startswith('clusterlearn: ') and why in err, err
    assert {p: p.stat().st_mtime_ns for p in Path().rglob('*')} == before

all_files = ('--out', 'new.csv', '--plot', 'new.png', '--animate', 'new.html')

@pytest.mark.parametrize('args, why', [
    (['--k', 0], '--k 0: at least 1 cluster is needed'),
    (['--k', -3], '--k -3: at least 1'),
    (['--k', 99999], '--k=99999 is more than the 1500 points: choose --k from 1 to 1500'),
    (['--k', 'two'], "argument --k: a whole number is needed, not 'two'; clusterlearn --help"),
    (['--k', '2.5'], "not '2.5'"),
    (['--k'], 'argument --k: expected one argument'),
    (['--seed', -1], '--seed -1: choose from 0'),
    (['--seed', 2**64], 'choose from 0'),
    (['--max-iters', 0], '--max-iters 0: at least 1 iteration'),
    (['--init', 'best'], '--init best: choose k-means++, k-means||, random, random_partition'),
    (['--init', ''], '--init : choose'),
    (['--n-init', 0], '--n-init 0: at least 1 start is needed'),
    (['--n-init', 'auto'], "argument --n-init: a whole number is needed, not 'auto'"),
    (['--tol', -1], '--tol -1.0: zero or a number above it'),
    (['--tol', 'nan'], '--tol nan: zero or'),
    (['--tol', 'inf'], '--tol inf: zero or'),
    (['--algo', 'meanshift', '--init', 'random'], '--init is for k-means: say clusterlearn k'),
    (['--algo', 'meanshift', '--n-init', 5], '--n-init is for k-means'),
    (['--algo', 'meanshift', '--tol', 0], '--tol is for k-means'),
    (['--max-iters', 'many'], "argument --max-iters: a whole number is needed, not 'many'"),
    (['--algo', 'birch'], '--algo birch: choose kmeans or meanshift or dbscan or hdbscan'),
    (['meanshift', '--k', 6], '--k is for k-means'),
    (['--bandwidth', 5], '--bandwidth is for mean shift: say clusterlearn meanshift'),
    (['--bandwidth=5'], '--bandwidth is for mean shift'),
    (['--k', 3, '--orphans'], '--orphans is for mean shift'),
    (['--algo', 'meanshift', '--bandwidth', 0], '--bandwidth 0.0: a radius above zero is needed'),
    (['--algo', 'meanshift', '--bandwidth', 'nan'], '--bandwidth nan: a radius'),
    (['--algo', 'meanshift', '--bandwidth', 'inf'], '--bandwidth inf: a radius'),
    (['--algo', 'meanshift', '--bandwidth', 'wide'], "--bandwidth: a number is needed, not 'wide'"),
    (['--device', 'tpu'], '--device tpu: choose auto, cpu, cuda, cuda:1 or mps'),
    (['--device', 'cuda:99'], '--device cuda:99: PyTorch finds '),
    (['--device', ''], 'choose auto'),
    (['--iters', 3], 'unrecognized arguments: --iters; did you mean --max-iters? '
                     'clusterlearn --help lists all options'),
    (['--max-iter', 3], 'did you mean --max-iters?'),
    (['--max', 3], 'unrecognized arguments: --max'),
    (['--pdb'], 'unrecognized arguments: --pdb'),
    (['a.csv', 'b.csv'], 'a.csv is no algorithm and no file: algorithms are kmeans, '),
    (['k-means', 'b.csv'], 'k-means is no algorithm and no file'),
    ([__file__, 'b.csv'], 'unrecognized arguments: b.csv; clusterlearn --help lists all options'),
    (['points.doc'], "points.doc: unknown kind of file '.doc'"),
    (['.'], '--plot is for one file in one process'),
    ([''], 'unknown kind of file'),
    (['gap.csv'], "gap.csv, row 4, column 1 (x) is missing ('nan'); fill it, or"),
    (['gap.csv', '--missing', 'fill'], '--missing fill: choose error or drop'),
    (['gap.csv', '--decimal', ';'], "--decimal ;: choose , or ."),
    (['gap.csv', '--columns', 'z'],
     "columns='z' (--columns): gap.csv has no such column; it has 'x', 'y'"),
    (['gap.csv', '--ignore', 'x,y'], 'gap.csv: no column is left'),
    (['broken.png', '--columns', 'x'], 'columns (--columns) does not fit this kind of file'),
    (['--sort', 'name'], '--sort name: choose size'),
    (['--append'], '--append needs --out, a .csv or .tsv file'),
    (['--predict', 'nothing.npz'], 'nothing.npz: there is no such file'),
    (['--predict', 'nothing.npz', '--k', 3], '--k finds clusters, and --predict does not'),
    (['--predict', 'nothing.npz', '--standardize'], '--standardize finds clusters, and'),
    (['ragged.csv'], 'ragged.csv, row 2: 3 cells'),
    (['broken.png'], 'broken.png cannot be read as png'),
    (['broken.npy'], 'broken.npy cannot be read'),
    (['broken.pt'], 'broken.pt cannot be read'),
    (['tensor.npy'], 'has shape (2, 2, 2), and (n, d) is needed')])
def test_refusals(capsys, args, why):
    Path('gap.csv').write_text('x,y\n1,2\n3,4\nnan,5\n')
    Path('ragged.csv').write_text('1,2\n3,4,5\n')
    for suffix in ('png', 'npy', 'pt'): Path(f'broken.{suffix}').write_bytes(b'not what it seems')
    np.save('tensor.npy', np.zeros((2, 2, 2)))
    plain = '--append' in args or '--predict' in args
    refused(capsys, *args, *() if plain else all_files, why=why)

@pytest.mark.parametrize('args, why', [
    (['--out', 'l.doc'], "--out l.doc: unknown ending '.doc'; use .csv or .tsv or .npy or .pt"),
    (['--out', 'l'], "unknown ending ''"),
    (['--out', ''], "unknown ending ''"),
    (['--plot', 'p.gif'], "--plot p.gif: unknown ending '.gif'; use .png or .svg or .pdf"),
    (['--animate', 's.mp4'], "--animate s.mp4: unknown ending '.mp4'; use .html"),
    (['--out', 'nowhere/l.csv'], '--out nowhere/l.csv: there is no folder nowhere; create'),
    (['--out', 'in.csv/l.csv'], 'there is no folder in.csv'),
    (['--out', 'folder.csv'], '--out folder.csv is a folder: add the name of a file'),
    (['--out', 'old.csv'], '--out old.csv exists: choose another name, or replace it with --force'),
    (['--out', 'new.csv', '--plot', 'old.png'], '--plot old.png exists'),
    (['--out', './in.csv', '--force'], '--out ./in.csv is the file that is read'),
    (['--out', 'link.csv', '--force'], '--out link.csv is the file that is read'),
    (['--out', 'same.csv', '--plot', 'same.png'], "--plot same.png is another option's file too"),
    (['--out', 'x' * 300 + '.csv'], 'File name too long')])
def test_targets_are_checked_first(capsys, monkeypatch, args, why):
    csv()
    Path('folder.csv').mkdir()
    Path('old.csv').write_text('old'), Path('old.png').write_text('old')
    Path('link.csv').symlink_to('in.csv'), Path('same.png').symlink_to('same.csv')
    monkeypatch.setattr(commands, 'load', lambda *a, **o: pytest.fail('read before all is checked'))
    before = files()
    status = main(['in.csv', '--k', '3', *args])
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and why in err, err
    assert status in ((1, 2) if 'too long' in why else (2,)) and files() == before
    assert Path('old.csv').read_text() == Path('old.png').read_text() == 'old'

def test_a_folder_that_is_closed(capsys, monkeypatch):
    Path('closed').mkdir()
    monkeypatch.setattr(os, 'access', lambda path, mode: Path(path).name != 'closed')
    refused(capsys, '--out', 'closed/l.csv', why='--out closed/l.csv: you may not write in closed;')

def test_pictures_are_written_as_png(capsys):
    picture()
    why = '--plot p.svg: a recoloured picture is written as .png'
    refused(capsys, 'in.png', '--k', 4, '--plot', 'p.svg', why=why)

def test_force_replaces(capsys):
    Path('l.csv').write_text('old')
    refused(capsys, '--out', 'l.csv', why='replace it with --force')
    assert main(['--out', 'l.csv', '--force']) == 0
    assert Path('l.csv').read_text().startswith('label\n') and files() == ['l.csv']

def test_a_link_stays_a_link():
    Path('real').mkdir()
    Path('real/l.csv').write_text('old')
    Path('l.csv').symlink_to('real/l.csv')
    assert main(['--out', 'l.csv', '--force']) == 0
    assert Path('l.csv').is_symlink() and Path('real/l.csv').read_text().startswith('label\n')

@pytest.mark.parametrize('force', [False, True])
def test_second_file_fails(capsys, monkeypatch, force):
    "The second rename fails: no temporary file, and no first file without the second"
    if force: Path('p.png').write_text('old')
    real = os.replace
    def replace(src, dst):
        if Path(dst).name == 'p.png': raise OSError(errno.ENOSPC, 'No space left on device')
        real(src, dst)
    monkeypatch.setattr(os, 'replace', replace)
    before = files()
    assert main(['--out', 'l.csv', '--plot', 'p.png', *['--force'] * force]) == 1
    assert capsys.readouterr().err == 'clusterlearn: No space left on device\n'
    assert files() == before
    if force: assert Path('p.png').read_text() == 'old'

def test_writing_a_temporary_file_fails(capsys, monkeypatch):
    real, calls = os.fsync, []
    def fsync(fd):
        calls.append(fd)
        if len(calls) == 2: raise OSError(errno.ENOSPC, 'No space left on device')
        real(fd)
    monkeypatch.setattr(os, 'fsync', fsync)
    refused(capsys, '--out', 'l.csv', '--plot', 'p.png', why='No space left', status=1)

def test_drawing_fails(capsys, monkeypatch):
    "All results exist before the first file does"
    def fails(*args): raise ValueError('no ink')
    monkeypatch.setitem(commands._makers, '--plot', fails)
    refused(capsys, '--out', 'l.csv', '--plot', 'p.png', why='no ink')

def test_interrupted_while_writing(capsys, monkeypatch):
    def fsync(fd): raise KeyboardInterrupt
    monkeypatch.setattr(os, 'fsync', fsync)
    refused(capsys, '--out', 'l.csv', why='stopped', status=130)

def test_a_file_that_appears_meanwhile(here):
    (here / 'a').write_text('theirs')
    with pytest.raises(FileExistsError): write_whole({here / 'b': b'ours', here / 'a': b'ours'})
    assert files() == ['a'] and Path('a').read_text() == 'theirs'

def test_permissions_are_the_usual_ones():
    assert main(['--out', 'l.csv']) == 0
    Path('usual').write_text('')
    assert Path('l.csv').stat().st_mode == Path('usual').stat().st_mode

def patch_run(monkeypatch, run): # Another k-means
    row = algorithms.algorithms['kmeans']._replace(run=run)
    monkeypatch.setitem(algorithms.algorithms, 'kmeans', row)

@pytest.mark.parametrize('error', [
    MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError('CUDA out of memory. Tried to allocate 20.00 GiB')])
def test_out_of_memory(capsys, monkeypatch, error):
    def fails(*args): raise error
    patch_run(monkeypatch, fails)
    refused(capsys, '--out', 'l.csv', why='not enough memory: use fewer points', status=1)

def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    def fails(*args): raise RuntimeError('shapes do not match')
    patch_run(monkeypatch, fails)
    with pytest.raises(RuntimeError, match='shapes'): main([])

@pytest.mark.parametrize('name', ['kmeans', 'meanshift'])
def test_help_is_two_screens(capsys, monkeypatch, name):
    monkeypatch.setenv('COLUMNS', '100')
    assert main([name, '--help']) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 52 and max(map(len, text.splitlines())) <= 100
    own = algorithms.algorithms[name].options
    for option in (*own, *sum(common.values(), ())): assert f'  {option.flag} ' in text, option
    for words in ('invisible', '--no-header', 'meanshift', 'default: 300', '--version', 'csv'):
        assert words in text
    if name == 'kmeans':
        assert main(['--help']) == 0 and capsys.readouterr().out == text

def test_version(capsys):
    assert main(['--version']) == 0
    assert re.fullmatch(r'clusterlearn \d+\.\d+\.\d+\S*\n', capsys.readouterr().out)

def test_every_option_says_what_it_is_for():
    flags = []
    for row in algorithms.algorithms.values():
        flags += [o.flag for o in row.options]
        assert all(len(o.help) > 15 for o in row.options) and len(row.about) > 15
    flags += [o.flag for options in common.values() for o in options]
    shared = {'--k'}    # of k-means and of neighbours
    assert len(flags) == len(set(flags)) + len(shared)

def test_an_algorithm_is_one_entry(capsys, monkeypatch):
    "Labels with noise, no centroids, options of its own: report, files and refusals follow"
    def halves(task):
        x = task.x[:, 0]
        labels = torch.where(x.abs() < (task.options.gap or 0), -1, (x > 0).long())
        return Found(labels, None, {'gap': task.options.gap})
    row = Algorithm('halves', 'left or right of the middle', (
        Option('--gap', float, 'Noise is nearer to the middle than this'),), halves, False)
    monkeypatch.setitem(algorithms.algorithms, 'halves', row)
    assert main('halves --gap 9 --out l.npy --plot p.png --centroids c.csv'.split()) == 0
    out, labels = capsys.readouterr().out, np.load('l.npy')
    x = blobs(random_state=42).points.numpy()
    assert 'iterations' not in out and 'are in no cluster (label -1)' in out and '9' in out
    assert (labels == np.where(abs(x[:, 0]) < 9, -1, x[:, 0] > 0)).all()
    c = pd.read_csv('c.csv')
    for i in range(2): np.testing.assert_allclose(c.iloc[i, 2:], x[labels == i].mean(0), rtol=1e-5)
    refused(capsys, 'halves', '--animate', 's.html', why='halves has no iterations to show')
    refused(capsys, 'halves', '--gap', '9', '--model', 'm.npz', why='no centroids to save')
    refused(capsys, '--gap', '9', why='--gap is for halves: say clusterlearn halves')

# ---- what comes out

def test_labels_in_every_format():
    for suffix in ('csv', 'tsv', 'npy', 'pt'):
        assert main(['--out', f'l.{suffix}', '--device', 'cpu']) == 0
    want = k_means(blobs(random_state=42).points, 6, random_state=0).labels
    assert torch.equal(torch.load('l.pt', weights_only=True), want)
    assert (np.load('l.npy', allow_pickle=False) == want.numpy()).all()
    for suffix in ('csv', 'tsv'):
        assert (np.loadtxt(f'l.{suffix}', skiprows=1, dtype=int) == want.numpy()).all()

def test_labels_are_the_nearest_centroids():
    "Judged by scikit-learn, in another precision"
    csv(n=300)
    x = np.loadtxt('in.csv', delimiter=',', skiprows=1)
    c = k_means(torch.from_numpy(x), 3, random_state=5).centroids
    assert main(['in.csv', '--k', '3', '--seed', '5', '--out', 'l.npy', '--device', 'cpu']) == 0
    assert (np.load('l.npy') == pairwise_distances_argmin(x, c.numpy())).all()

def test_sizes_centres_and_names(capsys):
    csv(n=300, head='width,a rather long name')
    assert main(['in.csv', '--k', '3', '--out', 'l.npy', '--device', 'cpu']) == 0
    lines = capsys.readouterr().out.split('\n\n')[1].splitlines()
    assert re.split(r'\s{2,}', lines[0]) == ['cluster', 'size', 'share', 'width', 'a rather lo...']
    x, l = np.loadtxt('in.csv', delimiter=',', skiprows=1), np.load('l.npy')
    for i, line in enumerate(lines[1:]):
        label, size, share, *centre = line.split()
        assert (int(label), int(size)) == (i, (l == i).sum()) and share == f'{(l == i).mean():.1%}'
        np.testing.assert_allclose([float(v) for v in centre], x[l == i].mean(0), atol=6e-3)

@pytest.mark.parametrize('init', ['k-means++', 'k-means||', 'random', 'random_partition'])
def test_options_of_k_means_are_those_of_the_function(capsys, init):
    csv(n=300)
    x = torch.from_numpy(np.loadtxt('in.csv', delimiter=',', skiprows=1))
    words = f'in.csv --k 7 --init {init} --n-init 4 --tol 0 --seed 3 --out l.npy --device cpu'
    assert main(words.split()) == 0
    want = k_means(x, 7, init=init, n_init=4, tol=0, random_state=3)
    assert (np.load('l.npy') == want.labels.numpy()).all()
    facts = table(capsys.readouterr().out)
    assert facts['iterations'] == str(want.n_iter) and _close(facts['WCSS'], want.inertia)
    assert main(['in.csv', '--k', '7', '--max-iters', '1', '--tol', '0', '--init', init]) == 0
    assert 'the limit' in table(capsys.readouterr().out)['iterations']

def test_wcss_is_the_sum_of_squares(capsys):
    csv(n=300)
    assert main(['in.csv', '--k', '3', '--out', 'l.npy', '--device', 'cpu']) == 0
    x, l = np.loadtxt('in.csv', delimiter=',', skiprows=1), np.load('l.npy')
    want = sum(((x[l == i] - x[l == i].mean(0)) ** 2).sum() for i in range(3))
    assert abs(float(table(capsys.readouterr().out)['WCSS'].replace(',', '')) / want - 1) < 1e-3

def test_same_seed_same_bytes_and_the_global_generator_stays():
    state = torch.get_rng_state()
    for name in 'ab':
        words = f'--seed 7 --k 9 --out {name}.csv --plot {name}.png'.split()
        assert main(words) == 0
    assert main(['--seed', '8', '--k', '9', '--out', 'c.csv']) == 0
    assert Path('a.csv').read_bytes() == Path('b.csv').read_bytes() != Path('c.csv').read_bytes()
    assert Path('a.png').read_bytes() == Path('b.png').read_bytes()
    assert torch.equal(state, torch.get_rng_state())

def test_many_columns_and_clusters(capsys):
    csv(n=90, d=9, head=','.join(f'col{i}' for i in range(9)))
    assert main(['in.csv', '--k', '30', '--plot', 'p.png', '--animate', 's.html']) == 0
    lines = capsys.readouterr().out.split('\n\n')[1].splitlines()
    assert lines[0].split()[3:] == ['col0', 'col1', 'col2', 'col3', 'col4', '...', '4', 'more']
    assert len(lines) == 22 and lines[-1] == '... and 10 clusters more'

def test_picture_in_k_colours(capsys):
    picture()
    assert main(['in.png', '--k', '4', '--seed', '1', '--plot', 'out.png', '--out', 'l.npy']) == 0
    before, after = Image.open('in.png'), Image.open('out.png')
    pixels = np.array(after).reshape(-1, 3)
    assert after.size == before.size and after.mode == 'RGB' and len(np.unique(pixels, axis=0)) == 4
    out, labels = capsys.readouterr().out, np.load('l.npy')
    assert '(40 x 30 pixels)' in out
    lines = out.split('\n\n')[1].splitlines()
    assert lines[0].split() == ['cluster', 'colour', 'share'] and len(lines) == 5
    for i, line in enumerate(lines[1:]):
        label, colour, share = line.split()
        assert colour == '#%02x%02x%02x' % tuple(pixels[labels == i][0])
        assert (int(label), share) == (i, f'{(labels == i).mean():.1%}')

def test_picture_without_a_plot_writes_nothing(capsys):
    picture()
    assert main(['in.png', '--k', '4']) == 0
    assert files() == ['in.png'] and '#' in capsys.readouterr().out

@pytest.mark.parametrize('no_color', [False, True])
def test_swatches_for_a_terminal(capsys, monkeypatch, no_color):
    picture()
    if no_color: monkeypatch.setenv('NO_COLOR', '1')
    else: monkeypatch.delenv('NO_COLOR', raising=False)
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)
    assert main(['in.png', '--k', '4']) == 0
    assert capsys.readouterr().out.count('\33[48;2;') == (0 if no_color else 4)

@pytest.mark.parametrize('suffix, magic', [('png', b'\x89PNG'), ('svg', b'<?xml'),
                                           ('pdf', b'%PDF'), ('PNG', b'\x89PNG')])
def test_plots(suffix, magic):
    assert main(['--plot', f'p.{suffix}']) == 0
    assert Path(f'p.{suffix}').read_bytes().startswith(magic)

@pytest.mark.parametrize('d, words', [(1, ['c0']), (2, ['c0', 'c1']), (3, ['c0', 'c1', 'c2']),
                                      (5, ['first principal axis', 'second principal axis'])])
def test_axes_are_named(monkeypatch, d, words):
    csv(d=d, head=','.join(f'c{i}' for i in range(d)))
    seen = []
    real = film._name_axes
    def spy(ax, *rest):
        real(ax, *rest)
        seen.append([getattr(ax, f'get_{a}label')() for a in 'xyz' if hasattr(ax, f'get_{a}label')])
    monkeypatch.setattr(film, '_name_axes', spy)
    assert main(['in.csv', '--k', '3', '--plot', 'p.png', '--animate', 's.html']) == 0
    assert seen == [words + [''] * (d == 1)] * 2
    w, h = Image.open('p.png').size
    assert w > 300 and h > 300

def test_names_that_look_like_formulas_and_far_apart_scales():
    Path('in.csv').write_text('price $,$x^$\n1,2e6\n3,4e6\n2,1e6\n')
    assert main(['in.csv', '--k', '2', '--plot', 'p.png', '--animate', 's.html']) == 0
    w, h = Image.open('p.png').size
    assert w > 300 and h > 300

def test_film_is_whole_and_needs_no_network(capsys):
    assert main(['--animate', 's.html']) == 0
    html = Path('s.html').read_text(encoding='utf-8')
    n_iter = int(table(capsys.readouterr().out)['iterations'].split()[0])
    assert html.count('data:image/png;base64') in (n_iter, n_iter + 1)
    assert html.startswith('<!doctype html>') and '<link' not in html and 'src="http' not in html

def found(name, x, every=0, max_iters=300, **options): # What a row of the table finds
    row = algorithms.algorithms[name]
    task = algorithms.Task(x, algorithms.options_of(row, **options), 0, max_iters, every=every)
    return row.run(task)

def test_film_shows_labels_of_its_points():
    "Far more points than are drawn: every kept label belongs to the point drawn with it"
    x = torch.rand(10_001, 3, generator=torch.Generator().manual_seed(0))
    r = found('kmeans', x, 4, 3, k=4, n_init=2)
    for _, p, l, c in r.frames:
        assert torch.equal(p, x[::4]) and torch.equal(l, torch.cdist(x[::4], c).argmin(1))
    assert torch.equal(r.frames[-1][3], r.centroids)
    assert torch.equal(r.frames[-1][2], r.labels[::4])
    g = torch.Generator().manual_seed(0)
    starts = [initial_centroids(x, 4, random_state=g) for _ in range(2)]
    best = min(starts, key=lambda c: k_means(x, 4, init=c, max_iter=3).inertia)
    assert torch.equal(r.frames[0][3], best) and len(r.frames) == 4 and r.limited
    plain = k_means(x, 4, n_init=2, max_iter=3, random_state=0)
    assert torch.equal(r.labels, plain.labels) and torch.equal(r.centroids, plain.centroids)

@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64, np.int64, np.uint8])
def test_any_type_of_number(dtype):
    np.save('x.npy', (np.arange(60).reshape(30, 2) * 3).astype(dtype))
    assert main(['x.npy', '--k', '3', '--out', 'l.csv']) == 0

@pytest.mark.parametrize('k', [1, 30])
def test_one_cluster_and_one_each(capsys, k):
    csv()
    assert main(['in.csv', '--k', str(k)]) == 0
    assert table(capsys.readouterr().out)['clusters'] == str(k)

def test_equal_points(capsys):
    Path('in.csv').write_text('1,2\n' * 9)
    assert main(['in.csv', '--k', '3', '--plot', 'p.png', '--animate', 's.html']) == 0
    assert table(capsys.readouterr().out)['WCSS'] == '0'

def test_names_that_the_terminal_lacks(monkeypatch):
    Path('in.csv').write_text('größe\n1\n2\n', encoding='utf-8')
    terminal = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr(sys, 'stdout', terminal)
    assert main(['in.csv', '--k', '1']) == 0
    terminal.flush()
    assert b'gr??e' in terminal.buffer.getvalue()

def test_devices():
    assert pick_device('cpu') == torch.device('cpu')
    assert pick_device().type == ('cuda' if torch.cuda.is_available() else 'cpu')
    for name in ('cpu:1', 'cuda:', 'cuda:x', 'CPU', 'cuda:١'):
        with pytest.raises(ValueError, match='choose auto'): pick_device(name)

def test_targets_come_back_resolved(here):
    assert check_targets({'--out': 'l.csv', '--plot': None}) == {'--out': here.resolve() / 'l.csv'}

# ---- mean shift

def shift(*args): return main(['--algo', 'meanshift', '--device', 'cpu', *map(str, args)])

def test_mean_shift_of_blobs(capsys):
    assert shift('--out', 'l.npy', '--plot', 'p.png', '--animate', 's.html') == 0
    facts = table(capsys.readouterr().out)
    want = mean_shift(blobs(random_state=42).points, random_state=0)
    names = ['points', 'dimensions', 'clusters', 'iterations', 'bandwidth', 'seconds', 'device']
    assert list(facts) == names
    assert facts['clusters'] == '6' and abs(float(facts['bandwidth']) - want.bandwidth) < 1e-2
    assert (np.load('l.npy') == want.labels.numpy()).all()
    assert files() == ['l.npy', 'p.png', 's.html']

def test_mean_shift_of_a_table_with_a_bandwidth(capsys):
    csv(n=300)
    x = np.loadtxt('in.csv', delimiter=',', skiprows=1)
    assert shift('in.csv', '--bandwidth', 6, '--out', 'l.npy') == 0
    want = mean_shift(torch.from_numpy(x), 6.)
    assert (np.load('l.npy') == want.labels.numpy()).all()
    assert table(capsys.readouterr().out)['bandwidth'] == '6'

@pytest.mark.parametrize('orphans', [False, True])
def test_mean_shift_of_a_picture(capsys, orphans):
    picture()
    words = ['in.png', '--plot', 'out.png', '--out', 'l.npy']
    assert shift(*words, *['--orphans'] * orphans, *['--bandwidth', .03] * orphans) == 0
    out, labels = capsys.readouterr().out, np.load('l.npy')
    before, after = (np.array(Image.open(f)).reshape(-1, 3) for f in ('in.png', 'out.png'))
    x = torch.from_numpy(before).float() / 255
    if not orphans: assert labels.max() == 3 and len(np.unique(after, axis=0)) == 4
    if not orphans: assert _close(table(out)['bandwidth'], estimate_bandwidth(x, .1))
    assert ((labels == -1).any() and 'are in no cluster (label -1)' in out) == orphans
    assert (before[labels < 0] == after[labels < 0]).all()       # orphans keep their colour
    assert out.split('\n\n')[1].splitlines()[0].split() == ['cluster', 'colour', 'share']

def _close(text, number): return abs(float(text.replace(',', '')) / number - 1) < 1e-3

@pytest.mark.parametrize('d', [1, 3, 5])
def test_mean_shift_in_other_dimensions(d):
    csv(d=d, n=60, head=','.join(f'c{i}' for i in range(d)))
    assert shift('in.csv', '--plot', 'p.png', '--animate', 's.html') == 0

def test_mean_shift_film_climbs():
    x = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0))
    r = found('meanshift', x, 2, bandwidth=.2)
    rounds, last = [i for i, *_ in r.frames], r.frames[-1][1]
    assert rounds == sorted(rounds) and rounds[:8] == list(range(8)) and len(rounds) < 40
    assert torch.equal(r.frames[0][1], x[::2])
    assert (last - r.centroids[r.labels[::2]]).norm(dim=1).max() <= .2 * 1.01

def test_mean_shift_limit_seed_and_equal_points(capsys):
    assert shift('--max-iters', 2, '--bandwidth', 8) == 0
    assert table(capsys.readouterr().out)['iterations'].startswith('2 (the limit')
    state = torch.get_rng_state()
    csv(n=90)
    for name in 'ab': assert shift('in.csv', '--seed', 7, '--out', f'{name}.csv') == 0
    assert Path('a.csv').read_bytes() == Path('b.csv').read_bytes()
    assert torch.equal(state, torch.get_rng_state())
    Path('in.csv').write_text('1,2\n' * 9)
    capsys.readouterr()
    assert shift('in.csv', '--plot', 'p.png', '--animate', 's.html') == 0
    assert table(capsys.readouterr().out)['clusters'] == '1'

def test_all_orphans_but_few_columns_shown(capsys):
    csv(n=300)
    assert shift('in.csv', '--bandwidth', 1, '--orphans', '--out', 'l.csv', '--plot', 'p.png') == 0
    out = capsys.readouterr().out
    l = np.loadtxt('l.csv', skiprows=1, dtype=int)
    assert f'{(l < 0).sum()} points' in out and l.min() == -1

@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
def test_cuda_gives_the_same_clusters(capsys):
    for name in ('cpu', 'cuda'):
        assert main(['--device', name, '--out', f'{name}.csv', '--animate', f'{name}.html']) == 0
    assert Path('cpu.csv').read_bytes() == Path('cuda.csv').read_bytes()
    assert 'device      cuda (' in capsys.readouterr().out

# ---- tables that people bring: the first try, or the second by the line that the first one gives

german = 'Name;Größe;Gewicht\r\n' + ''.join(
    f'P{i};{v:.1f};{w:.2f}\r\n'.replace('.', ',')
    for i, (v, w) in enumerate([(160.5, 60.25), (161, 61), (190, 90.5), (191.5, 91)]))
plain = pd.DataFrame({'height': [160.5, 161, 190, 191.5], 'weight': [60.25, 61, 90.5, 91]})
numbered = plain.set_axis(range(1, 5))
brought = {
    'English Excel': ('a.csv', plain.to_csv(
        index=False, lineterminator='\r\n').encode('utf-8-sig')),
    'German Excel': ('a.csv', german.encode('cp1252')),
    'German Excel, Unicode text': ('a.txt', german.replace(';', '\t').encode('utf-16')),
    'Excel with sep=': ('a.csv', ('sep=;\r\n' + german).encode('cp1252')),
    'R, write.csv': ('a.csv', numbered.to_csv(quoting=2).encode()),
    'R, write.csv2': ('a.csv', numbered.to_csv(sep=';', decimal=',').encode()),
    'R, write.table': ('a.txt', numbered.to_csv(sep=' ').replace('"" ', '').lstrip(' ').encode()),
    'pandas': ('a.csv', plain.to_csv().encode()),
    'pandas, packed': ('a.csv.gz', gzip.compress(plain.to_csv(index=False).encode())),
    'a database': ('a.csv', b'"id","height","weight","born","note"\n' + b''.join(
        b'%d,%.1f,%.2f,"1990-01-0%d","a, b"\n' % (7 + i, *row, i + 1)
        for i, row in enumerate(plain.itertuples(index=False)))),
    'JSON lines': ('a.jsonl', plain.to_json(orient='records', lines=True).encode()),
    'JSON': ('a.json', plain.to_json(orient='records').encode()),
}

@pytest.mark.parametrize('kind', brought)
def test_a_newcomers_table(capsys, kind):
    name, data = brought[kind]
    Path(name).write_bytes(data)
    words = [name, '--k', '2', '--out', 'l.npy', '--device', 'cpu']
    status = main(words)
    out, err = capsys.readouterr()
    if status:                          # one line, with the option that makes it work
        option = re.search(r'\((--ignore [^)]*)\)', err)
        assert status == 2 and err.count('\n') == 1 and option, err
        words += option[1].split()
        if kind == 'a database': words[-1] = f'id,{words[-1]}'
        assert main(words) == 0
        out, err = capsys.readouterr()
    assert err.count('\n') <= 1 and ('row names' in err or not err)
    assert table(out)['points'] == '4' and table(out)['dimensions'] == '2'
    l = np.load('l.npy')
    assert l[0] == l[1] != l[2] == l[3]

def test_feather_and_parquet(capsys):
    plain.to_feather('a.feather'), plain.set_axis([5, 6, 8, 9]).to_parquet('a.parquet')
    for name in ('a.feather', 'a.parquet'):
        assert main([name, '--k', '2', '--out', 'l.npy', '--force']) == 0
        assert table(capsys.readouterr().out)['dimensions'] == '2'

def test_standard_input(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'stdin', SimpleNamespace(buffer=io.BytesIO(german.encode('cp1252'))))
    assert main(['-', '--k', '2', '--ignore', 'Name', '--append', '--out', 'l.csv']) == 0
    lines = Path('l.csv').read_bytes().decode('cp1252').splitlines()
    assert lines[0] == 'Name;Größe;Gewicht;cluster' and lines[1][:-1] == 'P0;160,5;60,25;'

def test_options_of_the_input(capsys):
    Path('a.csv').write_text('2019,2020\n1,2\n1,3\n9,8\n9,NA\n')
    words = 'a.csv --k 2 --out l.csv --force'.split()
    assert main([*words, '--missing', 'drop']) == 0
    out, err = capsys.readouterr()
    assert table(out)['points'] == '4' and err.count('\n') == 2 and '(--header)' in err
    assert main([*words, '--missing', 'drop', '--header']) == 0
    out, err = capsys.readouterr()
    assert table(out)['points'] == '3' and err.count('\n') == 1 and '2020' in out
    assert [bool(l) for l in Path('l.csv').read_text().split('\n')[1:5]] == [True] * 3 + [False]
    assert main([*words, '--missing', 'drop', '--no-header', '--columns', '1']) == 0
    assert table(capsys.readouterr().out)['points'] == '5'
    Path('b.csv').write_text('x;y\n1,500;2\n2,500;3\n')
    refused(capsys, 'b.csv', '--k', 1, why='(--decimal)')
    for sign, mean in ((',', '2.000'), ('.', '2,000')):
        assert main(['b.csv', '--k', '1', '--decimal', sign]) == 0
        assert mean in capsys.readouterr().out

# ---- what goes out

def test_append_keeps_the_rows(capsys):
    rows = ['id,x,y', 'a,1,2', 'b,,3', '"c,d",9,8', 'e,9,9']
    Path('a.csv').write_text('\n'.join(rows) + '\n')
    words = 'a.csv --k 2 --ignore id --missing drop --sort size --append --out o.csv'
    assert main(words.split()) == 0
    lines = Path('o.csv').read_text().splitlines()
    assert lines == [f'{r},{l}' for r, l in zip(rows, ['cluster', 1, '', 0, 0])]
    np.save('x.npy', np.eye(3))
    assert main('x.npy --k 3 --append --out x.tsv'.split()) == 0
    assert Path('x.tsv').read_text().splitlines()[0] == 'x\ty\tz\tcluster'
    picture()
    capsys.readouterr()
    refused(capsys, 'in.png', '--append', '--out', 'p.csv', why='--append is for tables')

def test_standardize(capsys):
    "Clusters of scaled columns, centroids in the table's units, as scikit-learn's StandardScaler"
    from sklearn.preprocessing import StandardScaler
    csv(n=300)
    x = np.loadtxt('in.csv', delimiter=',', skiprows=1) * [1, 1000]
    np.savetxt('big.csv', x, delimiter=',', fmt='%.17g')
    words = 'big.csv --k 3 --standardize --tol 0 --out l.npy --centroids c.csv --device cpu'
    assert main(words.split()) == 0
    z, l = StandardScaler().fit_transform(x), np.load('l.npy')
    want = k_means(z, 3, tol=0, random_state=0)
    assert (l == want.labels.numpy()).all()
    c = pd.read_csv('c.csv')
    for i in range(3): np.testing.assert_allclose(c.iloc[i, 2:], x[l == i].mean(0), rtol=1e-9)
    out = capsys.readouterr().out
    assert _close(table(out)['WCSS'].split()[0], want.inertia) and 'standardized' in out

def test_centroids_have_all_digits():
    csv(n=300, head='width,"a ""b"""')
    assert main('in.csv --k 3 --centroids c.csv --out l.npy --tol 0 --device cpu'.split()) == 0
    c, l = pd.read_csv('c.csv'), np.load('l.npy')
    x = np.loadtxt('in.csv', delimiter=',', skiprows=1)
    assert list(c.columns) == ['cluster', 'size', 'width', 'a "b"']
    want = k_means(torch.from_numpy(x), 3, tol=0, random_state=0).centroids
    assert np.loadtxt('c.csv', delimiter=',', skiprows=1)[:, 2:].tolist() == want.tolist()
    assert c['size'].tolist() == np.bincount(l).tolist() and c['cluster'].tolist() == [0, 1, 2]

def test_sort_by_size(capsys):
    sizes = [5, 40, 15]
    x = np.concatenate([np.random.default_rng(i).normal(30 * i, 1, (n, 2))
                        for i, n in enumerate(sizes)])
    np.save('x.npy', x)
    words = 'x.npy --k 3 --sort size --out l.npy --centroids c.csv --animate s.html'
    assert main(words.split()) == 0
    l = np.load('l.npy')
    assert l.tolist() == [2] * 5 + [0] * 40 + [1] * 15
    assert pd.read_csv('c.csv')['size'].tolist() == [40, 15, 5]
    np.testing.assert_allclose(pd.read_csv('c.csv').iloc[0, 2:], x[5:45].mean(0))

@pytest.mark.parametrize('scaled', [False, True])
def test_model_and_predict(capsys, scaled):
    csv(n=300)
    more = ['--standardize'] * scaled
    assert main([*'in.csv --k 3 --model m.npz --out a.npy --quiet --tol 0'.split(), *more]) == 0
    model = load_model('m.npz')
    assert model.names == ['width', 'height'] and model.algorithm == 'kmeans'
    x = pd.read_csv('in.csv')
    pd.DataFrame({'who': 'x', 'height': x.height, 'width': x.width}).to_csv('new.csv', index=False)
    for name, out in (('in.csv', 'b.npy'), ('new.csv', 'c.npy')):
        assert main([name, '--predict', 'm.npz', '--out', out]) == 0
        assert (np.load(out) == np.load('a.npy')).all()
    assert 'iterations' not in capsys.readouterr().out
    x.iloc[:, :1].to_csv('few.csv', index=False)
    refused(capsys, 'few.csv', '--predict', 'm.npz', why='has 1 columns, and the model 2')
    refused(capsys, 'in.csv', '--predict', 'in.csv', why='in.csv is no model: write one with')
    assert capsys.readouterr() == ('', '')

def test_json(capsys):
    csv(n=300)
    assert main('in.csv --k 3 --json --out l.npy --device cpu'.split()) == 0
    told = json.loads(capsys.readouterr().out)
    x = torch.from_numpy(np.loadtxt('in.csv', delimiter=',', skiprows=1))
    want = k_means(x, 3, random_state=0)
    assert told['centroids'] == want.centroids.tolist() and told['WCSS'] == want.inertia
    assert told['sizes'] == np.bincount(np.load('l.npy')).tolist() and told['points'] == 300
    assert told['columns'] == ['width', 'height'] and told['files'] == ['l.npy']
    assert told['iterations'] == want.n_iter and told['converged'] and not told['standardized']

def test_quiet(capsys):
    assert main('--quiet --out l.npy'.split()) == 0
    assert capsys.readouterr() == ('', '') and files() == ['l.npy']

def test_digits_tell_clusters_apart(capsys):
    "The issue's examples: three places printed −123.1 each, two moments 1.757e+09 twice"
    places = np.array([[49.281, -123.1207], [49.283, -123.1013], [49.262, -123.1384]])
    np.save('gps.npy', places.repeat(5, 0))
    assert main('gps.npy --k 3 --sort size'.split()) == 0
    rows = [line.split()[3:] for line in capsys.readouterr().out.split('\n\n')[1].splitlines()[1:]]
    assert sorted(rows) == sorted([f'{a:.4f}', f'{b:.4f}'] for a, b in places)
    t = np.r_[np.arange(0, 60, 3), np.arange(200, 260, 3)] + 1_757_000_001
    np.save('t.npy', t[:, None])
    assert main('t.npy --k 2'.split()) == 0
    out = capsys.readouterr().out
    assert '1,757,000,030' in out and '1,757,000,230' in out and '11,970' in out
    np.save('x.npy', np.array([[0., 1e9], [5., 1e9 + .25], [5., 1e9 + .5], [1e6, 1e9]]))
    assert main('x.npy --k 4'.split()) == 0
    rows = [line.split()[3:] for line in capsys.readouterr().out.split('\n\n')[1].splitlines()[1:]]
    assert len(set(map(tuple, rows))) == 4

def test_warnings_appear_once_on_standard_error(capsys):
    Path('two.csv').write_text('x,y\n' + '1,2\n3,4\n' * 20)
    assert main('two.csv --k 5 --n-init 4'.split()) == 0
    out, err = capsys.readouterr()
    assert err.count('\n') == 1 and 'there are only 2 different points' in err
    assert err.startswith('clusterlearn: ') and 'different points' not in out

def test_sixteen_bits_of_grey_in_four_shares(capsys):
    greys = np.repeat(np.array([100, 20_000, 40_000, 65_535], np.uint16), 64).reshape(16, 16)
    Image.fromarray(greys).save('ramp.png')
    assert main('ramp.png --k 4 --plot out.png'.split()) == 0
    out = capsys.readouterr().out
    assert out.count('25.0%') == 4 and 'grey' in out and '(16 x 16 pixels)' in out
    assert np.array_equal(np.asarray(Image.open('out.png')), greys)

def test_invisible_pixels_stay_out_and_invisible(capsys):
    rgba = np.zeros((6, 6, 4), np.uint8)
    rgba[1:5, 1:3], rgba[1:5, 3:5] = [200, 30, 30, 255], [30, 30, 200, 128]
    Image.fromarray(rgba).save('logo.png')
    assert main('logo.png --k 2 --plot out.png --out l.npy'.split()) == 0
    out = capsys.readouterr().out
    assert out.count('50.0%') == 2 and table(out)['points'].startswith('16 ')
    assert np.array_equal(np.asarray(Image.open('out.png')), rgba)
    l = np.load('l.npy').reshape(6, 6)
    assert ((l < 0) == (rgba[..., 3] == 0)).all()

def test_todays_lines_go_on_working(capsys):
    for words in ('--k 3', 'in.csv --k 3 --seed 1', '--algo kmeans --k 3',
                  'meanshift in.csv', 'kmeans in.csv --k 2', 'in.csv --algo meanshift'):
        csv()
        assert main(words.split()) == 0, capsys.readouterr().err
