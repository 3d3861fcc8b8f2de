"Which engine `k_means` takes by itself, when it changes, and what a first call costs."

import os, subprocess, sys, warnings
from dataclasses import replace

import pytest
import torch
from judge import forgy, same
from clusterlearn import k_means
from clusterlearn.data import uniform
from clusterlearn.kmeans.engines import auto, compiled
from clusterlearn import tiers
from clusterlearn.kmeans.engines.auto import can_compile


@pytest.fixture
def fresh(monkeypatch):
    "As in a process that has not run k_means yet"
    tier = replace(auto.TIER, spent=0.0, runs=0, compiled=set(), failed=False)
    monkeypatch.setattr(auto, 'TIER', tier)
    monkeypatch.setattr(tiers, 'has_machine_code', lambda *args: False)
    return tier


def cost(tier, seconds):
    "Let compiled code be had for so much"
    tier.load = tier.compile = seconds


def points(n=6000, d=8, dtype=torch.float32):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0)).to(dtype)


def test_small_problems_do_not_count(fresh):
    before = replace(fresh, compiled=set())
    r = k_means(uniform(300, 2, random_state=0), 5, random_state=0)
    assert r.engine == 'small' and fresh == before


def test_a_small_problem_with_much_work_counts(fresh):
    x = points(1800, 64)
    assert k_means(x, 10, init=x[:10], max_iter=3).engine == 'small' and fresh.runs == 1
    cost(fresh, 0)
    assert k_means(x, 10, init=x[:10]).engine == 'compiled'


def test_work_counts_until_it_is_worth_the_compiler(fresh):
    x = points()
    assert k_means(x, 40, init=x[:40]).engine == 'tensor'
    assert fresh.runs == 1 and 0 < fresh.spent < fresh.load and not fresh.compiled
    cost(fresh, fresh.spent / 2)
    assert k_means(x, 40, init=x[:40]).engine == 'compiled'
    assert fresh.compiled == {torch.float32}
    assert k_means(x[:50], 4, init=x[:4]).engine == 'compiled'  # ready, so for small ones, too
    assert k_means(x.double(), 40, init=x[:40]).engine == 'compiled'
    assert fresh.compiled == {torch.float32, torch.float64}


def test_the_more_runs_the_sooner(fresh):
    x = points()
    for _ in range(4):
        k_means(x, 40, init=x[:40], max_iter=2, tol=0)
    assert fresh.runs == 4 and not fresh.compiled
    cost(fresh, 3.9 * fresh.spent)
    assert k_means(x, 40, init=x[:40], max_iter=2, tol=0).engine == 'compiled'


@pytest.mark.parametrize('n', [6000, 20_000])
def test_a_change_between_iterations_changes_no_label(fresh, monkeypatch, n):
    x = points(n) if n == 6000 else (3 * points(n, 2)).round()
    c, turns = forgy(x, 40), []
    monkeypatch.setattr(fresh, 'earned', lambda: turns.append(1) or len(turns) > 4)
    monkeypatch.setattr(compiled.CompiledEngine, 'name', 'auto')  # `same` asks for that name
    if n == 6000:
        r = same('auto', x, c)
        assert len(turns) == 5 and fresh.compiled
        changed = [i.n_changed for i in r.history]
        plain = [i.n_changed for i in k_means(x, 40, init=c, tol=0, engine='plain').history]
        assert changed == plain and r.history[4].n_searched == len(x)
    else:  # equal rows merge to fewer than a large problem has
        assert k_means(x, 40, init=c, tol=0).n_iter > 4


def test_what_compiled_code_cannot_read_stays_where_it_is(fresh, monkeypatch):
    cost(fresh, 0)
    x = points()
    for y in (x.half(), x.bfloat16(), x.T.contiguous().T):
        assert not can_compile(y) and k_means(y, 40, init=y[:40], max_iter=3).engine == 'tensor'
    assert can_compile(x) and not can_compile(points(10, 257))
    monkeypatch.setenv('NUMBA_DISABLE_JIT', '1')
    assert not can_compile(x) and k_means(x, 40, init=x[:40], max_iter=3).engine == 'tensor'


def test_a_broken_compiler_is_said_once(fresh, monkeypatch):
    def broken(*args):
        raise EOFError('Ran out of input')

    cost(fresh, 0)
    monkeypatch.setattr(compiled, 'sweep', broken)
    x = points()
    with pytest.warns(RuntimeWarning, match='Ran out of input.*Deleting .*__pycache__'):
        r = k_means(x, 40, init=x[:40], tol=0)
    assert r.engine == 'tensor' and fresh.failed
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        again = k_means(x, 40, init=x[:40], tol=0)
    assert torch.equal(r.labels, again.labels)


program = """if True:
    import sys, torch
    from clusterlearn import k_means
    x = torch.randn(20_000, 8, generator=torch.Generator().manual_seed(0))
    r = k_means(x, 40, init=x[:40], max_iter=20)
    assert r.engine == 'tensor' and 'numba' not in sys.modules, 'a first call loaded Numba'
    from clusterlearn.kmeans.engines import auto
    auto.TIER.spent = 100.
    s = k_means(x, 40, init=x[:40], max_iter=20)
    assert s.engine == ENGINE, s.engine
    assert torch.equal(r.labels, s.labels)"""


def in_a_fresh_process(cache, engine, **env):
    code = program.replace('ENGINE', repr(engine))
    env = os.environ | {'NUMBA_CACHE_DIR': str(cache)} | env
    ran = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stderr


def test_a_first_call_compiles_nothing(tmp_path):
    "Three processes: without a cache, with it, and with one that a crash or an update has spoiled"
    in_a_fresh_process(tmp_path, 'compiled')
    indices = list(tmp_path.rglob('*.nbi'))
    times = [p.stat().st_mtime_ns for p in indices]
    assert indices and not in_a_fresh_process(tmp_path, 'compiled')
    assert [p.stat().st_mtime_ns for p in indices] == times, 'compiled again'
    for p in indices:
        p.write_bytes(b'nonsense')
    assert 'RuntimeWarning: k_means runs without' in in_a_fresh_process(tmp_path, 'tensor')


def test_numba_can_be_switched_off(tmp_path):
    in_a_fresh_process(tmp_path, 'tensor', NUMBA_DISABLE_JIT='1')
