"Every check can fail: each fault below is put into a small project that is fine without it."
import base64, json, re, shutil, subprocess, sys
import pytest
from tools import cells, checks, links, names, quarto, readme, store
from tools.cells import root

pixel = ('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhg'
         'GAWjR9awAAAABJRU5ErkJggg==')
repo = 'https://github.com/clusterlearn/clusterlearn/blob/main'
address = 'https://clusterlearn.github.io/clusterlearn'

#  A small project

def text(s):
    return [dict(output_type='execute_result', metadata={}, execution_count=None,
                 data={'text/plain': s})]
def picture():
    data = {'image/png': pixel, 'text/plain': '<Figure size 1x1 with 0 Axes>'}
    return [dict(output_type='display_data', metadata={}, data=data)]
def error(): return [dict(output_type='error', ename='ValueError', evalue='no', traceback=[])]

def md(s): return dict(cell_type='markdown', metadata={}, source=s)
def code(s, outputs=()):
    return dict(cell_type='code', metadata={}, execution_count=None,
                source=s, outputs=list(outputs))
def badge(name):
    colab = 'https://colab.research.google.com'
    here = f'{colab}/github/clusterlearn/clusterlearn/blob/main/nbs/{name}.ipynb'
    image = f'<img src="{colab}/assets/colab-badge.svg" alt="Open in Colab">'
    return md(f'<a href="{here}">{image}</a>')

def write(path, *found):
    "A notebook as nbdev_clean leaves it"
    for i,c in enumerate(found): c['id'], c['source'] = f'c{i}', c['source'].splitlines(True)
    nb = dict(cells=found, metadata={}, nbformat=4, nbformat_minor=5)
    js = json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False)
    path.write_text(js + '\n', encoding='utf-8')

def replace(path, old, new):
    "Put a fault into a file"
    before = path.read_text(encoding='utf-8')
    assert old in before, f'{old!r} is not in {path.name}'
    path.write_text(before.replace(old, new), encoding='utf-8')

area = '''#| exports
def area(w, h):
    "The area of a `w` by `h` rectangle, see `scale`."
    return w * h'''
scale = '''#| exports
def scale(w, s):
    "`w` times `s`, as `area` has it."
    return area(w, s)'''
yml = '''website:
  sidebar:
    contents: [index.ipynb, 00_shape.ipynb, 01_size.ipynb, 90_api.ipynb]
'''

@pytest.fixture(scope='session')
def sound(tmp_path_factory):
    "A project with two chapters in which every check passes"
    p = tmp_path_factory.mktemp('project')
    (p/'nbs').mkdir()
    for name in 'settings.ini', 'pyproject.toml': shutil.copy(root/name, p)
    (p/'Makefile').write_text('test:\n\ttrue\nreadme:\n\ttrue\n')
    (p/'_quarto.yml').write_text(yml)
    (p/'nbs/_quarto.yml').symlink_to('../_quarto.yml')
    (p/'clusterlearn').mkdir()
    (p/'clusterlearn/__init__.py').write_text('__version__ = "0.1.0"\n')
    write(p/'nbs/00_shape.ipynb',
          md('# Shape\n\n> Areas'), badge('00_shape'), code('#| default_exp shape'),
          md('### How large {#area}\n\n`area` takes `w` and `torch.Tensor`; go '
             f'[on](01_size.ipynb#scale), [up](#area) or to [the file]({repo}/nbs/01_size.ipynb). '
             'Then `make test`.'),
          code(area), code('area(2, 3)', text('6')),
          code('#| timing\nprint("0.1 s")', text('0.2 s')),
          code('#| fig-alt: "A dot"\nplot()', picture()))
    write(p/'nbs/01_size.ipynb',
          md('# Size\n\n> Larger'), badge('01_size'), code('#| default_exp size'),
          code('#| exports\nfrom clusterlearn.shape import area'),
          md('### More {#scale}'), code(scale))
    write(p/'nbs/90_api.ipynb', md('# Reference\n\n> All names'),
          md(f'[area]({address}/reference/shape.html#area)'))
    write(p/'nbs/index.ipynb',
          md('# clusterlearn\n\n> Small'), md('See [shapes](00_shape.ipynb#area).'),
          code('#| hide\nsecret = 1'),
          code('#| fig-alt: "A dot"\n#| echo: false\nplot()', picture()),
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

every = [checks.sync, checks.lint, checks.notebook_rules, checks.sidebar, links.links, names.names,
         names.imports, names.backticks, readme.problems, quarto.option_lines, quarto.markdown]

@pytest.mark.parametrize('check', every, ids=lambda c: c.__name__)
def test_a_sound_project_passes(check, sound): assert check(sound) == []

#  Its faults: the check, what it should say, the file, the words that are replaced, and by what

shape,size,api,index = (f'nbs/{n}.ipynb' for n in ('00_shape', '01_size', '90_api', 'index'))
shape_py,size_py,init = (f'clusterlearn/{n}.py' for n in ('shape', 'size', '__init__'))
six = '"text/plain": "6"'

faults = {
    checks.sync: [
        ('shape.py: stale', shape_py, 'w * h', 'w + h'),
        ('_modidx.py: stale', 'clusterlearn/_modidx.py', 'area', 'aria'),
        ('shape.py: stale', shape, 'return w * h', 'return h * w'),
        ('00_shape.ipynb: stale', shape, '"execution_count": null', '"execution_count": 3'),
        ('__init__.py: stale', init, '0.1.0', '0.0.9')],
    readme.problems: [
        ('README.md is stale', 'README.md', '> Small', '> Big'),
        ('README.md is stale', index, six, '"text/plain": "7"')],
    checks.notebook_rules: [
        ('cell 5: a stored error', shape, '"output_type": "execute_result"',
         '"output_type": "error", "ename": "E", "evalue": ""'),
        ("unknown mark 'timming'", shape, '#| timing', '#| timming'),
        ('as `#| mark`', shape, '#| timing', '#|timing'),
        ('stands below code', shape, '#| timing', 'x = 1\\n#| timing'),
        ('nbval is steered', shape, 'area(2, 3)', '# NBVAL_SKIP'),
        ('without `#| fig-alt', shape, r'#| fig-alt: \"A dot\"', 'x = 1'),
        ('a line of 110 columns', shape, 'area(2, 3)', 'x' * 110),
        ('26 lines of code', shape, 'area(2, 3)', r'x\n' * 26),
        ('is no title', shape, '# Shape', 'Shape'),
        ('may hold only', shape, '> Areas', 'Areas'),
        ('a place of this machine', shape, six, f'"text/plain": "{root.home()}/x"')],
    links.links: [
        ('02_size.ipynb#scale: no such file', shape, '(01_size', '(02_size'),
        ('#scales: no such place', shape, '.ipynb#scale', '.ipynb#scales'),
        ('#aria: no such place', shape, '(#area)', '(#aria)'),
        ('names no file', shape, 'nbs/01_size.ipynb)', 'nbs/03_size.ipynb)'),
        ('README.md: nbs/0_shape.ipynb', 'README.md', 'nbs/00_', 'nbs/0_'),
        ('clusterlearn/form.html', shape, '(#area)', f'({address}/form.html)'),
        ('shape.html#no', shape, '(#area)', f'({address}/shape.html#no)'),
        ('no `make tests`', shape, '`make test`', '`make tests`'),
        ('two headings have the id area', shape, '`area` takes', '## A {#area}'),
        ('its badge opens 01_size.ipynb', shape, r'nbs/00_shape.ipynb\"', r'nbs/01_size.ipynb\"'),
        ('shape.html#aria: no such name', api, 'shape.html#area', 'shape.html#aria'),
        ('form.html: no such module', api, 'shape.html#area', 'form.html'),
        ('no "Open in Colab"', shape, 'google.com/github', 'google.com/git')],
    checks.sidebar: [
        ('01_size.ipynb is not in the sidebar', '_quarto.yml', '01_size.ipynb, ', ''),
        ('02_size.ipynb, which is not', '_quarto.yml', '01_size', '02_size')],
    quarto.option_lines: [
        ('is no YAML', shape, r'#| fig-alt: \"A dot\"', '#| fig-alt: A dot: round'),
        ('is no YAML', shape, r'#| fig-alt: \"A dot\"', '#| fig-alt:')],
    quarto.markdown: [
        ('arrives as text', shape, '"### How large', '"Text\\n### How large'),
        ('loses its link', shape, '<a href', '[![x](y)](z)\\n\\n<a href')],
    names.names: [
        ('no heading {#area}', shape, ' {#area}', ''),
        ('size.scale has no docstring', size_py, '"`w` times', 'w * "`w` times')],
    names.imports: [
        ('shape imports clusterlearn.size', shape_py, 'def area',
         'from .size import scale\ndef area'),
        ('form a circle: clusterlearn.shape -> clusterlearn.size -> clusterlearn.shape', shape_py,
         'def area', 'from .size import scale\ndef area'),
        ('import from the module itself', size_py, '.shape import', '. import')],
    names.backticks: [
        ('`aria` is unknown', shape, '`area` takes', '`aria` takes'),
        ('`torch.Tensr` is unknown', shape, 'torch.Tensor', 'torch.Tensr'),
        ('size scale: `aria` is unknown', size_py, '`area`', '`aria`'),
        ('README.md: `aria` is unknown', 'README.md', 'See ', 'See `aria` ')],
}
def check_name(value): return getattr(value, '__name__', None)
each = [(check, *fault) for check,found in faults.items() for fault in found]

@pytest.mark.parametrize('check,said,name,old,new', each, ids=check_name)
def test_a_fault_is_found(check, said, name, old, new, project):
    replace(project/name, old, new)
    problems = check(project)
    assert any(said in p for p in problems), problems

def test_other_files_are_found(project):
    (project/'clusterlearn/old.py').write_text('x = 1\n')
    (project/'index_files/old.png').write_bytes(b'')
    (project/'nbs/02_shape.ipynb').write_text((project/'nbs/00_shape.ipynb').read_text())
    (project/'nbs/_quarto.yml').unlink()
    assert any('old.py: no notebook' in p for p in checks.sync(project))
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
    write(project/'nbs/00_shape.ipynb',
          md('# Shape'), code('#| timing\n1'), code('#| timing\n#| cuda\n1'))
    said, = checks.notebook_rules(project)
    assert said == '00_shape.ipynb: cell 1: `#| timing` but nothing is stored'

def test_lint_is_found(project):
    (project/'tools').mkdir()
    (project/'tools/a.py').write_text(f'import os\nx = "{"y" * 96}"\n')
    said = '\n'.join(checks.lint(project))
    assert 'tools/a.py:1:8: F401' in said and 'tools/a.py:2:101: E501' in said

#  The README

def test_readme_reads_well(sound):
    text,made = (sound/'README.md').read_text(), (sound/'index_files/figure-1.png').read_bytes()
    assert made == base64.b64decode(pixel) and '![A dot](index_files/figure-1.png)' in text
    assert '[shapes](nbs/00_shape.ipynb#area)' in text
    assert 'area(2, 3)' in text and '    6\n' in text
    assert not re.search(r'^---|#\||secret|plot\(\)', text, re.M)

#  Notebooks as tests

cases = [
    ('1 + 1',                         text('2'),        'PASSED'),
    ('1 + 1',                         text('3'),        'FAILED'),   # stale
    ('1 + 1',                         [],               'FAILED'),   # missing
    ('x = 1',                         text('1'),        'FAILED'),   # left over
    ('1 / 0',                         [],               'FAILED'),
    ('1 / 0',                         error(),          'FAILED'),
    ('#| timing\n1 + 1',              text('3'),        'PASSED'),
    ('#| timing\n1 / 0',              text('3'),        'FAILED'),
    ('#| cuda\n1 / 0',                text('3'),        'SKIPPED'),
    ('#| slow\n1 / 0',                [],               'SKIPPED'),
    ('object()',                      text('<object>'), 'PASSED'),
    ('1 + 1;',                        [],               'PASSED'),
    ('#| fig-alt: "A dot"\nx = 1',      picture(),        'FAILED'),   # a picture that is not drawn
    ('import warnings; warnings.warn("no")', [],        'FAILED'),
]

def test_a_notebook_is_compared_with_what_it_stores(project):
    shutil.copytree(root/'tools', project/'tools')
    shutil.copy(root/'conftest.py', project)
    write(project/'nbs/a.ipynb', *(code(source, outputs) for source,outputs,_ in cases))
    command = [sys.executable, *'-m pytest -v --color=no --nbval --nbval-current-env'.split()]
    ran = subprocess.run([*command, 'nbs/a.ipynb'], cwd=project, capture_output=True, text=True)
    got = re.findall(r'::Cell \d+ ([A-Z]+)', ran.stdout.partition('= FAILURES')[0])
    assert got == [wanted for *_,wanted in cases], ran.stdout

player = '<div id="cl-player-{0}" data-frames="{1}"></div><script>"#cl-player-{0}", "{2}"</script>'

def test_of_pictures_only_the_kind_is_compared():
    same = [cells.comparable(player.format(c * 32, 5, c)) for c in 'ab']
    assert same == ['animation of 5 frames'] * 2
    assert cells.comparable(player.format('a' * 32, 6, 'a')) != same[0]
    assert cells.comparable(pixel) == cells.comparable(pixel[:40]) == 'picture'
    assert cells.comparable('<A at 0x7f> at 0x7f') == '<A> at 0x7f'

#  Storing outputs

def test_outputs_are_stored_whole_or_not_at_all(project, monkeypatch):
    a = project/'nbs/a.ipynb'
    write(a, code('print(1)\nprint(2)', text('old')), code('#| cuda\n1 / 0', text('kept')))
    store.main([a])
    first,second = cells.load(a).cells
    stream, = first.outputs
    assert stream.output_type == 'stream' and ''.join(stream.text) == '1\n2\n'
    assert second.outputs[0].data['text/plain'] in ('kept', ['kept'])
    write(a, code('print(3)'), code('1 / 0'))
    before = a.read_bytes()
    with pytest.raises(SystemExit, match='ZeroDivisionError'): store.main([a])
    assert a.read_bytes() == before and [p.name for p in (project/'nbs').glob('.*')] == []

def test_a_player_keeps_its_id():
    once,again = (cells.same_player_id(player.format(c * 32, 5, ''), 'cell') for c in 'ab')
    assert once == again and once != cells.same_player_id(player.format('a' * 32, 5, ''), 'other')
    assert cells.same_player_id('<b>no player</b>', 'cell') == '<b>no player</b>'

def test_the_real_player_is_known():
    "What `player` writes is compared by its frames, whatever moves in them"
    import torch
    from clusterlearn.plot import Frame, animate, player as real
    made = [[Frame(torch.rand(5, 2) * 9) for _ in range(n)] for n in (3, 3, 4)]
    said = [cells.comparable(real(frames).data) for frames in made]
    assert said == [f'animation of {n} frames' for n in (3, 3, 4)]
    assert cells.comparable(real({'a': made[0], 'b': made[2]}).data) == 'animation of 7 frames'
    pictures = real(animate(made[0])).data
    assert cells.comparable(pictures) == 'animation of 3 frames'
    html = cells.same_player_id(pictures, 'cell')
    assert html != pictures and html == cells.same_player_id(html, 'cell')
    assert html.count(cells.md5(b'cell').hexdigest()) == 2 and 'http' not in html
