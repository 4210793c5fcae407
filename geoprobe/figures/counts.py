"""How many images and blocks are behind a figure, in words."""


def span(values):
    """1,234, or 1,200 to 1,300 where they differ."""
    low, high = int(min(values)), int(max(values))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def write_counts(frame):
    """n of a figure: held-out images, and the units that they lie in and that intervals resample.

    Args:
        frame: rows that are drawn: images, blocks (units), cv. Rows without images do not count.

    Returns:
        n = 2,000 images in 310 blocks; from the least to the most where models or folds differ; nothing where no image
        was tested.
    """
    known = frame[frame["images"] > 0]
    if known.empty:
        return ""
    # where countries are held out, they are what is resampled
    names = {True: "countries", False: "blocks"}
    units = " or ".join(names[name] for name in sorted({*(known["cv"] == "countries")}))
    return f"n = {span(known['images'])} images in {span(known['blocks'])} {units}"
