"clusterlearn neighbors: the table it writes, its report, and what it refuses."
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import KDTree

from clusterlearn import blobs, neighbors
from clusterlearn.cli import main

@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    "An empty folder with a table of 90 points, two of them equal"
    monkeypatch.chdir(tmp_path)
    x = blobs(3, 30, 2, random_state=0).points.double().numpy()
    x[7] = x[3]
    pd.DataFrame(x, columns=['width', 'height']).to_csv('in.csv', index=False)
    return x

def pairs(r): # The table that a result of the function stands for
    ends = getattr(r, 'indptr', None)
    counts = torch.full((len(r.indices),), r.indices.shape[-1]) if ends is None else ends.diff()
    return pd.DataFrame(dict(row=np.repeat(np.arange(len(counts)), counts.numpy()),
                             neighbor=r.indices.flatten(), distance=r.distances.flatten()))

def read(path, sep=','): # A table with all its digits, which Python reads exactly
    rows = [line.split(sep) for line in Path(path).read_text().splitlines()]
    kinds = (int, int, float)
    return pd.DataFrame({c[0]: list(map(kind, c[1:])) for kind, c in zip(kinds, zip(*rows))})

def test_the_table_in_every_format(here):
    "All digits, as the function gives them; distances are those of scikit-learn's tree"
    want = pairs(neighbors(torch.from_numpy(here), k=4))
    for ending in ('csv', 'tsv', 'npy', 'pt'):
        assert main(f'neighbors in.csv --k 4 --out o.{ending} --device cpu --quiet'.split()) == 0
    got = [read('o.csv'),
           read('o.tsv', '\t'),
           pd.DataFrame(np.load('o.npy', allow_pickle=False)),
           pd.DataFrame({n: c.numpy() for n, c in torch.load('o.pt', weights_only=True).items()})]
    for table in got: pd.testing.assert_frame_equal(table, want)
    far = KDTree(here).query(here, 4)[0]
    np.testing.assert_allclose(got[0].distance.to_numpy().reshape(-1, 4), far, atol=1e-12)

def test_radius_and_report(here, capsys):
    assert main('neighbors in.csv --radius 3 --out o.csv --device cpu'.split()) == 0
    want, out = pairs(neighbors(torch.from_numpy(here), radius=3.)), capsys.readouterr().out
    pd.testing.assert_frame_equal(read('o.csv'), want)
    lines = out.replace('per point', 'per-point').splitlines()
    facts = dict(line.split(maxsplit=1) for line in lines if line)
    assert facts['radius'] == '3' and facts['wrote'] == 'o.csv' and 'clusters' not in out
    assert facts['per-point'] == f'{len(want) / 90:.4g}' and facts['points'] == '90'
    assert main('neighbors in.csv --json --device cpu'.split()) == 0          # ten, by default
    told = json.loads(capsys.readouterr().out)
    assert told['k'] == 10 and told['pairs'] == 900 and 'sizes' not in told
    assert told['k-distance'] == neighbors(torch.from_numpy(here), k=10).distances[:, -1].median()

def test_rows_are_those_of_the_file(here):
    "A row that is left out counts; standardized columns give standardized distances"
    lines = Path('in.csv').read_text().splitlines()
    Path('gap.csv').write_text('\n'.join([*lines[:3], ',1.5', *lines[3:]]) + '\n')
    main('neighbors gap.csv --k 2 --missing drop --standardize --out o.csv --quiet'.split())
    got, number = pd.read_csv('o.csv'), np.delete(np.arange(91), 2)
    z = torch.from_numpy((here - here.mean(0)) / here.std(0))
    want = pairs(neighbors(z, k=2))
    assert (got.row == number[want.row]).all() and (got.neighbor == number[want.neighbor]).all()
    np.testing.assert_allclose(got.distance, want.distance, atol=1e-9)

@pytest.mark.parametrize('words, why', [
    ('--k 0', '--k 0: at least 1 neighbour is needed'),
    ('--k 91', '--k=91 is more than the 90 points: choose --k from 1 to 90'),
    ('--radius -1', '--radius -1.0: zero or a number above it is needed'),
    ('--k 3 --radius 1', 'k=3, radius=1.0: give one of them'),
    ('--eps 1', '--eps is for DBSCAN: say clusterlearn dbscan'),
    ('--append', '--append: neighbours are no clusters; use --out alone'),
    ('--sort size', '--sort: neighbours are no clusters'),
    ('--plot p.png', '--plot: neighbours are no clusters'),
    ('--animate p.html', '--animate: neighbours are no clusters'),
    ('--centroids c.csv', '--centroids: neighbours are no clusters'),
    ('--model m.npz', '--model: neighbours are no clusters'),
    ('--predict m.npz', '--predict: neighbours are no clusters')])
def test_refusals(capsys, words, why):
    assert main(['neighbors', 'in.csv', '--out', 'o.csv', *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.startswith(f'clusterlearn: {why}') and err.count('\n') == 1
    assert sorted(p.name for p in Path().iterdir()) == ['in.csv']

def test_help(capsys):
    assert main(['neighbors', '--help']) == 0
    text = capsys.readouterr().out
    assert '--radius' in text and 'itself included (default: 10)' in text
