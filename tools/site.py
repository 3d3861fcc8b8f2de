"""What stands between the notebooks and Quarto: `python -m tools.site` fills `_proc`.

nbdev prepares the notebooks; then links are made relative, chapters get their numbers, solutions
and imports fold, and the reference is written."""
import json, re, shutil
from pathlib import Path

import yaml
from tools import reference
from tools.cells import page, root, settings

solution = ('::: {.callout-tip collapse="true" appearance="simple"}\n\n## Solution\n', ':::\n')

#  Links

badge = 'https://colab.research.google.com/assets/colab-badge.svg'

def relative(text, site):
    "Links to the site's own pages as links beside this one, the badge from a file beside it"
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
    "Imports fold; a caption says what the alternative text says"
    text = _text(c)
    if only_imports(text) and 'code-fold' not in text:
        text = '#| code-fold: true\n#| code-summary: "Imports"\n' + text
    alt = re.search(r'^#\| fig-alt: (.*)$', text, re.M)
    if alt and 'fig-cap' not in text: text = f'#| fig-cap: {alt[1]}\n' + text
    c['source'] = text
    return c

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
    places = ids(root, processed)
    for p,nb in processed.items():
        for c in nb['cells']:
            if c['cell_type'] != 'code': c['source'] = unlinked(relative(_text(c), site), places)
            else:
                folded(c)
                for o in c.get('outputs', []):
                    for kind in {'text/markdown', 'text/html'} & o.get('data', {}).keys():
                        text = relative(''.join(o['data'][kind]), site)
                        o['data'][kind] = unlinked(text, places)
        if nb['cells']: titled(nb['cells'][0], p.name)
        nb['cells'] = list(with_solutions(nb['cells']))
        p.write_text(json.dumps(nb, ensure_ascii=False), encoding='utf-8')
    reference.write(folder, root)
    for name in ('404.qmd', 'focus.html', 'favicon.svg', 'colab.svg', 'light.scss', 'dark.scss',
                 'styles.css'):
        shutil.copy(root/'nbs'/name, folder)

def main():
    from nbdev.serve import proc_nbs
    shutil.rmtree(root/'_proc', ignore_errors=True)
    proc_nbs(force=True)
    finish(root/'_proc')

if __name__ == '__main__': main()
