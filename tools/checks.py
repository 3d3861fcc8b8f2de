"""What must hold besides the notebooks' own tests: files in step, rules for notebooks, the sidebar.

Every check here, in links.py and in names.py takes the project's folder and returns the problems
that it found, a line each: none is a pass. tests/test_checks.py proves that each can fail."""
import difflib, os, re, shutil, subprocess, sys, tempfile
from collections import Counter
from pathlib import Path

import yaml
from nbdev.process import first_code_ln
from tools.cells import load, notebooks, page, settings, skips
from tools.quarto import option

#  Files in step

def files(root):
    "What git knows or would add, by name; everything in a folder that is no repository"
    if (root/'.git').exists():
        listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=root,
                                check=True, capture_output=True, text=True).stdout.split('\0')
        found = {root/name for name in listed if name}
    else: found = {p for p in root.rglob('*') if '__pycache__' not in p.parts}
    there = [p for p in sorted(found) if p.is_symlink() or p.is_file()]
    return {p.relative_to(root).as_posix(): p for p in there}

def copy(root, to):
    "Copy the project's files to the folder `to`, links as links"
    for name,p in files(root).items():
        (to/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(p, to/name, follow_symlinks=False)

def tool(name):
    "A command of the environment that runs this"
    return str(Path(sys.executable).with_name(name))

def _difference(old, new):
    "The first lines that differ, in one line"
    lines = [b.decode(errors='replace').splitlines() for b in (old, new)]
    diff = list(difflib.unified_diff(*lines, lineterm='', n=0))[2:]
    return ' | '.join(line for line in diff if not line.startswith('@@'))[:200]

def sync(root):
    "The library is what nbdev_export writes, and notebooks are as nbdev_clean leaves them"
    lib = settings(root)['lib_path']
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp).resolve()
        copy(root, tmp)
        before = {n: p.read_bytes() for n,p in files(tmp).items()}
        for p in (tmp/lib).rglob('*.py'):
            if p.name != '__init__.py': p.unlink()   # a module without its notebook shall not stay
        for command in 'nbdev_export', 'nbdev_clean':
            ran = subprocess.run([tool(command)], cwd=tmp, capture_output=True, text=True)
            if ran.returncode: return [f'{command} failed: {ran.stderr.strip()[-500:]}']
        after = {n: p.read_bytes() for n,p in files(tmp).items()}
    res = []
    for n in sorted(before.keys() | after.keys()):
        if n not in after: res.append(f'{n}: no notebook writes it')
        elif n not in before: res.append(f'{n}: missing (nbdev_export)')
        elif before[n] != after[n]:
            how = _difference(before[n], after[n])
            res.append(f'{n}: stale (nbdev_export; nbdev_clean): {how}')
    return res

def lint(root):
    "What ruff finds in scripts, tests and the library; pyproject.toml says what it looks for"
    ran = subprocess.run([tool('ruff'), 'check', '--no-cache', '--output-format', 'concise', '.'],
                         cwd=root, capture_output=True, text=True)
    if ran.returncode > 1: return [f'ruff failed: {ran.stderr.strip()}']
    return [line for line in ran.stdout.splitlines() if re.match(r'\S+:\d+:\d+: ', line)]

#  Rules for notebooks

marks = set('''default_exp export exports exporti hide timing cuda slow notest filter_stream
    fig-alt: fig-cap: label: code-fold: code-summary: echo: output: warning: eval: include:
    '''.split())

def _marks(cell, cfg):
    "What is wrong with the marks of a code cell, and with what they promise"
    lines = cell.source.splitlines()
    first = first_code_ln(lines)
    for i,line in enumerate(lines):
        if not re.match(r'\s*#\s*\|', line): continue
        if not re.match(r'#\| \S', line): yield f'write {line.strip()!r} as `#| mark`'
        elif first is not None and i > first: yield f'{line!r} stands below code: no one reads it'
    for m in cell.marks.keys() - marks: yield f'unknown mark {m!r}'
    if 'NBVAL_' in cell.source: yield 'nbval is steered by `#| timing` and the like'
    if 'timing' in cell.marks and not skips(cell.marks, cfg) and not cell.outputs:
        yield '`#| timing` but nothing is stored'

def _outputs(cell, machine):
    "What must not be stored, and what a stored picture needs"
    for o in cell.outputs:
        data = o.get('data', {})
        if o.output_type == 'error': yield f'a stored error: {o.ename}: {o.evalue}'
        if 'image/png' in data and 'fig-alt:' not in cell.marks:
            yield 'a picture without `#| fig-alt: what it shows`'
        said = [o.get('text', ''), data.get('text/plain', ''), data.get('text/markdown', '')]
        for place in machine:
            if any(place in ''.join(s) for s in said):
                yield f'an output names a place of this machine, {place}'

def _title(nb):
    "nbdev makes the page's front matter of the first cell, and drops what else stands there"
    lines = nb.cells[0].source.splitlines() if nb.cells else ['']
    if nb.cells[0].cell_type != 'markdown' or not lines[0].startswith('# '):
        yield 'the first cell is no title'
    for line in lines[1:]:
        if line and line[:2] not in ('> ', '- '):
            yield f'the title cell may hold only `# title` and `> subtitle`, not {line!r}'

def _notebook(path, root):
    "The problems inside one notebook"
    cfg,nb = settings(root),load(path)
    machine = {f'{p}/' for p in (Path.home(), root.resolve(), tempfile.gettempdir())}
    if path.stat().st_size > 3e6: yield f'{path.stat().st_size / 1e6:.1f} MB: more than 3'
    yield from _title(nb)
    for i,c in enumerate(nb.cells):
        if c.cell_type != 'code': continue
        wide = [f'a line of {len(line)} columns' for line in c.source.splitlines()
                if len(line) > (110 if option.match(line) else 100)]   # options cannot be broken
        lines = sum(bool(line.strip()) for line in c.source.splitlines())
        if lines > 25 and path.name < '50': wide.append(f'{lines} lines of code, and 25 are enough')
        for p in [*wide, *_marks(c, cfg), *_outputs(c, machine)]: yield f'cell {i}: {p}'

def notebook_rules(root):
    "Size, title, width, length in a chapter, marks, stored outputs"
    return [f'{p.name}: {problem}' for p in notebooks(root) for problem in _notebook(p, root)]

#  The site

def sidebar(root):
    "The site's sidebar names every notebook once, and no two pages get the same name"
    yml = yaml.safe_load((root/'_quarto.yml').read_text(encoding='utf-8'))
    listed = re.findall(r'[\w.-]+\.ipynb', yaml.safe_dump(yml['website']['sidebar']))
    there = [p.name for p in notebooks(root)]
    res = [f'the sidebar names {n}, which is not in nbs/' for n in listed if n not in there]
    res += [f'{n} is not in the sidebar' for n in there if n not in listed]
    res += [f'{n} is {c} times in the sidebar' for n,c in Counter(listed).items() if c > 1]
    res += [f'{c} notebooks become the page {n}.html'
            for n,c in Counter(map(page, there)).items() if c > 1]
    link = root/'nbs/_quarto.yml'
    if not link.is_symlink() or os.readlink(link) != '../_quarto.yml':
        res.append('nbs/_quarto.yml: no link to ../_quarto.yml')
    return res
