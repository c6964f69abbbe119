"""Reference values of a tiny VQGAN in the form of taming-transformers, under that project's weight names.

    <environment with PyTorch, see make_references.py>/bin/python tests/references/cnn.py

The arrays beside this script are committed. `weight:<name>` are the checkpoint's tensors; everything else is inputs and
results. Nothing here imports vim_tf: the network is written from its description with PyTorch's own modules.
"""

import numpy as np
import torch
from storage import save, tensor
from torch import nn
from torch.nn import functional as F

HEIGHT, WIDTH = 8, 12
CHANNELS, MULTIPLIERS, BLOCKS = 6, (1, 2), 1
LATENT_CHANNELS, CODE_DIM, CODEBOOK_SIZE = 5, 4, 24
# 32 would not divide these few channels: groups of three instead.
GROUPS = {6: 2, 12: 4}


def norm(channels):
    return nn.GroupNorm(GROUPS[channels], channels, eps=1e-6)


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm1 = norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x):
        hidden = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return hidden + (self.nin_shortcut(x) if self.nin_shortcut else x)


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        normed = self.norm(x)
        places = [layer(normed).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v)]
        mixed = F.scaled_dot_product_attention(*places).transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(mixed)


class Downsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Middle(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = (
            Block(channels, channels),
            Attention(channels),
            Block(channels, channels),
        )

    def forward(self, x):
        return self.block_2(self.attn_1(self.block_1(x)))


class Level(nn.Module):
    def __init__(self, inputs, outputs, blocks, attention, **resample):
        super().__init__()
        self.block = nn.ModuleList(Block(inputs if i == 0 else outputs, outputs) for i in range(blocks))
        self.attn = nn.ModuleList(Attention(outputs) for _ in range(blocks if attention else 0))
        self.resample = list(resample)
        for name, layer in resample.items():
            self.add_module(name, layer)

    def forward(self, x):
        for index, block in enumerate(self.block):
            x = block(x)
            x = self.attn[index](x) if self.attn else x
        for name in self.resample:
            x = getattr(self, name)(x)
        return x


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        fine, coarse = (CHANNELS * multiplier for multiplier in MULTIPLIERS)
        self.conv_in = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.down = nn.ModuleList(
            [Level(CHANNELS, fine, BLOCKS, False, downsample=Downsample(fine)), Level(fine, coarse, BLOCKS, True)]
        )
        self.mid = Middle(coarse)
        self.norm_out = norm(coarse)
        self.conv_out = nn.Conv2d(coarse, LATENT_CHANNELS, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        fine, coarse = (CHANNELS * multiplier for multiplier in MULTIPLIERS)
        self.conv_in = nn.Conv2d(LATENT_CHANNELS, coarse, 3, padding=1)
        self.mid = Middle(coarse)
        self.up = nn.ModuleList(
            [Level(coarse, fine, BLOCKS + 1, False), Level(coarse, coarse, BLOCKS + 1, True, upsample=Upsample(coarse))]
        )
        self.norm_out = norm(fine)
        self.conv_out = nn.Conv2d(fine, 3, 3, padding=1)

    def forward(self, x):
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class VQModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()
        self.quantize = nn.Module()
        self.quantize.embedding = nn.Embedding(CODEBOOK_SIZE, CODE_DIM)
        self.quant_conv = nn.Conv2d(LATENT_CHANNELS, CODE_DIM, 1)
        self.post_quant_conv = nn.Conv2d(CODE_DIM, LATENT_CHANNELS, 1)


def to_sequence(maps):
    return maps.flatten(2).transpose(1, 2)


def main():
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    model = VQModel()
    for weight in model.parameters():
        # Far from what an initializer gives: every bias and norm counts.
        weight.data = weight.data * 1.5 + 0.1 * torch.randn_like(weight)
    images = tensor(random.uniform(size=(2, 3, HEIGHT, WIDTH)), gradient=True)
    latents = to_sequence(model.quant_conv(model.encoder(images * 2 - 1)))  # the project's images lie in [-1, 1]
    codebook = model.quantize.embedding.weight
    tokens = torch.cdist(latents, codebook).argmin(-1)
    codes = codebook[tokens].detach().requires_grad_()
    grid = codes.transpose(1, 2).unflatten(2, (HEIGHT // 2, WIDTH // 2))
    pixels = model.decoder(model.post_quant_conv(grid))
    latents_probe, pixels_probe = torch.randn_like(latents), torch.randn_like(pixels)
    images_gradient, first_gradient = torch.autograd.grad(
        (latents * latents_probe).sum(), [images, model.encoder.conv_in.weight]
    )
    codes_gradient, last_gradient = torch.autograd.grad(
        (pixels * pixels_probe).sum(), [codes, model.decoder.conv_out.weight]
    )
    # 64 channels in 32 groups, as at the real sizes.
    wide = tensor(random.normal(1.0, 2.0, size=(1, 64, 2, 3)))
    save(
        "cnn",
        images=images.permute(0, 2, 3, 1),
        latents=latents,
        latents_probe=latents_probe,
        images_gradient=images_gradient.permute(0, 2, 3, 1),
        first_gradient=first_gradient,
        tokens=tokens.int(),
        codes=codes,
        pixels=pixels.permute(0, 2, 3, 1),
        pixels_probe=pixels_probe.permute(0, 2, 3, 1),
        codes_gradient=codes_gradient,
        last_gradient=last_gradient,
        wide=wide.permute(0, 2, 3, 1),
        wide_normalized=F.group_norm(wide, 32, eps=1e-6).permute(0, 2, 3, 1),
        **{f"weight:{name}": value for name, value in model.state_dict().items()},
    )


if __name__ == "__main__":
    main()
