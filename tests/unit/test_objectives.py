"""The losses, against formulas written plainly and against what they may and may not depend on."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from geoprobe.encoders import objectives
from geoprobe.encoders.architecture import build_encoder
from geoprobe.encoders.augment import random_views
from geoprobe.encoders.objectives import OBJECTIVES, info_nce

torch.set_num_threads(1)

N, SIZE, PATCH, WIDTH = 6, 16, 4, 32
PATCHES = (SIZE // PATCH) ** 2
COMMON = {"crop": 0.5, "colour": 0.1}
OPTIONS = {
    "masked": {**COMMON, "mask": 0.75, "decoder_width": 16},
    "contrastive": {**COMMON, "projection": 8, "temperature": 0.2},
    "text": {**COMMON, "projection": 8, "temperature": 0.2},
}
# rows 0 and 2, and 1 and 5, count as one caption and yet differ in words, so that sharing a row out shows
TOKENS = torch.tensor([[1, 2], [3, 0], [2, 4], [4, 5], [5, 0], [3, 1]])
LABELS = torch.tensor([0, 1, 0, 2, 3, 1])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=N):
    return torch.randn(n, 3, SIZE, SIZE, generator=generator(42))


def make(name, **options):
    encoder = build_encoder(SIZE, PATCH, WIDTH, depth=2, heads=2, seed=1)
    torch.manual_seed(7)
    return OBJECTIVES[name](encoder, {**OPTIONS[name], **options}, ["a", "b", "c", "d", "e"])


def loss(model, seed=0, pixels=None):
    return model.loss(images() if pixels is None else pixels, TOKENS, LABELS, generator(seed))


def plain_info_nce(similarities, positives):
    """Mean over rows of the mean over a row's positives of -log softmax, number by number."""
    rows = []
    for row, positive in zip(similarities, positives, strict=True):
        total = sum(math.exp(value) for value in row)
        terms = [-math.log(math.exp(value) / total) for value, is_positive in zip(row, positive, strict=True)
                 if is_positive]  # fmt: skip
        rows.append(sum(terms) / len(terms))
    return sum(rows) / len(rows)


def unit(vectors):
    vectors = vectors.detach().double().numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_info_nce_is_cross_entropy_where_each_row_has_one_positive():
    similarities = torch.randn(5, 5, generator=generator())
    torch.testing.assert_close(
        info_nce(similarities, torch.eye(5)), F.cross_entropy(similarities, torch.arange(5)), rtol=1e-5, atol=1e-6
    )


def test_info_nce_shares_a_row_out_among_its_positives():
    similarities = torch.randn(4, 6, generator=generator())
    positives = torch.tensor(
        [[1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 1], [0, 0, 0, 1, 1, 0]], dtype=torch.float32
    )
    expected = plain_info_nce(similarities.tolist(), positives.tolist())
    assert info_nce(similarities, positives).item() == pytest.approx(expected, rel=1e-5)


def test_info_nce_is_least_where_the_positives_share_all_the_probability():
    positives = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    best = info_nce(torch.tensor([[30.0, 30.0, 0.0, 0.0]]), positives).item()
    assert best == pytest.approx(math.log(2), rel=1e-5)
    assert info_nce(torch.tensor([[30.0, 29.0, 0.0, 0.0]]), positives).item() > best


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_generator_decides_the_loss_whatever_else_is_drawn(name):
    model = make(name).eval()
    first = loss(model, seed=3)
    torch.rand(5)
    assert torch.equal(first, loss(model, seed=3))
    assert not torch.equal(first, loss(model, seed=4))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_reaches_every_block_of_the_encoder(name):
    model = make(name)
    loss(model).backward()
    for block in model.encoder.blocks:
        assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in block.parameters())


def test_the_contrastive_loss_is_nt_xent():
    model = make("contrastive").eval()
    drawn = generator(5)
    views = [random_views(images(), drawn, **COMMON) for _ in range(2)]
    z = unit(torch.cat([model.head(model.encoder(view)[:, 0]) for view in views]))
    # Chen et al. 2020, equation 1: i and j are the views of one image, the sum in the denominator leaves out i
    terms = []
    for i in range(2 * N):
        j = (i + N) % (2 * N)
        similar = [math.exp(z[i] @ z[k] / 0.2) for k in range(2 * N) if k != i]
        terms.append(-math.log(math.exp(z[i] @ z[j] / 0.2) / sum(similar)))
    assert loss(model, seed=5).item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)


def test_the_contrastive_loss_has_finite_gradients():
    model = make("contrastive")
    loss(model).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


def text_vectors(model, seed):
    views = random_views(images(), generator(seed), **COMMON)
    return unit(model.head(model.encoder(views)[:, 0])), unit(model.text_head(model.text(TOKENS)))


@pytest.mark.parametrize(("temperature", "scale"), [(0.2, 5.0), (0.001, 100.0)])
def test_the_text_loss_is_symmetric_and_takes_equal_captions_for_positives(temperature, scale):
    model = make("text", temperature=temperature).eval()
    image, text = text_vectors(model, seed=2)
    similarities = scale * image @ text.T
    positives = [[a == b for b in LABELS.tolist()] for a in LABELS.tolist()]
    expected = (plain_info_nce(similarities, positives) + plain_info_nce(similarities.T, positives)) / 2
    assert loss(model, seed=2).item() == pytest.approx(expected, rel=1e-4)
    # taken for negatives they would give another loss
    negatives = (plain_info_nce(similarities, np.eye(N)) + plain_info_nce(similarities.T, np.eye(N))) / 2
    assert abs(expected - negatives) > 1e-3


class StubPatches(nn.Module):
    """A patch embedding that gives the same tokens whatever the images."""

    def __init__(self, n):
        super().__init__()
        self.num_patches, self.patch_size = PATCHES, (PATCH, PATCH)
        self.tokens = torch.randn(n, PATCHES, WIDTH, generator=generator(8))

    def forward(self, images):
        return self.tokens


@pytest.fixture
def plain_views(monkeypatch):
    """Views that are the images themselves, so that a patch of a view is that patch of the image."""
    monkeypatch.setattr(objectives, "random_views", lambda images, *_: images)


def patches_with_gradient(pixels):
    """Which patches of which images the gradient reaches, shape (n, patches)."""
    size = F.unfold(pixels.grad.abs(), PATCH, stride=PATCH).amax(dim=1)
    return size > 0


def hidden_patches(n, mask, seed):
    """Patches that the generator hides when views draw nothing: all but the first of its random order."""
    order = torch.rand(n, PATCHES, generator=generator(seed)).argsort(dim=1)
    hidden = torch.ones(n, PATCHES, dtype=torch.bool)
    for row, kept in zip(hidden, order[:, : max(1, round(PATCHES * (1 - mask)))], strict=True):
        row[kept] = False
    return hidden


@pytest.mark.parametrize("mask", [0.25, 0.75])
def test_only_hidden_patches_are_targets_of_the_masked_loss(plain_views, mask):
    model = make("masked", mask=mask)
    model.encoder.patch_embed = StubPatches(N)
    pixels = images().requires_grad_()
    model.loss(pixels, None, None, generator(3)).backward()
    assert torch.equal(patches_with_gradient(pixels), hidden_patches(N, mask, seed=3))


def test_targets_of_shown_patches_do_not_change_the_masked_loss(plain_views):
    model = make("masked")
    model.encoder.patch_embed = StubPatches(N)
    shown = ~hidden_patches(N, 0.75, seed=3)
    changed = F.unfold(images(), PATCH, stride=PATCH)
    changed[shown[:, None].expand_as(changed)] += torch.randn(changed.shape, generator=generator(1))[
        shown[:, None].expand_as(changed)
    ]
    changed = F.fold(changed, SIZE, PATCH, stride=PATCH)
    assert not torch.equal(changed, images())
    assert torch.equal(loss(model, seed=3), loss(model, seed=3, pixels=changed))


@pytest.mark.parametrize("mask", [0.25, 0.75])
def test_the_encoder_sees_the_shown_patches_and_no_hidden_one(plain_views, monkeypatch, mask):
    model = make("masked", mask=mask)
    unfold = F.unfold
    monkeypatch.setattr(objectives.F, "unfold", lambda pixels, *args, **kw: unfold(pixels.detach(), *args, **kw))
    pixels = images().requires_grad_()
    model.loss(pixels, None, None, generator(3)).backward()
    monkeypatch.undo()
    assert torch.equal(patches_with_gradient(pixels), ~hidden_patches(N, mask, seed=3))


@pytest.mark.parametrize("mask", [0.0, 0.25, 0.75, 0.99])
def test_tokens_come_back_in_the_order_of_their_patches(plain_views, mask):
    model = make("masked", mask=mask)
    model.encoder.blocks = nn.Identity()  # every token stays what it was
    model.mask_token.data.fill_(5.0)
    seen = []
    model.decoder.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    loss(model, seed=3)
    tokens = seen[0] - model.positions
    encoder = model.encoder
    expected = model.embed(encoder.norm(encoder.patch_embed(images()) + encoder.pos_embed[:, 1:]))
    hidden = hidden_patches(N, mask, seed=3)
    expected[hidden] = 5.0
    assert hidden.sum(dim=1).tolist() == [PATCHES - max(1, round(PATCHES * (1 - mask)))] * N
    torch.testing.assert_close(tokens[:, 1:], expected, rtol=1e-4, atol=1e-5)
    first = model.embed(encoder.norm(encoder.cls_token + encoder.pos_embed[:, :1]))
    torch.testing.assert_close(tokens[:, :1], first.expand(N, -1, -1), rtol=1e-4, atol=1e-5)


def test_the_decoder_sees_every_position():
    model = make("masked")
    loss(model).backward()
    assert (model.positions.grad.abs().amax(dim=2) > 0).all()


def test_the_masked_loss_is_that_of_a_plain_masked_autoencoder(plain_views):
    model = make("masked").eval()
    encoder, pixels, terms = model.encoder, images(), []
    hidden = hidden_patches(N, 0.75, seed=3)
    for image, away in zip(pixels, hidden, strict=True):
        embedded = encoder.patch_embed(image[None])[0] + encoder.pos_embed[0, 1:]
        x = torch.cat([encoder.cls_token[0] + encoder.pos_embed[0, :1], embedded[~away]])[None]
        for block in encoder.blocks:
            x = block(x)
        x = model.embed(encoder.norm(x))[0]
        full = model.mask_token[0].repeat(1 + PATCHES, 1)
        full[0] = x[0]
        full[1:][~away] = x[1:]
        decoded = model.predict(model.decoder((full + model.positions[0])[None]))[0, 1:]
        for number in away.nonzero()[:, 0].tolist():
            y, x0 = divmod(number, SIZE // PATCH)
            patch = image[:, y * PATCH : (y + 1) * PATCH, x0 * PATCH : (x0 + 1) * PATCH].flatten().double().numpy()
            target = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
            terms.append(((decoded[number].detach().numpy() - target) ** 2).mean())
    assert loss(model, seed=3).item() == pytest.approx(np.mean(terms), rel=1e-4)


def test_a_masked_loss_of_plain_patches_is_finite(plain_views):
    model = make("masked")
    value = loss(model, pixels=torch.ones(N, 3, SIZE, SIZE))
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
