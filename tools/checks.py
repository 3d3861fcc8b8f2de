"""What must hold besides the notebooks' own tests. Every check takes the project's folder and returns the problems it
found, a line each: none is a pass. tests/ runs them; tests/test_checks.py proves that each of them can fail."""
import ast, builtins, difflib, importlib, io, keyword, os, re, shutil, subprocess, sys, tempfile, token, tokenize
from collections import Counter
from functools import lru_cache
from pathlib import Path

import yaml
from nbdev.doclinks import patch_name
from nbdev.process import first_code_ln
from fastcore.foundation import L
from tools.cells import load, notebooks, settings, skips

#  Files in step

def files(root):
    "What git knows or would add; everything in a folder that is no repository"
    if (root/'.git').exists():
        out = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=root, check=True,
                             capture_output=True, text=True).stdout
        found = [root/p for p in out.split('\0') if p]
    else: found = [p for p in root.rglob('*') if '__pycache__' not in p.parts]
    return {p.relative_to(root).as_posix(): p for p in sorted(found) if p.is_symlink() or p.is_file()}

def copy(root, to):
    "Copy the project's files to the folder `to`, links as links"
    for name,p in files(root).items():
        (to/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(p, to/name, follow_symlinks=False)

def tool(name): return Path(sys.executable).with_name(name)

def _first_difference(old, new):
    diff = difflib.unified_diff(*(b.decode(errors='replace').splitlines() for b in (old, new)), lineterm='', n=0)
    return ' | '.join(line for line in diff if line[:3] not in ('---', '+++') and line[:2] != '@@')[:200]

def sync(root):
    "The library is what nbdev_export writes, every notebook as nbdev_clean leaves it, and nothing comes or goes"
    lib = settings(root)['lib_path']
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp).resolve()
        copy(root, tmp)
        before = {n: p.read_bytes() for n,p in files(tmp).items()}
        for p in (tmp/lib).rglob('*.py'):
            if p.name != '__init__.py': p.unlink()   # a module without its notebook must not survive
        for command in 'nbdev_export', 'nbdev_clean':
            ran = subprocess.run([str(tool(command))], cwd=tmp, capture_output=True, text=True)
            if ran.returncode: return [f'{command} failed: {ran.stderr.strip()[-500:]}']
        after = {n: p.read_bytes() for n,p in files(tmp).items()}
    fix = '(nbdev_export; nbdev_clean)'
    return ([f'{n}: not written by any notebook {fix}' for n in sorted(before.keys() - after.keys())]
            + [f'{n}: missing {fix}' for n in sorted(after.keys() - before.keys())]
            + [f'{n}: stale {fix}: {_first_difference(before[n], after[n])}'
               for n in sorted(before.keys() & after.keys()) if before[n] != after[n]])

#  Notebooks

marks = {'default_exp', 'export', 'exports', 'exporti', 'hide', 'timing', 'cuda', 'slow', 'notest', 'filter_stream',
         'fig-alt:', 'fig-cap:', 'label:', 'code-fold:', 'code-summary:', 'echo:', 'output:', 'warning:', 'eval:', 'include:'}

def _marks(cell, cfg):
    "What is wrong with the marks of a code cell, and with what they promise"
    lines = cell.source.splitlines()
    first = first_code_ln(lines)
    for i,line in enumerate(lines):
        if re.match(r'\s*#\s*\|', line) and not re.match(r'#\| \S', line): yield f'write {line.strip()!r} as `#| mark`'
        elif line.startswith('#|') and first is not None and i > first: yield f'{line!r} stands below code: no one reads it'
    for m in cell.marks.keys() - marks: yield f'unknown mark {m!r}'
    if 'NBVAL_' in cell.source: yield 'nbval is steered by `#| timing` and the like'
    if 'timing' in cell.marks and not skips(cell.marks, cfg) and not cell.outputs:
        yield '`#| timing` but nothing is stored'

def _outputs(cell, machine):
    "What must not be stored, and what a stored picture needs"
    for o in cell.outputs:
        if o.output_type == 'error': yield f'a stored error: {o.ename}: {o.evalue}'
        data = o.get('data', {})
        if 'image/png' in data and 'fig-alt:' not in cell.marks: yield 'a picture without `#| fig-alt: what it shows`'
        text = ''.join([*o.get('text', []), *data.get('text/plain', []), *data.get('text/markdown', [])])
        for place in machine:
            if place in text: yield f'an output names a place of this machine, {place}'

def notebook(path, root):
    "The problems inside one notebook"
    cfg,nb = settings(root),load(path)
    machine = {f'{p}/' for p in (Path.home(), root.resolve(), tempfile.gettempdir())}
    if path.stat().st_size > 3e6: yield f'{path.stat().st_size / 1e6:.1f} MB: more than 3'
    title = nb.cells[0].source.splitlines() if nb.cells else []
    if not title or nb.cells[0].cell_type != 'markdown' or not title[0].startswith('# '): yield 'the first cell is no title'
    for line in title[1:]:
        # nbdev makes the page's front matter of this cell, and drops what else stands there
        if line and line[:2] not in ('> ', '- '): yield f'the title cell may hold only `# title` and `> subtitle`: {line!r}'
    for i,c in enumerate(nb.cells):
        if c.cell_type != 'code': continue
        found = [f'a line of {len(line)} columns' for line in c.source.splitlines()
                 if len(line) > 100 and not line.startswith('#|')]
        for p in [*found, *_marks(c, cfg), *_outputs(c, machine)]: yield f'cell {i}: {p}'

def notebook_rules(root):
    "Size, width, marks, stored outputs"
    return [f'{p.name}: {problem}' for p in notebooks(root) for problem in notebook(p, root)]

def width(root):
    "Scripts and tests keep to 100 columns, as cells do"
    paths = [p for d in ('', 'tools', 'tests') for p in sorted((root/d).glob('*.py'))]
    return [f'{p.relative_to(root)} line {i}: {len(line)} columns' for p in paths
            for i,line in enumerate(p.read_text(encoding='utf-8').splitlines(), 1) if len(line) > 100]

#  Links

fence = re.compile(r'^(```|~~~).*?^\1', re.M | re.S)
span = re.compile(r'(?<!`)`([^`\n]+)`(?!`)')
target = re.compile(r'\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|href)="([^"]+)"')

def prose(text): return fence.sub('', text)

def _slug(heading):
    "The id that Pandoc gives a heading"
    text = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading)
    return re.sub(r'\s+', '-', re.sub(r'[^\w\s.-]', '', text.lower()).strip())

def anchors(texts):
    "The ids in pieces of markdown: those that are written, and those of headings without one"
    res = []
    for line in prose('\n\n'.join(texts)).splitlines():
        ids = re.findall(r'\{[^}]*#([\w.:-]+)[^}]*\}', span.sub('', line))
        heading = re.match(r'#{1,6}\s+(.*)', line)
        if heading and not ids: ids = [_slug(heading[1]), re.sub(r'^[^a-z]+', '', _slug(heading[1]))]
        res += list(dict.fromkeys(ids))
    return res

def _texts(path):
    "Where a page's prose and links stand: (where, text) for each piece"
    if path.suffix != '.ipynb': return [(path.name, path.read_text(encoding='utf-8'))]
    return [(f'{path.name} cell {i}', c.source) for i,c in enumerate(load(path).cells) if c.cell_type == 'markdown']

def _shown(path):
    "The markdown that the cells of a notebook store as output"
    if path.suffix != '.ipynb': return []
    outputs = [o.get('data', {}).get('text/markdown', '') for c in load(path).cells for o in c.get('outputs', [])]
    return [''.join(o) for o in outputs if o]

def page(name): return re.sub(r'^\d+[a-zA-Z0-9]*_', '', Path(name).stem.lower())

def pages(root):
    "The pages that people read: notebooks and the documents at the top"
    return notebooks(root) + [root/n for n in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md') if (root/n).exists()]

def _external(link, where, path, root, cfg, ids):
    "A link to a place outside is not followed, unless that place is this project's own"
    site,repo = cfg['doc_host'] + cfg['doc_baseurl'],cfg['git_url'].partition('://')[2].partition('/')[2]
    if link.startswith(site + '/'):
        html,_,anchor = link[len(site) + 1:].partition('#')
        found = [p for p in notebooks(root) if page(p.name) == html.removesuffix('.html')]
        if html and not found: yield f'{where}: no page {html}'
        elif anchor and anchor not in ids(found[0]): yield f'{where}: {html} has no #{anchor}'
    inside = re.search(rf'/{re.escape(repo)}/(?:blob|raw|tree|edit)/{cfg["branch"]}/([^#?]+)', link)
    if inside and not (root/inside[1]).exists(): yield f'{where}: {link} names no file of the project'

def _link(link, where, path, root, cfg, ids):
    "What is wrong with one link on the page at `path`"
    if link.startswith('mailto:'): return
    if re.match(r'\w+://', link):
        yield from _external(link, where, path, root, cfg, ids)
        return
    name,_,anchor = link.partition('#')
    to = Path(os.path.normpath(path.parent/name)) if name else path
    if not to.exists(): yield f'{where}: {link}: no such file'
    elif anchor and to.suffix in ('.md', '.ipynb') and anchor not in ids(to): yield f'{where}: {link}: no such place'

def links(root):
    "Every link and anchor inside the project leads somewhere, every `make` that is named exists"
    cfg,res = settings(root),[]
    ids = lru_cache(None)(lambda p: set(anchors([t for _,t in _texts(p)] + _shown(p))))
    makes = set(re.findall(r'^([a-z]+):', (root/'Makefile').read_text(), re.M)) if (root/'Makefile').exists() else set()
    for path in pages(root):
        for where,text in _texts(path) + [(f'{path.name} output', t) for t in _shown(path)]:
            plain = span.sub('', prose(text))
            for m in target.finditer(plain): res += _link(m[1] or m[2], where, path, root, cfg, ids)
            code = span.findall(prose(text)) + [line for f in fence.finditer(text) for line in f[0].splitlines()]
            res += [f'{where}: there is no `make {t}`' for c in code for t in re.findall(r'^\W*make ([a-z]+)', c) if t not in makes]
        twice = [a for a,n in Counter(anchors([t for _,t in _texts(path)])).items() if n > 1 and path.suffix == '.ipynb']
        res += [f'{path.name}: two headings have the id {a}' for a in twice]
    return res + badges(root)

def badges(root):
    "Every chapter opens itself in Colab: the badge in its first cells names that very notebook"
    cfg,res = settings(root),[]
    repo = cfg['git_url'].partition('://')[2].partition('/')[2]
    for p in notebooks(root):
        opened = re.findall(rf'\]\(https://colab\.research\.google\.com/github/{repo}/blob/{cfg["branch"]}/nbs/([^)]+)\)',
                            '\n'.join(t for _,t in _texts(p)[:2]))
        if opened and opened[0] != p.name: res.append(f'{p.name}: its badge opens {opened[0]}')
        if not opened and p.stem not in ('index', '90_api'): res.append(f'{p.name}: no "Open in Colab" in its second cell')
    return res

def sidebar(root):
    "The site's sidebar names every notebook once, and no two pages get the same name"
    text = (root/'_quarto.yml').read_text(encoding='utf-8')
    listed = re.findall(r'\b([\w.-]+\.ipynb)\b', yaml.safe_dump(yaml.safe_load(text)['website']['sidebar']))
    there,count = [p.name for p in notebooks(root)],Counter(page(p.name) for p in notebooks(root))
    link = root/'nbs/_quarto.yml'
    return ([f'_quarto.yml: the sidebar names {n}, which is not in nbs/' for n in listed if n not in there]
            + [f'_quarto.yml: {n} is not in the sidebar' for n in there if n not in listed]
            + [f'_quarto.yml: {n} is {c} times in the sidebar' for n,c in Counter(listed).items() if c > 1]
            + [f'nbs/: {c} notebooks become the page {n}.html' for n,c in count.items() if c > 1]
            + ([] if link.is_symlink() and os.readlink(link) == '../_quarto.yml' else ['nbs/_quarto.yml: no link to ../_quarto.yml']))

#  Names

def modules(root):
    "Each exported module: its dotted name, its file and the notebook that it comes from"
    lib = settings(root)['lib_path']
    for p in sorted((root/lib).rglob('*.py')):
        made = re.search(r'^# AUTOGENERATED! DO NOT EDIT! File to edit: (\S+)\.$', p.read_text(encoding='utf-8'), re.M)
        if made: yield '.'.join(p.relative_to(root).with_suffix('').parts), p, Path(os.path.normpath(p.parent/made[1]))

def exported(path):
    "The public names of a module, and those of them that are functions or classes"
    tree = ast.parse(path.read_text(encoding='utf-8'))
    public = [t for t in tree.body if isinstance(t, ast.Assign) and getattr(t.targets[0], 'id', '') == '__all__']
    defined = [t.name for t in tree.body if isinstance(t, (ast.FunctionDef, ast.ClassDef))]
    names = ast.literal_eval(public[0].value) if public else []
    return names, [n for n in names if n in defined]

def reference(root):
    "What the reference shows: names given to show_doc, and names in backticks"
    api = root/'nbs/90_api.ipynb'
    if not api.exists(): return Counter(), set()
    cells = load(api).cells
    calls = [n for c in cells for t in c.parsed_() or [] for n in ast.walk(t)
             if isinstance(n, ast.Call) and getattr(n.func, 'id', '') == 'show_doc' and n.args]
    shown = Counter(ast.unparse(n.args[0]).split('.')[-1] for n in calls)
    return shown, {s.split('.')[-1] for c in cells if c.cell_type == 'markdown' for s in span.findall(prose(c.source))}

def names(root):
    "Every public name has a heading with its id in its chapter, and its place in the reference"
    shown,told = reference(root)
    res,public = [],Counter()
    for name,path,chapter in modules(root):
        ids = set(anchors([t for _,t in _texts(chapter)])) if chapter.exists() else set()
        every,defined = exported(path)
        public.update(defined)
        res += [f'{chapter.name}: no heading {{#{n.lower()}}} for {name}.{n}' for n in every if n.lower() not in ids]
        res += [f'90_api.ipynb: {name}.{n} is not mentioned' for n in set(every) - set(defined) if n not in told | shown.keys()]
    return res + [f'90_api.ipynb: {n} times show_doc({k}) are needed, there are {shown[k]}'
                  for k,n in sorted(public.items()) if shown[k] < n]

def imports(root):
    "A module imports only from notebooks with a lower number; everybody may look into plot"
    lib,mods = settings(root)['lib_path'],{name: chapter for name,_,chapter in modules(root)}
    number = lambda name: int(re.match(r'\d+', mods[name].name)[0])
    res = []
    for name,path,_ in modules(root):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            found = []
            if isinstance(node, ast.Import): found = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = '.'.join(name.split('.')[:-node.level] + ([node.module] if node.module else [])) if node.level else node.module
                found = [f'{base}.{a.name}' if f'{base}.{a.name}' in mods else base for a in node.names
                         if a.name != '__version__']
            for f in set(found):
                if f.split('.')[0] != lib: continue
                if f not in mods: res.append(f'{name} imports {f}: import from the module itself')
                elif f != f'{lib}.plot' and number(f) >= number(name): res.append(f'{name} imports {f}, which comes later')
    return res

#  Backticks

heads = {'np': 'numpy', 'plt': 'matplotlib.pyplot', 'F': 'torch.nn.functional', 'nn': 'torch.nn'}
known = {'pip', 'make', 'git', 'python', 'jupyter', 'pytest', 'quarto', 'nbval', 'nbdev', 'nbdev_export', 'nbdev_clean', 'clusterlearn',
         'scikit-learn', 'sklearn', 'torch', 'numpy', 'matplotlib', 'triton', 'csv', 'tsv', 'npy', 'npz', 'pt', 'parquet'}

@lru_cache(None)
def _public():
    "What anyone may name without further ado: Python's, PyTorch's, NumPy's, Matplotlib's and scikit-learn's own names"
    import matplotlib.pyplot as plt, numpy as np, torch, torch.nn.functional as F
    res = {n for o in (builtins, torch, torch.Tensor, np, np.ndarray, plt, F, dict, list, str) for n in dir(o)}
    for m in (*(f'sklearn.{m}' for m in 'cluster metrics datasets preprocessing decomposition neighbors'.split()),
              'fastcore.script', 'fastcore.test', 'nbdev.showdoc'): res |= set(importlib.import_module(m).__all__)
    return res | known | set(keyword.kwlist)

@lru_cache(None)
def _leads(name):
    "Does the dotted `name` lead to something when its first parts are imported?"
    parts = name.split('.')
    parts[:1] = heads.get(parts[0], parts[0]).split('.')
    for i in range(len(parts), 0, -1):
        try: o = importlib.import_module('.'.join(parts[:i]))
        except (ImportError, AttributeError): continue
        try:
            for p in parts[i:]: o = getattr(o, p)
            return True
        except AttributeError: return False
    return False

def words(code):
    "The names in `code`: what is called, assigned or passed, what strings hold, and in comments the shapes in (…)"
    code,res = re.sub(r'^(\s*)[%!].*', r'\1pass', code, flags=re.M),set()
    try:
        for t in tokenize.generate_tokens(io.StringIO(code).readline):
            kind = token.tok_name[t.type]
            if kind == 'NAME': res.add(t.string)
            elif kind in ('STRING', 'FSTRING_MIDDLE') and '`' not in t.string: res |= set(re.findall(r'[A-Za-z_]\w*', t.string))
            elif kind == 'COMMENT' and '`' not in t.string:
                res |= set(re.findall(r'[A-Za-z_]\w*', ' '.join(re.findall(r'\(([^()]*)\)', t.string))))
    except (tokenize.TokenError, SyntaxError): pass
    return res

def symbols(root):
    "The library's names, bare and dotted, and its modules'"
    lib,res = settings(root)['lib_path'],set()
    for name,path,_ in modules(root):
        here = set(exported(path)[0])
        for t in ast.parse(path.read_text(encoding='utf-8')).body:
            if isinstance(t, ast.FunctionDef): here |= set(L(patch_name(t)))
            if isinstance(t, ast.ClassDef):
                fields = [f.target.id for f in t.body if isinstance(f, ast.AnnAssign)] + [f.name for f in t.body if isinstance(f, ast.FunctionDef)]
                here |= {t.name, *(f'{t.name}.{f}' for f in fields)}
        short = name.removeprefix(f'{lib}.')
        res |= here | {name, short, name.split('.')[-1], *short.split('.')} | {f'{p}.{n}' for n in here for p in (name, short, name.split('.')[-1])}
    return res

def unresolved(text, local, lib, root):
    "The `backticked` names in `text` that mean nothing: neither in the library, nor in the code beside them, nor public"
    for s in span.findall(prose(text)):
        m = re.fullmatch(r'([A-Za-z_][\w.]*?)(?:[(\[].*)?', s)
        if not m: continue
        name,parts = m[1],m[1].split('.')
        if (name in lib or name in _public() or all(p in local for p in parts)
            or len(parts) > 1 and (_leads(name) or parts[0] in local and all(p in local | _public() for p in parts[1:]))
            or any((root/d/name).exists() for d in ('', 'nbs', 'tools', 'tests'))): continue
        yield s

def backticks(root):
    "Every name in backticks resolves: in notebooks, README and docstrings"
    lib,res = symbols(root),[]
    for p in notebooks(root):
        local = set().union(*(words(c.source) for c in load(p).cells if c.cell_type == 'code'),
                            *(words(f[0]) for _,t in _texts(p) for f in fence.finditer(t)))
        res += [f'{where}: `{s}` is unknown' for where,t in _texts(p) for s in unresolved(t, local, lib, root)]
    if (root/'README.md').exists():
        text = (root/'README.md').read_text(encoding='utf-8')
        local = set().union(*(words(f[0]) for f in fence.finditer(text)))
        res += [f'README.md: `{s}` is unknown' for s in unresolved(text, local, lib, root)]
    for name,path,_ in modules(root):
        code = path.read_text(encoding='utf-8')
        local,tree = words(code),ast.parse(code)
        docs = [(getattr(t, 'name', 'module'), ast.get_docstring(t) or '') for t in ast.walk(tree)
                if isinstance(t, (ast.Module, ast.FunctionDef, ast.ClassDef))]
        docs += [(f'line {t.start[0]}', t.string) for t in tokenize.generate_tokens(io.StringIO(code).readline) if t.type == token.COMMENT]
        res += [f'{name} {where}: `{s}` is unknown' for where,t in docs for s in unresolved(t, local, lib, root)]
    return res

