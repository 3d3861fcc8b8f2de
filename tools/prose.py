"Words of a page apart from code, links, maths and headings: what links to terms may touch."
import re

# In this order: what opens first on a page holds what stands in it.
kept = re.compile(r'''
    ^(?P<f>```+|~~~+).*?^(?P=f)[^\n]*$      # a block of code
  | ^(\#{1,6}|:::)[^\n]*$                   # a heading, the edge of a block
  | ^---\n.*?\n---$                         # front matter
  | <!--.*?-->
  | <(?P<t>a|code|script|style|svg|math|button|summary)\b.*?</(?P=t)>
  | <[/a-zA-Z][^<>]*>                       # any other tag, an address
  | (?<!`)(?P<c>`+)(?!`).*?(?<!`)(?P=c)(?!`)
  | \$\$.*?\$\$ | (?<![\\\w$])\$(?!\s)[^$]+?(?<![\s\\])\$(?!\d)
  | !?\[(?:[^\[\]]|\[[^\[\]]*\])*\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\{[^{}]*\})(?:\{[^{}]*\})?
  | \{[.\#][^{}\n]*\}                       # attributes
  | https?://\S+
''', re.M | re.S | re.X)

def pieces(text):
    "`text` in pieces: (words, True), and what must stay as it is, (text, False)"
    end = 0
    for m in kept.finditer(text):
        if end < m.start(): yield text[end:m.start()], True
        yield m[0], False
        end = m.end()
    if end < len(text): yield text[end:], True

def changed(text, change):
    "`text` with its words changed by the function `change`"
    return ''.join(change(p) if words else p for p,words in pieces(text))
