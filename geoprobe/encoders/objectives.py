"""The objectives: what an encoder is asked to do with the tiles. Each is a module with a loss of one batch.

`loss(images, tokens, labels, generator)` gets normalised images (n, 3, size, size), the captions' word
numbers (n, length) and caption numbers (n,) (both None without captions), and a torch Generator. `views`
says how many presentations of an image one step counts for.
"""

import math

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import nn

from geoprobe.encoders.augment import random_views
from geoprobe.encoders.text import BagOfWords


def info_nce(similarities, positives):
    """Cross entropy against the positives of each row, shared out evenly.

    Args:
        similarities: scaled similarities, shape (n, m).
        positives: True where column j is a positive of row i, shape (n, m); at least one a row.

    Returns:
        The mean over rows. With one positive a row this is InfoNCE (van den Oord et al. 2018); with several it
        is the supervised contrastive loss L_out (Khosla et al. 2020, equation 2).
    """
    log_probability = similarities.log_softmax(dim=1)
    return -(log_probability * positives).sum(dim=1).div(positives.sum(dim=1)).mean()


def projection_head(width, out):
    """Head between the class token and the contrastive loss; thrown away after training."""
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, out))


class Contrastive(nn.Module):
    """Two random views of an image attract each other and repel the rest (SimCLR, Chen et al. 2020)."""

    views = 2

    def __init__(self, encoder, options, vocabulary):
        super().__init__()
        self.encoder = encoder
        self.options = options
        self.head = projection_head(encoder.embed_dim, options["projection"])

    def loss(self, images, tokens, labels, generator):
        crop, colour = self.options["crop"], self.options["colour"]
        pair = torch.cat([random_views(images, generator, crop, colour) for _ in range(2)])
        z = F.normalize(self.head(self.encoder(pair)[:, 0]), dim=1)
        similarities = z @ z.T / self.options["temperature"]
        similarities.fill_diagonal_(-torch.inf)
        # -inf * 0 is not a number: take the diagonal out rather than masking it
        n = len(images)
        target = torch.cat([torch.arange(n, 2 * n), torch.arange(n)]).to(z.device)
        return F.cross_entropy(similarities, target)


class Text(nn.Module):
    """An image and its caption attract each other and repel the rest (CLIP, Radford et al. 2021).

    Images that share a caption are positives of one another, not negatives. This text tower is deterministic, so
    that equal captions have equal vectors, and the loss is then that of plain CLIP; with dropout or augmented
    captions in a text tower it would not be.
    """

    views = 1

    def __init__(self, encoder, options, vocabulary):
        super().__init__()
        self.encoder = encoder
        self.options = options
        self.head = projection_head(encoder.embed_dim, options["projection"])
        self.text = BagOfWords(len(vocabulary), encoder.embed_dim)
        self.text_head = nn.Linear(encoder.embed_dim, options["projection"])
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / options["temperature"])))

    def loss(self, images, tokens, labels, generator):
        crop, colour = self.options["crop"], self.options["colour"]
        image = F.normalize(self.head(self.encoder(random_views(images, generator, crop, colour))[:, 0]), dim=1)
        text = F.normalize(self.text_head(self.text(tokens)), dim=1)
        # the ceiling of 100 is CLIP's
        similarities = self.log_scale.exp().clamp(max=100) * image @ text.T
        positives = (labels[:, None] == labels[None]).float()
        return (info_nce(similarities, positives) + info_nce(similarities.T, positives)) / 2


class Masked(nn.Module):
    """Most patches are hidden and their pixels predicted from the rest (masked autoencoding, He et al. 2022)."""

    views = 1

    def __init__(self, encoder, options, vocabulary):
        super().__init__()
        self.encoder = encoder
        self.options = options
        patches = encoder.patch_embed.num_patches
        self.patch = encoder.patch_embed.patch_size[0]
        width = options["decoder_width"]
        self.embed = nn.Linear(encoder.embed_dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, patches + 1, width) * 0.02)
        self.decoder = Block(width, num_heads=max(1, width // 32), mlp_layer=Mlp)
        self.predict = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.patch**2 * 3))

    def loss(self, images, tokens, labels, generator):
        encoder = self.encoder
        crop, colour = self.options["crop"], self.options["colour"]
        images = random_views(images, generator, crop, colour)
        x = encoder.patch_embed(images) + encoder.pos_embed[:, 1:]
        n, patches, width = x.shape
        keep = max(1, round(patches * (1 - self.options["mask"])))
        order = torch.rand(n, patches, generator=generator).argsort(dim=1).to(x.device)
        shown, back = order[:, :keep], order.argsort(dim=1)
        x = x.gather(1, shown[..., None].expand(-1, -1, width))
        first = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(n, -1, -1)
        x = self.embed(encoder.norm(encoder.blocks(torch.cat([first, x], dim=1))))
        hidden = self.mask_token.expand(n, patches - keep, -1)
        tokens = torch.cat([x[:, 1:], hidden], dim=1).gather(1, back[..., None].expand(-1, -1, x.shape[2]))
        decoded = self.predict(self.decoder(torch.cat([x[:, :1], tokens], dim=1) + self.positions))[:, 1:]
        # Targets are normalised within a patch, which He et al. found better than raw pixels.
        target = F.unfold(images, self.patch, stride=self.patch).transpose(1, 2)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        masked = torch.ones(n, patches, device=x.device).scatter_(1, shown, 0.0)
        return (((decoded - target) ** 2).mean(-1) * masked).sum() / masked.sum()


# `random` has no objective: its weights are written as they were drawn.
OBJECTIVES = {"masked": Masked, "contrastive": Contrastive, "text": Text}
