"""Names of clusters by text: of a list of labels, the one that an image-text model finds most like the images."""

import hashlib

import numpy as np
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from geoprobe.images.store import read_images

TYPICAL = 200  # images of a cluster, the nearest to its centroid, that a label is compared with
BATCH = 64


def label_similarities(store, rows, labels, folder, template, device="cpu", threads=1):
    """Mean cosine similarity of each label with the images of each cluster.

    Args:
        store: image store.
        rows: row numbers of the images of each cluster, a list a cluster, none empty.
        labels: texts.
        folder: of a model in the layout of open_clip.
        template: sentence with {} where the label goes.
        device: torch device.
        threads: of torch on the CPU.

    Returns:
        float64, shape (clusters, labels), in [-1, 1]; SHA-256 of the weights.

    Raises:
        RuntimeError: the folder lacks the weights.
    """
    # loaded here: only names by text need a model library
    import open_clip
    import torch

    torch.set_num_threads(threads)
    model = f"local-dir:{folder}"
    clip, preprocess = open_clip.create_model_from_pretrained(model, device=device)
    clip.eval()
    tokens = open_clip.get_tokenizer(model)([template.replace("{}", label) for label in labels])
    similarities = []
    with torch.inference_mode(), tqdm(total=sum(map(len, rows)), unit="image", desc="name", mininterval=5) as progress:
        text = torch.cat([clip.encode_text(part.to(device), normalize=True) for part in tokens.split(BATCH)])
        for cluster in rows:
            images, sums = read_images(store, cluster), np.zeros(len(labels))
            for start in range(0, len(cluster), BATCH):
                size = min(BATCH, len(cluster) - start)
                batch = torch.stack([preprocess(next(images)) for _ in range(size)])
                seen = clip.encode_image(batch.to(device), normalize=True)
                sums += (seen @ text.T).double().sum(dim=0).cpu().numpy()
                progress.update(size)
            similarities.append(sums / len(cluster))
    return np.stack(similarities), _digest_weights(clip)


def _digest_weights(module):
    digest = hashlib.sha256()
    for name, values in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values.cpu().numpy()))
    return digest.hexdigest()


def match_labels(similarities):
    """The label of each cluster.

    Args:
        similarities: shape (clusters, labels).

    Returns:
        Indices of labels, shape (clusters,). If there are at least as many labels as clusters, no label is used
        twice and the sum of the similarities is the highest possible (the assignment problem); else each cluster
        has its best.
    """
    clusters, labels = similarities.shape
    if labels < clusters:
        return similarities.argmax(axis=1)
    # its rows come back in order
    return linear_sum_assignment(similarities, maximize=True)[1]
