"""Downloading of one shard against img2dataset on the same server in the same run: images a second, and their ratio.

    python benchmarks/downloading.py [--images 2000] [--width 640] [--connections 16] [--img2dataset PYTHON]

A server of its own process serves JPEG files from memory; nobody limits the rate, and all contenders have the same
connections. download_shard verifies each image by decoding it, hashes it twice and keeps a journal that survives a
kill. img2dataset runs once decoding each image as well (skip_reencode) and once passing on whatever arrives
(disable_all_reencoding), both times without resizing; its speed is by its own clock, which leaves out its start. It
wants older libraries than geoprobe, so it needs an environment of its own, whose interpreter is given:

    python -m venv img2dataset-env && img2dataset-env/bin/pip install "img2dataset==1.47.0" "setuptools<81"

A plain loop of aiohttp that looks at nothing is the limit.
"""

import argparse
import asyncio
import functools
import io
import json
import multiprocessing
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp
import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from geoprobe.images.download import download_shard

ROUNDS = 3
FILES = 50  # different images; the addresses are all different
PEER = """
import glob, json, sys
from img2dataset import download

if __name__ == "__main__":
    table, folder, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    download(url_list=table, output_folder=folder, **options)
    stats = [json.load(open(name)) for name in glob.glob(folder + "/*_stats.json")]
    print("RESULT", sum(s["successes"] for s in stats), sum(s["duration"] for s in stats))
"""


def make_photo(width, seed):
    """An encoded JPEG with structure at several scales, of about the bytes a pixel of a photograph."""
    generator, size = np.random.default_rng(seed), (width, width * 3 // 4)
    pixels = np.zeros((size[1], size[0], 3))
    for cells in (4, 16, 64, 256):
        colours = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)
        pixels += np.asarray(layer, dtype=float) / cells**0.5
    buffer = io.BytesIO()
    Image.fromarray((pixels / pixels.max() * 255).astype(np.uint8)).save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


class _Connection(asyncio.Protocol):
    """One connection of a server that knows nothing but GET."""

    def __init__(self, files):
        self.files, self.received = files, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, self.received = self.received.split(b"\r\n\r\n", 1)
            number = int(head.split(b" ")[1].rsplit(b"/", 1)[1].split(b".")[0])
            body = self.files[number % len(self.files)]
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            if b"connection: close" in head.lower():
                self.transport.close()


def serve(files, pipe):
    """Serve until the process is ended; sends the port through the pipe."""

    async def run():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(functools.partial(_Connection, files), "127.0.0.1", 0, backlog=1024)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def time_ours(urls, folder, connections):
    """Images a second of download_shard."""
    rows = pd.DataFrame({"id": [str(number) for number in range(len(urls))], "urls": [[url] for url in urls]})
    network = {"requests_per_second": 0, "allow_private": True}
    network |= {"connections": connections, "connections_per_host": connections}
    start = time.perf_counter()
    download_shard(rows, folder / "0.pack", folder / "0.parquet", network, folder / "pace")
    seconds = time.perf_counter() - start
    good = (pd.read_parquet(folder / "0.parquet")["status"] == "ok").sum()
    if good != len(urls):
        raise RuntimeError(f"download_shard got {good} of {len(urls)} images; the comparison means nothing")
    return len(urls) / seconds


def time_plain(urls, folder, connections):
    """Images a second of a loop that writes what it gets into one file and looks at nothing."""

    async def run():
        queue = iter(urls)
        limit = aiohttp.TCPConnector(limit=connections, limit_per_host=connections)
        async with aiohttp.ClientSession(connector=limit) as session:

            async def work():
                for url in queue:
                    async with session.get(url) as response:
                        file.write(await response.read())

            await asyncio.gather(*(work() for _ in range(connections)))

    with open(folder / "plain", "wb") as file:
        start = time.perf_counter()
        asyncio.run(run())
    return len(urls) / (time.perf_counter() - start)


def time_peer(urls, folder, connections, python, how):
    """Images a second of img2dataset by its own clock; `how` is the option that ends re-encoding."""
    pd.DataFrame({"url": urls}).to_parquet(folder / "urls.parquet")
    (folder / "peer.py").write_text(PEER)
    options = {
        "input_format": "parquet", "output_format": "webdataset", "processes_count": 1, "thread_count": connections,
        "resize_mode": "no", how: True, "number_sample_per_shard": len(urls), "compute_hash": "sha256",
    }  # fmt: skip
    command = [python, folder / "peer.py", folder / "urls.parquet", folder / "peer", json.dumps(options)]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    result = next((line.split()[1:] for line in done.stdout.splitlines() if line.startswith("RESULT")), None)
    if done.returncode or int(result[0]) != len(urls):
        raise RuntimeError(
            f"img2dataset did not get all {len(urls)} images:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return len(urls) / float(result[1])


def compare(arguments, urls):
    """Speeds of all contenders, one row a round; each round begins with another."""
    contenders = {"download_shard": time_ours, "plain aiohttp": time_plain}
    if arguments.img2dataset:
        for name, how in (("img2dataset, decoding", "skip_reencode"), ("img2dataset", "disable_all_reencoding")):
            contenders[name] = functools.partial(time_peer, python=arguments.img2dataset, how=how)
    rounds, names = [], list(contenders)
    for number in tqdm(range(ROUNDS), desc="rounds", mininterval=5):
        speeds = {}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            with tempfile.TemporaryDirectory() as folder:
                speeds[name] = contenders[name](urls, Path(folder), arguments.connections)
        rounds.append(speeds)
    return pd.DataFrame(rounds)[names]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000, help="default: 2000")
    parser.add_argument("--width", type=int, default=640, help="of an image in pixels (default: 640)")
    parser.add_argument("--connections", type=int, default=16, help="of each contender (default: 16)")
    parser.add_argument("--img2dataset", metavar="PYTHON", help="interpreter of an environment that has img2dataset")
    arguments = parser.parse_args()
    files = [make_photo(arguments.width, seed) for seed in range(FILES)]
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(files, theirs), daemon=True)
    server.start()
    root = f"http://127.0.0.1:{ours.recv()}"
    table = compare(arguments, [f"{root}/{number}.jpg" for number in range(arguments.images)])
    server.terminate()
    size = statistics.mean(map(len, files)) / 1000
    print(f"{arguments.images} images of {size:.0f} kB, {arguments.connections} connections")
    for name in table:
        ratio = (table["download_shard"] / table[name]).median()
        print(f"{name}: {table[name].median():.0f} images/s, download_shard is {ratio:.2f} times as fast")
