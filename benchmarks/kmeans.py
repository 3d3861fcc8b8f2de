"""k-means against its peers: two tasks on eight workloads, and a list of hazards.

*Same start*: first centroids are given, stop when no label changes, at most 300 iterations.
*Default fit*: the library's own start and stopping rule, started once, with another seed in each
call. Every way runs in a process of its own, after two turns in a second one; one way at a time, in
turn. Inertias are computed here, in float64, from the centroids that a way returned. A record is
kept for each workload and task, and one for all hazards."""

import contextlib, functools, itertools, os, tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
import torch
from benchmarks.harness import answer, ask, clustering, dismiss, hire, turns
from benchmarks.hazards import HAZARDS
from benchmarks.peers import WAYS
from benchmarks.workloads import FULL, QUICK, WORKLOADS, load

packages = sorted({way.package for way in WAYS.values()} - {'clusterlearn', 'scikit-learn'})
TASKS = 'same start', 'default fit'
# A fit has failed after `patience` times what the first way, scikit-learn, took, but not before
# `least` seconds, and after `limit` seconds in any case.
LONG = dict(limit=90, patience=1.5, least=8, repeats=4, spend=15, slow=45)
SHORT = dict(limit=20, patience=1.5, least=2, repeats=1, spend=1, slow=1)
hopeless = 'time', 'memory'  # Who failed so from the same start is not tried again


def key(record):
    "A newer record with the same key replaces the older"
    return record['workload'], record.get('task')


def absent(way, task='', d=None):
    "Why a way takes no part, if it does not"
    if way.gpu and not torch.cuda.is_available():
        return 'needs a GPU'
    if d and d < way.least_d:
        return f'needs {way.least_d} dimensions'
    if task == 'same start' and 'init' in way.cannot:
        return f'cannot be given a start: {way.cannot["init"]}'


@contextlib.contextmanager
def crew(names, threads, memory):
    """A worker for each way

    Gives `give(x, init)`, `call(who, limit, **order)` and `renew(names)`, new workers for these."""
    with tempfile.TemporaryDirectory() as folder:
        files = {a: str(Path(folder, f'{a}.npy')) for a in ('x', 'init')}
        workers, useless = {}, {}

        def begin(name):
            workers[name] = hire(name, threads, memory, 'cuda' if WAYS[name].gpu else 'cpu')
            got = answer(workers[name], 120)
            if not got and Path(files['x']).exists():
                got = ask(workers[name], 120, do='load', **files)
            if got:
                useless[name] = got

        def give(x, init):
            for a, t in zip(files, (x, init)):
                np.save(files[a], t.numpy())
            for name in workers.keys() - useless.keys():
                ask(workers[name], 120, do='load', **files)

        def renew(names):
            for name in names:
                dismiss(workers[name])
            with ThreadPoolExecutor(threads) as pool:  # importing takes seconds for each
                list(pool.map(begin, names))

        def call(who, limit, **order):
            if workers[who].poll() is not None and who not in useless:
                renew([who])
            return useless.get(who) or ask(workers[who], limit, **order)

        try:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(begin, names))
            yield give, call, renew
        finally:
            for w in workers.values():
                dismiss(w)


def judged(got, w, path, first, cap):
    "What a worker answered, and what its file shows: inertias of all results, labels of the first"
    if 'failed' in got:
        return got
    with np.load(path) as found:
        all_centroids, labels = found['centroids'], found['labels']
    seen = [clustering(w.x, c, labels, w.k) for c in all_centroids]
    bad = [s for s in seen if 'failed' in s]
    if bad:
        return bad[0]
    more = dict(mislabelled=seen[0]['mislabelled'], cap=cap) if first else {}
    return got | dict(inertias=[s['inertia'] for s in seen]) | more


def race(w, task, call, plan, tell, tired=None, renew=None):
    "Times and results of all ways that take part in `task`; `tired` failed in the task before"
    base, start, d = [], task == 'same start', w.x.shape[1]
    seeds = {name: itertools.count() for name in WAYS}

    def way(name, calls, first):
        limits = [max(plan['least'], round(plan['patience'] * t, 1)) for t in base if first]
        options = dict(tol=WAYS[name].rest, max_iter=300) if start else {}
        drawn = [next(seeds[name]) for _ in range(calls)]
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder, 'found.npz'))
            order = dict(k=w.k, start=start, options=options, seeds=drawn, measure=first, out=out)
            got = call(name, min([plan['limit'], *limits]), do='fit', **order)
            if first and name == 'scikit-learn':
                base.extend(got.get('seconds', []))
            if start and not first:  # the same again: it need not be judged twice
                return {n: v for n, v in got.items() if n != 'iterations'}
            return judged(got, w, out, first, 300 if start else WAYS[name].cap)

    out = {
        who: dict(failed=f, why='not tried after the same start')
        for who, f in (tired or {}).items()
    }
    out |= {name: dict(absent=why) for name, x in WAYS.items() if (why := absent(x, task, d))}
    ways = {name: functools.partial(way, name) for name in WAYS if name not in out}
    pace = {name: plan[name] for name in ('repeats', 'spend', 'slow')}
    return turns(ways, **pace, tell=tell, renew=renew) | out


def timings(names, plan, threads, memory):
    "Yield a record for each workload and task"
    there = [name for name, way in WAYS.items() if not absent(way)]
    with crew(there, threads, memory) as (give, call, renew):
        for name in names:
            w, ways = load(name), {}
            give(w.x, w.init)
            for task in TASKS:
                tell = functools.partial(progress, f'{name}, {task}')
                tired = {who: r['failed'] for who, r in ways.items() if r.get('failed') in hopeless}
                ways = race(w, task, call, plan, tell, tired, renew)
                n, d = w.x.shape
                facts = dict(workload=name, task=task, data=WORKLOADS[name][0], n=n, d=d, k=w.k)
                yield facts | dict(plan=plan, threads=threads, memory_gb=memory, ways=ways)


def progress(where, name, r):
    if 'failed' in r:
        said = f'{r["failed"]}: {r["why"]}'
    else:
        said = f'{(r["warm"] or [r["cold"]])[-1]:.4f} s, inertia {r["inertias"][-1]:.6g}'
    print(f'  {where}: {name}: {said}', flush=True)


def hazards(threads, memory, limit=10):
    "A record of what comes of every hazard for every way; several ways at a time, not timed"
    there = [name for name, way in WAYS.items() if not absent(way, d=1)]
    with crew(there, threads, memory) as (_, call, _):

        def all_of(name):
            return {h: outcome(call(name, limit, do='hazard', name=h), name, h) for h in HAZARDS}

        with ThreadPoolExecutor(threads) as pool:
            found = dict(zip(there, pool.map(all_of, there)))
    out = {name: dict(absent=why) for name, way in WAYS.items() if (why := absent(way, d=1))}
    return dict(workload='hazards', limit=limit, ways=found | out)


def outcome(got, name, h):
    "A hazard's outcome; that a worker had to be ended is one, too"
    if 'failed' in got:
        got = dict(outcome=got['failed'], what=got['why'])
    print(f'  hazard {h!r}: {name}: {got["outcome"]} {got.get("what", "")}'.rstrip(), flush=True)
    return got


def cores():
    "How many this process may use"
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


def half_the_memory():
    "In GB; a way that asks for more has failed"
    return round(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**31, 1)


def run(quick, only=None, threads=None, limit=None):
    "Yield a record for each workload and task, and one for the hazards"
    if only and only not in (*WORKLOADS, 'hazards'):
        raise SystemExit(f'--only {only}: known are {", ".join(WORKLOADS)}, hazards')
    threads, memory = threads or cores(), half_the_memory()
    torch.set_num_threads(threads)
    plan = (SHORT if quick else LONG) | ({'limit': limit} if limit else {})
    names = [only] if only in WORKLOADS else [] if only else QUICK if quick else FULL
    # a full run hires new workers for each workload: none has memory left from the one before
    for group in [names] if quick else [[name] for name in names]:
        yield from timings(group, plan, threads, memory)
    if only == 'hazards' or not (only or quick):
        yield hazards(threads, memory)
