"""What a Markdown engine makes of a text, with GitHub's extensions switched on."""

import re

from markdown_it import MarkdownIt


ENGINE = MarkdownIt("commonmark", {"html": True, "linkify": True})
ENGINE.enable(["table", "strikethrough", "linkify"])
OURS = re.compile(r"<details>\n<summary>[\w ()]+</summary>\n?|</details>\n?")
# What GitHub looks for in rendered text: mentions, issues, commits, emoji, mathematics,
# footnotes and task lists, addresses.
OBEYED = re.compile(
    r"@\w|#\d|\bGH-\d|\b[0-9a-f]{7,40}\b|:\w+:|\$|\[|www\.\w|\w:/|\w@\w|mailto:\w",
    re.IGNORECASE,
)
STYLES = re.compile(r"link_|image|html_inline|em_|strong_|s_|softbreak|hardbreak")


def leaves(markdown):
    """Every token of the rendered text, those within paragraphs and cells too."""
    for token in ENGINE.parse(markdown):
        yield from token.children or [token]


def assert_inert(markdown, links=(), strong=()):
    """Assert that nothing is obeyed, but these addresses and words in bold."""
    within = None
    for token in leaves(markdown):
        if token.type == "html_block":
            assert OURS.fullmatch(token.content), token.content
        elif token.type in ("link_open", "strong_open"):
            within = token.type
            assert within == "strong_open" or token.attrGet("href") in links
        elif token.type in ("link_close", "strong_close"):
            within = None
        elif token.type.startswith("text"):
            assert within != "strong_open" or token.content in ("", *strong)
            assert within == "link_open" or not OBEYED.search(token.content), token
        else:
            assert not STYLES.match(token.type), token


def rows(markdown):
    """The cells of each row of each table, as text."""
    found, within = [], False
    for token in ENGINE.parse(markdown):
        if token.type == "tr_open":
            found.append([])
        elif token.type == "inline" and within:
            found[-1].append(shown(token.children))
        within = token.type in ("th_open", "td_open")
    return found


def shown(tokens):
    return "".join(token.content for token in tokens)
