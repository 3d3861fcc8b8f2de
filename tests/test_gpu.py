"""`python -m benchmarks gpu`: its dry run, what it leaves out, what fails; on_gpu.py on a GPU."""
import json, os, subprocess, sys
from pathlib import Path
import pytest, torch

if sys.platform != 'linux':
    pytest.skip('Triton has releases for Linux only', allow_module_level=True)
pytest.importorskip('triton')

import on_gpu
from benchmarks import gpu
root = Path(__file__).parent.parent
on_device = [f for n, f in vars(on_gpu).items() if n.startswith('test_')]

@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
@pytest.mark.parametrize('f', on_device, ids=lambda f: f.__name__)
def test_cuda(f): f()

# What a bare machine lacks may not be imported by anything but pytest's own step.
bare = '''
import sys
for name in ("pytest", "hypothesis", "nbdev", "fastcore", "nbval", "sklearn", "IPython"):
    sys.modules[name] = None
'''

def test_dry_run_and_resume(tmp_path):
    (tmp_path/'sitecustomize.py').write_text(bare)
    env = os.environ | dict(PYTHONPATH=f'{tmp_path}:{root}')
    out, command = tmp_path/'gpu.json', [sys.executable, '-m', 'benchmarks', 'gpu', '--dry']
    def run(*more):
        ran = subprocess.run([*command, '--out', str(out), *more], cwd=root, env=env,
                             capture_output=True, text=True)
        assert not ran.returncode, ran.stderr[-2000:]
        return ran.stdout, json.loads(out.read_text())['records']
    said, records = run()
    assert not [r for r in records if r.get('error') or r.get('failed')]
    ends = [r['step'] for r in records if r['case'] == 'end']
    assert ends == list(gpu.STEPS) and gpu.finished(records) == set(ends)
    cases = {r['case'] for r in records}
    assert {f.__name__ for f in on_device} <= cases and 'pytest' in cases
    runs = [r['ways'] for r in records if r['case'].startswith('run')]
    assert len(runs) == 3 and all(ways['exact']['wrong'] == 0 for ways in runs)
    assert next(r for r in records if r['case'] == 'fp16 16')['tiles']['BD'] == 16
    assert [len(r['calls']) for r in records if r['step'] == 'first' and 'calls' in r] == [3] * 3
    assert 'tests: end after' in said and '100.000 % proven' in said
    kept = [r for r in records if r['step'] != 'course']              # as if it had been cut off
    out.write_text(json.dumps(dict(records=kept)))
    said, again = run('--resume')
    assert sorted(map(gpu.key, again)) == sorted(map(gpu.key, records))
    printed = [json.loads(line) for line in said.splitlines() if line.startswith('{')]
    assert {r['step'] for r in printed} == {'course'}

def test_a_step_that_hangs_or_crashes_is_recorded(monkeypatch):
    monkeypatch.setattr(gpu, 'STEPS', {'tests': .05, 'no such step': 60})
    found = list(gpu.run(False, dry=True))
    assert [r['case'] for r in found] == ['end', 'end'] and not gpu.finished(found)
    assert found[0]['failed'] == 'not done within 0.05 s' and found[1]['failed'] == 'ended with 1'
    assert ['tests: end: FAILED not done within 0.05 s'] == list(gpu.table(found[:1]))

def test_it_refuses_without_a_gpu_and_other_steps():
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match='needs a GPU; --dry runs it on a CPU'):
            next(gpu.run(False))
    with pytest.raises(SystemExit, match='--only W1: known are tests, kmeans'):
        next(gpu.run(False, dry=True, only='W1'))
    assert sum(gpu.STEPS.values()) <= 480
