"""Text and tables as LaTeX: letters that are commands escaped, tables (booktabs) made to fit the page."""

import re
import unicodedata

ESCAPES = {letter: f"\\{letter}" for letter in "_%&#${}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\textquotedblright{}",  # babel makes the plain one a command in some languages
    "<": "$<$",
    ">": "$>$",
    "−": "$-$",
    "²": "$^2$",
    "°": r"$^\circ$",
    "×": r"$\times$",
    "≥": r"$\ge$",
    "ρ": r"$\rho$",
    "∞": r"$\infty$",
}
# what pdfLaTeX sets without further packages in the encoding T1: its inputenc declares these
PLAIN = set("–—‘’“”…")  # in any encoding
KNOWN = ({chr(code) for code in range(0xA0, 0x17F)} - set("ĦħĸĿŀŉŦŧ")) | set("ȘșȚț‚„†‡•‰‹›€™") | PLAIN
# The text area of the class article at 10 pt, in points, upright and turned.
UPRIGHT, TURNED = 345, 550
# Sizes of type with the width of an em of Computer Modern in points and the distance of columns: the smaller, the
# wider the type is for its size.
SIZES = (("normalsize", 10, 6), ("small", 9.25, 5), ("footnotesize", 8.5, 4), ("scriptsize", 8, 3), ("tiny", 6.8, 2))
LONG = 35  # lines; a table with more is broken over pages
WRAPPED, COMFORTABLE = 18, 8  # em: words wider than this are broken into lines, not narrower than that if it can be
NARROW, WIDE = set(" .,:;'|()[]{}/!-filjrt"), set("mwMW−+=<>×≥∞%&#@—…")


def escape(text):
    """Text that LaTeX sets letter by letter, in one line: commands escaped, accents composed, equal signs apart."""
    letters = " ".join(unicodedata.normalize("NFC", str(text)).split())
    escaped = "".join(ESCAPES.get(letter, letter) for letter in letters)
    return re.sub(r"([-',])(?=\1)", r"\1{}", escaped)  # two of these would become one sign


def escape_names(text):
    """Running text as :func:`escape` has it, in which long names and digests may end a line at a sign or anywhere."""
    words = []
    for word in str(text).split():
        # model ids, such as facebook/vit-mae-base, and commits
        parts = re.findall(r"[0-9a-f]{8}(?=[0-9a-f]{8})|[^/_.-]+?(?=[/_.-]|$|[0-9a-f]{16})[/_.-]*|[/_.-]+", word)
        words.append(r"\allowbreak{}".join(map(escape, parts)) if len(word) > 16 else escape(word))
    return " ".join(words)


def needed_letters(text):
    """What pdfLaTeX needs for the letters of a text.

    Returns:
        Whether the font encoding T1 is needed, and the letters that pdfLaTeX does not have, in their order.
    """
    letters = set(unicodedata.normalize("NFC", text)) - set(ESCAPES)
    letters = {letter for letter in letters - PLAIN if not letter.isascii()}
    return bool(letters), sorted(letters - KNOWN)


def em_width(text):
    """Width of a line in em of its type, a little more than it is in Computer Modern: by up to a seventh."""
    return sum(0.33 if c in NARROW else 0.8 if c in WIDE or c.isupper() or ord(c) > 0x2E80 else 0.52 for c in text)


def break_lines(text, width):
    """A text in lines of at most a width in em, words kept whole."""
    lines = []
    for word in text.split():
        if lines and em_width(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


class Layout:
    """How a table fits the page: size of type, distance of columns, whether the page is turned, widths in em.

    A column of words that is too wide is broken into lines, and heads are as wide as what stands below them. The first
    of these fits: upright in smaller and smaller type; upright with narrower words; turned by a quarter, likewise; if
    nothing else does, in tiny type.

    Args:
        shown: frame of text.
        numeric: heads of the columns that hold numbers, which are never broken.
    """

    def __init__(self, shown, numeric):
        self.shown, self.words = shown, [name not in numeric for name in shown]
        self.natural = [max(map(em_width, shown[name]), default=0) for name in shown]
        parts = ({word for text in shown[name] for word in text.split()} for name in shown)
        self.longest = [max(map(em_width, words), default=0) for words in parts]
        ways = ((False, SIZES[:-1], COMFORTABLE), (True, SIZES[:-1], COMFORTABLE), (True, SIZES, 0))
        for self.turned, sizes, least in ways:
            limit = TURNED if self.turned else UPRIGHT
            if any(self._fit(size, least, limit) for size in sizes):
                return
            if self._fit(sizes[-1], least, limit, narrower=True):
                return

    def _fit(self, size, least, limit, narrower=False):
        """Try a size of type, with columns of words of a least width; whether the table is within a limit in points."""
        self.size = size
        # no column is narrower than its longest word, and numbers are not broken
        lows = [
            max(longest, min(least, natural)) if words else natural
            for longest, natural, words in zip(self.longest, self.natural, self.words, strict=True)
        ]
        self.widths = [max(min(natural, WRAPPED), low) for natural, low in zip(self.natural, lows, strict=True)]
        while narrower and self.total() > limit:
            spare = [width - low for width, low in zip(self.widths, lows, strict=True)]
            if max(spare) < 0.5:
                break
            self.widths[spare.index(max(spare))] -= 0.5
        return self.total() <= limit

    def heads(self):
        """Lines of each head."""
        return [break_lines(name, width) for name, width in zip(self.shown, self.widths, strict=True)]

    def total(self):
        """Width of the table in points."""
        _, em, distance = self.size
        heads = (max(map(em_width, lines)) for lines in self.heads())
        columns = sum(max(pair) for pair in zip(self.widths, heads, strict=True))
        return columns * em + 2 * distance * (len(self.widths) - 1)

    def lines(self):
        """Lines of the table's body."""
        columns = zip(self.shown, self.widths, strict=True)
        counts = [[len(break_lines(text, width)) for text in self.shown[name]] for name, width in columns]
        return sum(map(max, zip(*counts, strict=True)))

    def formats(self):
        """The columns of the environment: numbers to the right, words to the left, broken ones in a given width."""
        columns = []
        for words, width, natural in zip(self.words, self.widths, self.natural, strict=True):
            broken = rf">{{\raggedright\arraybackslash}}p{{{width * self.size[1]:.0f}pt}}"
            columns.append(broken if natural > width else "l" if words else "r")
        return columns


def _start(line):
    """A line of a table: after the end of the one above, LaTeX takes these signs for an option."""
    return f"{{}}{line}" if line.startswith(("[", "*")) else line


def _row(cells):
    return _start(" & ".join(cells) + r" \\")


def _head(lines, words):
    """A head in lines above each other."""
    stacked = r" \\ ".join(_start(escape(line)) for line in lines)
    return stacked if len(lines) == 1 else rf"\shortstack[{'l' if words else 'r'}]{{{stacked}}}"


def table(shown, numeric, caption, label):
    """A frame of text as a LaTeX table that fits an upright page, or one turned by a quarter.

    Args:
        shown: frame of text, heads as columns.
        numeric: heads of the columns that hold numbers.
        caption: text.
        label: for \\ref.

    Returns:
        The text of a file for \\input, with what it needs in its first lines. A table that is long or turned is broken
        over pages, with its heads on each.
    """
    layout = Layout(shown, numeric)
    size, _, distance = layout.size
    long = layout.turned or layout.lines() > LONG
    heads = [_head(lines, words) for lines, words in zip(layout.heads(), layout.words, strict=True)]
    rows = [_row(map(escape, row)) for row in shown.itertuples(index=False, name=None)]
    formats = layout.formats()
    top = [r"\toprule", _row(heads), r"\midrule"]
    small = rf"\{size}\setlength{{\tabcolsep}}{{{distance}pt}}"
    columns = f"@{{}}{''.join(formats)}@{{}}"
    if long:
        start = [
            r"\begingroup",
            rf"{small}\setlength{{\LTcapwidth}}{{\linewidth}}",
            rf"\begin{{longtable}}{{{columns}}}",
        ]
        # the caption of a long table is part of it
        start += [rf"\caption{{\normalsize {escape(caption)}}}\label{{{label}}} \\", *top, r"\endfirsthead"]
        # a higher foot on all pages but the last leaves room for the depth of the last row, which else may go to a
        # page by itself, without heads
        start += [
            *top,
            r"\endhead",
            r"\bottomrule",
            r"\noalign{\vskip 1ex}",
            r"\endfoot",
            r"\bottomrule",
            r"\endlastfoot",
        ]
        end = [r"\end{longtable}", r"\endgroup"]
    else:
        start = [r"\begin{table}", r"\centering", rf"\caption{{{escape(caption)}}}\label{{{label}}}", small]
        start += [rf"\begin{{tabular}}{{{columns}}}", *top]
        end = [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    if layout.turned:
        start, end = [r"\begin{landscape}", *start], [*end, r"\end{landscape}"]
    needs = {
        "booktabs": True,
        "longtable": long,
        "pdflscape": layout.turned,
        "array": any(len(one) > 1 for one in formats),
    }
    encoded, lacking = needed_letters(" ".join([caption, *shown, *shown.to_numpy().ravel()]))
    needs["fontenc with T1"] = encoded
    notes = [f"% needs {', '.join(name for name, needed in needs.items() if needed)}"]
    if lacking:
        notes.append(f"% pdfLaTeX lacks {' '.join(lacking)}: use LuaLaTeX or XeLaTeX with a font that has them")
    return "\n".join([*notes, *start, *rows, *end]) + "\n"
