"""Steering by swap: does text about one landmark turn to another when part of one embedding is that other's?"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from geoprobe.features.store import partial_of
from geoprobe.images.store import read_columns
from geoprobe.interventions.generation import (
    HEADER,
    Growing,
    generate_batches,
    load_writer,
    plan_batches,
    write_lines,
)
from geoprobe.interventions.swap import (
    Recorder,
    Swap,
    block_number,
    list_conditions,
    mask_of,
    rank_dimensions,
    read_coefficients,
)
from geoprobe.probes.folds import NO_COUNTRY
from geoprobe.runtime import provenance

PHOTOS = ("first", "all")
REWIRING = 10  # exchanges tried for each pair


def choose_photos(columns, photos="first"):
    """Images that are sources and targets.

    Args:
        columns: of :func:`geoprobe.images.store.read_columns`; `groups` are landmarks.
        photos: "first": one a landmark, the first of the store; "all".

    Returns:
        Row numbers, in order. Images without a landmark or a country (any of NO_COUNTRY) are left out.

    Raises:
        ValueError: `photos` is neither.
    """
    if photos not in PHOTOS:
        raise ValueError(f'steering.photos is "{photos}"; allowed: {", ".join(PHOTOS)}.')
    known = [
        row
        for row, (group, country) in enumerate(zip(columns["groups"], columns["countries"], strict=True))
        if group and country.casefold() not in NO_COUNTRY
    ]
    if photos == "first":
        firsts = {}
        for row in known:
            firsts.setdefault(columns["groups"][row], row)
        known = list(firsts.values())
    return np.array(known, dtype=np.int64)


def plan_pairs(countries, seed, maximum=None):
    """Pairs of source and target in different countries; each image is source and target equally often.

    The images are put in a circle, country by country; images that are as many places apart as the largest country has
    images, or more, are never of one country, and all images with those so many places on are a round. The rounds'
    pairs then exchange their targets at random, where that keeps them different and of different countries.

    Args:
        countries: of n images.
        seed: of numpy's default_rng.
        maximum: pairs at most; of it as many whole rounds of n are made as it holds. None for all rounds.

    Returns:
        Positions of sources and targets, shape (pairs, 2), ordered; no pair is there twice.

    Raises:
        ValueError: more than half of the images are of one country, or the maximum holds no round.
    """
    countries = np.asarray(countries)
    count = len(countries)
    names, numbers, sizes = np.unique(countries, return_inverse=True, return_counts=True)
    largest = int(sizes.max(initial=0))
    if 2 * largest > count or not count:
        most = f"{largest} of {names[sizes.argmax()]}" if count else "none"
        raise ValueError(
            f"of {count} images with a landmark and a country {most}: each cannot be paired with one of another "
            "country; give a data set in which no country has more than half of the photos."
        )
    shifts = np.arange(largest, count - largest + 1)
    rounds = len(shifts) if maximum is None else min(len(shifts), maximum // count)
    if rounds < 1:
        raise ValueError(
            f"steering.pairs is {maximum}, and each of the {count} photos is a source equally often, which needs "
            f"{count} pairs; set it to {count} or more, or to null for all."
        )
    generator = np.random.default_rng(seed)
    places = generator.permutation(len(names))[numbers]
    circle = np.lexsort((generator.permutation(count), places))
    chosen = generator.choice(shifts, rounds, replace=False)
    sources = np.tile(circle, rounds)
    targets = np.concatenate([np.roll(circle, -shift) for shift in chosen])
    _rewire(sources.tolist(), targets, numbers, generator)
    order = np.lexsort((targets, sources))
    return np.column_stack([sources, targets])[order]


def _rewire(sources, targets, numbers, generator):
    """Exchange targets between pairs, in place."""
    there = set(zip(sources, targets.tolist(), strict=True))
    for one, other in generator.integers(len(sources), size=(REWIRING * len(sources), 2)).tolist():
        (a, b), (c, d) = (sources[one], int(targets[one])), (sources[other], int(targets[other]))
        if numbers[a] == numbers[d] or numbers[c] == numbers[b] or (a, d) in there or (c, b) in there:
            continue
        there -= {(a, b), (c, d)}
        there |= {(a, d), (c, b)}
        targets[one], targets[other] = d, b


@dataclass
class Steering:
    """The plain and steered generations of one model.

    Attributes:
        model: a LoadedModel that writes text.
        store: image store.
        rows: row numbers of the images.
        ids: of all images of the store.
        pairs: of :func:`plan_pairs`.
        masks: Condition to the mask of its dimensions, shape (d,).
        block: number of the decoder's block.
        steps: tokens at most.
        batch_size: images a batch.
        device: torch device.
        dtype: torch dtype of the weights.
        workers: processes that decode.
    """

    model: object
    store: Path
    rows: list
    ids: np.ndarray
    pairs: np.ndarray
    masks: dict
    block: int
    steps: int
    batch_size: int
    device: torch.device
    dtype: torch.dtype
    workers: int = 0

    def __post_init__(self):
        self.runs = self._without_repeats()
        self.sources = [self.rows[source] for source, _ in self.pairs]

    def _without_repeats(self):
        """Of every condition the first with the same place and dimensions, which is run; None where nothing changes."""
        firsts = {}
        return {
            condition: firsts.setdefault((condition.where, mask.tobytes()), condition) if mask.any() else None
            for condition, mask in self.masks.items()
        }

    def plain_record(self, image, text):
        """A line of what is written for an image as it is."""
        empty = dict.fromkeys(("target", "ranking", "seed", "share", "where", "block"))
        return {"kind": "plain", "source": self._id(image), **empty, "text": text}

    def swap_record(self, condition, pair, text):
        """A line of what is written for a pair under a condition."""
        source, target = map(self._id, self.pairs[pair])
        made = {"ranking": condition.ranking, "seed": condition.seed, "share": condition.share}
        made |= {"where": condition.where, "block": self.block}
        return {"kind": "swap", "source": source, "target": target, **made, "text": text}

    def _id(self, image):
        return str(self.ids[self.rows[image]])

    def run(self, growing, description):
        """Generate what is not there yet.

        Args:
            growing: a Growing.
            description: for the progress bar.

        Returns:
            All records, in order: plain ones by image, then every condition's pairs.
        """
        plain = plan_batches(self.model, self.store, self.rows, self.batch_size)
        swapped = plan_batches(self.model, self.store, self.sources, self.batch_size)
        tasks = [(None, batch) for batch in plain]
        tasks += [(first, batch) for first in dict.fromkeys(self.runs.values()) if first for batch in swapped]
        texts, left = self._sort_out(growing.records, tasks)
        # what is left of a batch that was broken off is made again with the whole batch: the same images go together
        there = [self._record(*key, text) for key, text in texts.items()]
        total = len(texts) + sum(len(batch) for _, batch in left)
        with (
            growing.writing(there) as add,
            tqdm(total=total, initial=len(texts), unit="text", desc=description, mininterval=5) as progress,
        ):

            def keep(condition, batch, made):
                texts.update(((condition, number), text) for number, text in zip(batch, made, strict=True))
                add([self._record(condition, number, texts[condition, number]) for number in batch])
                progress.update(len(batch))

            if left:
                # the targets' streams are not kept from an earlier run: all images are read once more for them
                missing = {number for condition, batch in left if condition is None for number in batch}
                self._run_plain(plain, missing, keep)
                self._run_swaps([task for task in left if task[0] is not None], keep)
        return self._assemble(texts)

    def _record(self, condition, number, text):
        return self.plain_record(number, text) if condition is None else self.swap_record(condition, number, text)

    def _sort_out(self, records, tasks):
        """Texts of the batches that are there as a whole, by condition (None: plain) and number, and the tasks left.

        Records are compared without their text; the same making gives the same ones.
        """

        def key_of(record):
            return json.dumps({name: value for name, value in record.items() if name != "text"}, sort_keys=True)

        found = {key_of(record): record["text"] for record in records}
        texts, left = {}, []
        for condition, batch in tasks:
            keys = [key_of(self._record(condition, number, "")) for number in batch]
            if all(key in found for key in keys):
                texts.update(((condition, number), found[key]) for number, key in zip(batch, keys, strict=True))
            else:
                left.append((condition, batch))
        return texts, left

    def _generate(self, planned, rows, acts):
        batches = [[rows[number] for number in batch] for batch in planned]
        options = {"block": self.block, "acts": acts, "workers": self.workers}
        return generate_batches(self.model, self.store, batches, self.steps, self.device, self.dtype, **options)

    def _run_plain(self, planned, missing, keep):
        """Generate for images as they are, and keep the stream of each at every step."""
        swaps = [condition for condition in self.runs.values() if condition]
        most = self.steps if any(condition.where == "every_step" for condition in swaps) else 1
        width = self.model.towers["text"].width
        self.lengths = torch.zeros(len(self.rows), dtype=torch.long)
        self.streams = None
        recorders = [Recorder(most) for _ in planned]
        for batch, recorder, made in zip(
            planned, recorders, self._generate(planned, self.rows, recorders), strict=True
        ):
            streams = recorder.streams()
            recorder.kept.clear()
            if self.streams is None:
                self.streams = streams.new_zeros(len(self.rows), most, width)
            self.streams[batch], self.lengths[batch] = streams, made.lengths
            if missing.issuperset(batch):
                keep(None, batch, made.texts)

    def _swap(self, condition, batch):
        targets = [int(self.pairs[number][1]) for number in batch]
        steps = 1 if condition.where == "prefill" else self.steps
        values = self.streams[targets, :steps]
        return Swap(torch.from_numpy(self.masks[condition]), values, self.lengths[targets].clamp(max=steps))

    def _run_swaps(self, tasks, keep):
        acts = (self._swap(*task) for task in tasks)
        made = self._generate([batch for _, batch in tasks], self.sources, acts)
        for (condition, batch), generated in zip(tasks, made, strict=True):
            keep(condition, batch, generated.texts)

    def _assemble(self, texts):
        records = [self.plain_record(image, texts[None, image]) for image in range(len(self.rows))]
        for condition, first in self.runs.items():
            for number, (source, _) in enumerate(self.pairs):
                text = texts[None, int(source)] if first is None else texts[first, number]
                records.append(self.swap_record(condition, number, text))
        return records


def _digest(*arrays):
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def steer(
    store,
    fits,
    row,
    output,
    *,
    folder=None,
    prompt_name="none",
    prompt=None,
    protocol="sound",
    cv,
    block,
    shares,
    rankings,
    random_seeds,
    where,
    max_new_tokens,
    batch_size,
    pairs,
    seed,
    photos="first",
    workers=0,
    device="cpu",
    code="",
):
    """Steer a multimodal model by the embedding swap, and write all that it says.

    Args:
        store: image store; its `groups` are landmarks.
        fits: file of fits of a ridge regression on the model's last token, of this prompt or another.
        row: the model's row of the registry.
        output: file of JSON lines, a header and a generation a line. While running, `<output>.partial` lies beside it;
            a killed job goes on from that.
        folder: where the model's files lie; None for the folder that the row's id names.
        prompt_name, prompt, protocol: as of :func:`geoprobe.features.engine.extract_features`.
        cv: cross-validation whose folds' mean coefficients rank the dimensions.
        block: see :func:`geoprobe.interventions.swap.block_number`.
        shares: of the dimensions, 0 to 1; what changes nothing is copied from the plain texts.
        rankings, where, random_seeds (number of random rankings): see :func:`list_conditions`.
        max_new_tokens: tokens a text, at most.
        batch_size: images a batch, of the costliest where they differ.
        pairs, seed: see :func:`plan_pairs`.
        photos: see :func:`choose_photos`.
        workers: processes that decode images; 0 to decode in this one.
        device: torch device.
        code: digest of the code; what other code has left unfinished is not used.

    Raises:
        MemoryError: the model or a batch does not fit.
        ValueError: an option is not one, the block was not probed, the model writes no text, or no pairs can be made.
    """
    output, device = Path(output), torch.device(device)
    output.parent.mkdir(parents=True, exist_ok=True)
    conditions = list_conditions(where, rankings, random_seeds, shares)
    columns = read_columns(store)
    rows = choose_photos(columns, photos)
    planned = plan_pairs(columns["countries"][rows], seed, pairs)
    offload = output.with_name(output.name + ".offload")
    try:
        model = load_writer(row, folder, prompt, protocol, device, offload)
        tower = model.towers["text"]
        block = block_number(block, len(tower.blocks))
        found = read_coefficients(fits, block, cv, tower.width)
        masks = {
            condition: mask_of(rank_dimensions(*found, condition.ranking, condition.seed), condition.share)
            for condition in conditions
        }
        making = {
            **model.attributes,
            **{name: row[name] for name in ("model", "id", "revision", "dtype")},
            "weights_digest": model.digest,
            "images_digest": columns["digest"],
            "prompt": prompt_name,
            "prompt_options": prompt,
            "protocol": protocol,
            "cv": cv,
            "block": block,
            "blocks": len(tower.blocks),
            "dimensions": tower.width,
            "max_new_tokens": max_new_tokens,
            "images": len(rows),
            "pairs": len(planned),
            "pairs_digest": _digest(rows, planned),
            "conditions": [vars(condition) for condition in conditions],
            "masks_digest": _digest(*masks.values()),
        }
        key = hashlib.sha256(json.dumps([making, code], sort_keys=True, default=str).encode()).hexdigest()
        growing = Growing(partial_of(output), key)
        dtype = getattr(torch, row["dtype"])
        images = (model, store, rows.tolist(), columns["ids"], planned)
        steering = Steering(*images, masks, block, max_new_tokens, batch_size, device, dtype, workers)
        records = steering.run(growing, row["model"])
        header = {"kind": HEADER, **making, "batch_size": batch_size, "device": str(device), **provenance()}
        write_lines([header, *records], output)
        growing.path.unlink()
    finally:
        shutil.rmtree(offload, ignore_errors=True)
    print(f"{output}: {len(rows)} images, {len(planned)} pairs, {len(conditions)} conditions, {len(records)} texts")
