"Kernels that are forked are as fresh as others, and end as they do."
import os, signal, time

import pytest
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, RunningKernel
from tools import kernels
from tools.cells import root

kernels.fork_kernels()   # whatever else is collected

@pytest.fixture
def start():
    "Starts kernels as nbval does, and ends them"
    running = []
    def one():
        running.append(RunningKernel(CURRENT_ENV_KERNEL_NAME, cwd=str(root/'nbs')))
        return running[-1]
    yield one
    for k in running:
        if k.is_alive(): k.stop()


def said(kernel, code):
    "What `code` prints, or the name of its error"
    sent, text = kernel.execute_cell_input(code), ''
    while True:
        m = kernel.get_message('iopub', timeout=60)
        if m['parent_header'].get('msg_id') != sent: continue
        content = m['content']
        if m['msg_type'] == 'stream': text += content['text']
        if m['msg_type'] == 'error': text += content['ename']
        if content.get('execution_state') == 'idle': return text.strip()


state = '''
import builtins, os, random, sys, matplotlib, numpy as np, torch
print(hasattr(builtins, 'mine'), hasattr(torch, 'mine'), 'MINE' in os.environ, os.getcwd(),
      'clusterlearn' in sys.modules, torch.get_default_dtype(),
      matplotlib.rcParams['lines.linewidth'], matplotlib.rcParams['backend'], len(globals()),
      len(sys.argv), sys.path, __name__)'''
spoil = '''
import clusterlearn
builtins.mine = torch.mine = os.environ['MINE'] = 'here'
os.chdir('/'); torch.set_default_dtype(torch.float64); torch.manual_seed(7)
matplotlib.rcParams['lines.linewidth'] = 9; np.random.seed(0); random.seed(0)'''
drawn = 'print(np.random.rand(), random.random(), torch.rand(1).item())'


def test_a_kernel_knows_nothing_of_another(start):
    a, b = start(), start()
    fresh = said(a, state)
    assert said(a, spoil) == '' and said(a, state) != fresh
    c = start()
    assert said(b, state) == fresh == said(c, state)
    draws = {x for k in (a, b, c) for x in said(k, drawn).split()}
    assert len(draws) == 9, 'two kernels draw the same'


def test_a_forked_kernel_is_as_one_started_as_usual(start, monkeypatch):
    forked = said(start(), state)
    monkeypatch.setattr(kernels, 'launcher', [])
    assert said(start(), state) == forked


def test_it_can_be_interrupted_and_killed(start):
    k = start()
    sent = k.execute_cell_input('import time; print("begun"); time.sleep(60)')
    while k.get_message('iopub', timeout=60)['msg_type'] != 'stream': pass
    k.interrupt()
    k.await_reply(sent, timeout=30)
    assert said(k, 'print(1 + 1)') == '2'
    pid = k.km.provisioner.pid
    os.kill(pid, signal.SIGKILL)
    for _ in range(100):
        if not k.is_alive(): break
        time.sleep(.05)
    assert not k.is_alive()


@pytest.mark.skipif(not hasattr(os, 'pidfd_open'), reason='kernels are forked on Linux only')
def test_kernels_are_forked(start):
    k = start()
    assert isinstance(k.km.provisioner.process, kernels.Forked)
