"Mentions of sources, terms of the glossary, captions: what tools/site.py makes of a page's words."
import json, re, subprocess

import pypandoc
import pytest
import yaml
from tools import citations, checks, reference, site, terms, versions
from tools.cells import load, notebooks, root
from tools.links import texts
from tools.prose import changed


def none(problems): assert not problems, '\n' + '\n'.join(problems)


#  What may be touched

def test_only_words_change():
    kept = ['`code`', '$x$', '$$\nx\n$$', '[x](x.html)', '![x](x.png)', '<a href="x">x</a>',
            '<img alt="x">', '## x', '::: {.x}', '[**x**](x){.x}', '```python\nx\n```',
            'https://x.org/x', '`` `x` ``', '[[x]](x.html)', '[x]{.x}', '<!-- x -->']
    found = changed('x\n\n' + '\n\nx\n\n'.join(kept), lambda words: words.replace('x', 'y'))
    assert found == 'y\n\n' + '\n\ny\n\n'.join(kept)


def test_money_and_a_lone_backtick_are_words():
    assert changed('$5 and x, $6', str.upper) == '$5 AND X, $6'


#  Sources

@pytest.mark.parametrize('text, keys', [
    ('Lloyd (1982) and (Ester et al. 1996)', ['lloyd1982', 'ester1996']),
    ('(Bottou & Bengio 1995; Rose 1998)', ['bottou1995', 'rose1998']),
    ('(Fukunaga and Hostetler 1975)', ['fukunaga1975']),
    ('(Fukunaga and Narendra 1975)', ['fukunaga1975b']),
    ('Peña and others, 1999', ['pena1999']),
    ('**Hamerly (2010):** one, **Borůvka** (1926) two', ['hamerly2010', 'boruvka1926']),
    ('(Yinyang 2015), MeanShift++ (2021)', ['ding2015', 'jang2021']),
    ('(Tarjan & van Leeuwen 1984)', ['tarjan1984']),
    ('Chan, Golub and LeVeque (1983), **Bottou and Bengio** (1995)', ['chan1983', 'bottou1995']),
    ('* R. Campello, D. Moulavi, J. Sander, PAKDD 2013. H.-P. Prim, Journal 36, 1957: all.',
     ['campello2013', 'prim1957']),
    ('`Lloyd (1982)`, KDD 1996, Since 1970, in 1995', []),
])
def test_mentions_are_found(text, keys):
    found,cited = citations.linked(text)
    assert cited == keys and all(f'(references.html#{k})' in found for k in keys)
    assert not list(citations.problems(text))


def test_titles_of_readings_are_found():
    text = ('* S. Lloyd, *Least squares quantization in PCM* (1982): why.\n'
            '* Y. Ding, *Yinyang K-Means*, 2015')
    assert citations.linked(text)[1] == ['lloyd1982', 'ding2015']


@pytest.mark.parametrize('text', ['Nobody (1999)', '(Lloyd 1983)', '(Ester and Lloyd 1996)'])
def test_an_unknown_mention_is_a_problem(text): assert list(citations.problems(text))


def test_a_reading_without_an_entry_is_a_problem():
    assert list(citations.unlinked_readings('* A. Nobody, *On nothing*, Journal 3, 1999: why.'))


def test_the_file_is_bibtex():
    "Pandoc reads the same entries: keys, years, family names"
    ran = subprocess.run([pypandoc.get_pandoc_path(), '-f', 'biblatex', '-t', 'csljson',
                          root/citations.source], capture_output=True, text=True, check=True)
    theirs = {e['id']: e for e in json.loads(ran.stdout)}
    ours = {e.key: e for e in citations.known()}
    assert not ran.stderr and list(theirs) == list(ours), 'keys in alphabetical order, each once'
    for key,e in theirs.items():
        families = [' '.join(filter(None, (a.get('dropping-particle'), a['family'])))
                    for a in e['author']]
        year = str(e['issued']['date-parts'][0][0]) if 'issued' in e else ''
        assert [a[0] for a in ours[key].authors] == families and ours[key].year == year, key


def every_text():
    "What a reader sees, with where it stands: chapters and the reference"
    for p in notebooks(root): yield from texts(p)
    for name,_,text in reference.pages(root): yield name, text


def test_every_mention_has_an_entry_and_every_entry_is_cited():
    "A new source goes into nbs/references.bib; one that nothing cites goes out"
    res,cited = [],set()
    for where,text in every_text():
        res += [f'{where}: {p}' for p in citations.problems(text)]
        cited |= set(citations.linked(text)[1])
        readings = text.partition('## Further reading')[2]
        res += [f'{where}: no entry: {item}' for item in citations.unlinked_readings(readings)]
    none(res + [f'{e.key} is cited nowhere' for e in citations.known() if e.key not in cited])


#  Terms

def test_the_first_occurrence_of_a_term_is_linked():
    seen = set()
    text = ('## Core points\n\nA `core point`. Core points are **core points**.\n\n'
            '## Further reading\n\nnoise')
    link = '[Core points](glossary.html#core-point){.term}'
    assert terms.linked(text, '32', seen) == text.replace('Core points are', f'{link} are')
    assert seen == {'core-point'} and terms.linked('core point', '32', seen) == 'core point'


def test_a_term_inside_another_word_stays():
    for text in ('mean shift', 'an engine room', 'relabel', 'label-free', '*Mode seeking*'):
        assert terms.linked(text, '13', set()) == text
    assert 'kernel' not in terms.linked('a kernel', '73', set())[2:5]


def test_every_term_is_linked_somewhere_and_is_defined_once():
    "A term that no chapter uses needs no entry; `only` names ids that there are"
    ids = [id for c in load(root/terms.notebook).cells for _,id in terms.headings(c.source)]
    seen = set()
    for p in notebooks(root):
        if site.is_chapter(p):
            for _,text in texts(p): terms.linked(text, site.number(p.name), seen)
    assert len(ids) == len(set(ids)) and set(terms.only) <= set(ids)
    none([f'{id} is linked nowhere' for id in ids if id not in seen])


def test_definitions_are_short_and_lead_to_a_chapter():
    text = '\n\n'.join(c.source for c in load(root/terms.notebook).cells)
    for entry in re.split(r'^### ', text, flags=re.M)[1:]:
        name,_,body = entry.partition('\n\n')
        definition,_,chapter = body.split('\n\n## ')[0].partition(' Chapter [')
        assert len(definition.split()) <= 45 and '.ipynb' in chapter, name


#  Figures

def figure(source='', kind='image/png', html=''):
    return dict(cell_type='code', metadata={}, source=source, outputs=[dict(data={kind: html})])


def test_captions_are_numbered_and_short():
    alt,cap = '#| fig-alt: "Six blobs. Each has a colour."\n','#| fig-cap: "As found."\n'
    player = figure(kind='text/html', html='<div class="cl-player" id="cl-player-a">'
                                           '<canvas role="img" aria-label="It moves. Twice.">')
    cells = list(site.captioned([figure(alt), player, figure(alt + cap)], '23b'))
    assert cells[0]['source'] == '#| fig-cap: "Figure 23b.1. Six blobs."\n' + alt
    assert cells[2]['source'] == '<p class="figure-caption">Figure 23b.2. It moves.</p>'
    assert cells[3]['source'] == '#| fig-cap: "Figure 23b.3. As found."\n' + alt
    alone, = site.captioned([figure(alt)], '')
    assert alone['source'] == '#| fig-cap: "Six blobs."\n' + alt


#  Badges and versions

def test_binder_stands_beside_colab():
    text = ('<a href="https://colab.research.google.com/github/a/b/blob/main/nbs/20_x.ipynb">'
            f'<img src="{site.badge}" alt="Open in Colab"></a>')
    found = site.relative(text, 'https://a.github.io/b/')
    assert 'colab.svg' in found
    assert 'https://mybinder.org/v2/gh/a/b/main?labpath=nbs/20_x.ipynb' in found


def test_binder_installs_what_the_course_needs():
    "repo2docker looks at environment.yml and an executable postBuild in binder/"
    wanted = yaml.safe_load((root/'binder/environment.yml').read_text(encoding='utf-8'))
    python, *others = wanted['dependencies']
    version = re.fullmatch(r'python=3\.(\d+)', python)
    assert version and 10 <= int(version[1]) <= 13 and 'pytorch-cpu' in others
    build = root/'binder/postBuild'
    assert build.stat().st_mode & 0o111 and build.read_text().startswith('#!')
    extras = re.search(r"'\.\[(.*?)\]'", build.read_text())[1]
    for extra in extras.split(','): assert f'{extra}_requirements' in checks.settings(root), extra


def test_versions_are_read_not_typed():
    note = versions.note(root)
    assert f'clusterlearn {checks.settings(root)["version"]}' in note
    pinned = (root/'constraints.txt').read_text(encoding='utf-8')
    assert re.search(r'^torch==([\d.]+)', pinned, re.M)[1] in note
