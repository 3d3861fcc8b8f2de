"What the course says about times is what its stored times say; sizes, stubs and the oracle."
import json, re
import pytest, torch
from clusterlearn.exercise import attempt, claim, compare_versions
from clusterlearn.kmeans.batch import k_means_cluster_v2
from clusterlearn.kmeans.loop import k_means_from, same_as_loop, update_loop
from clusterlearn.kmeans.scatter import k_means_cluster, k_means_cluster_v3, k_means_cluster_v3_1
from tools.cells import load, notebooks

def said(cell):
    "The text that a cell has stored"
    return ''.join(t if isinstance(t, str) else ''.join(t)
                   for o in cell.get('outputs', []) for t in [o.get('text', '')])

def contradicted(cells):
    "Claims beside a timing that the stored times contradict"
    return [line for c in cells if c.cell_type == 'code' for line in said(c).splitlines()
            if line.startswith('CONTRADICTED')]

def untold(cells):
    "Claims that are not in a timing cell, so that a slow machine would fail the build"
    return [c.source for c in cells if c.cell_type == 'code' and 'timing' not in c.marks
            and re.search(r'^claim\(', c.source, re.M)]

@pytest.mark.parametrize('path', notebooks(), ids=lambda p: p.stem)
def test_no_claim_is_contradicted(path):
    cells = load(path).cells
    assert not contradicted(cells) and not untold(cells)

def test_a_contradicted_claim_is_found(tmp_path, capsys):
    assert claim('two is more than one', 2 > 1) and not claim('one is more than two', 1 > 2)
    text = capsys.readouterr().out
    assert text.splitlines()[0] == 'holds: two is more than one'
    cell = dict(cell_type='code', id='a', metadata={}, execution_count=None, source='claim("x", y)',
                outputs=[dict(output_type='stream', name='stdout', text=text)])
    nb = dict(cells=[cell], metadata={}, nbformat=4, nbformat_minor=5)
    (tmp_path/'a.ipynb').write_text(json.dumps(nb))
    cells = load(tmp_path/'a.ipynb').cells
    assert contradicted(cells) == ['CONTRADICTED: one is more than two'] and untold(cells)

course = [p for p in notebooks() if re.match(r'(01|02|03|20|21|22|23b?)_', p.name)]

@pytest.mark.parametrize('path', course, ids=lambda p: p.stem)
def test_a_chapter_is_short(path):
    cells = load(path).cells
    long = {c.id: n for c in cells if c.cell_type == 'code'
            if (n := len(c.source.splitlines())) > 25}
    assert len(cells) <= 80 and not long

@pytest.mark.parametrize('path', course, ids=lambda p: p.stem)
def test_stubs_fail_and_solutions_pass(path):
    "Before each solution an attempt does not pass; the solution does, in its cell or in the next"
    code = [c for c in load(path).cells if c.cell_type == 'code']
    for i, c in enumerate(code):
        if 'code-summary: "Solution' not in c.source: continue
        assert said(code[i - 1]).startswith('Not yet'), code[i - 1].source
        assert 'Well done' in said(c) + ''.join(map(said, code[i + 1:i + 2])), c.source

versions = [k_means_cluster_v2, k_means_cluster_v3, k_means_cluster_v3_1, k_means_cluster]

@pytest.mark.parametrize('f', versions)
def test_table_has_no_other_labels(f, capsys):
    less = f is k_means_cluster
    rows = compare_versions({'v': lambda k, x, c, r: f(k, x, r - less, 0., init=c)[1]}, large=False)
    assert rows['v'][0].other == 0 and rows['v'][0].distances == 6 * 1500 * 6
    def zeros(k, x, c, r): return torch.zeros(1500).long(), 7
    counted = compare_versions({'v': zeros}, large=False)
    assert counted['v'][0].distances == 7 and counted['v'][0].other > 1000

def late(points, clusters, generator): return update_loop(points, clusters, generator) + 1e-2
def swapped(points, centroids): return [[1], [0], *([] for _ in centroids[2:])]
def wrong_dtype(*a, **kw): c, l = k_means_cluster(*a, **kw); return c.double(), l
def worse(k, x, n=20, *a, **kw):   # right in the end, and on its way its WCSS rises
    c, l = k_means_cluster(k, x, n, *a, **kw)
    return (c * (1 + .1 * n), l) if n < 6 else (c, l)

@pytest.mark.parametrize('f, message', [
    (k_means_from(update=late), 'away from the loop'),
    (k_means_from(assign=swapped), 'labels|index'),
    (wrong_dtype, 'float64'), (worse, 'WCSS rises')])
def test_the_oracle_finds(f, message):
    with pytest.raises((AssertionError, RuntimeError, IndexError), match=message): same_as_loop(f)

def test_attempt_reports(capsys):
    def check(f): assert f() == 2, 'it should be 2'
    for f in (lambda: 2, lambda: 3, lambda: 1 / 0): attempt(check, f)
    assert capsys.readouterr().out.splitlines() == [
        'Well done: every check passed.', 'Not yet: it should be 2',
        'Not yet: your code stopped with ZeroDivisionError: division by zero']
