"What chapters 10 to 13 say of stored times is what the stored times say."

import json, re
from tools.cells import load, root


def stored(name, pattern):
    "The numbers that a chapter's stored texts hold, by what stands before them"
    cells = load(root / 'nbs' / name).cells
    texts = [''.join(o.get('text', '')) for c in cells for o in c.get('outputs', [])]
    found = re.findall(pattern, '\n'.join(texts))
    assert found, f'{name}: no stored output matches {pattern!r}'
    return {key.strip(): float(value.replace(',', '')) for key, value in found}


def table():
    rows = r'(?m)^(loop|batches of 500|blocks of 250) +([\d.]+) ms'
    return stored('11_meanshift_batch.ipynb', rows)


def sweep():
    return stored('11_meanshift_batch.ipynb', r'(?m)^cpu: batches of +(\d+) +([\d.]+) ms')


def check_table(t):
    "11: batches remove Python's share, and blocks need less than batches"
    assert t['blocks of 250'] * 2 < t['batches of 500'] < t['loop'], t


def check_sweep(s):
    "11: single points pay for many small operations, and from some size on the time is level"
    assert s['1'] > 1.5 * min(s.values()) and s['250'] < 1.5 * min(s.values()), s


def check_record(records):
    "12: exact scikit-learn is slowest everywhere, mean_shift faster than with bins, cells fastest"
    for r in records:
        s = r['seconds']
        assert s['cell_shift'] < s['mean_shift'] < s['sklearn, bins'], (r['d'], r['n'])
        assert 'sklearn' not in s or s['sklearn'] > 10 * s['sklearn, bins'], (r['d'], r['n'])


def check_gains(t):
    "79: cells climb faster than all points"
    assert t['24,000 points, exact=False'] < t['24,000 points, exact=True'], t


def gains():
    return stored('79_meanshift_climb.ipynb', r'(?m)^ *([\d,]+ points, exact=\w+) *: +([\d.]+) s')


def records():
    text = (root / 'benchmarks/results/meanshift.json').read_text()
    return [r for r in json.loads(text)['records'] if r['workload'] == 'blobs']


def test_table():
    check_table(table())


def test_sweep():
    check_sweep(sweep())


def test_record():
    check_record(records())


def test_gains():
    check_gains(gains())


def test_each_check_can_fail():
    "With one number changed, the claim no longer holds"
    wrong = records()
    wrong[0]['seconds']['mean_shift'] = 1e3
    faults = (
        (check_table, table() | {'blocks of 250': 1e9}),
        (check_sweep, sweep() | {'1': 0.0}),
        (check_record, wrong),
        (check_gains, gains() | {'24,000 points, exact=True': 0.0}),
    )
    for check, value in faults:
        try:
            check(value)
        except AssertionError:
            continue
        raise RuntimeError(f'{check.__name__} let a fault pass')
