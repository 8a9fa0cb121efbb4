"""Texts that a page, a shell, a spreadsheet or a terminal might take for something to run."""

SCRIPTS = (
    "<script>alert({n})</script>",
    "<img src=x onerror=alert({n})>",
    "<svg/onload=alert({n})>",
    "'-alert({n})-'",
    '"><iframe src=javascript:alert({n})>',
    "javascript:alert({n})",
    "{{{{constructor.constructor('alert({n})')()}}}}",
    "${{alert({n})}}",
    "</textarea><b onmouseover=alert({n})>",
    "<!--{n}--><style>@import'//e.example'</style>",
    "%3Cscript%3Ealert({n})%3C/script%3E",
    "&lt;script&gt;alert({n})&lt;/script&gt;",
    "\\u003cscript>alert({n})",
    "]]><x y={n}>",
    "[bold red]{n}[/bold red]",
    "[link=https://e.example]{n}[/link]",
    "[/]{n}[/]",
    '=HYPERLINK("https://e.example/{n}")',
    "+cmd|' /C calc'!A{n}",
    "@SUM(1+{n})",
)
HOSTILE = [each.format(n=number) for number in range(10) for each in SCRIPTS]
"""200 of them, all different: principals, agents, sessions, tags and models of tests."""
