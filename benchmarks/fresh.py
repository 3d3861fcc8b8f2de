"""Measurements that need a process of their own: first calls and peak memory; and aims.

A first call is timed in new processes with an empty folder for machine code, ours and the peer's in
turn; the minimum counts, once with imports and once without. Peak memory is that of one call, in MB
above what the process held before it, after a small call that loads what is needed."""

import os, subprocess, sys, tempfile
from pathlib import Path
import numpy as np

root = Path(__file__).parent.parent

_timed = """import sys, time
import numpy as np, torch
{data}
begin = time.perf_counter()
{imports}
ready = time.perf_counter()
{call}
end = time.perf_counter()
print(end - begin, end - ready)"""

_peak = """import sys, time
import numpy as np, torch
from benchmarks.worker import high_water, settle
{warm}
{data}
before = settle()
{call}
print(high_water() - before)"""


def mixed(n, d, groups, seed=0):
    "Half blobs of standard deviation 1/2, half uniform noise, in random order"
    g = np.random.default_rng(seed)
    centers, m = g.uniform(-10, 10, (groups, d)), n // 2
    blobs = centers[g.integers(groups, size=m)] + g.normal(size=(m, d)) / 2
    return np.concatenate([blobs, g.uniform(-12, 12, (n - m, d))])[g.permutation(n)]


def dense(n, d):
    return np.random.default_rng(0).normal(size=(n, d))


def _numbers(code, **env):
    "The numbers in the last line that `code` prints in a new process"
    run = dict(cwd=root, env=os.environ | env, check=True, capture_output=True, text=True)
    out = subprocess.run([sys.executable, '-c', code], **run).stdout
    return [float(word) for word in out.splitlines()[-1].split()]


def first_call(
    data,  # Code that makes the points; not timed
    calls,  # {name: (code of imports, code of a call)}
    repeats=3,
):
    "Seconds of the first call without machine code on the disk, by name: all, and the call alone"
    best, alone = {}, {}
    for _ in range(repeats):
        for name, (imports, call) in calls.items():
            code = _timed.format(data=data, imports=imports, call=call)
            with tempfile.TemporaryDirectory() as empty:
                both = _numbers(code, NUMBA_CACHE_DIR=empty)
            for found, seconds in zip((best, alone), both):
                found[name] = min(found.get(name, float('inf')), seconds)
    return best, alone


def peak_memory(
    data,  # Code that makes the points; what they hold does not count
    call,  # Code of the call
    warm='',  # Code of imports and of a small call before
):
    "MB that the process holds at most during the call, above what it held before"
    return _numbers(_peak.format(data=data, call=call, warm=warm))[0]


def aim(what, measured, at_least=None, at_most=None):
    "An aim, what was measured, and whether it is met"
    if measured is None:  # the peer is not installed, or failed
        return dict(what=what, at_least=at_least, at_most=at_most, measured=None, met=None)
    met = measured >= at_least if at_most is None else measured <= at_most
    return dict(what=what, at_least=at_least, at_most=at_most, measured=measured, met=bool(met))
