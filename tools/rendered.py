"""Look at a rendered site before it is published: `python -m tools.rendered _docs`.

A crawl over its files: every link and anchor leads somewhere, and a browser, where there is one,
opens every page without an error."""
import re, sys
from pathlib import Path
from shutil import which

def places(pages):
    "The ids on each page"
    return {p: set(re.findall(r'\bid="([^"]+)"', text)) for p,text in pages.items()}

def broken(folder):
    "Links inside the site that lead nowhere"
    pages = {p: p.read_text(encoding='utf-8') for p in sorted(folder.rglob('*.html'))}
    ids = places(pages)
    for p,text in pages.items():
        for link in dict.fromkeys(re.findall(r'<a\b[^>]*?href="([^"]+)"', text)):
            if re.match(r'\w+:|//', link): continue
            path,_,anchor = link.partition('#')
            to = (folder/path[1:] if path.startswith('/') else p.parent/path) if path else p
            to = (to/'index.html' if to.is_dir() else to).resolve()
            if not to.exists(): yield f'{p.relative_to(folder)}: {link}: no such file'
            elif anchor and to in ids and anchor not in ids[to]:
                yield f'{p.relative_to(folder)}: {link}: no such place'

def complaints(folder):
    "What a browser's console says of the pages"
    chrome = next(filter(None, map(which, ('chromium', 'google-chrome'))), None)
    if not chrome: return
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        page,said = p.chromium.launch(executable_path=chrome, args=['--no-sandbox']).new_page(), []
        page.on('pageerror', lambda e: said.append(str(e)))
        for path in sorted(folder.rglob('*.html')):
            said.clear()
            page.goto(path.resolve().as_uri())
            yield from (f'{path.relative_to(folder)}: {s}' for s in said)

if __name__ == '__main__':
    folder = Path(sys.argv[1]).resolve()
    sys.exit('\n'.join([*broken(folder), *complaints(folder)]) or None)
