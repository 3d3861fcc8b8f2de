"Every link, name and page leads somewhere."
import re
from tools import checks, links, names, quarto
from tools.cells import root

def fine(problems): assert not problems, '\n' + '\n'.join(problems)

def test_links_and_anchors(): fine(links.links(root))
def test_sidebar_and_page_names(): fine(checks.sidebar(root))
def test_public_names_have_a_heading_and_a_reference(): fine(names.names(root))
def test_imports_point_backwards(): fine(names.imports(root))
def test_backticked_names_resolve(): fine(names.backticks(root))
def test_option_lines_are_yaml(): fine(quarto.option_lines(root))
def test_pandoc_reads_what_was_written(): fine(quarto.markdown(root))


def test_the_core_path_takes_the_hours_it_states():
    "The minutes that its chapters state add up to what the index says"
    text = '\n'.join(t for _,t in links.texts(root/'nbs/index.ipynb'))
    hours, path = re.search(r'\*\*The core path\*\* takes about (\d+) hours: (.*)', text).groups()
    chapters = re.findall(r'\]\((\w+\.ipynb)\)', path)
    stated = [re.search(r'\*\*Time:?\*\*:? (\d+)', links.texts(root/'nbs'/name)[1][1])
              for name in chapters]
    assert len(chapters) >= 9 and abs(sum(int(m[1]) for m in stated) / 60 - int(hours)) < .5
