"Checks on links: every place inside the project that a page points to is there."
import os, re
from collections import Counter
from functools import lru_cache
from pathlib import Path

from tools.cells import load, notebooks, page, settings

fence = re.compile(r'^(```|~~~).*?^\1', re.M | re.S)
span = re.compile(r'(?<!`)`([^`\n]+)`(?!`)')
target = re.compile(r'\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|href)="([^"]+)"')

def prose(text):
    "Markdown without its blocks of code"
    return fence.sub('', text)

def pages(root):
    "What people read: the notebooks and the documents at the top"
    documents = [root/n for n in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')]
    return notebooks(root) + [p for p in documents if p.exists()]

def texts(path):
    "The markdown of a page, each piece with where it stands"
    if path.suffix != '.ipynb': return [(path.name, path.read_text(encoding='utf-8'))]
    return [(f'{path.name} cell {i}', c.source) for i,c in enumerate(load(path).cells)
            if c.cell_type == 'markdown']

def shown(path):
    "The markdown that a notebook's cells have stored as output"
    if path.suffix != '.ipynb': return []
    stored = [(i, o.get('data', {}).get('text/markdown'))
              for i,c in enumerate(load(path).cells) for o in c.get('outputs', [])]
    return [(f'{path.name} cell {i}, output', ''.join(s)) for i,s in stored if s]

def _slugs(heading):
    "The ids that GitHub and Pandoc give a heading without one"
    text = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading)
    slug = re.sub(r'\s+', '-', re.sub(r'[^\w\s.-]', '', text.lower()).strip())
    return [slug, re.sub(r'^[^a-z]+', '', slug)]

def anchors(pieces):
    "The ids in pieces of markdown: those that are written, and those of headings without one"
    res = []
    for line in prose('\n\n'.join(pieces)).splitlines():
        ids = re.findall(r'\{[^}]*#([\w.:-]+)[^}]*\}', span.sub('', line))
        heading = re.match(r'#{1,6}\s+(.*)', line)
        res += dict.fromkeys(ids or (_slugs(heading[1]) if heading else []))
    return res

@lru_cache(None)
def _ids(path, changed): return set(anchors([t for _,t in texts(path) + shown(path)]))

def has(path, anchor):
    "Is there a place `anchor` on the page? Only notebooks and markdown have places that we know"
    return path.suffix not in ('.md', '.ipynb') or anchor in _ids(path, path.stat().st_mtime_ns)

def _repo(cfg): return cfg['git_url'].partition('://')[2].partition('/')[2]

@lru_cache(None)
def _referable(root):
    "The pages of the reference and the names on them"
    from tools.names import exported, modules
    short = lambda name: name.partition('.')[2].replace('.', '_')
    return {f'reference/{short(name)}.html': set(exported(path)[1])
            for name,path,_ in modules(root)}

def _referred(link, name, anchor, root):
    "A link into the reference, which is made with the site"
    names = _referable(root).get(name)
    if names is None: yield f'{link}: no such module'
    elif anchor and anchor not in names: yield f'{link}: no such name there'

def _outside(link, root, cfg):
    "A link to the web is not followed, unless the site or the repository there is this project's"
    site = cfg['doc_host'] + cfg['doc_baseurl'] + '/'
    if link.startswith(site):
        name,_,anchor = link[len(site):].partition('#')
        found = [p for p in notebooks(root) if page(p.name) == name.removesuffix('.html')]
        if name.startswith('reference/'): yield from _referred(link, name, anchor, root)
        elif name and not found: yield f'{link}: no such page'
        elif anchor and not has(found[0], anchor): yield f'{link}: no such place'
    inside = rf'/{re.escape(_repo(cfg))}/(?:blob|raw|tree|edit)/{cfg["branch"]}/([^#?]+)'
    file = re.search(inside, link)
    if file and not (root/file[1]).exists(): yield f'{link}: names no file of the project'

def _inside(link, path):
    "A link to a file of the project or to a place on the same page"
    name,_,anchor = link.partition('#')
    to = Path(os.path.normpath(path.parent/name)) if name else path
    if not to.exists(): yield f'{link}: no such file'
    elif anchor and not has(to, anchor): yield f'{link}: no such place'

def _makes(text):
    "The make targets that markdown names, in spans and in blocks"
    code = span.findall(prose(text)) + [f[0] for f in fence.finditer(text)]
    return [t for c in code for t in re.findall(r'^\W*make ([a-z]+)', c, re.M)]

def _badge(path, cfg):
    "A chapter opens itself in Colab: the badge in its second cell names that very notebook"
    colab = r'<a href="https://colab\.research\.google\.com/github/'
    image = r'"><img src="[^"]+" alt="Open in Colab"></a>'
    nbs = rf'{_repo(cfg)}/blob/{cfg["branch"]}/nbs/([^"]+){image}'
    opened = re.findall(colab + nbs, '\n'.join(t for _,t in texts(path)[:2]))
    if opened and opened[0] != path.name: yield f'its badge opens {opened[0]}'
    if not opened and path.stem not in ('index', '54_glossary', '90_api'):      # nothing to run
        yield 'no "Open in Colab" in its second cell'

def links(root):
    "Links, anchors, badges and the names of make's targets"
    cfg,res = settings(root),[]
    targets = set(re.findall(r'^([a-z]+):', (root/'Makefile').read_text(encoding='utf-8'), re.M))
    for path in pages(root):
        for where,text in texts(path) + shown(path):
            for m in target.finditer(span.sub('', prose(text))):
                link = m[1] or m[2]
                away = re.match(r'\w+:', link)
                found = _outside(link, root, cfg) if away else _inside(link, path)
                res += [f'{where}: {p}' for p in found]
            res += [f'{where}: there is no `make {t}`' for t in _makes(text) if t not in targets]
        if path.suffix != '.ipynb': continue
        written = Counter(anchors([t for _,t in texts(path)]))
        res += [f'{path.name}: two headings have the id {a}' for a,n in written.items() if n > 1]
        res += [f'{path.name}: {p}' for p in _badge(path, cfg)]
    return res
