"""Texts that a report or a log must not obey."""

from hypothesis import strategies as st


SNIPPETS = (
    "@user @org/team a@b.example user/repo#1 user@0123abc #123 GH-12 PROJ-7",
    "http://evil.example/x https://evil.example www.evil.example evil.example",
    "mailto:a@b.example xmpp:a@b.example ftp://evil.example <http://evil.example>",
    "![i](http://x.example/i.png) [l](http://x.example) [l][r] [r]: http://x.example",
    "<img src=x onerror=alert(1)> </details> <script> </summary> <!-- -->",
    "&lt;b&gt; &#64;user &commat;user",
    "|",
    "\\",
    "\\|",
    "\\\\|",
    "`",
    "``` ",
    "````````",
    "~~~",
    "$x$ $$y$$ $`z`$ \\(x\\)",
    ":smile: :+1:",
    "[^1] [^1]: note [x] - [ ] task",
    "# head",
    "1. list",
    "- item",
    "> quote",
    "---",
    "===",
    "\n",
    "\n\n",
    "\r\n",
    "\u2028",
    "\t",
    "    code",
    "\x1b[31m\u202e\x00\ud83d",
    "0123abcdef deadbeef 1234567",
    "::error file=a::x",
    "##[error]x ##vso[task.complete]x ##teamcity[x]",
    "*a* **b** _c_ __d__ ~~e~~",
    "a plain word, and (another) one; n=5: 95 % 1,234.5",
)
hostile = st.lists(
    st.sampled_from(SNIPPETS) | st.text(st.characters(codec=None), max_size=6),
    max_size=8,
).map("".join)
