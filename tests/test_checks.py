"Every check can fail: each fault below is put into a small project that is fine without it."
import base64, json, re, shutil, subprocess, sys
import pytest
from tools import cells, checks, readme, store
from tools.cells import root

pixel = ('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg'
         'gg==')
repo = 'https://github.com/clusterlearn/clusterlearn/blob/main'

#  A small project

def text(s): return [{'output_type': 'execute_result', 'data': {'text/plain': s}, 'metadata': {},
                      'execution_count': None}]
def picture(): return [{'output_type': 'display_data', 'metadata': {},
                        'data': {'image/png': pixel, 'text/plain': '<Figure size 1x1 with 0 Axes>'}}]
def error(): return [{'output_type': 'error', 'ename': 'ValueError', 'evalue': 'no', 'traceback': []}]
def md(s): return dict(cell_type='markdown', metadata={}, source=s)
def code(s, outputs=()): return dict(cell_type='code', metadata={}, execution_count=None,
                                     source=s, outputs=list(outputs))
def badge(name): return md('[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]'
    f'(https://colab.research.google.com/github/clusterlearn/clusterlearn/blob/main/nbs/{name}.ipynb)')

def write(path, *found):
    "A notebook as nbdev_clean leaves it"
    for i,c in enumerate(found): c['id'], c['source'] = f'c{i}', c['source'].splitlines(True)
    nb = dict(cells=found, metadata={}, nbformat=4, nbformat_minor=5)
    path.write_text(json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')

def replace(path, old, new):
    "Put a fault into a file"
    before = path.read_text(encoding='utf-8')
    assert old in before, f'{old!r} is not in {path.name}'
    path.write_text(before.replace(old, new), encoding='utf-8')

area = '#| exports\ndef area(w, h):\n    "The area of a `w` by `h` rectangle, see `scale`."\n    return w * h'
scale = '#| exports\ndef scale(w, s):\n    "`w` times `s`, as `area` has it."\n    return area(w, s)'
yml = 'website:\n  sidebar:\n    contents: [index.ipynb, 00_shape.ipynb, 01_size.ipynb, 90_api.ipynb]\n'

@pytest.fixture(scope='session')
def sound(tmp_path_factory):
    "A project with two chapters in which every check passes"
    p = tmp_path_factory.mktemp('project')
    (p/'nbs').mkdir()
    shutil.copy(root/'settings.ini', p)
    (p/'Makefile').write_text('test:\n\ttrue\nreadme:\n\ttrue\n')
    (p/'_quarto.yml').write_text(yml)
    (p/'nbs/_quarto.yml').symlink_to('../_quarto.yml')
    (p/'clusterlearn').mkdir()
    (p/'clusterlearn/__init__.py').write_text('__version__ = "0.1.0"\n')
    write(p/'nbs/00_shape.ipynb', md('# Shape\n\n> Areas'), badge('00_shape'), code('#| default_exp shape'),
          md('### How large {#area}\n\n`area` takes `w` and `torch.Tensor`; go [on](01_size.ipynb#scale) or '
             f'[up](#area), or see [the page]({repo}/nbs/01_size.ipynb). Then `make test`.'),
          code(area), code('area(2, 3)', text('6')), code('#| timing\nprint("0.1 s")', text('0.2 s')),
          code('#| fig-alt: A dot\nplot()', picture()))
    write(p/'nbs/01_size.ipynb', md('# Size\n\n> Larger'), badge('01_size'), code('#| default_exp size'),
          code('#| exports\nfrom clusterlearn.shape import area'), md('### Scaling {#scale}'), code(scale))
    write(p/'nbs/90_api.ipynb', md('# Reference\n\n> All names'), code('show_doc(area)'),
          code('show_doc(size.scale)'))
    write(p/'nbs/index.ipynb', md('# clusterlearn\n\n> Small'), md('See [shapes](00_shape.ipynb#area).'),
          code('#| hide\nsecret = 1'), code('#| fig-alt: A dot\n#| echo: false\nplot()', picture()),
          code('area(2, 3)', text('6')))
    for command in 'nbdev_export', 'nbdev_clean':
        subprocess.run([str(checks.tool(command))], cwd=p, check=True)
    readme.write(p)
    return p

@pytest.fixture
def project(sound, tmp_path):
    "A copy of it to spoil"
    shutil.copytree(sound, tmp_path/'p', symlinks=True)
    return tmp_path/'p'

every = [checks.sync, checks.notebook_rules, checks.links, checks.sidebar, checks.names, checks.imports,
         checks.backticks, checks.width, readme.problems]

@pytest.mark.parametrize('check', every, ids=lambda c: c.__name__)
def test_a_sound_project_passes(check, sound): assert check(sound) == []

#  Its faults: the check, what it should say, the file, the words that are replaced, and by what

shape,size,api,index,lib = 'nbs/00_shape.ipynb','nbs/01_size.ipynb','nbs/90_api.ipynb','nbs/index.ipynb','clusterlearn'
faults = {
    'an edited module':     (checks.sync, 'shape.py: stale', f'{lib}/shape.py', 'w * h', 'w + h'),
    'an edited index':      (checks.sync, '_modidx.py: stale', f'{lib}/_modidx.py', 'area', 'aria'),
    'an edited cell':       (checks.sync, 'shape.py: stale', shape, 'return w * h', 'return h * w'),
    'an unclean notebook':  (checks.sync, '00_shape.ipynb: stale', shape, '"execution_count": null', '"execution_count": 3'),
    'a stale version':      (checks.sync, '__init__.py: stale', f'{lib}/__init__.py', '0.1.0', '0.0.9'),
    'a stale README':       (readme.problems, 'README.md is stale', 'README.md', '> Small', '> Big'),
    'a stale output there': (readme.problems, 'README.md is stale', index, '"text/plain": "6"', '"text/plain": "7"'),
    'a stored error':       (checks.notebook_rules, 'cell 5: a stored error', shape,
                             '"output_type": "execute_result"', '"ename": "E", "evalue": "", "output_type": "error"'),
    'an unknown mark':      (checks.notebook_rules, "unknown mark 'timming'", shape, '#| timing', '#| timming'),
    'a mark run together':  (checks.notebook_rules, 'as `#| mark`', shape, '#| timing', '#|timing'),
    'a mark below code':    (checks.notebook_rules, 'stands below code', shape, '#| timing', 'x = 1\\n#| timing'),
    'a mark of nbval':      (checks.notebook_rules, 'nbval is steered', shape, 'area(2, 3)', '# NBVAL_SKIP'),
    'no alt text':          (checks.notebook_rules, 'without `#| fig-alt', shape, '#| fig-alt: A dot', 'x = 1'),
    'a wide line':          (checks.notebook_rules, 'a line of 110 columns', shape, 'area(2, 3)', 'x' * 110),
    'no title':             (checks.notebook_rules, 'is no title', shape, '# Shape', 'Shape'),
    'text with the title':  (checks.notebook_rules, 'may hold only', shape, '> Areas', 'Areas'),
    'a local path':         (checks.notebook_rules, 'a place of this machine', shape, '"text/plain": "6"',
                             f'"text/plain": "{root.home()}/x"'),
    'no such file':         (checks.links, '02_size.ipynb#scale: no such file', shape, '(01_size', '(02_size'),
    'no such anchor':       (checks.links, '#scales: no such place', shape, '.ipynb#scale', '.ipynb#scales'),
    'no such anchor here':  (checks.links, '#aria: no such place', shape, '(#area)', '(#aria)'),
    'no such file on GitHub': (checks.links, 'names no file', shape, 'nbs/01_size.ipynb)', 'nbs/03_size.ipynb)'),
    'no such file in README': (checks.links, 'README.md: nbs/0_shape.ipynb', 'README.md', 'nbs/00_', 'nbs/0_'),
    'no such target':       (checks.links, 'no `make tests`', shape, '`make test`', '`make tests`'),
    'the same id twice':    (checks.links, 'two headings have the id area', shape, '`area` takes', '## A {#area}'),
    "another's badge":      (checks.links, 'its badge opens 01_size.ipynb', shape, 'nbs/00_shape.ipynb)', 'nbs/01_size.ipynb)'),
    'no badge':             (checks.links, 'no "Open in Colab"', shape, 'google.com/github', 'google.com/git'),
    'not in the sidebar':   (checks.sidebar, '01_size.ipynb is not in', '_quarto.yml', '01_size.ipynb, ', ''),
    'not in the course':    (checks.sidebar, '02_size.ipynb, which is not', '_quarto.yml', '01_size', '02_size'),
    'no heading id':        (checks.names, 'no heading {#area}', shape, ' {#area}', ''),
    'no reference':         (checks.names, '1 times show_doc(scale)', api, 'size.scale', 'size.other'),
    'a later import':       (checks.imports, 'shape imports clusterlearn.size', f'{lib}/shape.py', 'def area',
                             'from .size import scale\ndef area'),
    'an import of the face': (checks.imports, 'import from the module itself', f'{lib}/size.py',
                             '.shape import', '. import'),
    'an unknown name':      (checks.backticks, '`aria` is unknown', shape, '`area` takes', '`aria` takes'),
    'an unknown attribute': (checks.backticks, '`torch.Tensr` is unknown', shape, 'torch.Tensor', 'torch.Tensr'),
    'an unknown name in a docstring': (checks.backticks, 'size scale: `aria` is unknown', f'{lib}/size.py', '`area`', '`aria`'),
    'an unknown name in README': (checks.backticks, 'README.md: `aria`', 'README.md', 'See ', 'See `aria` '),
}

@pytest.mark.parametrize('fault', faults)
def test_a_fault_is_found(fault, project):
    check,said,name,old,new = faults[fault]
    replace(project/name, old, new)
    problems = check(project)
    assert any(said in p for p in problems), problems

def test_other_files_are_found(project):
    (project/'clusterlearn/old.py').write_text('x = 1\n')
    (project/'index_files/old.png').write_bytes(b'')
    (project/'nbs/02_shape.ipynb').write_text((project/'nbs/00_shape.ipynb').read_text())
    (project/'nbs/_quarto.yml').unlink()
    assert any('old.py: not written' in p for p in checks.sync(project))
    assert readme.problems(project) == ['index_files/old.png is left over']
    said = '\n'.join(checks.sidebar(project))
    assert 'become the page shape.html' in said and 'no link to ../_quarto.yml' in said

def test_missing_files_are_found(project):
    (project/'clusterlearn/size.py').unlink()
    (project/'index_files/figure-1.png').unlink()
    assert any('size.py: missing' in p for p in checks.sync(project))
    assert readme.problems(project) == ['index_files/figure-1.png is missing']

def test_a_large_notebook_is_found(project):
    replace(project/'nbs/00_shape.ipynb', '"text/plain": "6"', f'"text/plain": "{"6" * 3_000_000}"')
    assert any('MB: more than 3' in p for p in checks.notebook_rules(project))

def test_a_time_must_be_stored(project):
    write(project/'nbs/00_shape.ipynb', md('# Shape'), code('#| timing\n1'), code('#| timing\n#| cuda\n1'))
    assert checks.notebook_rules(project) == ['00_shape.ipynb: cell 1: `#| timing` but nothing is stored']

def test_wide_code_is_found(project):
    (project/'tools').mkdir()
    (project/'tools/a.py').write_text('x' * 101)
    assert checks.width(project) == ['tools/a.py line 1: 101 columns']

#  The README

def test_readme_reads_well(sound):
    text,made = (sound/'README.md').read_text(), (sound/'index_files/figure-1.png').read_bytes()
    assert made == base64.b64decode(pixel) and '![A dot](index_files/figure-1.png)' in text
    assert '[shapes](nbs/00_shape.ipynb#area)' in text and '    6\n' in text and 'area(2, 3)' in text
    assert not re.search(r'^---|#\||secret|plot\(\)', text, re.M)

#  Notebooks as tests

cases = [('1 + 1', text('2'), 'PASSED'), ('1 + 1', text('3'), 'FAILED'), ('1 + 1', [], 'FAILED'),
         ('x = 1', text('1'), 'FAILED'), ('1 / 0', [], 'FAILED'), ('1 / 0', error(), 'FAILED'),
         ('#| timing\n1 + 1', text('3'), 'PASSED'), ('#| timing\n1 / 0', text('3'), 'FAILED'),
         ('#| cuda\n1 / 0', text('3'), 'SKIPPED'), ('#| slow\n1 / 0', [], 'SKIPPED'),
         ('object()', text('<object>'), 'PASSED'), ('1 + 1;', [], 'PASSED'),
         ('#| fig-alt: A dot\nx = 1', picture(), 'FAILED'), ('# a comment\n', [], 'PASSED')]

def test_a_notebook_is_compared_with_what_it_stores(project):
    shutil.copytree(root/'tools', project/'tools')
    shutil.copy(root/'conftest.py', project)
    write(project/'nbs/a.ipynb', *(code(source, outputs) for source,outputs,_ in cases))
    ran = subprocess.run([sys.executable, '-m', 'pytest', '-v', '--color=no', '--nbval', '--nbval-current-env',
                          '-p', 'no:cacheprovider', 'nbs/a.ipynb'], cwd=project, capture_output=True, text=True)
    assert re.findall(r'::Cell \d+ ([A-Z]+)', ran.stdout.partition('= FAILURES')[0]) == [c[2] for c in cases], ran.stdout

player = '<img id="_anim_img{}"> new Array({}); frames[0] = "data:image/png;base64,{}"'

def test_of_pictures_only_the_kind_is_compared():
    same = [cells.comparable(player.format(c * 32, 5, c)) for c in 'ab']
    assert same == ['animation of 5 frames'] * 2
    assert cells.comparable(player.format('a' * 32, 6, 'a')) != same[0]
    assert cells.comparable(pixel) == cells.comparable(pixel[:40]) == 'picture'
    assert cells.comparable('<A at 0x7f> at 0x7f') == '<A> at 0x7f'

#  Storing outputs

def test_outputs_are_stored_whole_or_not_at_all(project, monkeypatch):
    cfg,a = cells.settings(project),project/'nbs/a.ipynb'
    write(a, code('print(1)\nprint(2)', text('old')), code('#| cuda\n1 / 0', text('kept')))
    store.main([a])
    first,second = cells.load(a).cells
    assert [o.output_type for o in first.outputs] == ['stream'] and ''.join(first.outputs[0].text) == '1\n2\n'
    assert second.outputs[0].data['text/plain'] in ('kept', ['kept'])
    write(a, code('print(3)'), code('1 / 0'))
    before = a.read_bytes()
    with pytest.raises(SystemExit, match='ZeroDivisionError'): store.main([a])
    assert a.read_bytes() == before and [p.name for p in (project/'nbs').glob('.*')] == []

def test_a_player_keeps_its_id():
    once,again = (cells.same_player_id(player.format(c * 32, 5, ''), 'cell') for c in 'ab')
    assert once == again and once != cells.same_player_id(player.format('a' * 32, 5, ''), 'other')
    assert cells.same_player_id('<b>no player</b>', 'cell') == '<b>no player</b>'
