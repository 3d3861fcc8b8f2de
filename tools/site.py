"""What stands between the notebooks and Quarto: `python -m tools.site` fills `_proc`.

nbdev prepares the notebooks; then links are made relative, chapters and figures get numbers,
solutions and imports fold, mentions lead to the glossary and to the references, and the pages that
no notebook holds are written."""
import html, json, re, shutil
from itertools import count
from pathlib import Path

import yaml
from tools import citations, reference, terms, versions
from tools.cells import page, root, settings

solution = ('::: {.callout-tip collapse="true" appearance="simple"}\n\n## Solution\n', ':::\n')

#  Links

badge = 'https://colab.research.google.com/assets/colab-badge.svg'
colab = re.compile(r'<a href="https://colab\.research\.google\.com/github/([^"]+?)/blob/([^/"]+)/'
                   r'([^"]+)"><img [^>]*></a>')
binder = (r' <a href="https://mybinder.org/v2/gh/\1/\2?labpath=\3">'
          r'<img src="binder.svg" alt="Open in Binder"></a>')

def relative(text, site):
    "Links to the site's own pages as links beside this one, badges from files beside it"
    text = colab.sub(rf'\g<0>{binder}', text)
    text = text.replace(site, '').replace(badge, 'colab.svg')
    return text.replace(f']({site[:-1]})', '](index.html)')

def unlinked(text, ids):
    "Backticks link to names that have a place, and never inside another link"
    text = re.sub(r'\[\[(`[^`\]]+`)\]\([^)]*\)\]\(', r'[\1](', text)
    def keep(m):
        name,_,anchor = m[2].partition('#')
        there = name in ids and (not anchor or anchor in ids[name])
        return m[0] if there or ':' in name or not name.endswith('.html') else m[1]
    return re.sub(r'\[(`[^`\]]+`)\]\(([^)\s]+)\)', keep, text)

#  Cells

def number(name): return re.match(r'\d+[a-z]?', name)[0] if name[0].isdigit() else ''

def titled(cell, name):
    "The chapter's number before its title, which nbdev has put into the page's front matter"
    text = cell['source'] if isinstance(cell['source'], str) else ''.join(cell['source'])
    found = re.search(r'^title: (.*)$', text, re.M)
    if found and number(name):
        title = yaml.safe_load(found[1])
        line = f'title: {json.dumps(f"{number(name)}. {title}", ensure_ascii=False)}'
        cell['source'] = text[:found.start()] + line + text[found.end():]

def _text(c): return c['source'] if isinstance(c['source'], str) else ''.join(c['source'])

def only_imports(text):
    "Is this a cell of imports alone? Continued lines count to their import"
    lines = [l for l in text.splitlines() if l.strip() and not l.startswith('#')]
    heads = [l for l in lines if not l.startswith((' ', ')'))]
    return len(lines) > 3 and all(re.match(r'(import|from) ', l) for l in heads)

def folded(c):
    "Imports fold"
    text = _text(c)
    if only_imports(text) and 'code-fold' not in text:
        text = '#| code-fold: true\n#| code-summary: "Imports"\n' + text
    c['source'] = text
    return c

#  Figures

_option = r'^#\| {}: (.*)\n?'
_alt = re.compile(r'<canvas [^>]*aria-label="([^"]*)"')

def shown(c):
    "What a cell shows: `picture`, `player` with its alternative text, or nothing"
    for o in c.get('outputs', []):
        kinds = o.get('data', {})
        if any(k.startswith('image/') for k in kinds): return 'picture', ''
        found = 'cl-player-' in (text := ''.join(kinds.get('text/html', ''))) and _alt.search(text)
        if found: return 'player', html.unescape(found[1])
    return '', ''

def first_sentence(text): return re.split(r'(?<=[.!?])\s', text.strip())[0]

def captioned(cells, chapter):
    """Cells in which each figure has a caption: its own, or the first sentence of its alternative
    text, after the chapter's number and a running one"""
    numbers = count(1)
    for c in cells:
        kind,alt = shown(c) if c['cell_type'] == 'code' else ('', '')
        said = {k: re.search(_option.format(k), _text(c), re.M) for k in ('fig-cap', 'fig-alt')}
        words = [yaml.safe_load(m[1]) for m in said.values() if m] or [alt]
        name = f'Figure {chapter}.{next(numbers)}. ' if kind and chapter else ''
        caption = name + (words[0] if said['fig-cap'] else first_sentence(words[0]))
        if kind == 'picture' and caption:
            rest = re.sub(_option.format('fig-cap'), '', _text(c), flags=re.M)
            c['source'] = f'#| fig-cap: {json.dumps(caption, ensure_ascii=False)}\n{rest}'
        yield c
        if kind == 'player': yield md(f'<p class="figure-caption">{html.escape(caption)}</p>')

def md(text): return dict(cell_type='markdown', metadata={}, source=text)

def with_solutions(cells):
    "A solution folds with its output"
    for c in cells:
        text = _text(c)
        is_one = c['cell_type'] == 'code' and c['metadata'].get('jupyter', {}).get('source_hidden')
        if not is_one: yield c
        else:
            c['source'] = re.sub(r'^#\| code-(fold|summary):.*\n', '', text, flags=re.M)
            yield from (md(solution[0]), c, md(solution[1]))

#  The whole site

def is_chapter(p):
    "Is this a page of the course or the appendix, where terms are linked?"
    return p.name[0].isdigit() and p.name[:2] < '60' and page(p.name) != terms.page

def ids(root, processed):
    "The places on each page: headings' ids in the processed notebooks and the reference"
    from tools.links import anchors
    res = {}
    for p,nb in processed.items():
        pieces = [_text(c) for c in nb['cells'] if c['cell_type'] in ('markdown', 'raw')]
        res[f'{page(p.name)}.html'] = set(anchors(pieces))
    for name,_,text in reference.pages(root):
        res[f'{reference.folder}/{Path(name).stem}.html'] = set(anchors([text]))
    return res

def finish(folder, root=root):
    "Turn the notebooks that nbdev has left in `folder` into what Quarto should render"
    cfg = settings(root)
    site = cfg['doc_host'] + cfg['doc_baseurl'] + '/'
    processed = {p: json.loads(p.read_text(encoding='utf-8'))
                 for p in sorted(folder.glob('*.ipynb'))}
    places,cited = ids(root, processed),{}
    for p,nb in processed.items():
        seen = set()
        for c in nb['cells']:
            if c['cell_type'] == 'raw':
                c['source'] = unlinked(relative(_text(c), site), places)
            elif c['cell_type'] == 'markdown':
                text = unlinked(relative(_text(c), site), places)
                text,keys = citations.linked(text, root=root)
                for k in keys: cited.setdefault(k, {})[number(p.name) or p.stem] = page(p.name)
                if is_chapter(p): text = terms.linked(text, number(p.name), seen, root)
                c['source'] = text
            else:
                folded(c)
                for o in c.get('outputs', []):
                    for kind in {'text/markdown', 'text/html'} & o.get('data', {}).keys():
                        text = relative(''.join(o['data'][kind]), site)
                        o['data'][kind] = unlinked(text, places)
        if nb['cells']: titled(nb['cells'][0], p.name)
        nb['cells'] = list(captioned(with_solutions(nb['cells']), number(p.name)))
        if p.stem == 'index': nb['cells'].append(md(versions.note(root)))
        for c in nb['cells']: c['source'] = _text(c).splitlines(True)     # the form Quarto expects
        p.write_text(json.dumps(nb, ensure_ascii=False), encoding='utf-8')
    reference.write(folder, root)
    for p in (folder/reference.folder).glob('*.qmd'):
        text = citations.linked(p.read_text(encoding='utf-8'), '../', root)[0]
        p.write_text(text, encoding='utf-8')
    text = citations.written(cited, root)
    (folder/f'{citations.page}.qmd').write_text(text, encoding='utf-8')
    for name in ('404.qmd', 'focus.html', 'favicon.svg', 'colab.svg', 'binder.svg', 'light.scss',
                 'dark.scss', 'styles.css'):
        shutil.copy(root/'nbs'/name, folder)

def main():
    from nbdev.serve import proc_nbs
    shutil.rmtree(root/'_proc', ignore_errors=True)
    proc_nbs(force=True, n_workers=0)   # its processes take as long to start as all of the work
    finish(root/'_proc')

if __name__ == '__main__': main()
