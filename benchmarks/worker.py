"""One way in a process of its own: python -m benchmarks.worker NAME THREADS MEMORY [DEVICE]

Orders come in as lines of JSON, one answer goes out for each. A crash, a loop without end or a
greedy allocation ends this process and no other; threads and peak memory are this way's alone."""

import ctypes, faulthandler, gc, json, os, re, sys, time
from pathlib import Path
import numpy as np
from benchmarks.peers import WAYS

held = {}  # The open way and its workload


def to_numpy(a):
    "Whatever a library returned, as an array"
    return np.asarray(a.detach().cpu() if hasattr(a, 'detach') else a)


def native(a, takes, device='cpu'):
    "The array as the library wants it"
    if takes == 'numpy':
        return a
    import torch

    return torch.from_numpy(a).to(device)


def in_mb(name):
    "A line of /proc/self/status, in MB"
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(l.split()[1]) / 1024 for l in lines if l.startswith(name))


def high_water():
    "The most this process ever held, in MB, where the system tells; else None"
    try:
        return in_mb('VmHWM')
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == 'darwin' else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def settle():
    "Give freed memory back, forget the peak; return MB now. Without /proc the old peak stays"
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # else memory that is kept for later would look used
        Path('/proc/self/clear_refs').write_text('5')
    except (OSError, AttributeError):
        pass
    return high_water()


def limit_memory(gb):
    "An allocation beyond this fails, instead of the machine"
    try:
        import resource
    except ImportError:
        return
    try:
        now = in_mb('VmSize') / 1024
    except OSError:
        return
    soft = int((now + gb) * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))


def start(name, threads, memory, device):
    "Open the way; before it any library could start more threads than agreed"
    if hasattr(os, 'sched_setaffinity'):  # TBB does not ask OMP_NUM_THREADS
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    way = WAYS[name]
    held.update(way=way, fit=way.open(), device=device)
    if 'torch' in sys.modules:
        sys.modules['torch'].set_num_threads(threads)
    limit_memory(memory)


def load(x, init):
    "Read the workload from files"
    arrays = dict(x=np.load(x), init=np.load(init))
    held.update({n: native(a, held['way'].takes, held['device']) for n, a in arrays.items()})
    return {}


def wait():
    "A GPU returns before it is done"
    torch = sys.modules.get('torch')
    if torch and torch.cuda.is_available():
        torch.cuda.synchronize()


def fit(k, start, options, seeds, measure, out):
    "Fit once for each seed; times and iterations of all, results in the file `out`"
    before, seconds, found = settle() if measure else None, [], []
    for seed in seeds:
        wait()
        begin = time.perf_counter()
        r = held['fit'](held['x'], k, held['init'] if start else None, seed, **options)
        wait()
        seconds.append(time.perf_counter() - begin)
        found.append((to_numpy(r[0]), r[2]))
        if len(found) == 1:
            labels = to_numpy(r[1])
        del r
    answer = dict(seconds=seconds, iterations=[None if i is None else int(i) for _, i in found])
    if before is not None:
        answer['extra_mb'] = round(high_water() - before, 1)
    np.savez(out, centroids=np.stack([c for c, _ in found]), labels=labels)
    return answer


def hazard(name):
    "What comes of one hazard"
    from benchmarks.hazards import HAZARDS, adapter, outcome

    return outcome(HAZARDS[name], adapter(held['way'], held['fit']))


def why(e):
    "An exception in one line, and whether memory was the reason"
    lines = f'{type(e).__name__}: {e}'.strip().splitlines()
    if asked := re.search(r'tried to allocate (\d+) bytes', str(e)):  # torch's words, but shorter
        return dict(failed='memory', why=f'asked for {int(asked[1]) / 1e9:.1f} GB in one piece')
    greedy = isinstance(e, MemoryError) or 'memory' in str(e).lower() or 'bad_alloc' in str(e)
    return dict(failed='memory' if greedy else 'error', why=lines[0][:300])


def main():
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what libraries print goes elsewhere
    name, threads, memory, *device = sys.argv[1:]

    def answer(f, *args, **kwargs):
        try:
            reply = f(*args, **kwargs) or {}
        except Exception as e:
            reply = why(e)
        answers.write(json.dumps(reply) + '\n')
        answers.flush()

    answer(start, name, int(threads), float(memory), (device or ['cpu'])[0])
    orders = dict(load=load, fit=fit, hazard=hazard)
    for line in sys.stdin:
        order = json.loads(line)
        # should nobody be left to end a loop without end, it ends itself
        faulthandler.dump_traceback_later(order.pop('limit') + 10, exit=True)
        answer(orders[order.pop('do')], **order)
        faulthandler.cancel_dump_traceback_later()


if __name__ == '__main__':
    main()
