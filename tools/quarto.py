"What Quarto will make of the notebooks, without Quarto: its options, and Pandoc's view."
import json, re, subprocess

import pypandoc
import yaml
from tools.cells import load, notebooks
from tools.links import prose, span

# A line of YAML for Quarto at the top of a cell; nbdev's own marks have no colon.
option = re.compile(r'#\| *([\w-]+:.*)')

def options(source):
    "What the `#| key: value` lines of a cell tell Quarto"
    found = {}
    for m in filter(None, map(option.match, source.splitlines())): found |= yaml.safe_load(m[1])
    return found

def option_lines(root):
    "Every option line is YAML that gives its key a plain value"
    res = []
    for path in notebooks(root):
        for i,c in enumerate(load(path).cells):
            if c.cell_type != 'code': continue
            for m in filter(None, map(option.match, c.source.splitlines())):
                try: value, = yaml.safe_load(m[1]).values()
                except yaml.YAMLError: value = {}
                if value is None or isinstance(value, (dict, list)):
                    res.append(f'{path.name} cell {i}: {m[0]!r} is no YAML: quote the value')
    return res

# One process reads all: to start one for each cell takes four times as long.
_read = """for _,text in ipairs(pandoc.json.decode(io.read('a'))) do
  print(pandoc.json.encode(pandoc.read(text, 'markdown'))) end"""

def syntax_trees(texts):
    "The blocks that Pandoc, and so Quarto, reads in each of some pieces of markdown"
    ran = subprocess.run([pypandoc.get_pandoc_path(), 'lua', '-e', _read], input=json.dumps(texts),
                         capture_output=True, text=True, check=True)
    return [json.loads(line)['blocks'] for line in ran.stdout.splitlines()]

def nodes(tree, kind):
    "Every element of one kind in a syntax tree, in reading order"
    if isinstance(tree, dict):
        if tree.get('t') == kind: yield tree
        tree = tree.get('c')
    if isinstance(tree, list):
        for part in tree: yield from nodes(part, kind)

def _written(text):
    "The headings that an author meant: the level and the id of each line that begins with `#`"
    for line in prose(text).splitlines():
        m = re.match(r'(#{1,6}) +\S', line)
        if m: yield len(m[1]), ''.join(re.findall(r'\{#([\w.:-]+)\}', span.sub('', line)))

def _cell_problems(text, tree):
    "What Pandoc makes of one cell that its author cannot have meant"
    found = [(h['c'][0], h['c'][1][0]) for h in nodes(tree, 'Header')]
    for i,(level,id) in enumerate(_written(text)):
        there = found[i] if i < len(found) else (0, '')
        if there[0] != level or id and there[1] != id:
            yield f'{"#" * level} {id} arrives as text: put a blank line before it'
            break
    for p in nodes(tree, 'Para'):
        inside = [x for x in p['c'] if x['t'] != 'SoftBreak']
        if len(inside) == 1 and inside[0]['t'] == 'Link' and any(nodes(inside[0], 'Image')):
            yield 'an image alone in its paragraph loses its link (lightbox): write <a><img></a>'

def markdown(root):
    "Pandoc reads every heading with its id, and no picture loses its link"
    cells = [(f'{path.name} cell {i}', c.source) for path in notebooks(root)
             for i,c in enumerate(load(path).cells) if c.cell_type == 'markdown']
    trees = syntax_trees([text for _,text in cells])
    return [f'{name}: {p}' for (name,text),tree in zip(cells, trees, strict=True)
            for p in _cell_problems(text, tree)]
