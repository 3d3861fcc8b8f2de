"""The reference: a page for each module, made from the library's signatures, comments and chapters.

`write` puts the pages beside the site's notebooks; nothing of it is committed."""
import ast, importlib, inspect, re
from functools import lru_cache
from pathlib import Path

from fastcore.docments import docments
from tools.cells import load, page, root
from tools.names import exported, modules

folder = 'reference'
# No "Edit this page": no file of the repository holds this one
no_source = 'repo-actions: false'

#  What a module's source says of its classes

def fields(path, name):
    "The fields of a class with their types and comments, from the lines of its source"
    source = Path(path).read_text(encoding='utf-8')
    lines = source.splitlines()
    found, = (t for t in ast.parse(source).body if getattr(t, 'name', '') == name)
    for f in found.body:
        if not isinstance(f, ast.AnnAssign): continue
        said = lines[f.end_lineno - 1].partition(' # ')[2]
        default = '' if f.value is None else ast.unparse(f.value)
        yield f.target.id, ast.unparse(f.annotation), default, said

def methods(kind):
    "The public methods of a class that have a docstring"
    return [(n, f) for n,f in vars(kind).items()
            if inspect.isfunction(f) and not n.startswith('_') and f.__doc__]

#  What the chapters show

def examples(chapter, names):
    "For each name the first cell below its definition that uses it, and what that cell printed"
    res,defined = {},set()
    for c in load(chapter).cells:
        if c.cell_type != 'code': continue
        if {'exports', 'export', 'exporti'} & c.marks.keys():
            defined |= {n for n in names if re.search(rf'^(?:def|class) {n}\b', c.source, re.M)}
            continue
        if {'hide', 'code-fold:', 'fig-alt:'} & c.marks.keys() or not c.outputs: continue
        for n in defined - res.keys():
            if re.search(rf'\b{n}\b', c.source): res[n] = c
    return res

def printed(cell):
    "The text that a cell has stored"
    for o in cell.outputs:
        text = o.get('text') or o.get('data', {}).get('text/plain', '')
        text = ''.join(text)
        if text and not text.startswith('<Figure'): yield text.rstrip()

#  Markdown

def cell_of(text):
    "Text for a cell: Pandoc keeps `|` in code, and takes others for the next column"
    parts = re.split(r'(`[^`]*`)', str(text).replace('\n', ' '))
    return ''.join(p if p.startswith('`') else p.replace('|', r'\|') for p in parts)

def table(head, rows):
    "A table of markdown"
    rows = [list(map(cell_of, r)) for r in rows]
    line = lambda cells: f'| {" | ".join(cells)} |'
    widths = ['---'] * (len(head) - 1) + ['---------']     # half of the page for the last column
    return '\n'.join(['::: {.parameters}', line(head), line(widths), *map(line, rows), ':::'])

def type_name(t):
    if t in (inspect.Parameter.empty, type(None)): return ''
    name = t.__name__ if inspect.isclass(t) else str(t)
    return f'`{re.sub(r"torch[.](_C[.])?|_C[.](?=Generator)", "", name)}`'

class Named:
    "Shown by its name: a function's own form has an address in it, and no reader wants that"
    def __init__(self, f): self.name = f.__name__
    def __repr__(self): return self.name

def shown(default):
    "A default as its form tells it, functions and classes as their names"
    return Named(default) if callable(default) and hasattr(default, '__name__') else default

def signature(f, name):
    "The call as it is written, a line or a parameter a line"
    sig = inspect.signature(f)
    none = inspect.Parameter.empty
    bare = [p.replace(annotation=none, default=p.default if p.default is none else shown(p.default))
            for p in sig.parameters.values()]
    one = f'{name}{sig.replace(parameters=bare, return_annotation=inspect.Signature.empty)}'
    if len(one) <= 90: return one
    return re.sub(r'\((.*)\)$', lambda m: '(\n    ' + ',\n    '.join(
        re.split(r', (?![^(\[{]*[)\]}])', m[1])) + ')', one)

def parameters(f):
    "A table of parameters, and what comes back"
    docs = docments(inspect.unwrap(f), full=True, returns=True)
    back = docs.pop('return', None)
    none = inspect.Parameter.empty
    rows = [(f'`{n}`', type_name(d.anno), '' if d.default is none else f'`{shown(d.default)!r}`',
             d.docment or '') for n,d in docs.items() if n != 'self']
    if rows: yield table(('parameter', 'type', 'default', 'meaning'), rows)
    if back and (back.docment or back.anno is not inspect.Parameter.empty):
        yield f'**Returns** {type_name(back.anno)} {back.docment or ""}'.rstrip()

def entry(module, path, name, chapter, example):
    "One public function or class"
    o = getattr(module, name)
    o = getattr(o, 'py_func', o)                            # of a function that Numba compiles
    yield f'## {name} {{#{name}}}'      # `Blobs` and `blobs` are two
    yield f'```python\n{signature(o, name)}\n```' if inspect.isfunction(o) else ''
    yield (o.__doc__ or '').strip()
    if inspect.isfunction(o): yield from parameters(o)
    else:
        rows = [(f'`{n}`', f'`{t}`', f'`{d}`' if d else '', said)
                for n,t,d,said in fields(path, name)]
        if rows: yield table(('field', 'type', 'default', 'meaning'), rows)
        for n,f in methods(o):
            call = signature(f, n).replace('(self, ', '(').replace('(self)', '()')
            yield f'`{call}`: {f.__doc__}'
    if example is not None:
        code = re.sub(r'^(#\s*\|.*\n)+', '', example.source)
        yield f'**Example**\n\n```python\n{code}\n```'
        out = list(printed(example))
        if out: yield '```{.text}\n' + '\n'.join(out) + '\n```'
    yield f'Explained in [the chapter](../{page(chapter.name)}.html#{name.lower()}).'

def _pages(root):
    for dotted,path,chapter in modules(root):
        public,defined = exported(path)
        if not defined: continue
        module,short = importlib.import_module(dotted),dotted.partition('.')[2]
        found,title = examples(chapter, defined),load(chapter).cells[0].source.splitlines()[0][2:]
        body = [f'---\ntitle: {short}\n{no_source}\n---', (module.__doc__ or '').strip(),
                f'`from {dotted} import …` · chapter [{title}](../{page(chapter.name)}.html)']
        for n in defined: body += entry(module, path, n, chapter, found.get(n))
        constants = [n for n in public if n not in defined]
        if constants: body.append('Constants: ' + ', '.join(
            f'[`{n}`](../{page(chapter.name)}.html#{n.lower()})' for n in constants) + '.')
        yield f'{short.replace(".", "_")}.qmd', short, '\n\n'.join(filter(None, body)) + '\n'

@lru_cache(None)
def pages(root=root):
    "The pages: file name, title and markdown, one for each module with public names"
    return tuple(_pages(root))

def write(to, root=root):
    "Write the pages into `to/reference`"
    (Path(to)/folder).mkdir(parents=True, exist_ok=True)
    for name,_,text in pages(root): (Path(to)/folder/name).write_text(text, encoding='utf-8')
