"""Near duplicates: images whose perceptual hashes differ in few bits, joined into groups that folds must not split."""

import itertools

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BITS = 64


def near_pairs(hashes, bits):
    """Pairs of hashes that differ in at most `bits` bits.

    Args:
        hashes: uint64, shape (n,).
        bits: Hamming distance, from 0 to 16.

    Returns:
        Two index arrays of equal length, first < second. Equal hashes are chained (a-b, b-c), not each paired with
        each, so that many copies of one image do not take quadratic memory.

    Two hashes that differ in at most b bits agree in at least one of b + 1 bands of the word (the pigeonhole
    principle), so only hashes that share a band are compared.
    """
    distinct, inverse = np.unique(hashes, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    same = inverse[order][1:] == inverse[order][:-1]
    firsts, seconds = [order[:-1][same]], [order[1:][same]]
    _, one = np.unique(inverse, return_index=True)  # an image of each distinct hash
    edges = np.linspace(0, BITS, bits + 2).astype(int)
    for low, high in itertools.pairwise(edges):
        band = (distinct >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        # each is compared with the next, the one after, ... for as long as the two share the band
        place, step = np.arange(len(order)), 1
        while len(place):
            place = place[place + step < len(order)]
            place = place[band[order[place]] == band[order[place + step]]]
            start, other = order[place], order[place + step]
            near = np.bitwise_count(distinct[start] ^ distinct[other]) <= bits
            firsts.append(one[start[near]])
            seconds.append(one[other[near]])
            step += 1
    pairs = np.sort(np.stack([np.concatenate(firsts), np.concatenate(seconds)]), axis=0)
    return tuple(np.unique(pairs, axis=1))


def join_near_duplicates(groups, hashes, bits):
    """Groups of images, joined where images of two groups are near duplicates.

    Args:
        groups: text, shape (n,).
        hashes: perceptual hashes of 64 bits as 16 hexadecimal digits, shape (n,).
        bits: largest Hamming distance of near duplicates.

    Returns:
        Text, shape (n,): the first group, in the images' order, of all that are joined.
    """
    groups = np.asarray(groups, dtype=object)
    if not len(groups):
        return groups
    names, group = np.unique(groups.astype(str), return_inverse=True)
    first, second = near_pairs(np.array([int(value, 16) for value in hashes], dtype=np.uint64), bits)
    edges = coo_array((np.ones(len(first)), (group[first], group[second])), shape=(len(names), len(names)))
    component = connected_components(edges, directed=False)[1][group]
    _, earliest, inverse = np.unique(component, return_index=True, return_inverse=True)
    return groups[earliest[inverse]]
