"""A methods paragraph from a run's configuration: what was done, in sentences that can go into a paper.

Every clause says a value of the configuration or of what was made by it, so a changed value changes the text. The
text is plain; names in it are escaped as each format needs it: Markdown, LaTeX and HTML.
"""

import html
import json
import re
from pathlib import Path

import h5py

from geoprobe.latex import escape_names
from geoprobe.methods import materials, scoring
from geoprobe.runtime import replacing

MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def read_store(path):
    """Number of images of an image store and what it says of them."""
    with h5py.File(path, "r") as file:
        names = ("licence", "attribution", "source_version", "administrative_units")
        attributes = {name: str(file.attrs[name]) for name in names if name in file.attrs}
        return {"images": len(file["ids"]), **attributes}


def read_commits(manifests):
    """Model to commit, of the manifests of fetched weights, name to path."""
    return {name: json.loads(Path(path).read_text(encoding="utf-8"))["commit"] for name, path in manifests.items()}


def paragraphs(options, stores, commits, blocks, software):
    """Headings and their sentences, plain text.

    Args:
        options: datasets of the run (name to options), others that it uses (likewise), encoders, families (of trained
            encoders), models, prompts (name to options, None for the image alone), protocol, clusters, ways (data set
            to where its clusters come from), localizability, folds, features, device, probes, shown, analysis,
            interventions (name to its options, with the models of the run that it is made on).
        stores: data set to :func:`read_store`, of all that are used.
        commits: model to commit.
        blocks: data set to the number of blocks.
        software: a sentence, of :func:`geoprobe.software.software_sentence`.
    """
    everything = {**options["datasets"], **options["others"]}
    shown, analysis, folds, probes = (options[name] for name in ("shown", "analysis", "folds", "probes"))
    asked = any(row["supervision"] == "multimodal" for row in options["models"].values())
    parts = {
        "Images": materials.data_sentences(everything, stores),
        "Models": [
            *materials.encoder_sentences(options["encoders"], options["families"]),
            *materials.model_sentences(options["models"], commits, options["families"]),
        ],
        "Prompts": materials.prompt_sentences(options["prompts"]) if asked else [],
        "Features": materials.feature_sentences(options["features"], options["device"], options["protocol"]),
        "Clusters": materials.cluster_sentences(options["clusters"], options["ways"], options["localizability"]),
        "Probes": scoring.probe_sentences(probes, folds),
        "Scores": scoring.score_sentences(shown, analysis, folds, probes, options["models"], blocks),
        "Closer analyses": scoring.closer_sentences(shown, analysis, probes),
        "Interventions": scoring.intervention_sentences(options["interventions"]),
        "Software": [software],
    }
    return {heading: " ".join(" ".join(sentences).split()) for heading, sentences in parts.items() if sentences}


def as_markdown(parts):
    """The paragraphs as Markdown, names escaped."""
    body = "\n\n".join(f"**{heading}.** " + MARKDOWN.sub(r"\\\1", text) for heading, text in parts.items())
    return f"# Methods\n\n{body}\n"


def as_latex(parts):
    """The paragraphs as LaTeX, names escaped; to be read with \\input under a heading of the paper's own."""
    # lines with names that cannot be parted are spaced out, and do not run into the margin
    text = "".join(f"\\paragraph{{{heading}.}} {escape_names(text)}\n\n" for heading, text in parts.items())
    return f"\\begin{{sloppypar}}\n{text}\\end{{sloppypar}}\n"


def as_html(parts):
    """The paragraphs as one page that asks for nothing, names escaped."""
    body = "\n".join(f"<p><b>{heading}.</b> {html.escape(text)}</p>" for heading, text in parts.items())
    style = "body{font:16px/1.5 sans-serif;max-width:46em;margin:1em auto;padding:0 1em;overflow-wrap:anywhere}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>Methods</title><style>{style}</style></head>\n'
        f"<body><h1>Methods</h1>\n{body}\n</body></html>\n"
    )


def write_methods(parts, md, tex, page):
    """Write the paragraphs three times: Markdown, LaTeX, HTML."""
    for path, text in ((md, as_markdown(parts)), (tex, as_latex(parts)), (page, as_html(parts))):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
