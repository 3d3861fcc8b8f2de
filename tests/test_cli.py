"The command: what it prints and writes, how it refuses, and that it leaves nothing when it fails."
import errno, fcntl, os, pty, re, select, shutil, signal, struct, subprocess, sys, termios, time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import pairwise_distances_argmin

from clusterlearn import cli, k_means
from clusterlearn.cli import check_targets, cluster, main, parser, pick_device, write_whole
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
    a = run('--k', 3, '--out', 'a.csv', '--device', 'cpu')
    script = Path(sys.executable).with_name('clusterlearn')
    if not script.exists(): script = shutil.which('clusterlearn')
    if not script: pytest.skip('the package is not installed')
    words = [script, '--k', '3', '--out', 'b.csv', '--device', 'cpu']
    b = subprocess.run(words, capture_output=True, text=True)
    assert a.returncode == b.returncode == 0 and a.stderr == b.stderr == ''
    hide = lambda s: re.sub(r'seconds .*|[ab]\.csv', '', s)
    assert hide(a.stdout) == hide(b.stdout)
    assert Path('a.csv').read_bytes() == Path('b.csv').read_bytes()

def test_blobs_and_all_files():
    r = run('--out', 'l.csv', '--plot', 'p.png', '--animate', 's.html', '--device', 'cpu')
    assert (r.returncode, r.stderr) == (0, '')
    facts = table(r.stdout)
    assert ' '.join(facts) == 'points dimensions clusters iterations WCSS seconds device'
    for name, value in dict(points='1,500', dimensions='2', clusters='6', device='cpu').items():
        assert facts[name] == value
    assert files() == ['l.csv', 'p.png', 's.html']
    assert 'wrote       l.csv, p.png, s.html' in r.stdout and '\33' not in r.stdout
    lines = Path('l.csv').read_text().splitlines()
    assert lines[0] == 'label' and len(lines) == 1501
    assert Image.open('p.png').format == 'PNG'

@pytest.mark.parametrize('args, why', [
    (['nothing.csv'], 'nothing.csv: there is no such file'),
    (['word.csv'], "word.csv, row 7, column 1 (x): 'oops' is not a number"),
    (['--k', 'two'], "argument --k: a whole number is needed, not 'two'"),
    (['--unknown'], 'unrecognized arguments: --unknown')])
def test_refusals_of_the_real_command(args, why):
    Path('word.csv').write_text('x,y\n' + '1,2\n' * 5 + 'oops,2\n')
    before = files()
    r = run(*args, '--out', 'l.csv', '--plot', 'p.png')
    assert r.returncode == 2 and r.stdout == ''
    assert r.stderr.count('\n') == 1 and r.stderr.startswith('clusterlearn: ') and why in r.stderr
    assert files() == before

def test_a_reader_that_leaves_early():
    for args in ([], ['--help']):
        pipe = subprocess.PIPE
        p = subprocess.Popen([*command, *args], stdout=pipe, stderr=pipe, text=True)
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

def test_no_bar_where_no_terminal_watches():
    np.save('big.npy', np.random.default_rng(0).random((80_000, 16), np.float32))
    r = run('big.npy', '--k', 50, '--max-iters', 20, '--init', 'random', '--device', 'cpu')
    assert r.returncode == 0 and r.stderr == '' and 'k-means' not in r.stdout
    assert table(r.stdout)['iterations'].startswith('20 (the limit: a higher --max-iters')

def test_imports_no_matplotlib_without_a_plot():
    code = """if True:
        import sys, clusterlearn.cli as cli
        assert not {'matplotlib', 'sklearn', 'triton'} & set(sys.modules)
        assert cli.main(['--device', 'cpu']) == 0
        assert 'matplotlib.pyplot' not in sys.modules"""
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr

# ---- the same in this process: quick

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
    (['--algo', 'meanshift', '--init', 'random'], '--init is for k-means: leave it out, or leave'),
    (['--algo', 'meanshift', '--n-init', 5], '--n-init is for k-means'),
    (['--algo', 'meanshift', '--tol', 0], '--tol is for k-means'),
    (['--max-iters', 'many'], "argument --max-iters: a whole number is needed, not 'many'"),
    (['--algo', 'dbscan'], '--algo dbscan: choose kmeans or meanshift'),
    (['--algo', 'meanshift', '--k', 6], '--k 6: meanshift finds the number itself'),
    (['--bandwidth', 5], '--bandwidth is for mean shift: add --algo meanshift'),
    (['--k', 3, '--orphans'], '--orphans is for mean shift'),
    (['--algo', 'meanshift', '--bandwidth', 0], '--bandwidth 0.0: a radius above zero is needed'),
    (['--algo', 'meanshift', '--bandwidth', 'nan'], '--bandwidth nan: a radius'),
    (['--algo', 'meanshift', '--bandwidth', 'inf'], '--bandwidth inf: a radius'),
    (['--algo', 'meanshift', '--bandwidth', 'wide'], "--bandwidth: a number is needed, not 'wide'"),
    (['--device', 'tpu'], '--device tpu: choose auto, cpu, cuda, cuda:1 or mps'),
    (['--device', 'cuda:99'], '--device cuda:99: PyTorch finds '),
    (['--device', ''], 'choose auto'),
    (['--iters', 3], 'unrecognized arguments: --iters; clusterlearn --help lists all options'),
    (['--max', 3], 'unrecognized arguments: --max'),
    (['--pdb'], 'unrecognized arguments: --pdb'),
    (['a.csv', 'b.csv'], 'unrecognized arguments: b.csv'),
    (['points.doc'], "points.doc: unknown kind of file '.doc'"),
    (['.'], 'unknown kind of file'),
    ([''], 'unknown kind of file'),
    (['gap.csv'], "gap.csv, row 4, column 1 (x): 'nan' is not finite"),
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
    refused(capsys, *args, *all_files, why=why)

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
    monkeypatch.setattr(cli, 'load', lambda path: pytest.fail('read before all was checked'))
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
    monkeypatch.setitem(cli._makers, '--plot', fails)
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

@pytest.mark.parametrize('error', [
    MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError('CUDA out of memory. Tried to allocate 20.00 GiB')])
def test_out_of_memory(capsys, monkeypatch, error):
    def fails(*args): raise error
    monkeypatch.setattr(cli, '_k_means', fails)
    refused(capsys, '--out', 'l.csv', why='not enough memory: use fewer points', status=1)

def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    def fails(*args): raise RuntimeError('shapes do not match')
    monkeypatch.setattr(cli, '_k_means', fails)
    with pytest.raises(RuntimeError, match='shapes'): main([])

def test_help_and_version(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '100')
    assert main(['--help']) == 0
    text = capsys.readouterr().out
    out = ' '.join(text.split())
    for words in ('--algo', '--bandwidth X', '--orphans', '--init INIT', '--n-init N', '--tol X',
                  'k-means++', 'default: 1)', 'default: 1e-4'): assert words in out
    for words in ('--k N', '--out', '--plot', '--animate', '--seed N', '--device', '--max-iters N',
                  '--force', '--version', '[POINTS]', 'default: 6', 'default: auto',
                  'default: 300'):
        assert words in out
    out = out.replace('random_partition', '')   # the only underscore
    for words in ('_', 'pdb', 'xtra', 'False', 'None'): assert words not in out
    assert max(map(len, text.splitlines())) <= 100
    assert main(['--version']) == 0
    assert re.fullmatch(r'clusterlearn \d+\.\d+\.\d+\S*\n', capsys.readouterr().out)

def test_every_option_says_what_it_is_for():
    for action in parser(cluster)._actions: assert len(action.help) > 15

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
        np.testing.assert_allclose([float(v) for v in centre], x[l == i].mean(0), rtol=1e-3)

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
    real = cli._name_axes
    def spy(ax, *rest):
        real(ax, *rest)
        seen.append([getattr(ax, f'get_{a}label')() for a in 'xyz' if hasattr(ax, f'get_{a}label')])
    monkeypatch.setattr(cli, '_name_axes', spy)
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

def test_film_shows_labels_of_its_points():
    "Far more points than are drawn: every kept label belongs to the point drawn with it"
    x = torch.rand(10_001, 3, generator=torch.Generator().manual_seed(0))
    r = cli._k_means(x, 4, 0, 3, torch.device('cpu'), every=4, n_init=2)
    for c, l in r.steps: assert torch.equal(l, torch.cdist(x[::4], c).argmin(1))
    assert torch.equal(r.steps[-1][0], r.centroids) and torch.equal(r.steps[-1][1], r.labels[::4])
    g = torch.Generator().manual_seed(0)
    starts = [initial_centroids(x, 4, random_state=g) for _ in range(2)]
    best = min(starts, key=lambda c: k_means(x, 4, init=c, max_iter=3).inertia)
    assert torch.equal(r.steps[0][0], best) and len(r.steps) == 4 and r.limited

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

def test_names_that_the_terminal_lacks():
    Path('in.csv').write_text('größe\n1\n2\n', encoding='utf-8')
    r = run('in.csv', '--k', 1, env=os.environ | {'PYTHONIOENCODING': 'ascii'})
    assert r.returncode == 0 and r.stderr == '' and 'gr??e' not in r.stderr and 'gr?' in r.stdout

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
    words = ['in.png', '--plot', 'out.png', '--out', 'l.npy', '--animate', 's.html']
    assert shift(*words, *['--orphans'] * orphans, *['--bandwidth', .03] * orphans) == 0
    out, labels = capsys.readouterr().out, np.load('l.npy')
    before, after = (np.array(Image.open(f)).reshape(-1, 3) for f in ('in.png', 'out.png'))
    x = torch.from_numpy(before).float() / 255
    if not orphans: assert labels.max() == 3 and len(np.unique(after, axis=0)) == 4
    if not orphans: assert _close(table(out)['bandwidth'], estimate_bandwidth(x, .1))
    assert ((labels == -1).any() and 'have the label -1' in out) == orphans
    assert (before[labels < 0] == after[labels < 0]).all()       # orphans keep their colour
    assert out.split('\n\n')[1].splitlines()[0].split() == ['cluster', 'colour', 'share']

def _close(text, number): return abs(float(text.replace(',', '')) / number - 1) < 1e-3

@pytest.mark.parametrize('d', [1, 3, 5])
def test_mean_shift_in_other_dimensions(d):
    csv(d=d, n=60, head=','.join(f'c{i}' for i in range(d)))
    assert shift('in.csv', '--plot', 'p.png', '--animate', 's.html') == 0

def test_mean_shift_film_climbs():
    x = torch.rand(5000, 2, generator=torch.Generator().manual_seed(0))
    r = cli._mean_shift(x, .2, 0, 300, torch.device('cpu'), every=2)
    rounds, last = list(r.ways), list(r.ways.values())[-1]
    assert rounds == sorted(rounds) and rounds[:8] == list(range(8)) and len(rounds) < 40
    assert torch.equal(r.ways[0], x[::2]) and len({id(p) for p in r.ways.values()}) == len(rounds)
    assert (last - r.centroids[r.labels[::2]]).norm(dim=1).max() <= .2 * 1.01
    html = cli._film_file(cli.Loaded(x), r, '.html').decode()
    assert html.count('data:image/png;base64') == len(rounds)

def test_mean_shift_limit_seed_and_equal_points(capsys):
    assert shift('--max-iters', 2) == 0
    assert table(capsys.readouterr().out)['iterations'].startswith('2 (the limit')
    state = torch.get_rng_state()
    for name in 'ab': assert shift('--seed', 7, '--out', f'{name}.csv') == 0
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
    assert f'{(l < 0).sum()} orphans' in out and l.min() == -1

@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
def test_cuda_gives_the_same_clusters(capsys):
    for name in ('cpu', 'cuda'):
        assert main(['--device', name, '--out', f'{name}.csv', '--animate', f'{name}.html']) == 0
    assert Path('cpu.csv').read_bytes() == Path('cuda.csv').read_bytes()
    assert 'device      cuda (' in capsys.readouterr().out
