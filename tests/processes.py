"""What each process of tests/test_distributed.py does: `python -m processes FOLDER WHAT`, with the
variables of torchrun around it. It leaves what it saw in FOLDER."""
import contextlib, io, json, os, signal, sys, warnings
from pathlib import Path

import torch

from clusterlearn import cli
from clusterlearn.data import blobs
from clusterlearn.kmeans.engines.distributed import DistributedEngine, distributed_k_means
from clusterlearn.kmeans.world import World, connect

def points(d=3, dtype=torch.float32):
    "Blobs in random order"
    x = blobs(8, 90, d, var=6., random_state=3).points.to(dtype)
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]

cuts = [300, 10, 170, 90, 50, 100]   # rows of six shards

def far(): return torch.cat([points()[:6].double(), 1e3 + torch.arange(6.).view(2, 3).double()])

def many():
    "Shards whose equal rows are merged, one of them in another scale"
    x = points().round()
    return [torch.cat([x] * 12) * (1e-3 if i == 2 else 1) for i in range(6)]

def stop(rank): # A callback of one process that ends all after three iterations
    def call(*state):
        call.times += 1
        return call.times == 3
    call.times = 0
    return call if rank == World().rank else None

split = lambda x: list(x.split(cuts))
cases = {
    'parallel': lambda: (split(points()), 8, dict(random_state=0, tol=0, engine='tensor')),
    'auto': lambda: (split(points()), 8, dict(random_state=0, tol=0)),
    'default': lambda: (split(points()), 8, dict(random_state=1, n_init=3, engine='plain')),
    'random': lambda: (split(points()), 8, dict(init='random', random_state=2, engine='small')),
    'farthest': lambda: (split(points()), 8, dict(init=far(), tol=0, engine='tensor')),
    'keep': lambda: (split(points()), 8, dict(init=far(), tol=0, empty='keep', engine='plain')),
    'double': lambda: (split(points(dtype=torch.float64) * 1e12), 5, dict(random_state=0)),
    'one dimension': lambda: (split(points(1)), 3, dict(random_state=0, tol=0, engine='tensor')),
    'merged': lambda: (many(), 4, dict(random_state=0, tol=0, engine='tensor')),
    'one cluster': lambda: (split(points()), 1, dict(random_state=0, engine='tensor')),
    'few points': lambda: (split(points()), 720, dict(random_state=0, max_iter=2, engine='plain')),
    'stopped': lambda: (split(points()), 8, dict(random_state=0, tol=0, callback=stop(0),
                                                 engine='tensor')),
}

def spoil(shards, i, f): return [f(x.clone()) if j == i else x for j, x in enumerate(shards)]
def with_nan(x): x[7, 1] = float('nan'); return x
faults = {
    'nan': lambda s: spoil(s, 5, with_nan),
    'columns': lambda s: spoil(s, 4, lambda x: x[:, :2]),
    'empty': lambda s: spoil(s, 3, lambda x: x[:0]),
    'text': lambda s: spoil(s, 0, lambda x: [['a', 'b', 'c']]),
}

def mine(shards, world): # A run of the shards
    s = len(shards)
    return slice(world.rank * s // world.size, (world.rank + 1) * s // world.size)

def result(name):
    "A case in this process of this world"
    shards, k, options = cases[name]()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return distributed_k_means(shards[mine(shards, World())], k, **options)

def said(f, *args, **options):
    "The error of a call"
    try: f(*args, **options)
    except Exception as e: return f'{type(e).__name__}: {e}'

def errors():
    "What each fault says in this process"
    world, names = World(), [f'points/{i}.npy' for i in range(6)]
    at = mine(names, world)
    found = {n: said(distributed_k_means, f(split(points()))[at], 8, names=names[at])
             for n, f in faults.items()}
    return found | {'k': said(distributed_k_means, split(points())[at], 8 + world.rank),
                    'none': said(distributed_k_means, split(points())[at] if world.rank else [], 8),
                    'path': said(distributed_k_means, split(points())[at], 8,
                                 checkpoint='nowhere/run.npz' if world.rank == 0 else None)
                    if world.size == 1 else None}

def command(*words):
    "Status and standard error of the command"
    with contextlib.redirect_stderr(io.StringIO()) as told: status = cli.main(list(words))
    return status, told.getvalue()

def die(number, rank, after=3):
    "A signal to itself at the third update, if this is process `rank`"
    update, count = DistributedEngine.update, 0
    def counted(self, centroids):
        nonlocal count
        count += 1
        if count == after and World().rank == rank: os.kill(os.getpid(), number)
        update(self, centroids)
    DistributedEngine.update = counted

def everything(folder):
    "All cases and faults, then the command, with a process that is lost in the middle"
    with connect(timeout=60) as world:
        for name in cases:
            r = result(name)
            torch.save(r, folder/f'{name} {world.rank}.pt')
        found = errors() | {'command': command('bad', '--k', '3')}
        (folder/f'errors {world.rank}.json').write_text(json.dumps(found))
    os.environ['MASTER_PORT'] = os.environ['SECOND_PORT']
    die(signal.SIGKILL if world.size == 3 else signal.SIGSTOP, rank=1)
    words = ('points', '--k', '8', '--tol', '0', '--out', f'lost {world.size}', '--timeout', '8')
    (folder/f'lost {world.rank}.json').write_text(json.dumps(command(*words)))

def killed(folder):
    "The command, whose process 1 is killed once"
    if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0': die(signal.SIGKILL, rank=1)
    sys.exit(cli.main(['points/*.npy', '--k', '8', '--tol', '0', '--n-init', '2', '--quiet',
                       '--out', 'again']))

if __name__ == '__main__': globals()[sys.argv[2]](Path(sys.argv[1]))
