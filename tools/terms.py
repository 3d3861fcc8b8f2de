"Terms of the glossary, and links to it: the first occurrence of each on the page of a chapter."
import re
from functools import lru_cache

from tools.cells import load, root
from tools.prose import changed

page,notebook = 'glossary','nbs/54_glossary.ipynb'

# A word that means something else in other chapters is linked only where the number begins so.
only = {'update': '2', 'restart': '2', 'potential': '2', 'margin': '27', 'engine': '2[567]',
        'kernel': '1', 'shift': '1', 'mode': '1', 'density': '[13]', 'noise': '3', 'tile': '30',
        'recall': '31', 'certificate': '27|30', 'stability': '33', 'assignment': '2|52|53',
        'label': '[0-4]', 'scatter': '22', 'estimator': '4', 'gap': '41'}

def headings(text):
    "The terms of a page of markdown: the words of each heading below a topic, and its id"
    for words,id in re.findall(r'^### (.+?) \{#([\w-]+)\}$', text, re.M):
        yield words.split(', '), id

@lru_cache(None)
def terms(root=root):
    "Each term, in every form, with its id; the longest come first, so that they win"
    text = '\n\n'.join(c.source for c in load(root/notebook).cells if c.cell_type == 'markdown')
    found = {form: id for words,id in headings(text) for form in words}
    return dict(sorted(found.items(), key=lambda t: -len(t[0])))

def _pattern(form):
    first = form[0]
    any_case = form[1:2].islower() or not first.isalpha()
    head = f'[{first.upper()}{first.lower()}]' if any_case and first.isalpha() else re.escape(first)
    tail,many = re.escape(form[1:]).replace(r'\ ', r'\s'),'s?'
    for one,more in {'y': 'ies', 'um': 'a', 'x': 'xes', 's': 'ses'}.items():
        if form.endswith(one): tail,many = tail.removesuffix(one),f'(?:{one}|{more})'
    return rf'(?<![\w-]){head}{tail}{many}(?![\w’\'-]|\+\+)'

def here(number, root=root):
    "The terms to link in the chapter `number`"
    return {f: id for f,id in terms(root).items() if re.match(only.get(id, ''), number)}

# Not a term although it holds one; titles in italics; and the readings at the end stay as they are.
_whole = r'[Mm]ean[ -]shift|[Ee]ngine\srooms?|(?<!\*)\*[^*\s][^*\n]*\*(?!\*)'

@lru_cache(None)
def _search(number, root): # A pattern with a group for each term of a chapter, and their ids
    forms = here(number, root)
    named = [f'(?P<t{i}>{_pattern(f)})' for i,f in enumerate(forms)]
    return re.compile('|'.join([*named, _whole])), list(forms.values())

def linked(text, number, seen, root=root):
    "Markdown with the terms linked that are not in `seen`, which grows"
    which,ids = _search(number, root)
    def one(m):
        id = ids[int(m.lastgroup[1:])] if m.lastgroup else None
        if id is None or id in seen: return m[0]
        seen.add(id)
        return f'[{m[0]}]({page}.html#{id}){{.term}}'
    body,heading,rest = text.partition('## Further reading')
    return changed(body, lambda words: which.sub(one, words)) + heading + rest
