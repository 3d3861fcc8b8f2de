"""Everything that a GPU is needed for, in one command: python -m benchmarks gpu [--dry] [--resume]

It needs the package, torch and triton; pytest and the peers are used where they are. The steps run
in order, the most valuable first, each in a process of its own with its own limit; eight minutes in
all. Each record is written as soon as it is there, and a short table comes last. `--resume` leaves
out the steps that are recorded and did not fail. `--dry` runs all of it on a CPU, with tiny sizes
and Triton's interpreter, and records nothing."""

import contextlib, json, os, selectors, signal, subprocess, sys, time
from pathlib import Path

packages = ('triton', 'flash-kmeans', 'flashlib')
root = Path(__file__).parent.parent


def key(r):
    return r['step'], r['case']


# Seconds at most; eight minutes together
STEPS = dict(tests=190, kmeans=110, first=30, tiles=25, huge=60, course=25, others=40)


# ---- processes and the table


def lines(worker, limit):
    "Lines that a process writes, until it ends; a failure if its time is up before"
    end, rest = time.monotonic() + limit, b''
    with selectors.DefaultSelector() as ready:
        ready.register(worker.stdout, selectors.EVENT_READ)
        while ready.select(max(0, end - time.monotonic())):
            part = os.read(worker.stdout.fileno(), 65536)
            if not part:
                return
            *whole, rest = (rest + part).split(b'\n')
            yield from whole
    yield json.dumps(dict(case='end', failed=f'not done within {limit:g} s')).encode()


def run(quick, dry=False, done=(), only=None):
    "Yield the records of all steps; those in `done` are left out"
    import torch

    if quick or dry:
        settings = {'TRITON_INTERPRET': '1', 'CUDA_VISIBLE_DEVICES': ''}
    elif torch.cuda.is_available():
        settings = {}
    else:
        sys.exit('python -m benchmarks gpu needs a GPU; --dry runs it on a CPU, with tiny sizes')
    if only and only not in STEPS:
        sys.exit(f'--only {only}: known are {", ".join(STEPS)}')
    for step, limit in STEPS.items():
        if step in done or only not in (None, step):
            continue
        begin = time.monotonic()
        worker = subprocess.Popen(
            [sys.executable, '-m', 'benchmarks.gpu_steps', step] + ['--dry'] * bool(settings),
            cwd=root,
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            start_new_session=True,  # what it starts itself ends with it
        )
        last = {}
        try:
            for line in lines(worker, limit):
                if line.startswith(b'{'):
                    last = json.loads(line)
                    if last['case'] != 'end':
                        yield dict(step=step) | last
            if not last.get('failed'):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(10)  # it has closed its output; how does it end?
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            code = worker.wait()
            worker.stdout.close()
        failed = last.get('failed') if last.get('case') == 'end' else f'ended with {code}'
        yield dict(step=step, case='end', seconds=time.monotonic() - begin, failed=failed)


def finished(records):
    "The steps that are recorded and did not fail, for --resume"
    return {r['step'] for r in records if r['case'] == 'end' and not r['failed']}


def table(records):
    "What a reader wants to know first, a line each"
    for r in records:
        name = f'{r["step"]}: {r["case"]}'
        if why := r.get('failed') or r.get('error'):
            yield f'{name}: FAILED {why}'
        elif r.get('skipped'):
            yield f'{name}: skipped, {r["skipped"]}'
        elif r['step'] == 'tests' and r['case'] != 'end':
            yield f'{name}: passed, {r["seconds"]:.1f} s {r.get("said", "")}'
        elif 'tiles' in r:
            times = f'{1e3 * r["best"]:.2f} ms, ours {1e3 * (r["own"] or 0):.2f}'
            yield f'{name}: {times}; {r["tiles"]}'
        elif 'calls' in r:
            yield f'{name}: ' + ', '.join(f'{s:.2f}' for s in r['calls']) + f' s, {r["engine"]}'
        elif r['case'] == 'end':
            yield f'{name} after {r["seconds"]:.0f} s'
        else:
            yield name + (f', the same on both: {r["same"]}' if 'same' in r else '')
        for way, w in r.get('ways', {}).items():
            if 'error' in w:
                yield f'  {way:24s} {w["error"]}'
                continue
            more = f' {100 * r["proven"][way]:.3f} % proven' if way in r.get('proven', {}) else ''
            if 'iteration' in w:
                more = f' {1e3 * w["iteration"]:.2f} ms an iteration, {w["n_iter"]} iterations'
                more += f', wrong {100 * w["wrong"]:.3f} %, inertia {w["inertia"]:.6g}'
            yield f'  {way:24s} {1e3 * w.get("seconds", w.get("best", 0)):10.2f} ms{more}'
