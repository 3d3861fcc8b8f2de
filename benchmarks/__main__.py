"""Run one benchmark and record it: python -m benchmarks NAME [--quick] [--out FILE]

NAME is a module of this folder with a function `run(quick)` that yields records (dicts)."""

import argparse, contextlib, importlib, json, os, sys, tempfile
from pathlib import Path
from benchmarks.harness import save

here = Path(__file__).parent
names = sorted(
    p.stem for p in here.glob('*.py') if p.stem not in ('__init__', '__main__', 'harness')
)


@contextlib.contextmanager
def alone():
    "Refuse to time anything beside another benchmark: both would be slower, and both records wrong"
    lock = Path(tempfile.gettempdir()) / 'clusterlearn-benchmark.lock'
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        sys.exit(f'another benchmark is running; wait for it, or remove {lock} if it is not')
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def main():
    p = argparse.ArgumentParser(
        prog='python -m benchmarks', description='Time clusterlearn and its peers.'
    )
    p.add_argument('name', choices=names)
    p.add_argument('--quick', action='store_true', help='small sizes only')
    p.add_argument(
        '--out',
        type=Path,
        help='where to record; default benchmarks/results/NAME.json, not with --quick',
    )
    args = p.parse_args()
    records = []
    with alone():
        for r in importlib.import_module(f'benchmarks.{args.name}').run(args.quick):
            records.append(r)
            print(json.dumps(r), flush=True)
    out = args.out or (None if args.quick else here / 'results' / f'{args.name}.json')
    if out:
        save(out, args.name, records)
        print(f'recorded in {out}')


if __name__ == '__main__':
    main()
