"""Words of the methods paragraph: values, lists, and what the configuration's names mean."""

TARGETS = {
    "degrees": "latitude and longitude in degrees",
    "sphere": "the unit vector of the position",
    "circular": "latitude with sine and cosine of longitude",
}
POOLINGS = {
    "cls": "the class token",
    "last": "the last token",
    "mean": "the mean over image tokens",
    "maxmin": "maximum and minimum over image tokens",
    "mean-all": "the mean over all tokens",
    "maxmin-all": "maximum and minimum over all tokens",
}


def listed(parts):
    """Words joined as in a sentence."""
    parts = [str(part) for part in parts]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def counted(count, one):
    """A number with its word: 1 fold, 1,000 folds."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def seeds_of(seeds):
    """Seed 1; seeds 1 and 2."""
    return f"seed{'s' if len(seeds) > 1 else ''} {listed(seeds)}"


def percent(shares):
    """Shares in per cent: 5, 10 and 100 %."""
    return f"{listed(f'{100 * share:g}' for share in shares)} %"


def said_value(value):
    """An option's value in words."""
    if isinstance(value, dict):
        return listed([f"{name} {said_value(part)}" for name, part in value.items()]) if value else "none"
    if isinstance(value, list):
        return listed(map(said_value, value)) if value else "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def said_options(options, unsaid=()):
    """Options as "name value" in the order of their names."""
    return ", ".join(
        f"{name.replace('_', ' ')} {said_value(value)}" for name, value in sorted(options.items()) if name not in unsaid
    )


def said_blocks(folds):
    """What is held out as a whole."""
    if folds["blocks"] == "degrees":
        return f"blocks of {folds['block_degrees']:g} degrees"
    return "geocells" if folds["blocks"] == "geocell" else f"H3 cells of resolution {folds['h3_resolution']}"


def said_poolings(names):
    """The first of several poolings that a tower has."""
    first, *others = (POOLINGS[name] for name in names)
    return f"{first} (where a tower has none, {', else '.join(others)})" if others else first


def said_cv(cv, folds, before=()):
    """What is held out under a cross-validation, named after those before it."""
    blocked = (
        f"whole {said_blocks(folds)} held out, and nothing trained on that shares a group (author, sequence or place) "
        "with a test image"
    )
    beyond = f"no image within {folds['buffer_km']:g} km of a test image trained on"
    return {
        "random": "images held out at random",
        "blocked": blocked,
        "buffered": f"the same, and {beyond}" if "blocked" in before else f"{blocked}, and {beyond}",
        "grouped": "whole groups of images (author, sequence or place) held out",
        "countries": "whole countries held out",
    }[cv]
