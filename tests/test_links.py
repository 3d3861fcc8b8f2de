"Every link, name and page leads somewhere."
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
