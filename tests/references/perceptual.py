"""Reference values of LPIPS and of the plain feature distance, with a thin VGG16 under torchvision's weight names.

    <environment with PyTorch, see make_references.py>/bin/python tests/references/perceptual.py

The arrays beside this script are committed. `vgg16:<name>` and `heads:<name>` are the two files' tensors; everything
else is inputs and results. Nothing here imports vim_tf: the network is torchvision's chain of PyTorch's own modules.
"""

import numpy as np
import torch
from storage import save, tensor
from torch import nn
from torch.nn import functional as F

CHANNELS = (4, 6, 8, 8, 10)
CONVS = (2, 2, 3, 3, 3)
# Neither square nor a power of two: poolings meet odd sides.
HEIGHT, WIDTH = 20, 27


def vgg16():
    """torchvision's `features`, with the index of each stage's last activation."""
    layers, ends, inputs = [], [], 3
    for channels, count in zip(CHANNELS, CONVS, strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
            inputs = channels
        ends.append(len(layers) - 1)
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers), ends


def features(network, ends, inputs):
    """Normalised activations [batch, channels, height, width] of the five stages."""
    found = []
    for index, layer in enumerate(network[: ends[-1] + 1]):
        inputs = layer(inputs)
        if index in ends:
            found.append(inputs / (inputs.pow(2).sum(1, keepdim=True).sqrt() + 1e-10))
    return found


def lpips_inputs(images):
    shift, scale = tensor([-0.030, -0.088, -0.188]), tensor([0.458, 0.448, 0.450])
    return (2 * images - 1 - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1)


def caffe_inputs(images):
    return 255 * images[:, [2, 1, 0]] - tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)


def squared_differences(network, ends, first, second):
    pairs = zip(features(network, ends, first), features(network, ends, second), strict=True)
    return [(one - other).pow(2) for one, other in pairs]


def main():
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    network, ends = vgg16()
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            # Above 0, so that no pixel has all activations at 0, where PyTorch's gradient is undefined.
            nn.init.uniform_(layer.bias, 0.0, 0.2)
    heads = [tensor(random.uniform(0, 1, (1, channels, 1, 1))) for channels in CHANNELS]
    images, reconstructions = (tensor(random.uniform(-0.1, 1.1, (2, 3, HEIGHT, WIDTH))) for _ in range(2))
    reconstructions.requires_grad_()
    probe = tensor([1.0, -0.5])  # of the distances' sum whose gradient is taken

    stages = squared_differences(network, ends, lpips_inputs(images), lpips_inputs(reconstructions))
    lpips = sum(F.conv2d(stage, head).mean((1, 2, 3)) for stage, head in zip(stages, heads, strict=True))
    plain_stages = squared_differences(network, ends, caffe_inputs(images), caffe_inputs(reconstructions))
    plain = torch.stack([stage.sum(1).mean((1, 2)) for stage in plain_stages]).mean(0)
    gradients = [torch.autograd.grad((distance * probe).sum(), reconstructions)[0] for distance in (lpips, plain)]
    save(
        "perceptual",
        images=images.permute(0, 2, 3, 1),
        reconstructions=reconstructions.permute(0, 2, 3, 1),
        probe=probe,
        lpips=lpips,
        lpips_gradient=gradients[0].permute(0, 2, 3, 1),
        vgg16_features=plain,
        vgg16_features_gradient=gradients[1].permute(0, 2, 3, 1),
        **{f"vgg16:features.{name}": value for name, value in network.state_dict().items()},
        **{f"heads:lin{stage}.model.1.weight": head for stage, head in enumerate(heads)},
    )


if __name__ == "__main__":
    main()
