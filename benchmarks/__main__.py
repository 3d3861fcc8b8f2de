"""Run one benchmark and record it: python -m benchmarks NAME [--quick] [--out FILE]

NAME is a module of this folder with a function `run(quick, ...)` that yields records (dicts). If it
has a function `key(record)`, each record is stored as soon as it is there, in the place of an older
one with the same key. `gpu` has --dry and --resume besides, and ends with a table."""

import argparse, contextlib, importlib, inspect, json, os, signal, sys, tempfile
from pathlib import Path
from benchmarks.harness import save

here = Path(__file__).parent
names = sorted(p.stem for p in here.glob('*.py') if '\ndef run(' in p.read_text('utf-8'))


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def alone():
    "Refuse to time anything beside another benchmark: both would be slower, and both records wrong"
    lock = Path(tempfile.gettempdir()) / 'clusterlearn-benchmark.lock'
    with contextlib.suppress(OSError, ValueError):
        if not running(int(lock.read_text())):
            lock.unlink()
    try:
        with open(lock, 'x') as f:
            f.write(str(os.getpid()))
    except FileExistsError:
        sys.exit(f'another benchmark is running; wait for it, or remove {lock} if it is not')
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def merged(old, new, key):
    "`old` records, with each of `new` in the place of the one with its key, or at the end"
    res = {key(r): r for r in old} | {key(r): r for r in new}
    return list(res.values())


def options(run, args):
    "What was said on the command line and `run` knows; what it does not know is refused"
    known = ('only', 'threads', 'limit', 'dry')
    said = {n: v for n, v in vars(args).items() if n in known and v}
    if unknown := said.keys() - inspect.signature(run).parameters.keys():
        sys.exit(f'{args.name} has no --{sorted(unknown)[0]}')
    return said


def main():
    p = argparse.ArgumentParser(
        prog='python -m benchmarks', description='Time clusterlearn and its peers.'
    )
    p.add_argument('name', choices=names)
    p.add_argument('--quick', action='store_true', help='small sizes only')
    p.add_argument('--full', action='store_true', help='all sizes; the default')
    p.add_argument('--only', help='one workload, as W3, or hazards; the rest of FILE stays')
    p.add_argument('--threads', type=int, help='for each library; default: all cores')
    p.add_argument('--limit', type=float, help='seconds for one fit; beyond, it has failed')
    p.add_argument('--dry', action='store_true', help='gpu: tiny, on a CPU, records nothing')
    p.add_argument('--resume', action='store_true', help='gpu: leave out what is recorded')
    p.add_argument(
        '--out',
        type=Path,
        help='where to record; default benchmarks/results/NAME.json, not with --quick',
    )
    args = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('ended'))
    module = importlib.import_module(f'benchmarks.{args.name}')
    key, packages = getattr(module, 'key', None), getattr(module, 'packages', ())
    out = args.out or (None if args.quick or args.dry else here / 'results' / f'{args.name}.json')
    old = json.loads(out.read_text())['records'] if key and out and out.exists() else []
    records, said = [], options(module.run, args)
    if args.resume:
        if not hasattr(module, 'finished'):
            sys.exit(f'{args.name} has no --resume')
        said['done'] = module.finished(old)
    with contextlib.nullcontext() if args.dry else alone():  # a dry run times nothing
        for r in module.run(args.quick, **said):
            records.append(r)
            print(json.dumps(r), flush=True)
            if out and key:
                save(out, args.name, merged(old, records, key), packages)
    if out and not key:
        save(out, args.name, records, packages)
    for line in module.table(merged(old, records, key)) if hasattr(module, 'table') else ():
        print(line)
    if out:
        print(f'recorded in {out}')


if __name__ == '__main__':
    main()
