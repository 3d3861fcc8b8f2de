"""The bibliography: nbs/references.bib as a page, and links to it from where the chapters cite.

A mention is a name and a year in the text, "Lloyd (1982)", "(Ester et al. 1996)", or, in a list
of readings, a title in italics. So notebooks read well in Jupyter, too, where nothing is linked."""
import re, unicodedata
from functools import lru_cache
from typing import NamedTuple

from tools.cells import root
from tools.prose import changed, pieces

page,source = 'references','nbs/references.bib'

#  Entries

class Entry(NamedTuple):
    key: str       # What the page's places are called
    kind: str      # article, book, …
    fields: dict   # As they stand in the file

    @property
    def authors(self): # (family name, first names)
        return [tuple(a.split(', ', 1)) for a in self.fields['author'].split(' and ')]

    @property
    def year(self): return self.fields.get('year', '')

def entries(text):
    "The entries of a file in BibTeX's form, without braces inside braces"
    for kind,key,body in re.findall(r'^@(\w+)\{([\w-]+),\n(.*?)\}\}$', text, re.M | re.S):
        yield Entry(key, kind, dict(re.findall(r'(\w+) = \{([^{}]*)\}', body + '}')))

@lru_cache(None)
def known(root=root):
    "The project's entries"
    return tuple(entries((root/source).read_text(encoding='utf-8')))

#  Mentions

_name = r"[A-ZÁÉÖÜØĐ][\w’'-]*[^\W\d_]\+*"
_year = r'(?P<year>(?:1[89]|20)\d\d)(?![\w–-])'
_and = r'(?:,?\ (?:and|&)\ |–)'
_mention = re.compile(rf'''(?P<first>{_name})\**(?P<more>(?:,\ {_name})+(?={_and}))?
    (?:{_and}(?P<second>(?:van\ (?:de\ )?)?{_name}) | \ (?:et\ al\.|and\ others))?
    \**,?\ (?P<open>\(?){_year}''', re.X)
# In a list of readings also without a title: initials, names, a venue, a year
_reading = re.compile(rf'(?:[A-Z]\. ?-?)+(?P<first>{_name})[^;*\[\]\n]*?{_year}')
# What stands before a year and is no author, besides what is all capitals.
_no_author = set('''NeurIPS Wiley In Since From Until By January February March April May June July
    August September October November December'''.split())

def _bare(name): # Without accents
    parts = unicodedata.normalize('NFKD', name or '')
    return ''.join(c for c in parts if not unicodedata.combining(c))

def meant(first, second, year, root=root):
    "The keys of the entries that a mention may mean"
    first,second = _bare(first),_bare(second)
    def means(e):
        names = [_bare(a[0]) for a in e.authors]
        pair = not second or len(names) == 2 and second == names[1]
        return first == e.fields.get('shorttitle') or first == names[0] and pair
    return [e.key for e in known(root) if e.year == year and means(e)]

def mentions(words, root=root):
    "Each name with a year in `words`: the match, and the keys that it may mean"
    for m in _mention.finditer(words):
        if any(n and (n in _no_author or n.isupper()) for n in (m['first'], m['second'])): continue
        yield m, meant(m['first'], None if m['more'] else m['second'], m['year'], root)

def _plain(title): return re.sub(r'[\W_]+', ' ', title.lower()).strip()

def titled(text, root=root):
    "The entry whose title is `text`, or begins so: up to a colon, or with three words"
    text = _plain(text)
    for e in known(root):
        title = e.fields['title']
        begins = len(text.split()) > 2 and f'{_plain(title)} '.startswith(f'{text} ')
        if begins or text in (_plain(title), _plain(title.partition(':')[0])): return e
    return None

_title = re.compile(r'(?<!\*)\*(?P<title>[^*\s][^*\n]*)\*(?!\*)')

def linked(text, up='', root=root):
    "Markdown with its mentions linked, and the keys that it cites"
    cited,to = [],f'{up}{page}.html'
    def link(inside, key):
        cited.append(key)
        return f'[{inside}]({to}#{key})'
    def titles(words):
        def one(m):
            e = titled(m['title'], root)
            return link(m[0], e.key) if e else m[0]
        return _title.sub(one, words)
    def readings(words):
        def one(m):
            keys = meant(m['first'], None, m['year'], root)
            if len(keys) != 1: return m[0]
            return m[0][:-len(m['year'])] + link(m['year'], keys[0])
        return _reading.sub(one, words) if words.startswith('* ') or '\n* ' in words else words
    def years(words):
        res,end = [],0
        for m,keys in mentions(words, root):
            if len(keys) != 1: continue
            begin = m.start('year') if '*' in m[0] or m['open'] else m.start()
            res += [words[end:begin], link(words[begin:m.end()], keys[0])]
            end = m.end()
        return ''.join(res) + words[end:]
    for piece,words in pieces(text):                # a title that leads elsewhere is cited, too
        found = not words and piece.startswith('[') and _title.search(piece)
        if found and titled(found['title'], root): cited.append(titled(found['title'], root).key)
    for change in titles, readings, years: text = changed(text, change)
    return text, cited

def problems(text, root=root):
    "Mentions in markdown that mean no entry, or more than one"
    text = changed(text, lambda words: _title.sub('', words))
    for words,is_prose in pieces(text):
        for m,keys in mentions(words, root) if is_prose else ():
            if len(keys) != 1: yield f'{m[0]!r}: ' + ('none' if not keys else ' or '.join(keys))

def unlinked_readings(text, root=root):
    "Items of a list with a year that cite nothing"
    for item in re.findall(r'^\* .*$', text, re.M):
        if re.search(r'\b(1[89]|20)\d\d\b', item) and not linked(item, root=root)[1]: yield item

#  The page

def _initials(names):
    parts = [n.split('-') for n in names.split()]
    return ' '.join('-'.join(p if p.endswith('.') else f'{p[0]}.' for p in n) for n in parts)

def formatted(e):
    "An entry as it is read: authors, year, title, place, link"
    f,names = e.fields,[f'{_initials(first)} {family}' for family,first in e.authors]
    who = names[0] if len(names) == 1 else ', '.join(names[:-1]) + ' and ' + names[-1]
    where = f.get('journal') or f.get('booktitle') or f.get('publisher') or f.get('school', '')
    volume = f.get('volume', '') + (f'({f["number"]})' if 'number' in f else '')
    place = ' '.join(filter(None, (where, volume)))
    if 'edition' in f: place = f'{dict(zip("23", ("2nd", "3rd")))[f["edition"]]} edition, {place}'
    if e.kind == 'mastersthesis': place = f"Master's thesis, {place}"
    pages = f.get('pages', '').replace('--', '–')
    tail = ', '.join(filter(None, (place, pages, f.get('note', ''))))
    link = (f' [doi:{f["doi"]}](https://doi.org/{f["doi"]})' if 'doi' in f
            else f' <{f["url"]}>' if 'url' in f else '')
    year = f' ({e.year})' if e.year else ''
    dot = '' if f['title'][-1] in '?!' else '.'
    return ''.join((f'{who}{year}. *{f["title"]}*{dot}', tail and f' {tail}.', link and f'{link}.'))

def written(cited, root=root):
    "The page: each entry, by first author, with the chapters of `cited[key]`, {number: page}"
    rows = sorted(known(root), key=lambda e: ([a[0].lower() for a in e.authors[:1]], e.year, e.key))
    body = ['---\ntitle: References\nrepo-actions: false\n---',
            'What the chapters cite, and where. The data is in `nbs/references.bib`.']
    for e in rows:
        where = ', '.join(f'[{t}]({p}.html)' for t,p in cited.get(e.key, {}).items())
        body.append(f'::: {{#{e.key} .reference}}\n{formatted(e)}' + (f' Cited in {where}.' if where
                    else '') + '\n:::')
    return '\n\n'.join(body) + '\n'
