"""Extraction of every layer against its limit and its peers: same model, same images, same run; ratios.

    python benchmarks/extraction.py [--device cpu] [--images 192] [--threads 1] [--workers 1]

On a CPU for a vision tower of ViT-B's shape, on a GPU for ViT-L's and an image-text model of Qwen2.5-VL-3B's, all with
random weights; `--folder` takes a model of yours in the hub's layout instead.

  bare   the forward pass alone, batched, on tensors that lie on the device: nothing is read, decoded, pooled, written.
         It is the limit.
  ours   read, decode, prepare, forward, pool every layer, write; with the start of the workers, without loading the
         model, as for the others.
  one    one image at a time, every layer's tokens copied whole to memory; an image-text model goes through generate()
         twice, once for the vision and once for the text tower, as the paper's code does.
  timm   timm's own loop over the same files: its loader, as many workers, forward_intermediates of all blocks, the
         class token and the mean of each. Only for the vision tower, which timm has with the same shape.

thingsvision 2.7 asks for torchvision 0.15 and transformers 4.40 and cannot stand beside a current torch.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import timm
import torch
import transformers
from PIL import Image
from timm.data import create_dataset, create_loader

from geoprobe.features.decoding import Batches
from geoprobe.features.engine import extract_features
from geoprobe.images.bluemarble import render_tiles
from geoprobe.images.store import write_store
from geoprobe.models.loading import load_model
from geoprobe.models.towers import reading_blocks

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {
    "cpu": ("ViT-B/16", {}, "vit_base_patch16_224"),
    "cuda": (
        "ViT-L/16",
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
        "vit_large_patch16_224",
    ),
}
# Qwen2.5-VL-3B's, by its published configuration.
QWEN_VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048}
QWEN_TEXT = {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
}
PROMPT = {"text": "Where is this photo?"}
POOLINGS = ["cls", "last", "mean"]


def make_images(folder, count, size=(320, 240)):
    """JPEG files of pictures of the Earth in a folder, and an image store of the same files."""
    generator = np.random.default_rng(0)
    positions = np.column_stack([generator.uniform(-60, 70, count), generator.uniform(-180, 180, count)])
    (folder / "jpeg" / "one").mkdir(parents=True)
    encoded = []
    for number, tile in enumerate(render_tiles(positions, 48, 7)):
        path = folder / "jpeg" / "one" / f"{number:06d}.jpg"
        Image.fromarray(tile).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
        encoded.append(path.read_bytes())
    columns = {name: [str(row) for row in range(count)] for name in ("ids", "geocells", "countries", "groups")}
    columns |= {"latitudes": positions[:, 0], "longitudes": positions[:, 1]}
    write_store(folder / "images.h5", encoded, columns, {}, {"source": "benchmark"})
    return folder / "images.h5"


def make_vit(folder, shape):
    """A vision transformer with random weights, in the hub's layout."""
    torch.manual_seed(0)
    transformers.ViTModel(transformers.ViTConfig(**shape), add_pooling_layer=False).save_pretrained(folder)
    transformers.ViTImageProcessor().save_pretrained(folder)


def make_image_text(folder):
    """An image-text model of Qwen2.5-VL-3B's shape with random weights, in the hub's layout."""
    sys.path.insert(0, str(ROOT / "tests"))
    import tiny_multimodal

    small, processor = tiny_multimodal.FAMILIES["qwen2_5_vl"]((3, 2))
    config = small.config
    for part, shape in ((config.vision_config, QWEN_VISION), (config.text_config, QWEN_TEXT)):
        for name, value in shape.items():
            setattr(part, name, value)
    config.vision_config.fullatt_block_indexes = [7, 15, 23, 31]
    config.vision_config.window_size = 112
    config.text_config.rope_parameters["mrope_section"] = [16, 24, 24]
    config.text_config.layer_types = None
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = transformers.Qwen2_5_VLForConditionalGeneration(type(config)(**config.to_dict()))
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    processor.image_processor.size = {"shortest_edge": 3136, "longest_edge": 1003520}
    processor.save_pretrained(folder)


@contextlib.contextmanager
def timed(device):
    """Seconds that the block takes, on the device as well: the yielded list's only item."""
    seconds = []
    start = time.perf_counter()
    yield seconds
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds.append(time.perf_counter() - start)


def run_bare(model, batches, device, dtype):
    """Seconds of the forward passes alone."""
    low = dtype != torch.float32
    moved = []
    for batch in batches:
        cast = {name: dtype if low and value.is_floating_point() else None for name, value in batch.items()}
        moved.append({name: value.to(device, cast[name]) for name, value in batch.items()})
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=low):
        model.forward(moved[0])
        with timed(device) as seconds:
            for batch in moved:
                model.forward(batch)
    return seconds[0]


def run_one(model, reader, count, device):
    """Seconds an image, one at a time, with whole streams copied to memory, a pass for each tower."""
    several = len(model.towers) > 1
    with torch.inference_mode(), timed(device) as seconds:
        for row in range(count):
            batch = {name: value.to(device) for name, value in reader[[row]][1].items()}
            for tower in model.towers.values():
                kept = {}

                def keep(layer, stream, kept=kept):
                    kept[layer] = stream.float().cpu()

                with reading_blocks(tower.blocks, range(len(tower.blocks)), keep):
                    if several:
                        inputs = {name: value for name, value in batch.items() if name != "views"}
                        model.module.generate(**inputs, max_new_tokens=1, do_sample=False)
                    else:
                        model.forward(batch)
    return seconds[0] / count


def run_timm(name, folder, batch_size, workers, device, dtype):
    """Seconds of timm's own loop over the files."""
    model = timm.create_model(name, pretrained=False, num_classes=0).to(device, dtype).eval()
    data = create_dataset("", root=str(folder))
    options = {"input_size": (3, 224, 224), "batch_size": batch_size, "use_prefetcher": False, "num_workers": workers}
    wanted = {"norm": False, "return_prefix_tokens": True, "output_fmt": "NLC", "intermediates_only": True}
    with timed(device) as seconds, torch.inference_mode():
        for images, _ in create_loader(data, **options, persistent_workers=False):
            layers = model.forward_intermediates(images.to(device, dtype), **wanted)
            for tokens, prefix in layers:
                prefix[:, 0].float().cpu(), tokens.mean(dim=1, dtype=torch.float32).cpu()
    return seconds[0]


def compare(name, row, prompt, store, folder, timm_name, arguments):
    """Print images a second of each way, and the ratios."""
    device, dtype = torch.device(arguments.device), getattr(torch, row["dtype"])
    model = load_model(row, prompt=prompt)
    if not model.placed:
        model.module.to(device)
    with h5py.File(store, "r") as file:
        count = len(file["ids"])
    size = arguments.batch_size
    reader = Batches(store, model.prepare, model.collate)
    # as many images as fill a few batches, over and over: ready tensors of all would not fit on the device
    starts = range(0, min(count, 4 * size), size)
    batches = [reader[list(range(start, min(start + size, count)))][1] for start in starts]
    ready = min(count, 4 * size)
    rates = {"bare": [], "ours": [], "one": []}
    for repeat in range(arguments.repeats):
        rates["bare"].append(ready / run_bare(model, batches, device, dtype))
        output = folder / f"features-{repeat}.h5"
        options = {"poolings": POOLINGS, "layers": "all", "batch_size": size, "chunk": 2048, "dtype": "float32"}
        extract_features(
            store, row | {"model": name}, output, prompt=prompt, workers=arguments.workers, device=device, **options
        )
        with h5py.File(output, "r") as file:
            rates["ours"].append(count / file.attrs["seconds"])
        output.unlink()
        few = min(count, arguments.one)
        rates["one"].append(1 / run_one(model, reader, few, device))
        if timm_name:
            seconds = run_timm(timm_name, folder / "jpeg", size, arguments.workers, device, dtype)
            rates.setdefault("timm", []).append(count / seconds)
    rates = {way: float(np.median(values)) for way, values in rates.items()}
    print(json.dumps({"model": name, "images_per_second": {way: round(rate, 2) for way, rate in rates.items()}}))
    print(
        f"{name}: ours is {rates['ours'] / rates['bare']:.2f} of the bare forward, "
        + ", ".join(f"{rates['ours'] / rates[way]:.2f} times {way}" for way in rates if way not in ("ours", "bare"))
    )


def main():
    """Parse the arguments, make images and models, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="(default: cpu)")
    parser.add_argument("--images", type=int, default=192, help="number of pictures (default: 192; 4096 for a GPU)")
    parser.add_argument("--one", type=int, default=16, help="pictures that go one at a time (default: 16)")
    parser.add_argument("--batch-size", type=int, default=8, help="images a batch (default: 8; 256 for a GPU)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--workers", type=int, default=1, help="processes that decode (default: 1)")
    parser.add_argument("--repeats", type=int, default=1, help="medians of so many runs (default: 1)")
    parser.add_argument("--folder", type=Path, help="a model of yours in the hub's layout")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    row = {"loader": "local", "revision": "none", "supervision": "vision-only", "weights": "any"}
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        store = make_images(scratch, arguments.images)
        if arguments.folder:
            row |= {"id": str(arguments.folder), "dtype": "float32" if arguments.device == "cpu" else "bfloat16"}
            compare(arguments.folder.name, row, PROMPT, store, scratch, None, arguments)
            return
        name, shape, timm_name = SHAPES[arguments.device]
        make_vit(scratch / "vit", shape)
        compare(
            name, row | {"id": str(scratch / "vit"), "dtype": "float32"}, None, store, scratch, timm_name, arguments
        )
        if arguments.device == "cuda":
            make_image_text(scratch / "image-text")
            row |= {"id": str(scratch / "image-text"), "dtype": "bfloat16", "supervision": "multimodal"}
            compare("image-text", row, PROMPT, store, scratch, None, arguments)


if __name__ == "__main__":
    main()
