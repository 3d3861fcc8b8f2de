"""The site without Quarto: Pandoc's view of each page, for the tests and for a quick look.

    python -m tools.preview      writes _preview/*.html from _proc/ (python -m tools.site)"""
import html, json, re, shutil, subprocess
from pathlib import Path

import pypandoc
from tools.cells import page, root
from tools.quarto import options

head = '''<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="favicon.svg">
<link rel="stylesheet" href="styles.css">
<style>
:root { color-scheme: light dark; --bs-border-color: #888; --bs-secondary-color: #595959;
  --bs-body-bg: #fff; --bs-body-color: #212529; --bs-link-color: #00695c; }
@media (prefers-color-scheme: dark) { :root { --bs-body-bg: #222; --bs-body-color: #eee;
  --bs-secondary-color: #bbb; --bs-link-color: #4dd0b5; } }
body { max-width: 50rem; margin: auto; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif;
  background: var(--bs-body-bg); color: var(--bs-body-color); }
a { color: var(--bs-link-color); } pre { overflow-x: auto; }
pre, pre code { white-space: pre; font-size: .85rem; }
table { display: block; overflow-x: auto; }
</style>'''

def _image(data, alt, caption):
    url = f'data:image/png;base64,{"".join(data).strip()}'
    return (f'<figure><img alt="{html.escape(alt)}" src="{url}">'
            f'<figcaption>{html.escape(caption)}</figcaption></figure>')

def output(o, alt, caption=''):
    "An output of a cell as HTML, or as (None, markdown)"
    if 'text' in o: return f'<pre>{html.escape("".join(o["text"]))}</pre>'
    data = o.get('data', {})
    if 'text/html' in data: return ''.join(data['text/html'])
    if 'image/svg+xml' in data: return ''.join(data['image/svg+xml'])
    if 'image/png' in data: return _image(data['image/png'], alt, caption)
    if 'text/markdown' in data: return None, ''.join(data['text/markdown'])
    return f'<pre>{html.escape("".join(data.get("text/plain", "")))}</pre>'

def raw(text): return f'\n\n```{{=html}}\n{text}\n```\n\n'

class Outputs(list):
    "HTML that Pandoc need not read: a mark in the text stands for each piece"
    def mark(self, text):
        self.append(text)
        return raw(f'<!-- output {len(self) - 1} -->')

    def put_back(self, page):
        return re.sub(r'<!-- output (\d+) -->', lambda m: self[int(m[1])], page)

def code(cell, outputs):
    "A code cell: its source, folded if it asks for it, and its outputs"
    text = ''.join(cell['source'])
    opts = options(text)
    source = re.sub(r'^(#\s*\|.*\n?)+', '', text).strip('\n')
    res = [] if opts.get('echo') is False or not source else [f'\n\n```python\n{source}\n```\n\n']
    if opts.get('code-fold') and res:
        summary = opts.get('code-summary', 'Code')
        res = [raw(f'<details><summary>{summary}</summary>'), *res, raw('</details>')]
    if opts.get('output') is False: return ''.join(res)
    for o in cell.get('outputs', []):
        shown = output(o, opts.get('fig-alt', ''), opts.get('fig-cap', ''))
        res.append(f'\n\n{shown[1]}\n\n' if isinstance(shown, tuple)
                   else outputs.mark(f'<div class="cell-output-display">{shown}</div>'))
    return ''.join(res)

def markdown(nb, outputs):
    "A processed notebook as one markdown document"
    parts = [code(c, outputs) if c['cell_type'] == 'code' else ''.join(c['source'])
             for c in nb['cells']]
    text = '\n\n'.join(parts)
    begin,end = raw(r'<details class="solution"><summary>\1</summary>'),raw('</details>')
    return re.sub(r'^::: \{\.callout-tip[^\n]*\n\n## ([^\n]*)$(.*?)^:::$', rf'{begin}\2{end}', text,
                  flags=re.M | re.S)

def _links(text): # To the pages' names, as Quarto does
    return re.sub(r'(href=")([^":#]+)\.ipynb', lambda m: f'{m[1]}{page(m[2])}.html', text)

# One process writes all pages: to start one for each takes three times as long.
_pages = """local job = pandoc.json.decode(io.read('a'))
local options = pandoc.WriterOptions{
  template = pandoc.template.compile(pandoc.template.default('html')), highlight_method = 'none',
  html_math_method = 'mathml', variables = {['header-includes'] = {job.head},
                                            ['include-after'] = {job.after}}}
for name,text in pairs(job.pages) do
  local doc = pandoc.read(text, 'markdown', {columns = 72})   -- as the command does
  doc.meta.lang, doc.meta.pagetitle = pandoc.MetaString('en'), pandoc.MetaString(name)
  print(pandoc.json.encode{name, pandoc.write(doc, 'html', options)})
end"""

def written(pages, after):
    "What Pandoc makes of pages of markdown: name and HTML of each; `after` is put at its end"
    job = dict(pages=pages, head=head, after=after)
    ran = subprocess.run([pypandoc.get_pandoc_path(), 'lua', '-e', _pages], input=json.dumps(job),
                         capture_output=True, text=True, check=True)
    return [json.loads(line) for line in ran.stdout.splitlines()]

def write(source, to):
    "All pages of `source` (a filled `_proc`) as HTML into the folder `to`"
    shutil.rmtree(to, ignore_errors=True)
    Path(to).mkdir(parents=True)
    outputs = Outputs()
    pages = {f'{page(p.name)}.html': markdown(json.loads(p.read_text(encoding='utf-8')), outputs)
             for p in sorted(Path(source).glob('*.ipynb'))}
    pages |= {f'{p.relative_to(source).with_suffix(".html")}': p.read_text(encoding='utf-8')
              for p in sorted(Path(source).rglob('*.qmd'))}
    after = (Path(source)/'focus.html').read_text(encoding='utf-8')
    for name,text in written(pages, after):
        (Path(to)/name).parent.mkdir(exist_ok=True)
        up = '../' * name.count('/')
        made = outputs.put_back(_links(text))
        made = re.sub(r'href="(styles.css|favicon.svg)"', rf'href="{up}\1"', made)
        (Path(to)/name).write_text(made, encoding='utf-8')
    for extra in ('styles.css', 'favicon.svg', 'colab.svg', 'binder.svg'):
        if (Path(source)/extra).exists(): shutil.copy(Path(source)/extra, to)
    return sorted(pages)

if __name__ == '__main__': write(root/'_proc', root/'_preview')
