"""Time several ways to do the same work, in turn, and record what came out.

A *way* is a name and a function without arguments. Its first call is the cold time; the warm times
that follow are taken in turn, A B A B …, so that a machine that slows down slows all of them down.
Compare ratios within one record."""

import importlib.metadata as md, json, os, platform, selectors, signal, statistics
import subprocess, sys, tempfile, time
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
        p: one(p) for p in ('clusterlearn', 'torch', 'numpy', 'numba', 'scikit-learn', *packages)
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


# Ways in processes of their own. A way that fails, hangs or crashes ends alone.


def hire(name, threads, memory, device='cpu', module='benchmarks.worker'):
    "Start a worker process; its first answer says whether it is ready"
    settings = {f'{lib}_NUM_THREADS': str(threads) for lib in ('OMP', 'MKL', 'OPENBLAS')}
    return subprocess.Popen(
        [sys.executable, '-m', module, name, str(threads), str(memory), device],
        cwd=Path(__file__).parent.parent,
        env=os.environ | settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )


def dismiss(worker):
    "End a worker, whatever it does"
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        pipe.close()


def ended(worker):
    "How a process that is gone ended, in words"
    code = worker.wait()
    try:
        return f'crashed: {signal.Signals(-code).name}'
    except ValueError:
        return f'ended with exit status {code}'


def answer(worker, limit):
    "The worker's next answer; after `limit` seconds it is ended"
    line, end = b'', time.monotonic() + limit
    with selectors.DefaultSelector() as ready:
        ready.register(worker.stdout, selectors.EVENT_READ)
        while not line.endswith(b'\n'):
            if not ready.select(max(0, end - time.monotonic())):
                dismiss(worker)
                return dict(failed='time', why=f'no result within {limit:g} s')
            part = os.read(worker.stdout.fileno(), 65536)
            if not part:
                return dict(failed='crash', why=ended(worker))
            line += part
    return json.loads(line)


def ask(worker, limit, **order):
    "Give an order, wait for its answer"
    try:
        worker.stdin.write((json.dumps(order | {'limit': limit}) + '\n').encode())
    except (BrokenPipeError, ValueError):
        return dict(failed='crash', why='the process is gone')
    return answer(worker, limit)


def turns(
    ways,  # {name: f(calls, first), which gives {'seconds': [...], ...} or {'failed': …, 'why': …}}
    repeats=3,  # Turns after the first
    spend=10.0,  # Seconds for the warm calls of each way; one call of it is always made
    slow=30.0,  # A way whose first call took longer is not called again
    burst=0.3,  # Calls in one turn take about this many seconds, for times too short to tell
    pause=0.1,  # Between two ways, for threads that still spin
    tell=lambda name, r: None,  # Called after each turn of each way
    renew=None,  # Called after the first warm turn with those who go on: new processes for them
):
    """Call all `ways` in turn, A B C … A B C …

    Gives each one's cold time, warm times, their minimum and median, and what else it answered to
    its first call. Lists that it answers later are appended; if a later call fails, `ended` says it
    there are no more. A process may be slow from beginning to end: two for each way make that less
    a matter of luck. The first call in the second one is not recorded."""
    res = {name: {} for name in ways}
    for turn in range(repeats + 1):
        if renew and turn == 2:
            going = [name for name, r in res.items() if goes_on(r, spend, slow)]
            renew(going)
            for name in going:
                ways[name](1, False)
        for name, f in ways.items():
            r = res[name]
            if turn and not goes_on(r, spend, slow):
                continue
            calls = 1 if turn == 0 else max(1, min(10, int(burst / typical(r))))
            time.sleep(pause)
            got = f(calls, turn == 0)
            seconds = got.pop('seconds', None)
            if 'failed' in got:
                r.update(got if turn == 0 else dict(ended=got['why']))
            elif turn == 0:
                r.update(cold=seconds[0], warm=[], **got)
            else:
                r['warm'] += seconds
                for key, values in got.items():
                    r[key] += values
            tell(name, r)
    for r in res.values():
        if 'failed' not in r:
            times = r['warm'] or [r['cold']]
            r.update(best=min(times), median=statistics.median(times))
    return res


def typical(r):
    return min(r['warm'] or [r['cold']])


def goes_on(r, spend, slow):
    "Did this way not fail, and is there time to call it again?"
    if 'failed' in r or 'ended' in r:
        return False
    if not r['warm']:
        return r['cold'] <= slow
    return sum(r['warm']) + typical(r) <= spend


def clustering(x, centroids, labels, k):
    "Judge a result in float64: inertia of the centroids, and how many labels are not the nearest"
    x, c, labels = (torch.as_tensor(a) for a in (x, centroids, labels))
    if c.shape != (k, x.shape[1]) or labels.shape != (len(x),):
        return dict(failed='wrong', why=f'shapes are {tuple(c.shape)} and {tuple(labels.shape)}')
    if not c.isfinite().all():
        return dict(failed='wrong', why='centroids are not finite')
    labels = labels.long()
    if labels.min() < 0 or labels.max() >= k:
        return dict(failed='wrong', why='labels out of range')
    mean = x.mean(0, dtype=torch.float64)  # centred, the expanded square keeps its digits
    c, inertia, wrong = c.double() - mean, 0.0, 0
    for part, own in zip(x.split(8192), labels.split(8192)):
        part = part.double() - mean
        nearest = torch.addmm((c**2).sum(1), part, c.T, alpha=-2).argmin(1)
        least, taken = (((part - c[j]) ** 2).sum(1) for j in (nearest, own))
        inertia += least.sum().item()
        wrong += int((taken > least * (1 + 1e-4) + 1e-6 * (part**2).sum(1)).sum())
    return dict(inertia=inertia, mislabelled=wrong)
