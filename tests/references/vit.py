"""Reference values of a tiny ViT-VQGAN in the form of enhancing-transformers, under that project's weight names.

    <environment with PyTorch, see make_references.py>/bin/python tests/references/vit.py

The arrays beside this script are committed. `weight:<name>` are the checkpoint's tensors; everything else is inputs and
results. Nothing here imports vim_tf: the network is written from its description with PyTorch's own modules.
"""

import numpy as np
import torch
from storage import save, tensor
from torch import nn
from torch.nn import functional as F

# Not square, so that rows and columns can't be mixed up.
GRID_HEIGHT, GRID_WIDTH, PATCH = 2, 3, 4
HEAD_DIM = 64
CODEBOOK_SIZE, CODE_DIM = 24, 4
ENCODER = {"layers": 2, "heads": 1, "dim": 8, "mlp": 12}
DECODER = {"layers": 1, "heads": 2, "dim": 12, "mlp": 20}


def sincos(dim):
    """[1, GRID_HEIGHT * GRID_WIDTH, dim]; the first half of the channels is about the column."""
    table = np.zeros((GRID_HEIGHT, GRID_WIDTH, dim))
    quarter = dim // 4
    for row in range(GRID_HEIGHT):
        for column in range(GRID_WIDTH):
            for i in range(quarter):
                frequency = 10000 ** (-i / quarter)
                for half, index in enumerate((column, row)):
                    table[row, column, half * 2 * quarter + i] = np.sin(index * frequency)
                    table[row, column, half * 2 * quarter + quarter + i] = np.cos(index * frequency)
    return tensor(table.reshape(1, GRID_HEIGHT * GRID_WIDTH, dim))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * heads * HEAD_DIM, bias=False)
        self.to_out = nn.Linear(heads * HEAD_DIM, dim)

    def forward(self, x):
        split = [part.unflatten(-1, (self.heads, HEAD_DIM)).transpose(1, 2) for part in self.to_qkv(x).chunk(3, -1)]
        return self.to_out(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, dim, mlp):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, mlp), nn.Tanh(), nn.Linear(mlp, dim))

    def forward(self, x):
        return self.net(x)


class Residual(nn.Module):
    def __init__(self, dim, inner):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = inner

    def forward(self, x):
        return x + self.fn(self.norm(x))


class Transformer(nn.Module):
    def __init__(self, layers, heads, dim, mlp):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([Residual(dim, Attention(dim, heads)), Residual(dim, FeedForward(dim, mlp))])
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        for attention, feed_forward in self.layers:
            x = feed_forward(attention(x))
        return self.norm(x)


class Encoder(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        dim = sizes["dim"]
        self.en_pos_embedding = nn.Parameter(sincos(dim), requires_grad=False)
        # The project rearranges after the convolution, in a module without weights.
        self.to_patch_embedding = nn.Sequential(nn.Conv2d(3, dim, PATCH, stride=PATCH), nn.Flatten(2))
        self.transformer = Transformer(**sizes)

    def forward(self, images):
        return self.transformer(self.to_patch_embedding(images).transpose(1, 2) + self.en_pos_embedding)


class Decoder(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        dim = sizes["dim"]
        self.transformer = Transformer(**sizes)
        self.de_pos_embedding = nn.Parameter(sincos(dim), requires_grad=False)
        to_grid = nn.Unflatten(2, (GRID_HEIGHT, GRID_WIDTH))
        self.to_pixel = nn.Sequential(to_grid, nn.ConvTranspose2d(dim, 3, PATCH, stride=PATCH))

    def forward(self, tokens):
        return self.to_pixel(self.transformer(tokens + self.de_pos_embedding).transpose(1, 2))


class ViTVQ(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder(ENCODER)
        self.decoder = Decoder(DECODER)
        self.quantizer = nn.Module()
        self.quantizer.embedding = nn.Embedding(CODEBOOK_SIZE, CODE_DIM)
        self.pre_quant = nn.Linear(ENCODER["dim"], CODE_DIM)
        self.post_quant = nn.Linear(CODE_DIM, DECODER["dim"])

    def latents(self, images):
        return self.pre_quant(self.encoder(images))

    def tokens(self, latents):
        return torch.cdist(F.normalize(latents, dim=-1), self.codes()).argmin(-1)

    def codes(self):
        return F.normalize(self.quantizer.embedding.weight, dim=-1)

    def pixels(self, quantized):
        return self.decoder(self.post_quant(quantized))


def main():
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    model = ViTVQ()
    for name, weight in model.named_parameters():
        if "pos_embedding" not in name:
            # Far from what an initializer gives: every bias and norm counts.
            weight.data = weight.data * 1.5 + 0.2 * torch.randn_like(weight)
    model.pre_quant.weight.data *= 3  # so that many codes are chosen
    images = tensor(random.uniform(size=(2, 3, GRID_HEIGHT * PATCH, GRID_WIDTH * PATCH)), gradient=True)
    latents = model.latents(images)
    tokens = model.tokens(latents)
    codes = model.codes()[tokens].detach().requires_grad_()
    pixels = model.pixels(codes)
    latents_probe, pixels_probe = torch.randn_like(latents), torch.randn_like(pixels)
    last = model.decoder.to_pixel[1].weight
    images_gradient, qkv_gradient = torch.autograd.grad(
        (latents * latents_probe).sum(), [images, model.encoder.transformer.layers[0][0].fn.to_qkv.weight]
    )
    codes_gradient, last_gradient = torch.autograd.grad((pixels * pixels_probe).sum(), [codes, last])
    save(
        "vit",
        images=images.permute(0, 2, 3, 1),
        latents=latents,
        latents_probe=latents_probe,
        images_gradient=images_gradient.permute(0, 2, 3, 1),
        qkv_gradient=qkv_gradient,
        tokens=tokens.int(),
        codes=codes,
        pixels=pixels.permute(0, 2, 3, 1),
        pixels_probe=pixels_probe.permute(0, 2, 3, 1),
        codes_gradient=codes_gradient,
        last_gradient=last_gradient,
        **{f"weight:{name}": value for name, value in model.state_dict().items()},
    )


if __name__ == "__main__":
    main()
