"""k-means over one and two processes: seconds of an iteration, and of the message in it.

`strong`: the same points in more processes. `weak`: as many points in each process. Four shards for
each process of the weak form; the strong form has four in all. The processes are started as by
torchrun, on this machine, with one thread each; times are those of the slowest process, the best of
several runs. `rounds` times the message alone, for tables of several sizes."""
import json, os, socket, statistics, subprocess, sys, time
from pathlib import Path

D, K, ITERATIONS = 16, 64, 12


def key(r):
    return r['form'], r['processes'], r.get('n'), r.get('bytes')


def _shards(size, count, world):
    "Overlapping blobs; the shards of this process"
    import torch
    from clusterlearn.data import blobs

    def one(i):
        x = blobs(K, -(-size // K), D, var=120.0, random_state=0).points[:size]
        move = torch.randn(x.shape, generator=torch.Generator().manual_seed(i))
        return x + move

    mine = range(world.rank * count // world.size, (world.rank + 1) * count // world.size)
    return [one(i) for i in mine]


def _fit(world, shards, start):
    "Seconds of an iteration of this process, and of its messages: medians over the iterations"
    from clusterlearn.kmeans.engines.distributed import DistributedEngine, distributed_k_means
    from clusterlearn.kmeans.world import World

    begins, waits = [], []
    assign, add = DistributedEngine.assign, World.add

    def timed(self):
        begins.append(time.perf_counter())
        waits.append(0.0)
        return assign(self)

    def waited(self, x):
        begin = time.perf_counter()
        total = add(self, x)
        if waits:
            waits[-1] += time.perf_counter() - begin
        return total

    DistributedEngine.assign, World.add = timed, waited
    try:
        distributed_k_means(
            shards, K, init=start, tol=0, max_iter=ITERATIONS, empty='keep', engine='compiled'
        )
    finally:
        DistributedEngine.assign, World.add = assign, add
    steps = [b - a for a, b in zip(begins[1:], begins[2:])]  # without the first, of all points
    return statistics.mean(steps), statistics.mean(waits[1:-1])


def _worker(size, count, repeats):
    import torch
    from clusterlearn.kmeans.world import connect

    torch.set_num_threads(1)
    with connect(timeout=300) as world:
        shards = _shards(size, count, world)
        rows = torch.randperm(len(shards[0]), generator=torch.Generator().manual_seed(0))[:K]
        start = world.share(shards[0][rows])
        times = torch.tensor([_fit(world, shards, start) for _ in range(repeats + 1)])[1:]
        slowest = torch.stack(world.gather(times)).amax(0)  # (repeats, 2)
        seconds, message = slowest[slowest[:, 0].argmin()].tolist()
        found = dict(seconds=seconds, message=message)
        if world.rank == 0:
            print(json.dumps(found))


def _rounds(numbers, repeats):
    "Seconds of one message of so many whole numbers"
    import torch
    from clusterlearn.kmeans.world import connect

    torch.set_num_threads(1)
    with connect(timeout=300) as world:
        x, times = torch.ones(numbers, dtype=torch.long), []
        for _ in range(repeats + 3):
            begin = time.perf_counter()
            world.add(x)
            times.append(time.perf_counter() - begin)
        if world.rank == 0:
            print(json.dumps(dict(seconds=statistics.median(times[3:]))))


def _port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return str(s.getsockname()[1])


def _ask(size, *words):
    "What process 0 of a world of `size` prints"
    told = dict(WORLD_SIZE=str(size), MASTER_ADDR='127.0.0.1', MASTER_PORT=_port())
    told |= {f'{lib}_NUM_THREADS': '1' for lib in ('OMP', 'MKL', 'NUMBA')}
    command = [sys.executable, '-m', 'benchmarks.distributed', *map(str, words)]
    group = [
        subprocess.Popen(
            command,
            cwd=Path(__file__).parent.parent,
            env=os.environ | told | {'RANK': str(r)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for r in range(size)
    ]
    said = [w.communicate()[0] for w in group]
    if any(w.returncode for w in group):
        raise RuntimeError(f'a process of {size} failed: {words}')
    return json.loads(said[0])


def run(quick):
    "Yield a record for each world and size"
    shard, repeats = (25_000, 1) if quick else (250_000, 3)
    forms = [('strong', 1, 4), ('strong', 2, 4), ('weak', 1, 4), ('weak', 2, 8)]
    for form, processes, shards in forms:
        found = _ask(processes, 'fit', shard, shards, repeats)
        yield dict(form=form, processes=processes, n=shard * shards, d=D, k=K, **found)
    for numbers in (2**8, 2**11, 2**14, 2**17, 2**20):
        found = _ask(2, 'rounds', numbers, 5 if quick else 40)
        yield dict(form='message', processes=2, bytes=8 * numbers, **found)


if __name__ == '__main__':
    {'fit': _worker, 'rounds': _rounds}[sys.argv[1]](*map(int, sys.argv[2:]))
