"""Names that strangers' files, folders, tables and headers may carry, by the kind of harm they were made for.

A name is text; bytes that are no UTF-8 stand in it as lone surrogates, as :func:`os.fsdecode` gives them. A script in a
name says ``kicc-attack`` in a dialog, so that :mod:`tests.attacks.pages` hears it.
"""

import os
from collections.abc import Iterator, Mapping, Sequence

#: Bytes of a name that Linux file systems hold.
MOST_BYTES = 255

ALERT = "alert('kicc-attack')"


def _bytes(*names: bytes) -> tuple[str, ...]:
    return tuple(os.fsdecode(name) for name in names)


HOSTILE: Mapping[str, Sequence[str]] = {
    # Where would this lie, if it were joined to a folder?
    "traversal": (
        *("..", "../x", "../../x", "../../../../../../tmp/kicc-attack", "..\\..\\x", "a/../../x", "/tmp/kicc-attack"),
        *("//host/share", "./x", "....//x", "..%2fx", "%2e%2e%2fx", "..;/x", ".. ", " ..", "~", "~root", "file:///x"),
        *("../images/../../cxr/images/a", "x/", "x/.", "x/..", "..\x00x"),
    ),
    "separators": ("a/b", "a\\b", "a:b", "C:\\x", "C:x", "\\\\host\\share", "a;b", "a,b", "a|b"),
    "dots": (
        ".",
        "...",
        "....",
        ".hidden",
        "._a",
        "a.",
        "a..",
        "..a",
        ".DS_Store",
        ".git",
        ".partial-x",
        ".nii",
        ".gz",
    ),
    # What the software itself lays beside it.
    "own files": (
        *("masks", "truth", "clinical.csv", ".kicc-key", "severity", "checkpoints", "predictions.csv", "config.yaml"),
        *("split.json", "weights.safetensors", "index.html", "page.html", "report.html", "severity.json", "dicom"),
        *("lesion.nii.gz", "quarantine.json", "store", "tensorboard", "summary.json", "network", "clinical", "all"),
    ),
    "control characters": (
        *("\n", "a\nb", "a\rb", "a\r\nb", "a\tb", "a\bb", "a\ab", "a\vb", "a\fb", "a\x00b", "\x00", "a\x1ab", "a\x7fb"),
        *("a\x85b", "a\x9b31mb", "a\x90b", "a\x9d0;t\x9cb", "a\u2028b", "a\u2029b", "x\nerror: all is lost"),
    ),
    # What a terminal would do: colours, title, clearing, links, the clipboard, questions that it answers.
    "terminal escapes": (
        *("\x1b[31mred", "\x1b]0;title\x07x", "\x1b[2Jx", "\x1b[?1049hx", "\x1b]8;;http://x\x1b\\x\x1b]8;;\x1b\\"),
        *("\x1bPq#0\x1b\\x", "\x1b[6nx", "\x1b]52;c;a2ljYw==\x07x", "\x1bcx", "\x1b[1A\x1b[2Kreport: x", "\x1b"),
        *("\x1b[8mhidden", "\x1b(0x", "\x9b2Jx"),
    ),
    "direction": (
        *("a\u202eb", "\u202egpj.exe", "\u202da", "\u202aa\u202c", "\u2066a\u2069", "\u2067a", "\u2068a", "\u200ea"),
        *("\u200fa", "\u061ca", "שלום", "مرحبا 1-2"),
    ),
    "invisible": (
        "\u200b",
        "a\u200bb",
        "\u200ca",
        "a\u200db",
        "\ufeffa",
        "a\u00adb",
        "\u2060",
        "a\u034fb",
        "\u180ea",
        "a\U000e0041b",
    ),
    "markup": (
        *(f"<script>{ALERT}</script>", f"</script><script>{ALERT}</script>", f"<img src=x onerror={ALERT}>"),
        *(
            f"<svg onload={ALERT}>",
            f"<svg/onload={ALERT}>",
            f"<details open ontoggle={ALERT}>",
            f"--><img src=x onerror={ALERT}>",
        ),
        *(f"<input autofocus onfocus={ALERT}>", f'" autofocus onfocus="{ALERT}', f"' onmouseover='{ALERT}"),
        *(f'" onmouseover="{ALERT}', f"x onmouseover={ALERT} y", f"]]><script>{ALERT}</script>", "<style>@import 'x'"),
        *(
            f"</title><script>{ALERT}</script>",
            f"</textarea><script>{ALERT}</script>",
            f"</style><img src=x onerror={ALERT}>",
        ),
        *(
            f'<iframe srcdoc="&lt;script&gt;{ALERT}">',
            f"<body onload={ALERT}>",
            "<!--",
            "<plaintext>",
            "<base href=//x>",
        ),
        *(
            "<meta http-equiv=refresh content=0>",
            f"&lt;script&gt;{ALERT}",
            "&#106;avascript",
            "&amp;",
            "&",
            "<",
            ">",
            "<b>x",
        ),
    ),
    "scripts": (
        *(
            f"javascript:{ALERT}",
            f"JaVaScRiPt:{ALERT}",
            f"java\tscript:{ALERT}",
            f" javascript:{ALERT}",
            f"vbscript:{ALERT}",
        ),
        *(
            f"data:text/html,<script>{ALERT}</script>",
            f"';{ALERT};//",
            f'"-{ALERT}-"',
            f'\\";{ALERT};//',
            f"`${{{ALERT}}}`",
        ),
        *("{{7*7}}", "{% raise x %}", "{# x", "${7*7}", "<%= 7*7 %>", "__proto__", "constructor"),
    ),
    "links": (
        "a#1",
        "50%41",
        "q?x=1",
        "a&b=c",
        "a%00b",
        "a%2fb",
        "%",
        "#",
        "?",
        "a b",
        "a+b",
        "http:x",
        "x:y",
        "mailto:x",
        "//x",
    ),
    "mathtext": (
        "A$\\foo$B",
        "$",
        "$$",
        "a$x$b",
        "$\\frac{1}{0}$",
        "\\$x",
        "a_b^c",
        "$x",
        "\\unknown",
        "$\\sqrt$",
        "$_$",
    ),
    "formats": (
        "%s",
        "%d",
        "%(x)s",
        "%n",
        "{0}",
        "{x}",
        "{}",
        "{",
        "}",
        "{x!r:>{y}}",
        "%%",
        "\\n",
        "\\x41",
        "\\u0041",
        "\\1",
        "\\g<0>",
    ),
    "rich markup": (
        "[red]x",
        "[/red]",
        "crp[/b]_mg_l",
        "[link=http://x]x",
        "[bold",
        "\\[x]",
        "[/]",
        ":smile:",
        "[@click=app.bell]x",
        "[#ff0000]x",
    ),
    "hydra": (
        *(
            "${oc.env:HOME}",
            "${x}",
            "${",
            "$${x}",
            "a=b",
            "a:b",
            "[a]",
            "[a",
            "{a:b}",
            "{a",
            "null",
            "true",
            "~x",
            "+x",
            "++x=1",
        ),
        *(
            "x@y",
            "'",
            '"',
            "''",
            "\\'",
            "a'b",
            'a"b',
            "???",
            "_target_",
            "!!python/object/apply:os.system [id]",
            "&a",
            "*a",
        ),
        *(
            "- a",
            "a: b",
            "? a",
            "> a",
            "%YAML",
            "# a",
            "a #b",
            "`a",
            "a.b.c",
            "glob(*)",
            "choice(a,b)",
            "range(1,3)",
            "int(x)",
        ),
    ),
    "shell": (
        "$(touch kicc-attack)",
        "`touch kicc-attack`",
        "; touch kicc-attack",
        "| x",
        "&& x",
        "> x",
        "$HOME",
        "a*",
        "a?",
        "[ab]",
        "!x",
        "--help",
        "-o",
        "-",
        "--",
    ),
    "formulas": (
        "=1+1",
        "=cmd|' C calc'!A0",
        "+1+1",
        "-1+1",
        "@SUM(1)",
        "\t=1+1",
        "\r=1+1",
        " =1+1",
        '=HYPERLINK("http:x")',
        "＝1+1",
        "-x",
        "+x",
        "@x",
        "=",
        "+",
        "@",
    ),
    "Windows": (
        "CON",
        "PRN",
        "AUX",
        "NUL",
        "COM1",
        "LPT1",
        "con.txt",
        "NUL.nii",
        "CONIN$",
        "a<b",
        "a>b",
        "x ",
        "x.",
        "desktop.ini",
        "a::$DATA",
    ),
    "long": (
        "a" * 200,
        "a" * 243,
        "a" * 255,
        "a" * 256,
        "a" * 5000,
        "가" * 80,
        "😀" * 60,
        "a." * 120,
        " " * 100 + "x",
        "a/" * 200,
        "<b>" * 80,
    ),
    "four bytes": ("😀", "👨‍👩‍👧", "𝒜", "𠀀", "\U0010ffff", "🇰🇷", "\ue000", "\ufffd", "\uffff"),
    "no UTF-8": _bytes(
        b"\xff",
        "한빛병원".encode("cp949"),
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"a\x80b",
        b"\xfe\xff",
        b"\xf5\x80\x80\x80",
        b"a\x9b31mb",
        b"\xc0\xae\xc0\xae",
    ),
    # Equal after normalising, or on a file system that ignores case.
    "pairs": (
        *(
            "caf\u00e9",
            "cafe\u0301",
            "한빛",
            "\u1112\u1161\u11ab\u1107\u1175\u11be",
            "\u212b",
            "\u00c5",
            "ﬁ",
            "fi",
            "①",
        ),
        *(
            "\u212a",
            "k",
            "ſ",
            "s",
            "Seoul",
            "SEOUL",
            "seoul",
            "ß",
            "SS",
            "İ",
            "i\u0307",
            "ı",
            "a-b",
            "a_b",
            "a b ",
            "a  b",
        ),
    ),
    "numbers": (
        *("1", "01", "1.0", "1e5", "0x10", "1_000", "inf", "nan", "NaN", "-0", "-1", "٣", "１", "1e999", "00012345.0"),
        *("NA", "N/A", "None", "#N/A", "<NA>", "False", "yes", "2020-03-09", "12:30"),
    ),
    "blanks": ("", " ", "  ", "\t", "\u00a0", "\u3000", " a", "a ", "\u2003"),
    "queries": (
        "' OR 1=1--",
        '{"a":1}',
        "<?xml version='1.0'?>",
        "%0d%0aX: y",
        "${jndi:ldap:x}",
        "a\\",
        '"""',
        "'''",
        "a\\\\b",
        "::",
        "*",
        "**",
        "[!a]",
    ),
}

#: One of each kind, for places where a name costs seconds: those that did harm, or are the likeliest to.
DANGEROUS: Sequence[str] = (
    *("..", "a\nb", "\x1b[31mred", "a\u202eb", f"<img src=x onerror={ALERT}>", f"javascript:{ALERT}", "50%41", "a#1"),
    *(
        "A$\\foo$B",
        "crp[/b]_mg_l",
        "${oc.env:HOME}",
        "$(touch kicc-attack)",
        "=1+1",
        "CON",
        "a" * 200,
        "😀",
        "a'b",
        "NA",
        "01",
    ),
    *("\u1112\u1161\u11ab", ".hidden", "a\\b", "a,b", "%s", "{0}", *_bytes("한빛병원".encode("cp949"))),
)


#: Kinds that are likely to be refused, so that they come last, together.
REFUSABLE = (
    "traversal",
    "dots",
    "control characters",
    "terminal escapes",
    "direction",
    "long",
    "no UTF-8",
    "pairs",
    "blanks",
)


def all_names() -> list[str]:
    """Every name once; those that may be refused stand behind the others, whose say they would take in a batch."""
    kinds = sorted(HOSTILE, key=REFUSABLE.__contains__)
    return list(dict.fromkeys(name for kind in kinds for name in HOSTILE[kind]))


def fits_on_disk(name: str, suffix: str = "") -> bool:
    """Whether a folder may hold an entry of this name and suffix."""
    raw = os.fsencode(name + suffix)
    return bool(raw) and raw not in (b".", b"..") and not set(raw) & set(b"/\0") and len(raw) <= MOST_BYTES


def names_on_disk(suffix: str = "") -> list[str]:
    """Those that a folder may hold, with ``suffix`` behind."""
    return [name for name in all_names() if fits_on_disk(name, suffix)]


def batches(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Names in groups of at most ``size``, in their order."""
    for start in range(0, len(names), size):
        yield names[start : start + size]
