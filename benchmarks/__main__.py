"""Run one benchmark and record it: python -m benchmarks NAME [--quick] [--out FILE]

NAME is a module of this folder with a function `run(quick)` that yields records (dicts)."""

import argparse, importlib, json
from pathlib import Path
from benchmarks.harness import save

here = Path(__file__).parent
names = sorted(
    p.stem for p in here.glob('*.py') if p.stem not in ('__init__', '__main__', 'harness')
)


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
    for r in importlib.import_module(f'benchmarks.{args.name}').run(args.quick):
        records.append(r)
        print(json.dumps(r), flush=True)
    out = args.out or (None if args.quick else here / 'results' / f'{args.name}.json')
    if out:
        save(out, args.name, records)
        print(f'recorded in {out}')


if __name__ == '__main__':
    main()
