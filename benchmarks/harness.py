"""Time several ways to do the same work, in turn, and record what came out.

A *way* is a name and a function without arguments. Its first call is the cold time; the warm times
that follow are taken in turn, A B A B …, so that a machine that slows down slows all of them down.
Compare ratios within one record."""

import importlib.metadata as md, json, os, platform, tempfile, time
from pathlib import Path
import torch


def versions(*packages):
    "The installed version of each of `packages`, and of Python"

    def one(p):
        try:
            return md.version(p)
        except md.PackageNotFoundError:
            return None

    return {'python': platform.python_version()} | {
        p: one(p) for p in ('clusterlearn', 'torch', 'numpy', 'scikit-learn', *packages)
    }


def machine():
    "What the times were taken on"
    try:
        cpu = next(
            l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')
        )
    except (OSError, StopIteration):
        cpu = platform.processor()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        'cpu': cpu,
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'gpu': gpu,
        'system': platform.system(),
    }


def timed(f):
    "Seconds of one call, and what it returned; a GPU is waited for"
    begin = time.perf_counter()
    out = f()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin, out


def race(
    ways,  # {name: function without arguments}
    repeats=3,  # Warm calls of each, in turn
    budget=60.0,  # A way whose call took longer than this many seconds is not called again
    check=None,  # Called with what a way returned; gives a dict to record beside its times
):
    "Times of all `ways`; a way that fails is recorded as its error"
    res = {name: {'warm': []} for name in ways}
    for turn in range(repeats + 1):
        for name, f in ways.items():
            r = res[name]
            if 'error' in r or r.get('cold', 0) > budget:
                continue
            try:
                seconds, out = timed(f)
            except Exception as e:
                r['error'] = f'{type(e).__name__}: {e}'.splitlines()[0]
                continue
            if turn == 0:
                r.update(cold=seconds, **(check(out) if check else {}))
            else:
                r['warm'].append(seconds)
    for r in res.values():
        if 'cold' in r:
            r['best'] = min(r['warm'] or [r['cold']])
    return res


def save(path, name, records, packages=()):
    "Write `records` as JSON, whole or not at all"
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        {
            'benchmark': name,
            'date': time.strftime('%Y-%m-%d'),
            'machine': machine(),
            'versions': versions(*packages),
            'records': records,
        },
        indent=1,
    )
    with tempfile.NamedTemporaryFile('w', dir=path.parent, delete=False) as f:
        f.write(text + '\n')
    os.chmod(f.name, 0o644)
    os.replace(f.name, path)
