"""Which images go through the model together."""


def plan(rows, size, costs=None, reference=None):
    """Sort the images of a chunk into batches.

    Args:
        rows: row numbers of the images.
        size: images a batch where each takes as much as any other. With costs: what a batch may take, in images of
            the reference cost; that may be a fraction, and an image that alone takes more is a batch of its own.
        costs: tokens that each image takes, in the order of the rows; None where all take the same.
        reference: tokens of the image that `size` counts in.

    Returns:
        Lists of row numbers in which each row is once. Without costs the rows stay in order; with them the
        costliest are first, and a batch takes its images' number times the cost of its costliest, as all are padded
        to that.
    """
    rows = list(rows)
    if costs is None:
        return [rows[start : start + size] for start in range(0, len(rows), size)]
    batches, most = [], 0
    # the row as well, so that the order is the same whatever the sort does with ties
    for cost, row in sorted(zip(costs, rows, strict=True), key=lambda pair: (-pair[0], pair[1])):
        if batches and (len(batches[-1]) + 1) * most <= size * reference:
            batches[-1].append(row)
        else:
            batches.append([row])
            most = cost
    return batches


def schedule(chunks, size, measure=None, reference=None):
    """Yield the batches of all chunks in turn; a chunk's images are measured when it comes to them.

    Args:
        chunks: lists of row numbers; no batch has rows of two of them.
        size, reference: see :func:`plan`.
        measure: from row numbers to their costs; None where all images cost the same.
    """
    for rows in chunks:
        yield from plan(rows, size, None if measure is None else measure(rows), reference)


def without(chunks, finished):
    """The chunks without the rows of a set; chunks of which nothing is left are dropped."""
    left = ([row for row in rows if row not in finished] for rows in chunks)
    return [rows for rows in left if rows]


def halve(size, rows, costs=None, reference=None):
    """The size for which a batch that was too large would have been planned in two, or more, parts."""
    if costs is None:
        return len(rows) // 2
    return min(size, len(rows) * max(costs) / reference) / 2


def split_rows(count, shard, shards):
    """Row numbers of one of several shards of nearly equal size."""
    if not 0 <= shard < shards:
        raise ValueError(f"shard {shard} of {shards}: shards are counted from 0 to {shards - 1}")
    return range(count * shard // shards, count * (shard + 1) // shards)


def sample_rows(rows, most):
    """At most so many of the rows, evenly spread."""
    return [rows[len(rows) * part // most] for part in range(most)] if len(rows) > most else list(rows)
