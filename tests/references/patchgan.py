"""Reference values of a tiny PatchGAN discriminator with GroupNorm, under VQGAN's weight names.

    <environment with PyTorch, see make_references.py>/bin/python tests/references/patchgan.py

The arrays beside this script are committed. `weight:main.<index>.<name>` are the tensors, `gradient:...` those of the
probed sum of the logits. Nothing here imports vim_tf: the chain is PyTorch's own modules.
"""

import math

import numpy as np
import torch
from storage import save, tensor
from torch import nn

# Four halvings, so that the channels meet their limit: 3, 6, 12, 24, 24, in groups of three.
CHANNELS, NUM_LAYERS = 3, 4
# The halvings of 70 round down: 35, 17, 8, 4.
HEIGHT, WIDTH = 70, 48
# Larger weights' gradients aren't stored.
LARGEST = 2000


class PatchGAN(nn.Module):
    def __init__(self):
        super().__init__()
        layers, inputs = [nn.Conv2d(3, CHANNELS, 4, 2, 1), nn.LeakyReLU(0.2)], CHANNELS
        for index in range(1, NUM_LAYERS + 1):
            outputs = CHANNELS * min(2**index, 8)
            stride = 1 if index == NUM_LAYERS else 2
            layers += [
                nn.Conv2d(inputs, outputs, 4, stride, 1, bias=False),
                nn.GroupNorm(math.gcd(32, outputs), outputs, eps=1e-6),
                nn.LeakyReLU(0.2),
            ]
            inputs = outputs
        self.main = nn.Sequential(*layers, nn.Conv2d(inputs, 1, 4, 1, 1))

    def forward(self, images):
        return self.main(2 * images - 1)[:, 0]


def main():
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    model = PatchGAN()
    for weight in model.parameters():
        weight.data = weight.data * 1.5 + 0.2 * torch.randn_like(weight)
    images = tensor(random.uniform(size=(1, 3, HEIGHT, WIDTH)), gradient=True)
    logits = model(images)
    probe = torch.randn_like(logits)
    names = [name for name, _ in model.named_parameters()]
    images_gradient, *gradients = torch.autograd.grad((logits * probe).sum(), [images, *model.parameters()])
    save(
        "patchgan",
        images=images.permute(0, 2, 3, 1),
        logits=logits,
        probe=probe,
        images_gradient=images_gradient.permute(0, 2, 3, 1),
        **{f"weight:{name}": value for name, value in model.state_dict().items()},
        **{f"gradient:{name}": value for name, value in zip(names, gradients, strict=True) if value.numel() < LARGEST},
    )


if __name__ == "__main__":
    main()
