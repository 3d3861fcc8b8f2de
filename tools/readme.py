"""Make README.md and its pictures in index_files/ from nbs/index.ipynb.

    python -m tools.readme            write them
    python -m tools.readme --check    only say how they differ from what the notebook gives"""
import base64, difflib, os, re, sys

import nbformat
from execnb.nbio import nb2str
from nbconvert import MarkdownExporter
from nbdev.process import NBProcessor
from nbdev.processors import (
    add_links, clean_magics, filter_stream_, hide_, hide_line, populate_language, rm_export,
    rm_header_dash, strip_ansi, strip_hidden_metadata)
from tools.cells import load, root
from tools.quarto import options

head = '<!-- Made from nbs/index.ipynb by `make readme`. Edit the notebook, not this file. -->\n\n'
pictures = 'index_files'

# nbdev's own steps for a page, without those for the site alone: its front matter and its warning
steps = [populate_language, strip_ansi, hide_line, filter_stream_, rm_header_dash, rm_export,
         clean_magics, hide_, add_links, strip_hidden_metadata]

def _as_picture(cell, made):
    "Turn the pictures that `cell` stores into links to files, collected in `made`"
    for o in cell.get('outputs', []):
        data = o.get('data', {})
        if 'image/png' in data:
            name = f'figure-{len(made) + 1}.png'
            made[name] = base64.b64decode(data['image/png'])
            alt = options(cell.source).get('fig-alt', '')
            o['data'] = {'text/markdown': f'![{alt}]({pictures}/{name})'}
        elif 'text/plain' in data: data.pop('text/html', None)

def _presented(cell, marks):
    "Drop the lines that speak to Quarto, and what they hide"
    cell.source = re.sub(r'^(#\| .*\n?)+', '', cell.source)
    if marks.get('echo:') == ['false']: cell.metadata['transient'] = {'remove_source': True}
    if marks.get('output:') == ['false']: cell.outputs = []

def _from_root(link):
    "`link`, which is right in nbs/, as seen from the top of the repository"
    path,_,anchor = link.partition('#')
    if not path or re.match(r'\w+:', link): return link
    there = os.path.normpath(f'nbs/{path}')
    return there + (f'#{anchor}' if anchor else '')

def build(root=root):
    "The README's text, and its pictures by name"
    marks = {c.id: c.marks for c in load(root/'nbs/index.ipynb').cells}
    proc = NBProcessor(root/'nbs/index.ipynb', procs=steps)
    proc.process()
    for c in proc.nb.cells:
        if c.cell_type == 'markdown':
            c.source = re.sub(r'(\]\()([^)\s]+)', lambda m: m[1] + _from_root(m[2]), c.source)
    proc.nb.cells = [c for c in proc.nb.cells if marks[c.id].get('include:') != ['false']]
    made = {}
    for c in proc.nb.cells:
        if c.cell_type == 'code':
            _as_picture(c, made)
            _presented(c, marks[c.id])
    proc.nb.metadata['language_info'] = {'name': 'python'}   # for the colours of code
    text,_ = MarkdownExporter().from_notebook_node(nbformat.reads(nb2str(proc.nb), as_version=4))
    return head + re.sub(r'\n{3,}', '\n\n', text).strip() + '\n', made

def stored(root=root):
    "What lies there: the text of README.md, and the pictures by name"
    readme,folder = root/'README.md',root/pictures
    return (readme.read_text(encoding='utf-8') if readme.exists() else '',
            {p.name: p.read_bytes() for p in sorted(folder.glob('*'))} if folder.exists() else {})

def problems(root=root):
    "How README.md and its pictures differ from what the notebook gives"
    (old,old_pics),(new,new_pics) = stored(root),build(root)
    diff = list(difflib.unified_diff(old.splitlines(), new.splitlines(), 'README.md',
                                     'from nbs/index.ipynb', n=1, lineterm=''))
    res = ['README.md is stale (make readme):\n' + '\n'.join(diff[:40])] if diff else []
    for n in sorted(old_pics.keys() | new_pics.keys()):
        if old_pics.get(n) == new_pics.get(n): continue
        how = 'missing' if n not in old_pics else 'left over' if n not in new_pics else 'stale'
        res.append(f'{pictures}/{n} is {how}')
    return res

def write(root=root):
    "Write README.md and its pictures, and remove pictures that are no longer used"
    text,made = build(root)
    (root/pictures).mkdir(exist_ok=True)
    for n in stored(root)[1].keys() - made.keys(): (root/pictures/n).unlink()
    for n,b in made.items(): (root/pictures/n).write_bytes(b)
    (root/'README.md').write_text(text, encoding='utf-8')

if __name__ == '__main__':
    if '--check' not in sys.argv: write()
    sys.exit('\n'.join(problems()) or None)
