"The site as its own step and Pandoc make it, without Quarto: links, places, pictures."
import re, subprocess, sys
from collections import Counter
from html.parser import HTMLParser

import pytest
from browser import chromium, in_a_browser, playwright
from tools import checks, reference, site
from tools.cells import notebooks, page as page_name, root

try: from axe_playwright_python.sync_playwright import Axe
except ImportError: Axe = None


@pytest.fixture(scope='session')
def made(tmp_path_factory):
    "A copy of the project in which the site is prepared, and its pages"
    to = tmp_path_factory.mktemp('site')
    checks.copy(root, to)
    for tool in 'tools.site', 'tools.preview':
        subprocess.run([sys.executable, '-m', tool], cwd=to, check=True, capture_output=True)
    return to/'_preview'


class Page(HTMLParser):
    "Ids, links, pictures without words, and links inside links of a page"
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.silent, self.nested, self.depth = [], [], [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if 'id' in attrs: self.ids.append(attrs['id'])
        if tag == 'img' and not (attrs.get('alt') or '').strip():
            self.silent.append(self.get_starttag_text()[:80])
        if tag == 'a' and 'href' in attrs:
            if self.depth: self.nested.append(attrs['href'])
            self.links.append(attrs['href'])
            self.depth += 1

    def handle_endtag(self, tag):
        if tag == 'a': self.depth = max(0, self.depth - 1)


@pytest.fixture(scope='session')
def pages(made):
    return {p.relative_to(made).as_posix(): Page(p.read_text(encoding='utf-8'))
            for p in sorted(made.rglob('*.html'))}


def none(problems): assert not problems, '\n' + '\n'.join(problems)


def test_links_stay_inside_and_lead_somewhere(made, pages):
    res = []
    for name,page in pages.items():
        for link in page.links:
            if re.match(r'\w+:', link):
                if 'clusterlearn.github.io' in link: res.append(f'{name}: {link} is absolute')
                continue
            path,_,anchor = link.partition('#')
            to = made/(path[1:] or name) if path[:1] in ('', '/') else (made/name).parent/path
            if not to.exists(): res.append(f'{name}: {link}: no such page')
            elif anchor and to.suffix == '.html':
                other = to.resolve().relative_to(made.resolve()).as_posix()
                if anchor not in pages[other].ids: res.append(f'{name}: {link}: no such place')
    none(res)


def test_ids_are_unique_and_links_not_nested(pages):
    res = [f'{name}: {i} {n} times' for name,page in pages.items()
           for i,n in Counter(page.ids).items() if n > 1]
    none(res + [f'{name}: {link} inside a link' for name,page in pages.items()
                for link in page.nested])


def figures(text):
    "The chapter and the number in each caption of a page"
    caption = r'<(?:figcaption|p class="figure-caption")[^>]*>\s*Figure\s+(\w+)\.(\d+)\.\s+\S'
    return [(chapter, int(n)) for chapter,n in re.findall(caption, text)]


def test_figures_are_numbered_without_gaps(made):
    "Every picture and player of a chapter has its number, and mentions of a figure lead to one"
    res,every,mentioned = [],set(),{}
    player = r'id="cl-player-\w+" data-frames'
    for p in notebooks(root):
        text = (made/f'{page_name(p.name)}.html').read_text(encoding='utf-8')
        found,chapter = figures(text),site.number(p.name)
        wanted = text.count('<figure><img') + len(re.findall(player, text)) if chapter else 0
        if found != [(chapter, i + 1) for i in range(wanted)]: res.append(f'{p.name}: {found}')
        every |= {f'{c}.{n}' for c,n in found}
        for m in re.findall(r'Figure\s+(\d+[a-z]?\.\d+)', text): mentioned.setdefault(m, p.name)
    none(res + [f'{name}: no figure {m}' for m,name in mentioned.items() if m not in every])


def test_every_picture_has_words(pages):
    none([f'{name}: {img}' for name,page in pages.items() for img in page.silent])


def test_every_player_has_words(made):
    none([p.name for p in sorted(made.glob('*.html'))
          if 'aria-label="An animation"' in p.read_text(encoding='utf-8')])


def test_nothing_comes_from_elsewhere(made):
    "No script, style, font or picture from the web: the site works from a USB stick"
    res = []
    for p in sorted(made.rglob('*.html')):
        text = p.read_text(encoding='utf-8')
        away = r'<(script|link|img|iframe)\b[^>]*?(?:src|href)="(https?:[^"]+)'
        for m in re.finditer(away, text):
            res.append(f'{p.relative_to(made)}: {m[1]} {m[2][:80]}')
    none(res)


def test_the_reference_is_whole():
    "Each public name has what its page needs; no markdown is left inside code"
    res = []
    for name,_,text in reference.pages(root):
        for block in re.findall(r'```python\n(.*?)```', text, re.S):
            if re.search(r'\]\(\S+\)', block) and '](' in block and 'print' not in block:
                res.append(f'{name}: a link inside code: {block[:60]}')
        if address := re.search(r'.*\bat 0x[0-9a-f]+.*', text): res.append(f'{name}: {address[0]}')
        escaped = re.search(r'`[^`\n]*\\\|[^`\n]*`', text)
        if escaped: res.append(f'{name}: {escaped[0]}: the backslash shows')
        for entry in re.split(r'^## ', text, flags=re.M)[1:]:
            if re.search(r'^\w+\(\*args, \*\*kwargs\)', entry, re.M):
                res.append(f'{name}: {entry.split()[0]} without fields')
    none(res)


def test_backtick_links_that_lead_nowhere_become_plain():
    ids = {'a.html': {'x'}}
    text = '[`x`](a.html#x), [`_y`](a.html#_y), [[`x`](a.html#x)](b.ipynb), [`z`](https://q.org)'
    assert site.unlinked(text, ids) == '[`x`](a.html#x), `_y`, [`x`](b.ipynb), [`z`](https://q.org)'


def test_only_imports_fold():
    assert site.only_imports('import a\nfrom b import (c,\n               d)\nimport e\nimport f')
    assert not site.only_imports('import a\nimport b\nimport c\nx = 1')
    assert not site.only_imports('import a')


#  In a browser

modes = {'wide and light': (1400, 'light'), 'a phone in the dark': (390, 'dark')}


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        yield b
        b.close()


# Two pages of the reference stand for all, and axe sees one engine room: all were seen once. In the
# dark axe sees a page of each kind, and those with a player: the others have the same colours
course = [f'{page_name(p.name)}.html' for p in notebooks(root) if p.name[:2] < '60']
rooms = [f'{page_name(p.name)}.html' for p in notebooks(root) if p.name[:2] >= '60']
some_reference = ['reference/kmeans_lloyd.html', 'reference/data.html', 'references.html']
kinds = [*course, 'index.html', 'kmeans_scores.html', 'api.html', *some_reference]
# Only what is wrong is listed, and only by the rules of WCAG: half of the time of all rules
axe_options = {'preload': False, 'resultTypes': ['violations'], 'runOnly': {
    'type': 'tag', 'values': ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']}}


def sideways(page):
    "What makes the page scroll sideways"
    width = page.evaluate('[document.documentElement.scrollWidth, innerWidth]')
    if width[0] > width[1]: yield f'scrolls sideways: {width[0]} of {width[1]} pixels'


# One step on the page for all sliders. What is drawn is compared, not the words beside it
slide = """() => [...document.querySelectorAll('.cl-player input[type=range]')].flatMap((s, i) => {
  if (+s.max < 1) return []
  const drawn = () => [...s.closest('.cl-player').querySelectorAll('canvas, img')]
    .filter(e => e.getClientRects().length).map(e => e.src || e.toDataURL()).join()
  const before = drawn()
  s.value = s.value == s.max ? s.min : s.max
  s.dispatchEvent(new Event('input', {bubbles: true}))
  if (!before) return [`slider ${i} moves nothing that is seen`]
  return drawn() == before ? [`slider ${i} changes nothing`] : []
})"""


# In one step on the page: to ask for each block of code from here takes three times as long
fold = """() => [...document.querySelectorAll('details.solution')].flatMap(one => {
  const inside = [...one.querySelectorAll('pre')], said = []
  const seen = e => e.getClientRects().length > 0 && e.checkVisibility({visibilityProperty: true})
  if (inside.some(seen)) said.push('a solution is open from the start')
  one.querySelector('summary').click()
  if (!inside.length || !seen(inside[0])) said.push('a solution does not open')
  return said
})"""

def folding(page):
    "Solutions that do not hide their code and output together; the mouse closes the first"
    yield from page.evaluate(fold)
    first = page.locator('details.solution').first
    if not first.count(): return
    first.locator('summary').first.click()
    if first.locator('pre').first.is_visible(): yield 'a solution does not close'


def violations(axe, page):
    "What axe finds, without what it found right"
    page.evaluate(axe.axe_script)
    return page.evaluate('o => axe.run(o).then(found => found.violations)', axe_options)


@pytest.fixture(scope='module', params=modes)
def found(request, browser, made):
    "What is wrong with the pages of a mode, and what axe finds: one visit to each page"
    width,scheme = modes[request.param]
    axe,wrong,serious = Axe and Axe(), [], []
    context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=scheme)
    page,said = context.new_page(), []
    page.on('console', lambda m: said.append(m.text) if m.type == 'error' else None)
    page.on('pageerror', lambda e: said.append(str(e)))
    wide = request.param == 'wide and light'
    opened = course if wide else [*course, *rooms, *some_reference]
    for name in dict.fromkeys([*opened, *kinds]):
        said.clear()
        page.goto((made/name).as_uri())
        wrong += [f'{name}: {p}' for p in sideways(page)] if name in opened else []
        seen_light = name in course and not page.locator('.cl-player').count()
        if axe and name in kinds and (wide or not seen_light):
            for v in violations(axe, page):
                where = f'{v["nodes"][0]["html"][:90]} ({len(v["nodes"])} places)'
                if v['impact'] in ('serious', 'critical'):
                    serious.append(f'{name}: {v["id"]}: {where}')
        if wide and name in opened:
            wrong += [f'{name}: {p}' for p in [*page.evaluate(slide), *folding(page)]]
        wrong += [f'{name}: {p}' for p in said]
    context.close()
    return wrong, serious


@in_a_browser
def test_pages_open_without_errors_and_fit(found): none(found[0])


@in_a_browser
@pytest.mark.skipif(not Axe, reason='needs axe_playwright_python')
def test_axe_finds_no_serious_fault(found): none(found[1])
