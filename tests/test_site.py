"The site as its own step and Pandoc make it, without Quarto: links, places, pictures."
import re, subprocess, sys
from collections import Counter
from html.parser import HTMLParser

import pytest
from tools import checks, reference, site
from tools.cells import root


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
            for p in sorted(made.rglob('*.html')) if p.name != 'head.html'}


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


def test_every_picture_has_words(pages):
    none([f'{name}: {img}' for name,page in pages.items() for img in page.silent])


def test_nothing_comes_from_elsewhere(made):
    "No script, style, font or picture from the web: the site works from a USB stick"
    res = []
    for p in sorted(made.rglob('*.html')):
        text = p.read_text(encoding='utf-8')
        for m in re.finditer(r'<(script|link|img|iframe)\b[^>]*?(?:src|href)="(https?:[^"]+)', text):
            res.append(f'{p.relative_to(made)}: {m[1]} {m[2][:80]}')
    none(res)


def test_the_reference_is_whole():
    "Each public name has what its page needs; no markdown is left inside code"
    res = []
    for name,_,text in reference.pages(root):
        for block in re.findall(r'```python\n(.*?)```', text, re.S):
            if re.search(r'\]\(\S+\)', block) and '](' in block and 'print' not in block:
                res.append(f'{name}: a link inside code: {block[:60]}')
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
