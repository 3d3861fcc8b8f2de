"The benchmarks' harness: what it must notice, and that the hazards can be failed"

import importlib, json, os, random, subprocess, sys, time

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from benchmarks import __main__ as command
from benchmarks import hazards, kmeans, worker, workloads
from benchmarks.harness import ask, answer, clustering, dismiss, hire, race, save, turns
from benchmarks.hazards import HAZARDS, outcome

#  Taking turns


def called(log, name, seconds=1.0):
    def f(calls, first):
        log.append((name, calls, first))
        return dict(seconds=[seconds] * calls, inertias=[len(log)]) | (dict(n=5) if first else {})

    return f


def test_turns_interleave_and_keep_cold_and_warm_apart():
    log = []
    res = turns({n: called(log, n) for n in 'ABC'}, repeats=2, pause=0)
    assert ''.join(name for name, _, _ in log) == 'ABCABCABC'
    assert [first for _, _, first in log] == [True] * 3 + [False] * 6
    times = dict(cold=1.0, warm=[1.0, 1.0], best=1.0, median=1.0)
    assert res['B'] == times | dict(inertias=[2, 5, 8], n=5)


def test_new_processes_whose_first_call_is_not_recorded():
    log = []
    fast = {n: called(log, n) for n in 'AB'}
    bad = lambda calls, first: dict(failed='time', why='no result')
    ways = fast | dict(slow=called(log, 'slow', 40), bad=bad)
    res = turns(ways, repeats=4, spend=10, slow=30, pause=0, renew=log.append)
    at = log.index(['A', 'B'])
    assert [e[0] for e in log[:at]] == ['A', 'B', 'slow', 'A', 'B']
    assert ''.join(e[0] for e in log[at + 1 :]) == 'ABABABAB'
    assert res['A']['warm'] == [1.0] * 4 and at + 2 not in res['A']['inertias']


def test_turns_record_a_failure_and_go_on():
    log = []
    bad = lambda calls, first: log.append('bad') or dict(failed='time', why='no result')
    res = turns({'bad': bad, 'good': called(log, 'good')}, repeats=2, pause=0)
    assert res['bad'] == dict(failed='time', why='no result') and log.count('bad') == 1
    assert res['good']['warm'] == [1.0, 1.0]


def test_a_late_failure_keeps_what_was_measured():
    def f(calls, first):
        return dict(seconds=[2.0]) if first else dict(failed='time', why='too slow')

    r = turns({'a': f}, repeats=3, pause=0)['a']
    assert r == dict(cold=2.0, warm=[], best=2.0, median=2.0, ended='too slow')


def test_turns_spare_the_slow_and_repeat_the_fast():
    log = []
    ways = {n: called(log, n, s) for n, s in (('slow', 40), ('mid', 6), ('fast', 0.01))}
    res = turns(ways, repeats=3, spend=10, slow=30, burst=0.05, pause=0)
    assert [len(r['warm']) for r in res.values()] == [0, 1, 15]
    assert res['slow']['best'] == 40 and ('fast', 5, False) in log


def test_race_records_a_failing_way_as_an_error():
    def bad():
        raise ValueError('no luck\nsecond line')

    res = race({'bad': bad, 'good': lambda: 1}, repeats=1)
    assert res['bad']['error'] == 'ValueError: no luck' and 'best' not in res['bad']
    assert len(res['good']['warm']) == 1


#  Judging


def solved(offset=0.0):
    x = hazards.groups(600, 4, 5) + offset
    m = KMeans(5, n_init=1, random_state=0).fit(x.numpy())
    return x, m.cluster_centers_, m.labels_.copy(), m.inertia_


def test_inertia_is_computed_anew():
    x, c, labels, inertia = solved()
    got = clustering(x, c, labels, 5)
    assert got['inertia'] == pytest.approx(inertia, rel=1e-5)
    assert got['mislabelled'] == 0
    assert clustering(x, c + 1, labels, 5)['inertia'] > 1.5 * inertia


def test_inertia_is_exact_far_from_the_origin():
    x, c, labels, _ = solved(1e4)
    direct = ((x.double() - torch.tensor(c).double()[labels]) ** 2).sum().item()
    assert clustering(x, c, labels, 5)['inertia'] == pytest.approx(direct, rel=1e-9)


def test_wrong_labels_are_counted():
    x, c, labels, _ = solved()
    labels[[3, 77]] = (labels[[3, 77]] + 1) % 5
    assert clustering(x, c, labels, 5)['mislabelled'] == 2


@pytest.mark.parametrize(
    'spoil, why',
    [
        (lambda c, l: (np.full_like(c, np.nan), l), 'not finite'),
        (lambda c, l: (c[:4], l), 'shapes'),
        (lambda c, l: (c, l[:-1]), 'shapes'),
        (lambda c, l: (c, l + 1), 'out of range'),
    ],
)
def test_no_result_that_is_none(spoil, why):
    x, c, labels, _ = solved()
    got = clustering(x, *spoil(c, labels), 5)
    assert got['failed'] == 'wrong' and why in got['why']


#  Workers

ODD = """
import ctypes, os, time
import numpy as np
from benchmarks import peers, worker

def way(f): return peers.Way(lambda: f, 'odd', 'numpy')
def answer(x, k): return x[:k], np.zeros(len(x), int), 7
def quiet(x, k, *args, **kwargs): return answer(x, k)
def loud(x, k, *args, **kwargs):
    print('something', flush=True)
    os.system('echo more')
    return answer(x, k)
def sleepy(x, k, *args, **kwargs): time.sleep(60)
def crashing(x, k, *args, **kwargs): ctypes.string_at(0)
def failing(x, k, *args, **kwargs): raise ValueError('never')
def greedy(x, k, *args, **kwargs):
    np.ones(25_000_000).sum()
    return answer(x, k)
def endless(x, k, *args, **kwargs): return np.ones(2 * 10 ** 9)
def gone(): import no_such_library
peers.WAYS.update({f.__name__: way(f) for f in (quiet, loud, sleepy, crashing, failing, greedy,
                                                endless)}, gone=peers.Way(gone, 'odd', 'numpy'))
if __name__ == '__main__': worker.main()
"""


@pytest.fixture
def odd(tmp_path, monkeypatch):
    "Hire a worker for one of the odd ways, with a workload"
    (tmp_path / 'odd_worker.py').write_text(ODD)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    np.save(tmp_path / 'x.npy', x)
    np.save(tmp_path / 'init.npy', x[:3])
    workers = []

    def f(name):
        workers.append(hire(name, 1, 4.0, module='odd_worker'))
        ready = answer(workers[-1], 60)
        if not ready:
            files = {a: str(tmp_path / f'{a}.npy') for a in ('x', 'init')}
            assert ask(workers[-1], 60, do='load', **files) == {}
        return workers[-1], ready

    yield f
    for w in workers:
        dismiss(w)


def fit(worker, tmp_path, limit=30, calls=2):
    out = str(tmp_path / 'out.npz')
    order = dict(k=3, start=True, options={}, seeds=[0] * calls, measure=True, out=out)
    return ask(worker, limit, do='fit', **order)


def test_a_worker_fits_whatever_the_library_prints(odd, tmp_path):
    got = fit(odd('loud')[0], tmp_path)
    assert len(got['seconds']) == 2 and got['iterations'] == [7, 7]
    found = np.load(tmp_path / 'out.npz')
    assert found['centroids'].shape == (2, 3, 2) and found['labels'].shape == (50,)


def test_a_worker_that_hangs_is_ended(odd, tmp_path):
    w, _ = odd('sleepy')
    begin = time.monotonic()
    got = fit(w, tmp_path, limit=0.5)
    assert got == dict(failed='time', why='no result within 0.5 s')
    assert time.monotonic() - begin < 10 and w.poll() is not None


def test_a_crash_is_recorded(odd, tmp_path):
    w, _ = odd('crashing')
    assert fit(w, tmp_path) == dict(failed='crash', why='crashed: SIGSEGV')
    assert fit(w, tmp_path)['failed'] == 'crash'  # and again


def test_an_exception_is_recorded_and_the_worker_lives(odd, tmp_path):
    w, _ = odd('failing')
    for _ in range(2):
        assert fit(w, tmp_path) == dict(failed='error', why='ValueError: never')


def test_a_library_that_is_missing_is_recorded(odd):
    ready = odd('gone')[1]
    assert ready['failed'] == 'error' and 'no_such_library' in ready['why']


def test_memory_failures_are_told_in_few_words():
    with pytest.raises(RuntimeError) as e:
        torch.empty(10**17)
    assert worker.why(e.value) == dict(failed='memory', why='asked for 400000000.0 GB in one piece')
    assert worker.why(MemoryError('no'))['failed'] == 'memory'
    assert worker.why(ValueError('a\nb')) == dict(failed='error', why='ValueError: a')


@pytest.mark.skipif(not os.path.exists('/proc/self/clear_refs'), reason='no peaks without /proc')
def test_peak_memory_is_that_of_the_fit(odd, tmp_path):
    w, _ = odd('greedy')
    for _ in range(2):  # freed memory is not counted twice
        assert 180 < fit(w, tmp_path, calls=1)['extra_mb'] < 230
    assert fit(odd('quiet')[0], tmp_path, calls=1)['extra_mb'] < 5


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='limits differ')
def test_a_greedy_allocation_fails_and_nothing_else(odd, tmp_path):
    w, _ = odd('endless')
    assert fit(w, tmp_path)['failed'] == 'memory' and w.poll() is None


def test_a_race_of_two_real_ways(monkeypatch):
    names = ('scikit-learn', 'scikit-learn elkan')
    monkeypatch.setattr(kmeans, 'WAYS', {n: kmeans.WAYS[n] for n in names})
    plan = kmeans.SHORT | dict(limit=60)
    records = list(kmeans.timings(['W6'], plan, 1, 4.0))
    assert [r['task'] for r in records] == ['same start', 'default fit']
    a, b = (records[0]['ways'][n] for n in names)
    assert a['inertias'] == pytest.approx(b['inertias'], rel=1e-6) and len(a['inertias']) == 1
    assert 0 < a['best'] <= a['cold'] and a['iterations'][0] > 1 and len(b['warm']) >= 1
    assert a['mislabelled'] == 0 and a['cap'] == 300
    fits = records[1]['ways']['scikit-learn']  # every call has a seed of its own
    assert len(fits['inertias']) == len(fits['warm']) + 1 and len(set(fits['inertias'])) > 1


def test_who_took_too_long_is_not_asked_again(monkeypatch):
    names = ('scikit-learn', 'scikit-learn elkan')
    monkeypatch.setattr(kmeans, 'WAYS', {n: kmeans.WAYS[n] for n in names})
    asked = []

    def call(name, limit, **order):
        asked.append(name)
        return dict(failed='time', why='no result')

    w = workloads.load('W6')
    got = kmeans.race(w, 'default fit', call, kmeans.SHORT, lambda *_: None, {names[1]: 'memory'})
    assert asked == [names[0]] and got[names[1]]['failed'] == 'memory'


def test_limits_follow_scikit_learn(monkeypatch):
    names = ('scikit-learn', 'scikit-learn elkan')
    monkeypatch.setattr(kmeans, 'WAYS', {n: kmeans.WAYS[n] for n in names})
    limits = []

    def call(name, limit, **order):
        limits.append(limit)
        return dict(seconds=[10.0], iterations=[3]) | dict(failed='error', why='no file')

    plan = dict(limit=90, patience=1.5, least=5, repeats=0, spend=1, slow=1)
    kmeans.race(workloads.load('W6'), 'same start', call, plan, lambda *_: None)
    assert limits == [90, 15]


def test_outcomes_of_hazards_come_from_workers(monkeypatch):
    names = ('d = 3', 'NaN is refused', 'requires_grad')
    monkeypatch.setattr(kmeans, 'WAYS', {'scikit-learn': kmeans.WAYS['scikit-learn']})
    monkeypatch.setattr(kmeans, 'HAZARDS', {n: HAZARDS[n] for n in names})
    record = kmeans.hazards(1, 4.0, limit=60)
    got = [r['outcome'] for r in record['ways']['scikit-learn'].values()]
    assert kmeans.key(record) == ('hazards', None) and got == ['ok', 'ok', 'does not apply']


def test_who_takes_no_part_says_why():
    assert kmeans.absent(kmeans.WAYS['fastkmeans'], 'same start')
    assert kmeans.absent(kmeans.WAYS['fastkmeans'], 'default fit') is None
    assert kmeans.absent(kmeans.WAYS['scikit-learn'], 'same start') is None
    assert kmeans.absent(kmeans.WAYS['faiss SuperKmeans'], 'default fit', d=3)
    if not torch.cuda.is_available():
        assert kmeans.absent(kmeans.WAYS['flashlib'], 'default fit') == 'needs a GPU'


#  The command and the record


def test_records_are_merged_by_key():
    old = [dict(workload='W1', task='a', v=1), dict(workload='W2', task='a', v=1)]
    new = [dict(workload='W1', task='a', v=2), dict(workload='hazards', v=2)]
    got = [(r['workload'], r['v']) for r in command.merged(old, new, kmeans.key)]
    assert got == [('W1', 2), ('W2', 1), ('hazards', 2)]


def test_no_two_benchmarks_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(command.tempfile, 'gettempdir', lambda: str(tmp_path))
    lock = tmp_path / 'clusterlearn-benchmark.lock'
    with command.alone():
        with pytest.raises(SystemExit, match='another benchmark'), command.alone():
            pass
    assert not lock.exists()
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait()
    lock.write_text(str(ended.pid))  # left behind by a crash
    with command.alone():
        assert lock.read_text() == str(os.getpid())


def test_every_benchmark_is_there_and_unknown_options_are_refused():
    class Args:
        name, only, threads, limit = 'seeding', 'W3', None, None

    assert {'kmeans', 'meanshift', 'seeding'} <= set(command.names)
    for name in command.names:
        assert callable(importlib.import_module(f'benchmarks.{name}').run)
    with pytest.raises(SystemExit, match='seeding has no --only'):
        command.options(lambda quick: None, Args)
    assert command.options(kmeans.run, Args) == dict(only='W3')


def test_an_unknown_workload_is_refused():
    with pytest.raises(SystemExit, match='--only W9: known are W1, W2'):
        next(kmeans.run(False, only='W9'))


def test_a_record_is_written_whole(tmp_path):
    save(tmp_path / 'r.json', 'kmeans', [dict(workload='W1')], ('faiss-cpu',))
    got = json.loads((tmp_path / 'r.json').read_text())
    assert got['records'] == [dict(workload='W1')] and 'faiss-cpu' in got['versions']
    assert got['machine']['threads'] == torch.get_num_threads()


def test_the_stored_record_is_whole():
    record = json.loads((command.here / 'results' / 'kmeans.json').read_text())
    stored = {kmeans.key(r): r for r in record['records']}
    wanted = {(w, t) for w in workloads.FULL for t in kmeans.TASKS} | {('hazards', None)}
    assert stored.keys() == wanted
    for r in stored.values():
        assert r['ways'].keys() == kmeans.WAYS.keys()
    for key in wanted - {('hazards', None)}:
        assert 'best' in stored[key]['ways']['clusterlearn'], key
        assert 'best' in stored[key]['ways']['scikit-learn'], key
    ours = stored['hazards', None]['ways']['clusterlearn']
    assert ours.keys() == HAZARDS.keys() and {o['outcome'] for o in ours.values()} == {'ok'}


#  Workloads


@pytest.mark.parametrize('name', ['W1', 'W5 small', 'W6', 'W8'])
def test_a_workload_is_the_same_each_time(name):
    a, b = workloads.load(name), workloads.load(name)
    assert torch.equal(a.x, b.x) and torch.equal(a.init, b.init) and a.x.dtype == torch.float32
    assert a.init.shape == (a.k, a.x.shape[1]) and len(a.init.unique(dim=0)) == a.k
    assert (a.x[:, None] == a.init[:3]).all(2).any(0).all()  # they are points


def test_sizes_are_those_of_the_issue():
    assert workloads.FULL == [f'W{i}' for i in range(1, 9)]
    w = workloads.mixture(300, 5, 4)
    assert w.shape == (300, 5) and torch.equal(w, workloads.mixture(300, 5, 4))
    assert workloads.load('W1').x.shape == (1500, 2) and workloads.load('W1').k == 6


#  Hazards: a plain k-means that passes them all, and one fault for each


def plain(x, k, init=None, seed=0, tol=None, max_iter=300):
    "Lloyd in float64; empty clusters go to the farthest points"
    if not torch.as_tensor(x).double().isfinite().all():
        raise ValueError('x has NaN or infinity')
    kind = x.dtype if x.is_floating_point() else torch.float32
    x = x.detach().double()
    g = torch.Generator().manual_seed(seed)
    c = (x[torch.randperm(len(x), generator=g)[:k]] if init is None else init.double()).clone()
    old = None
    for _ in range(max_iter + 1):
        d2, labels = hazards.squares(x, c).min(1)
        if old is not None and torch.equal(labels, old):
            break
        kept, old = c.clone(), labels
        count = torch.bincount(labels, minlength=k)
        sums = torch.zeros_like(c).index_add_(0, labels, x)
        c = torch.where(count[:, None] > 0, sums / count[:, None].clamp(min=1), c)
        lost = (count == 0).nonzero()[:, 0]
        if d2.max() > 0:
            c[lost] = x[d2.topk(len(lost)).indices]
    else:
        c = kept
    return c.to(kind), labels


def test_a_plain_k_means_passes_every_hazard():
    found = {name: outcome(f, plain) for name, f in HAZARDS.items()}
    assert {n: r for n, r in found.items() if r['outcome'] != 'ok'} == {}


def spoiled(change, **fixed):
    def f(x, k, init=None, seed=0, tol=None, max_iter=300):
        return change(x, *plain(x, k, init=init, seed=seed, tol=tol, max_iter=max_iter))

    return f


def stale(x, c, labels):
    "Labels of the centroids before the last"
    means = [x[labels == j].float().mean(0) for j in range(len(c))]
    return torch.stack(means).to(c.dtype), labels


def one_wrong(x, c, labels):
    labels = labels.clone()
    labels[-1] = (labels[-1] + 1) % len(c)
    return c, labels


def tail_of_zeros(x, c, labels):
    labels = labels.clone()
    labels[len(x) // 32 * 32 :] = 0
    return c, labels


def origin(x, k, init=None, **kwargs):
    c, labels = (
        plain(x, k, init=None if init is None else init[:6], **kwargs)
        if k == 6
        else plain(x, 6, init=init[:6])
    )
    return torch.cat([c, torch.zeros(k - 6, x.shape[1])]), labels


def keeps_empty(x, k, init=None, **kwargs):
    c, labels = plain(x, 6, init=init[:6])
    return torch.cat([c, init[6:]]), labels


def edits(x, k, **kwargs):
    res = plain(x, k, **kwargs)
    x -= x.mean(0)
    return res


def edits_start(x, k, init=None, **kwargs):
    res = plain(x, k, init=init, **kwargs)
    if init is not None:
        init.copy_(res[0])
    return res


def seeds_torch(x, k, seed=0, **kwargs):
    torch.manual_seed(seed)
    return plain(x, k, seed=seed, **kwargs)


def draws_numpy(x, k, seed=0, **kwargs):
    return plain(x, k, seed=int(np.random.randint(1000)), **kwargs)


def draws_random(x, k, **kwargs):
    random.random()
    return plain(x, k, **kwargs)


def expanded(x, k, init=None, **kwargs):
    "Distances by the expanded square in float32, without centring"
    c, _ = plain(x, k, init=init, **kwargs)
    a, b = x.float(), c.float()
    return c, ((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T).argmin(1)


def ignores_strides(x, k, init=None, **kwargs):
    "Reads memory in order, whatever the strides"
    whole = torch.as_strided(x, x.shape, (x.shape[1], 1))
    return plain(whole, k, init=init, **kwargs)


def graph(x, c, labels):
    return c + 0 * x.sum(), labels


def moved(x, c, labels):
    return c + 0.05, labels


def whole_numbers(x, c, labels):
    return c.round(), labels


def single(x, c, labels):
    return c.float(), labels


def accepts(x, k, **kwargs):
    return plain(x.nan_to_num(0, 1e9, -1e9), k, **kwargs)


def nan_centroid(x, c, labels):
    c = c.clone()
    c[-1] = float('nan')
    return c, labels


def overflows(x, k, **kwargs):
    "Squared norms in the points' own precision"
    c, labels = plain(x, k, **kwargs)
    return c + ((x**2).sum(1).max() * 0).to(c), labels


def one_for_all(x, k, **kwargs):
    c, labels = plain(x, k, **kwargs)
    return c[:1].expand(k, -1), torch.zeros_like(labels)


faults = {
    'n and k fit no tile': spoiled(tail_of_zeros),
    'd = 1': spoiled(one_wrong),
    'd = 3': spoiled(one_wrong),
    'd = 17': spoiled(moved),
    'd = 50': spoiled(nan_centroid),
    'd = 1537': spoiled(lambda x, c, l: (c[:, :1536], l)),
    'k = 1': spoiled(moved),
    'k = n': one_for_all,
    'float16, |x|² > 65,504': overflows,
    'far from the origin (1e4)': expanded,
    'float64 keeps its digits': spoiled(single),
    'integers': spoiled(whole_numbers),
    'NaN is refused': accepts,
    'infinity is refused': accepts,
    'a million copies of one point': spoiled(nan_centroid),
    'clusters that begin empty': keeps_empty,
    'not contiguous': ignores_strides,
    'requires_grad': spoiled(graph),
    'input stays as it was': edits,
    'tol = 0 stops': spoiled(one_wrong),
    'labels belong to the centroids': spoiled(stale),
    'global generators stay as they were': seeds_torch,
    'same seed, same result': draws_numpy,
}


@pytest.mark.parametrize('name', HAZARDS)
def test_every_hazard_can_be_failed(name):
    assert outcome(HAZARDS[name], faults[name])['outcome'] == 'wrong'


@pytest.mark.parametrize(
    'name, fault, word',
    [
        ('clusters that begin empty', origin, 'origin'),
        ('input stays as it was', edits_start, 'start was changed'),
        ('global generators stay as they were', draws_numpy, 'numpy'),
        ('global generators stay as they were', draws_random, 'random'),
    ],
)
def test_more_faults(name, fault, word):
    got = outcome(HAZARDS[name], fault)
    assert got['outcome'] == 'wrong' and word in got['what']


def test_what_is_raised_and_what_does_not_apply():
    def failing(x, k, **kwargs):
        raise RuntimeError('no')

    def numpy_only(x, k, **kwargs):
        return plain(x, k, **kwargs)

    numpy_only.takes, numpy_only.cannot = 'numpy', {'init': 'random', 'seed': 'none'}
    got = outcome(HAZARDS['d = 3'], failing)
    assert got == dict(outcome='error', what='RuntimeError: no')
    for name in ('requires_grad', 'clusters that begin empty', 'same seed, same result'):
        assert outcome(HAZARDS[name], numpy_only)['outcome'] == 'does not apply'
