"Files that people bring: each kind with the right value, or with the line that makes it work."
import bz2, gzip, io, json, lzma, sys, warnings
from types import SimpleNamespace

import numpy as np, pandas as pd, polars as pl, pyarrow as pa, pytest, torch
import pyarrow.feather, pyarrow.parquet as pq
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch.testing import assert_close

from clusterlearn import load
from clusterlearn.columns import FileNotice, Loaded
from clusterlearn.pictures import to_image
from clusterlearn.tables import append_column

want = torch.tensor([[1, 2.5], [3, 4], [-5, 6.25]], dtype=torch.float64)

def written(folder, text, name='a.csv', encoding='utf-8'):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path

def read(path, **options):
    "What `load` gives, and the notices that it gives on the way"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        found = load(path, **options)
    assert all(w.category is FileNotice for w in said)
    return found, [str(w.message) for w in said]

def right(found, names=None, points=want):
    assert_close(found.points, points, atol=0, rtol=0)
    assert found.names == names and found.points.is_contiguous()

# ---- dialects: read at the first try, and silently

xy = ['x', 'y']
quiet = {
    'commas': ('x,y\n1,2.5\n3,4\n-5,6.25\n', {}, xy),
    'no header': ('1,2.5\n3,4\n-5,6.25\n', {}, None),
    'no last line end': ('x,y\n1,2.5\n3,4\n-5,6.25', {}, xy),
    'Windows': ('x,y\r\n1,2.5\r\n3,4\r\n-5,6.25\r\n', {'name': 'a.CSV'}, xy),
    'old Mac': ('x,y\r1,2.5\r3,4\r-5,6.25\r', {}, xy),
    'UTF-8 with a mark': ('\ufeffx,y\n1,2.5\n3,4\n-5,6.25\n', {}, xy),
    'UTF-8 with a mark, no header': ('\ufeff1,2.5\n3,4\n-5,6.25\n', {}, None),
    'UTF-16': ('größe\ty\n1\t2.5\n3\t4\n-5\t6.25\n', {'encoding': 'utf-16'}, ['größe', 'y']),
    'UTF-16, no header': ('1,2.5\n3,4\n-5,6.25\n', {'encoding': 'utf-16'}, None),
    'UTF-16 without a mark': ('x;y\n1;2,5\n3;4\n-5;6,25\n', {'encoding': 'utf-16-le'}, xy),
    'cp1252': ('größe;y\n1;2,5\n3;4\n-5;6,25\n', {'encoding': 'cp1252'}, ['größe', 'y']),
    'semicolons': ('x;y\n1;2.5\n3;4\n-5;6.25\n', {}, xy),
    'decimal commas': ('x;y\n1;2,5\n3;4\n-5;6,25\n', {}, xy),
    'decimal commas, no header': ('1,0;2,5\n3,0;4,0\n-5,0;6,25\n', {}, None),
    'decimal commas in quotes': ('x,y\n"1,0","2,5"\n"3","4"\n"-5","6,25"\n', {}, xy),
    'sep=': ('sep=;\nx;y\n1;2.5\n3;4\n-5;6.25\n', {}, xy),
    'sep= on Windows': ('\ufeffsep=,\r\nx,y\r\n1,2.5\r\n3,4\r\n-5,6.25\r\n', {}, xy),
    'other separator in quotes': ('"x; cm",y\n1,2.5\n3,4\n-5,6.25\n', {}, ['x; cm', 'y']),
    'comma in quotes': ('"x, cm";"y, cm"\n1;2.5\n3;4\n-5;6.25\n', {}, ['x, cm', 'y, cm']),
    'line end in quotes': ('"x\ncm",y\n1,2.5\n3,4\n-5,6.25\n', {}, ['x\ncm', 'y']),
    'quoted numbers': ('"x","y"\n"1","2.5"\n"3","4"\n"-5","6.25"\n', {}, xy),
    'blank first line': ('\n\nx,y\n1,2.5\n3,4\n-5,6.25\n', {}, xy),
    'blank lines': ('x,y\n\n1,2.5\n3,4\n\n-5,6.25\n\n', {}, xy),
    'empty rows': ('x,y\n1,2.5\n,\n3,4\n-5,6.25\n,\n,\n', {}, xy),
    'blanks after commas': ('x, y\n1, 2.5\n3, 4\n-5, 6.25\n', {}, xy),
    'blanks around': (' 1 , 2.5\n3e0 ,+4.\n -5, 6.25 \n', {}, None),
    'tabs': ('x\ty\n1\t2.5\n3\t4\n-5\t6.25\n', {'name': 'a.tsv'}, xy),
    'tabs in .txt': ('x one\ty two\n1\t2.5\n3\t4\n-5\t6.25\n', {'name': 'a.txt'},
                     ['x one', 'y two']),
    'blanks in .dat': ('   1   2.5\n   3   4\n  -5   6.25\n', {'name': 'a.dat'}, None),
    'blanks and a header': ('x y\n1 2.5\n3 4\n-5 6.25\n', {'name': 'a.txt'}, xy),
    'bars': ('x|y\n1|2.5\n3|4\n-5|6.25\n', {'name': 'a.txt'}, xy),
    "NumPy's savetxt": ('# x y\n1 2.5\n3 4\n-5 6.25\n', {'name': 'a.txt'}, xy),
    'a remark': ('# made on a Tuesday by hand\nx,y\n1,2.5\n3,4\n-5,6.25\n', {}, xy),
    'a separator at the end': ('x,y,\n1,2.5\n3,4\n-5,6.25\n', {}, xy),
    'gz': (gzip.compress(b'x,y\n1,2.5\n3,4\n-5,6.25\n'), {'name': 'a.csv.gz'}, xy),
    'bz2': (bz2.compress(b'x,y\n1,2.5\n3,4\n-5,6.25\n'), {'name': 'a.csv.bz2'}, xy),
    'xz': (lzma.compress(b'1\t2.5\n3\t4\n-5\t6.25\n'), {'name': 'a.tsv.xz'}, None),
}

@pytest.mark.parametrize('kind', quiet)
def test_read_at_the_first_try(tmp_path, kind):
    text, how, names = quiet[kind]
    found, said = read(written(tmp_path, text, **how))
    right(found, names)
    assert not said

def test_one_column(tmp_path):
    for text in ('x\n1\n3\n-5\n', '1\n3\n-5\n', 'x\n1,0\n3,0\n-5,0\n'):
        found, said = read(written(tmp_path, text))
        right(found, ['x'] if 'x' in text else None, want[:, :1])
        assert not said

def test_thousands(tmp_path):
    big = torch.tensor([[1234.5, 7], [1234567, 8]], dtype=torch.float64)
    for text in ('1.234,5;7\n1.234.567;8\n', '"1,234.5",7\n"1,234,567",8\n'):
        right(read(written(tmp_path, text))[0], None, big)
    with pytest.raises(ValueError, match="row 3, column 1: '1.5' is not a number"):
        load(written(tmp_path, '1.234,5;7\n1.234.567;8\n1.5;9\n'))

def test_booleans(tmp_path):
    right(read(written(tmp_path, 'x,y\n1,True\n3,False\n'))[0], xy,
          torch.tensor([[1., 1.], [3., 0.]], dtype=torch.float64))

@pytest.mark.parametrize('cells', ['1,234;5', '12,345;6\n-1,500;7'])
def test_ambiguous_commas_are_refused(tmp_path, cells):
    path = written(tmp_path, f'x;y\n{cells}\n')
    with pytest.raises(ValueError, match=r'may be .* or .*--decimal'): load(path)
    first = cells.partition(';')[0]
    assert load(path, decimal=',').points[0, 0] == float(first.replace(',', '.'))
    assert load(path, decimal='.').points[0, 0] == float(first.replace(',', ''))

# ---- headers and row names

def test_numbers_in_the_first_row(tmp_path):
    "A header of years or of 0, 1, 2 is read as a point with a notice, and as names when told"
    for head in ('2019,2020', '0,1'):
        path = written(tmp_path, f'{head}\n1,2.5\n3,4\n-5,6.25\n')
        found, said = read(path)
        assert len(found.points) == 4 and len(said) == 1 and '--header' in said[0]
        right(read(path, header=True)[0], head.split(','))
        found, said = read(path, header=False)
        assert len(found.points) == 4 and not said
    found, said = read(written(tmp_path, '0,1\n2,3\n4,5\n'))
    assert len(found.points) == 3 and not said

def test_row_names_of_r_and_pandas(tmp_path):
    frame = pd.DataFrame(want.numpy(), columns=xy)
    tables = {
        'pandas': frame.to_csv(), 'pandas, chosen rows': frame.set_axis([7, 3, 5]).to_csv(),
        'pandas, names': frame.set_axis(['p', 'q', 'r']).to_csv(),
        'twice': 'Unnamed: 0,x,y\n0,1,2.5\n1,3,4\n2,-5,6.25\n',
        'write.csv': '"","x","y"\n"1",1,2.5\n"2",3,4\n"3",-5,6.25\n',
        'write.csv2': '"";"x";"y"\n"1";1;2,5\n"2";3;4\n"3";-5;6,25\n',
        'names': '"","x","y"\n"Mazda RX4",1,2.5\n"Fiat 128",3,4\n"Volvo",-5,6.25\n',
        'write.table': '"x" "y"\n"1" 1 2.5\n"2" 3 4\n"3" -5 6.25\n',
    }
    for text in tables.values():
        found, said = read(written(tmp_path, text))
        right(found, xy)
        assert len(said) == 1 and 'row names' in said[0] and '--columns' in said[0]
    found, said = read(written(tmp_path, frame.set_axis([0, 1], axis=1).to_csv()))
    right(found, ['0', '1'])
    found, said = read(written(tmp_path, frame.to_csv()), columns='1,x,y')
    assert found.points.shape == (3, 3) and not said

def test_a_column_of_coordinates_without_a_name_stays(tmp_path):
    found, said = read(written(tmp_path, ',y\n1.5,2\n2.5,3\n'))
    assert found.points.shape == (2, 2) and found.names == ['column 1', 'y'] and not said

def test_columns_that_excel_left_empty(tmp_path):
    found, said = read(written(tmp_path, 'x;y;;\n1;2,5;;\n3;4;;\n-5;6,25;;\n'))
    right(found, xy)
    assert len(said) == 1 and 'columns 3, 4 without name' in said[0]
    found, said = read(written(tmp_path, 'x,y\n1,2.5,\n3,4,\n-5,6.25,\n'))
    right(found, xy)

# ---- columns and missing entries

people = 'id,x,name,y\nA7,1,"Rossi, Ada",2.5\nB2,3,Bo,4\nC9,-5,Cy,6.25\n'

def test_text_columns_are_named_with_the_option_that_helps(tmp_path):
    path = written(tmp_path, people)
    with pytest.raises(ValueError, match=r"columns id \('A7' in row 2\), name .*--ignore id,name"):
        load(path)
    for how in (dict(ignore='id,name'), dict(ignore=['id', 3]), dict(columns='x,y'),
                dict(columns=['x', 4]), dict(columns='2,4')):
        right(read(path, **how)[0], xy)
    right(read(path, columns='y,x')[0], ['y', 'x'], want[:, [1, 0]])
    missing = r"columns='z' \(--columns\): .*no such column; it has 'id', 'x'"
    with pytest.raises(ValueError, match=missing):
        load(path, columns='z')
    with pytest.raises(ValueError, match='no column is left'): load(path, columns='x', ignore='x')
    found = read(written(tmp_path, 'A7,1,2.5\nB2,3,4\nC9,-5,6.25\n'), ignore='1')[0]
    right(found, ['column 2', 'column 3'])

@pytest.mark.parametrize('gap', ['', 'NA', 'NaN', 'null', '#N/A', '?', ' ', '\\N'])
def test_missing_entries(tmp_path, gap):
    path = written(tmp_path, f'x,y\n1,2.5\n{gap},9\n3,4\n-5,6.25\n')
    why = r'row 3, column 1 \(x\) is (empty|missing).*--missing drop'
    with pytest.raises(ValueError, match=why): load(path)
    found, said = read(path, missing='drop')
    right(found, xy)
    assert found.kept.tolist() == [True, False, True, True] and '1 of 4 rows' in said[0]

def test_missing_rows_and_blank_rows(tmp_path):
    found, _ = read(written(tmp_path, 'x,y\n1,2.5\n,\n\n3,\n3,4\n,\n-5,6.25\n'), missing='drop')
    right(found, xy)
    assert found.kept.tolist() == [True, False, True, True]
    with pytest.raises(ValueError, match='every row has a missing entry'):
        load(written(tmp_path, 'x,y\n1,\n2,\n'), missing='drop')
    with pytest.raises(ValueError, match="'inf' is not finite"):
        load(written(tmp_path, 'x,y\n1,\n2,inf\n3,4\n'), missing='drop')
    with pytest.raises(ValueError, match='choose error or drop'): load('a.npy', missing='fill')

@pytest.mark.parametrize('text, message', [
    ('', 'has no rows of numbers'), ('\n\n', 'has no rows of numbers'),
    ('x,y\n', 'has no rows of numbers'),
    ('1,2\n\n\nfour,2\n', "row 4, column 1: 'four' is not a number"),
    ('x,y\n1,2\n3,\n', 'row 3, column 2 (y) is empty'),
    ('1,2\n1_0,2\n', "'1_0' is not a number"),
    ('a,b,c\n1,2\n', 'row 2: 2 cells, and the first row has 3'),
    ('1,2\n1,2,3\n', 'row 2: 3 cells, and the first row has 2'),
    ('x,y\n1,2\n1,2,3\n1,2\n', 'row 3: 3 cells'), ('x,y\n1,2\n1\n1,2\n', 'row 3: 1 cells'),
    ('id,x,y\na,1,2\nb,1,2,3\nc,1,2\n', 'row 3: 4 cells'),
    ('x,y\n1,5,2,5\n3,5,4,5\n', 'decimal commas need another separator'),
    ('x,1\n1,2\n', "row 1, column 1: 'x' is not a number; if this row holds names"),
    ('1,2\n3,inf\n', "row 2, column 2: 'inf' is not finite"),
    ('x,y\nid,no\n1,2\n', "row 2, column 1 (x): 'id' is not a number"),
    ('x;y\n' + '1;2\n' * 3000 + '3;2,5\n', "row 3002, column 2 (y): '2,5' is not a number; if com"),
    ('x,y\na,b\nc,d\n', 'has no columns of numbers'),
    ('x;y\n1,5;2.5\n3,5;4.5\n', "column 2 (y): '2.5' is not a number; if points are decimal"),
    ('Sales 2024,\nx,y\n1,2\n', "'x' is not a number; if this row holds names, remove what"),
    ('x,y\n1,3 mm\n2,4 mm\n', '--ignore y')])
def test_faults_have_an_address(tmp_path, text, message):
    "Every fault is one ValueError of one line that names the place"
    for options in ({}, {'missing': 'error'}):
        with pytest.raises(ValueError) as e: load(written(tmp_path, text), **options)
        assert message in str(e.value) and '\n' not in str(e.value) and 'a.csv' in str(e.value)

def test_a_letter_of_another_encoding_far_below(tmp_path):
    text = 'x,y\n' + '1,2\n' * 20_000 + '1,2 m²\n'
    with pytest.raises(ValueError, match='row 20002, column 2'):
        load(written(tmp_path, text, encoding='cp1252'))

@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=3), min_size=1,
                     max_size=20))
def test_csv_keeps_every_digit(tmp_path_factory, rows):
    folder, points = tmp_path_factory.mktemp('csv'), torch.tensor(rows, dtype=torch.float64)
    lines = ['a,b,c', *(','.join(map(repr, r)) for r in rows)]
    assert_close(load(written(folder, '\n'.join(lines))).points, points, atol=0, rtol=0)
    lines = [';'.join(repr(v).replace('.', ',') for v in r) for r in rows]
    found = load(written(folder, '\n'.join(lines)), decimal=',')
    assert_close(found.points, points, atol=0, rtol=0)

def test_a_header_longer_than_the_first_look(tmp_path):
    names = [f'{"c" * 200}{i}' for i in range(500)]
    found, said = read(written(tmp_path, ','.join(names) + '\n' + 3 * (','.join('5' * 500) + '\n')))
    assert found.names == names and found.points.shape == (3, 500) and not said

def test_large_integers_are_exact(tmp_path):
    found = load(written(tmp_path, 't\n1757000001\n9007199254740991\n'))
    assert found.points.flatten().tolist() == [1757000001, 9007199254740991]

# ---- standard input, JSON, Arrow, arrays

def piped(monkeypatch, data):
    monkeypatch.setattr(sys, 'stdin', SimpleNamespace(buffer=io.BytesIO(data)))

@pytest.mark.parametrize('data', [
    b'x,y\n1,2.5\n3,4\n-5,6.25\n', 'x;y\n1;2,5\n3;4\n-5;6,25\n'.encode('utf-16'),
    gzip.compress(b'x\ty\n1\t2.5\n3\t4\n-5\t6.25\n', mtime=0),
    b' [{"x":1,"y":2.5},{"x":3,"y":4},{"x":-5,"y":6.25}]',
    b'{"x":1,"y":2.5}\n{"x":3,"y":4}\n{"x":-5,"y":6.25}\n'])
def test_standard_input(monkeypatch, data):
    piped(monkeypatch, data)
    right(load('-'), xy)

def test_faults_of_standard_input(monkeypatch):
    piped(monkeypatch, b'x,y\n1,2\noops,3\n')
    with pytest.raises(ValueError, match=r'^standard input, row 3, column 1 \(x\)'): load('-')
    piped(monkeypatch, b'')
    with pytest.raises(ValueError, match='standard input is empty'): load('-')

def test_json(tmp_path):
    frame = pd.DataFrame(want.numpy(), columns=xy)
    for orient in ('records', 'split', 'list', 'columns'):
        text = frame.to_json(orient=orient) if orient != 'list' else json.dumps(
            frame.to_dict('list'))
        right(read(written(tmp_path, text, 'a.json'))[0], xy)
    for name in ('a.jsonl', 'a.ndjson', 'a.json'):
        right(read(written(tmp_path, frame.to_json(orient='records', lines=True), name))[0], xy)
    right(read(written(tmp_path, pl.DataFrame(frame).write_ndjson().encode(), 'a.jsonl'))[0], xy)
    right(read(written(tmp_path, json.dumps(want.tolist()), 'a.json'))[0], ['column 1', 'column 2'])
    right(read(written(tmp_path, gzip.compress(frame.to_json(orient='records').encode()),
                       'a.json.gz'))[0], xy)

def test_json_faults(tmp_path):
    with pytest.raises(ValueError, match=r"column city \('Rome' in row 0\).*--ignore city"):
        load(written(tmp_path, '[{"x": 1, "city": "Rome"}]', 'a.json'))
    gap = written(tmp_path, '[{"x": 1, "y": 2.5}, {"x": 9}, {"x": 3, "y": 4}]', 'a.json')
    with pytest.raises(ValueError, match='nan in row 1, column 1'): load(gap)
    right(read(gap, missing='drop')[0], xy, want[:2])
    for text, why in (('{"a": 1}', 'no table'), ('[[1, 2], [3]]', 'no table'), ('[]', 'no table'),
                      ('{"x": [1,', 'cannot be read as json')):
        with pytest.raises(ValueError, match=why): load(written(tmp_path, text, 'a.json'))

@pytest.mark.parametrize('kind', ['parquet', 'feather', 'arrow'])
def test_arrow(tmp_path, kind):
    "Columns of any kind of number; others are named; pandas' index is left out"
    write = pq.write_table if kind == 'parquet' else pyarrow.feather.write_feather
    path = tmp_path / f'a.{kind}'
    write(pa.table({'x': np.int32([1, 3, -5]), 'y': np.float32([2.5, 4, 6.25])}), path)
    right(read(path)[0], xy)
    x, y = want.numpy().T
    write(pa.table({'x': x, 'word': ['x', 'y', 'z'], 'y': y}), path)
    with pytest.raises(ValueError, match=r"column word \('x' in row 0\).*--ignore word"): load(path)
    right(read(path, ignore='word')[0], xy)
    right(read(path, columns='x,y')[0], xy)
    write(pa.table({'a': pa.array([1.0, None])}), path)
    with pytest.raises(ValueError, match='has nan in row 1, column 0'): load(path)
    assert load(path, missing='drop').points.tolist() == [[1]]
    frame = pd.DataFrame(want.numpy(), columns=xy, index=[3, 5, 9])
    if kind == 'parquet':
        frame.to_parquet(path)
        right(read(path)[0], xy)

def test_a_plain_install_without_pyarrow(tmp_path, monkeypatch):
    path = written(tmp_path, b'PAR1', 'a.parquet')
    for name in [m for m in sys.modules if m.startswith('pyarrow')] + ['pyarrow.feather']:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match='to read parquet, pip install pyarrow'): load(path)
    right(read(written(tmp_path, quiet['commas'][0]))[0], xy)

@pytest.mark.parametrize('dtype', ['i4', '>i8', '>f8', 'f8', '?', 'u2'])
def test_npy_of_any_dtype(tmp_path, dtype):
    x = np.array([[1, 0], [0, 1], [1, 1]]).astype(dtype)
    np.save(tmp_path / 'a.npy', x)
    points = torch.tensor(x.astype('f8').tolist(), dtype=torch.float64)
    right(load(tmp_path / 'a.npy'), None, points)
    right(load(tmp_path / 'a.npy', columns='2'), ['column 2'], points[:, 1:].contiguous())

def test_npy_of_timestamps_is_exact(tmp_path):
    np.save(tmp_path / 'a.npy', np.array([[1_757_000_001], [1_757_000_002]]))
    assert load(tmp_path / 'a.npy').points.flatten().tolist() == [1_757_000_001, 1_757_000_002]
    np.save(tmp_path / 'b.npy', np.float32([[1, np.nan], [2, 3]]))
    found, said = read(tmp_path / 'b.npy', missing='drop')
    assert found.points.dtype == torch.float32 and len(said) == 1
    assert found.kept.tolist() == [False, True]

def test_options_that_do_not_fit(tmp_path):
    np.save(tmp_path / 'a.npy', np.eye(2))
    with pytest.raises(ValueError, match=r'decimal \(--decimal\) does not fit'):
        load(tmp_path / 'a.npy', decimal=',')
    Image.new('RGB', (2, 2)).save(tmp_path / 'a.png')
    with pytest.raises(ValueError, match=r'columns \(--columns\) does not fit'):
        load(tmp_path / 'a.png', columns='1')

def test_no_pickle(tmp_path):
    "A file that would run code is refused, and the code does not run"
    class Trap:
        def __reduce__(self): return (open, (str(tmp_path / 'ran'), 'w'))
    np.save(tmp_path / 'a.npy', np.array([Trap()], dtype=object), allow_pickle=True)
    torch.save({'points': Trap()}, tmp_path / 'a.pt')
    for name in ('a.npy', 'a.pt'):
        (tmp_path / 'ran').unlink(missing_ok=True)
        with pytest.raises(ValueError, match=f'{name} cannot be read'): load(tmp_path / name)
        assert not (tmp_path / 'ran').exists()

@pytest.mark.parametrize('suffix', ['npy', 'npz', 'pt', 'parquet', 'feather', 'json', 'jsonl',
                                    'png', 'jpg', 'tif', 'webp', 'csv.gz', 'csv.xz'])
@pytest.mark.parametrize('content', [b'', b'garbage that is no file', b'\x1f\x8bgarbage'])
def test_damaged_files(tmp_path, suffix, content):
    (tmp_path / f'a.{suffix}').write_bytes(content)
    with pytest.raises(ValueError) as e: load(tmp_path / f'a.{suffix}')
    assert f'a.{suffix}' in str(e.value) and '\n' not in str(e.value)

# ---- rows again

def test_append_keeps_the_table_as_it_is(tmp_path):
    text = 'id;größe;y\nA7;1;2,5\nB2;;9\n"C;9";-5;6,25\n'
    path = written(tmp_path, text, encoding='cp1252')
    found, _ = read(path, ignore='id', missing='drop')
    assert append_column(found, 'cluster', [1, 0]).decode('cp1252') == (
        'id;größe;y;cluster\nA7;1;2,5;1\nB2;;9;\n"C;9";-5;6,25;0\n')
    plain, _ = read(written(tmp_path, '1  2\n3  4\n', 'a.dat'))
    assert append_column(plain, 'cluster', [1, 0]) == b'1\t2\t1\n3\t4\t0\n'

# ---- pictures

@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'RGB', 'RGBA', 'CMYK', 'LA'])
def test_pictures_of_any_mode(tmp_path, mode):
    "Whatever the picture's mode, its pixels come back as Pillow's own RGB"
    im = Image.effect_noise((9, 7), 80).convert('RGB').convert(mode)
    path = tmp_path / ('a.tif' if mode == 'CMYK' else 'a.png')
    im.save(path)
    found = load(path)
    assert found.shape == (7, 9, 3) and found.alpha is None
    assert np.array_equal(np.asarray(to_image(found.points, found.shape)),
                          np.asarray(Image.open(path).convert('RGB')))

@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_sixteen_bits_of_grey(tmp_path, suffix):
    "The issue's ramp: four greys with 25 % each, where all but 0.4 % was white"
    greys = np.repeat(np.array([100, 20_000, 40_000, 65_535], np.uint16), 64).reshape(16, 16)
    Image.fromarray(greys).save(tmp_path / f'a.{suffix}')
    found = load(tmp_path / f'a.{suffix}')
    values, counts = found.points.unique(return_counts=True)
    assert found.shape == (16, 16, 1) and found.names == ['grey'] and counts.tolist() == [64] * 4
    assert (values * 65535).round().int().tolist() == [100, 20_000, 40_000, 65_535]
    assert np.array_equal(np.asarray(to_image(found.points, found.shape)), greys)

@pytest.mark.parametrize('dtype', ['i4', 'f4'])
def test_32_bits_keep_their_values(tmp_path, dtype):
    heights = (np.arange(12).reshape(3, 4) * 700_000 - 1_000_000).astype(dtype)
    Image.fromarray(heights).save(tmp_path / 'a.tif')
    found = load(tmp_path / 'a.tif')
    assert (found.points.reshape(3, 4).numpy() == heights).all() and found.shape == (3, 4, 1)
    again = np.asarray(to_image(found.points, found.shape))
    assert again.dtype == np.uint16 and again.min() == 0 and again.max() == 65535

def test_gaps_in_a_picture_of_floats(tmp_path):
    heights = np.float32([[1, np.nan], [3, 4]])
    Image.fromarray(heights).save(tmp_path / 'a.tif')
    found = load(tmp_path / 'a.tif')
    assert found.points.tolist() == [[1], [3], [4]] and found.alpha.tolist() == [255, 0, 255, 255]
    assert to_image(found.points, found.shape, found.alpha).mode == 'LA'

@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'PA', 'P'])
def test_invisible_pixels_are_no_points(tmp_path, mode):
    rgba = np.zeros((4, 5, 4), np.uint8)
    rgba[1:3, 1:4] = [90, 90, 90, 255]
    rgba[1, 1, 3] = 128
    if mode == 'P':
        im = Image.fromarray((rgba[..., 3] > 0).astype(np.uint8), mode='P')
        im.putpalette([0, 0, 0, 90, 90, 90])
        im.save(tmp_path / 'a.png', transparency=0)
        rgba[1, 1, 3] = 255
    else: Image.fromarray(rgba).convert('LA' if mode == 'LA' else 'RGBA').save(tmp_path / 'a.png')
    found = load(tmp_path / 'a.png')
    assert found.points.shape == (6, 3) and (found.points * 255).round().unique().tolist() == [90]
    again = np.asarray(to_image(found.points, found.shape, found.alpha))
    assert (again == rgba).all()
    Image.new('RGBA', (2, 2)).save(tmp_path / 'b.png')
    with pytest.raises(ValueError, match='every pixel is invisible'): load(tmp_path / 'b.png')

# ---- saved results

def test_what_load_gives_can_be_saved(tmp_path):
    found = load(written(tmp_path, quiet['commas'][0]))
    torch.save(found, tmp_path / 'a.pt')
    again = torch.load(tmp_path / 'a.pt', weights_only=True)
    assert isinstance(again, Loaded) and torch.equal(again.points, want) and again.names == xy
    right(load(tmp_path / 'a.pt'))
