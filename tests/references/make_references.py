"""Reference values from PyTorch, for tests of our TensorFlow code.

    python3 -m venv <somewhere outside the repository>
    <somewhere>/bin/pip install torch==2.13.0 numpy
    <somewhere>/bin/python tests/references/make_references.py

PyTorch is in no lock of ours: the arrays beside this script are committed, and only changing them needs it. Each file
holds inputs, weights and results, so that a test needs nothing else. Nothing here imports vim_tf: the maths is written
from the papers, with PyTorch's own modules wherever there is one.
"""

import math

import numpy as np
import torch
from storage import save, tensor
from torch.nn import functional as F

# ---------------------------------------------------------------------------------------------------------- losses


def make_reconstruction_losses():
    """Logit-Laplace likelihood by a change of variables of PyTorch's Laplace distribution, and the squared error."""
    random = np.random.default_rng(2)
    shape = (2, 3, 4, 3)
    images = random.uniform(size=shape).astype("float32")
    images[0, 0, 0] = [0.0, 1.0, 0.5]
    # About half of the log scales lie below the floor of -2.
    location, log_scale = tensor(random.normal(size=shape), True), tensor(random.normal(-2.0, 1.0, size=shape), True)
    base = torch.distributions.Laplace(location, log_scale.clamp(min=-2.0).exp())
    density = torch.distributions.TransformedDistribution(base, torch.distributions.SigmoidTransform())
    loss = -density.log_prob(tensor(images).clamp(1e-3, 1 - 1e-3)).mean()
    mapped_loss = -density.log_prob(0.8 * tensor(images) + 0.1).mean()
    reconstructions = random.uniform(size=shape)
    gradients = torch.autograd.grad(loss, [location, log_scale])
    save(
        "reconstruction_losses",
        images=images,
        location=location,
        log_scale=log_scale,
        logit_laplace=loss,
        location_gradient=gradients[0],
        log_scale_gradient=gradients[1],
        reconstructions=reconstructions,
        mapped_logit_laplace=mapped_loss,
        l1=F.l1_loss(tensor(reconstructions), tensor(images)),
        l2=F.mse_loss(tensor(reconstructions), tensor(images)),
    )


def make_cross_entropy():
    random = np.random.default_rng(3)
    tokens = random.integers(0, 6, size=(2, 4)).astype("int32")
    logits = tensor(random.normal(0, 3, size=(2, 4, 6)), gradient=True)
    loss = F.cross_entropy(logits.reshape(-1, 6), torch.tensor(tokens.reshape(-1), dtype=torch.long))
    save("cross_entropy", tokens=tokens, logits=logits, loss=loss, gradient=torch.autograd.grad(loss, logits)[0])


def adversarial_games(real, fake):
    """(loss of the generator, loss of the discriminator) by kind."""
    entropy, relu = F.binary_cross_entropy_with_logits, F.relu
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    return {
        "non_saturating": (entropy(fake, ones), entropy(real, ones) + entropy(fake, zeros)),
        "hinge": (-fake.mean(), relu(1 - real).mean() + relu(1 + fake).mean()),
        "least_squares": (F.mse_loss(fake, ones) / 2, F.mse_loss(real, ones) / 2 + F.mse_loss(fake, zeros) / 2),
    }


def make_adversarial_losses():
    random = np.random.default_rng(4)
    real, fake = (tensor(random.normal(0, 3, size=6), gradient=True) for _ in range(2))
    arrays = {"real": real, "fake": fake}
    for kind, (generator, discriminator) in adversarial_games(real, fake).items():
        gradients = torch.autograd.grad(discriminator, [real, fake])
        arrays |= {
            f"{kind}/generator": generator,
            f"{kind}/generator_gradient": torch.autograd.grad(generator, fake)[0],
            f"{kind}/discriminator": discriminator,
            f"{kind}/discriminator_real_gradient": gradients[0],
            f"{kind}/discriminator_fake_gradient": gradients[1],
        }
    real_mean, fake_mean = 0.7, -0.4
    lecam = F.relu(real - fake_mean).pow(2).mean() + F.relu(real_mean - fake).pow(2).mean()
    gradients = torch.autograd.grad(lecam, [real, fake])
    arrays |= {"lecam": lecam, "lecam_real_gradient": gradients[0], "lecam_fake_gradient": gradients[1]}
    save("adversarial_losses", **arrays)


# ----------------------------------------------------------------------------------------------------- transformer


def make_transformer_block():
    """PyTorch's own pre-LN encoder layer with weights in our layout: kernels are [inputs, outputs]."""
    width, heads, mlp = 8, 2, 12
    random = np.random.default_rng(5)
    weights = {
        "attention_norm/gamma": random.normal(1, 0.3, width),
        "attention_norm/beta": random.normal(0, 0.3, width),
        "attention/query_key_value/kernel": random.normal(0, 0.5, (width, 3 * width)),
        "attention/query_key_value/bias": random.normal(0, 0.3, 3 * width),
        "attention/output_projection/kernel": random.normal(0, 0.5, (width, width)),
        "attention/output_projection/bias": random.normal(0, 0.3, width),
        "mlp_norm/gamma": random.normal(1, 0.3, width),
        "mlp_norm/beta": random.normal(0, 0.3, width),
        "mlp_in/kernel": random.normal(0, 0.5, (width, mlp)),
        "mlp_in/bias": random.normal(0, 0.3, mlp),
        "mlp_out/kernel": random.normal(0, 0.5, (mlp, width)),
        "mlp_out/bias": random.normal(0, 0.3, width),
    }
    layer = torch.nn.TransformerEncoderLayer(
        width, heads, mlp, dropout=0.0, activation=F.gelu, layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    ours_to_torch = {
        "attention_norm/gamma": "norm1.weight",
        "attention_norm/beta": "norm1.bias",
        "attention/query_key_value/kernel": "self_attn.in_proj_weight",
        "attention/query_key_value/bias": "self_attn.in_proj_bias",
        "attention/output_projection/kernel": "self_attn.out_proj.weight",
        "attention/output_projection/bias": "self_attn.out_proj.bias",
        "mlp_norm/gamma": "norm2.weight",
        "mlp_norm/beta": "norm2.bias",
        "mlp_in/kernel": "linear1.weight",
        "mlp_in/bias": "linear1.bias",
        "mlp_out/kernel": "linear2.weight",
        "mlp_out/bias": "linear2.bias",
    }
    layer.load_state_dict({ours_to_torch[name]: tensor(value.T) for name, value in weights.items()})
    inputs = tensor(random.normal(size=(2, 5, width)), gradient=True)
    probe = tensor(random.normal(size=(2, 5, width)))
    results = {}
    for name, mask in (("full", None), ("causal", torch.nn.Transformer.generate_square_subsequent_mask(5))):
        outputs = layer(inputs, src_mask=mask)
        results[name] = outputs
        results[f"{name}_gradient"] = torch.autograd.grad((outputs * probe).sum(), inputs)[0]
    save("transformer_block", inputs=inputs, probe=probe, **results, **weights)


# --------------------------------------------------------------------------------------------------- discriminator

HEIGHT, WIDTH = 10, 12
# from_rgb, then one number for each halving.
CHANNELS = (4, 6, 6)


def same_padding(inputs, kernel, stride):
    """TensorFlow's SAME: as much as makes ceil(size / stride) outputs, the odd pixel at the end."""
    pads = []
    for size in (inputs.shape[3], inputs.shape[2]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(inputs, pads)


def equalized_conv(inputs, weights, name, stride=1, padded=True):
    """Weights in TensorFlow's layout [height, width, inputs, outputs], scaled by He's constant without its gain."""
    kernel = weights[f"{name}/kernel"].permute(3, 2, 0, 1)
    kernel = kernel / math.sqrt(kernel[0].numel())
    side = kernel.shape[-1]
    inputs = same_padding(inputs, side, stride) if padded else inputs
    return F.conv2d(inputs, kernel, weights.get(f"{name}/bias"), stride=stride)


def equalized_dense(inputs, weights, name):
    return F.linear(inputs, weights[f"{name}/kernel"].T / math.sqrt(inputs.shape[1]), weights[f"{name}/bias"])


def activation(inputs):
    return math.sqrt(2) * F.leaky_relu(inputs, 0.2)


def blur(inputs, padded=True):
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) / 64
    channels = inputs.shape[1]
    inputs = same_padding(inputs, 4, 1) if padded else inputs
    return F.conv2d(inputs, kernel.expand(channels, 1, 4, 4), groups=channels)


def append_stddev(inputs, group):
    """Standard deviation over the group, averaged over channels and pixels, as one more map."""
    maps = []
    for images in inputs.split(group):
        deviation = torch.sqrt(images.var(dim=0, unbiased=False) + 1e-8).mean()
        maps.append(deviation.expand(group, 1, *images.shape[2:]))
    return torch.cat([inputs, torch.cat(maps)], dim=1)


def discriminator(images, weights, group):
    """images [batch, height, width, 3] in [0, 1] to logits [batch]."""
    hidden = activation(equalized_conv(images.permute(0, 3, 1, 2) * 2 - 1, weights, "from_rgb"))
    for index in range(len(CHANNELS) - 1):
        main = activation(equalized_conv(hidden, weights, f"blocks/{index}/conv"))
        # As StyleGAN2 pads: two zeros on each side for blur and kernel together, one more after an odd size.
        height, width = main.shape[2:]
        main = blur(F.pad(main, [2, 2 + width % 2, 2, 2 + height % 2]), padded=False)
        main = activation(equalized_conv(main, weights, f"blocks/{index}/conv_down", stride=2, padded=False))
        skip = equalized_conv(blur(hidden), weights, f"blocks/{index}/skip", stride=2)
        hidden = (main + skip) / math.sqrt(2)
    hidden = activation(equalized_conv(append_stddev(hidden, group), weights, "last_conv"))
    # Flattened as [height, width, channels], to fit our kernel.
    hidden = activation(equalized_dense(hidden.permute(0, 2, 3, 1).flatten(1), weights, "hidden"))
    return equalized_dense(hidden, weights, "logit")[:, 0]


def discriminator_weights(random):
    def conv(name, side, inputs, outputs, bias=True):
        made = {f"{name}/kernel": random.normal(size=(side, side, inputs, outputs))}
        return made | ({f"{name}/bias": random.normal(0, 0.3, outputs)} if bias else {})

    def dense(name, inputs, outputs):
        return {f"{name}/kernel": random.normal(size=(inputs, outputs)), f"{name}/bias": random.normal(0, 0.3, outputs)}

    weights = conv("from_rgb", 1, 3, CHANNELS[0])
    height, width = HEIGHT, WIDTH
    for index, (inputs, outputs) in enumerate(zip(CHANNELS[:-1], CHANNELS[1:], strict=True)):
        weights |= conv(f"blocks/{index}/conv", 3, inputs, inputs)
        weights |= conv(f"blocks/{index}/conv_down", 3, inputs, outputs)
        weights |= conv(f"blocks/{index}/skip", 1, inputs, outputs, bias=False)
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    last = CHANNELS[-1]
    weights |= conv("last_conv", 3, last + 1, last)
    return weights | dense("hidden", height * width * last, last) | dense("logit", last, 1)


def make_discriminator():
    """Logits, the R1 penalty of Mescheder et al., 2018, eq. 9 (without gamma / 2), and its gradient."""
    random = np.random.default_rng(6)
    images = tensor(random.uniform(size=(4, HEIGHT, WIDTH, 3)), gradient=True)
    weights = {name: tensor(value, gradient=True) for name, value in discriminator_weights(random).items()}
    logits = discriminator(images, weights, group=2)
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    penalty = gradient.pow(2).sum(dim=(1, 2, 3)).mean()
    of_weights = torch.autograd.grad(penalty, list(weights.values()), allow_unused=True)
    r1_gradients = {
        f"r1/{name}": torch.zeros_like(weight) if gradient is None else gradient
        for (name, weight), gradient in zip(weights.items(), of_weights, strict=True)
    }
    save("discriminator", images=images, logits=logits, r1_penalty=penalty, **weights, **r1_gradients)


# ------------------------------------------------------------------------------------------------------- optimizer


def learning_rate(step):
    """Warm-up over 2 steps to 0.05, then a cosine down to 0.01 at step 5."""
    if step < 2:
        return 0.05 * (step + 1) / 2
    return 0.01 + (0.05 - 0.01) * 0.5 * (1 + math.cos(math.pi * min((step - 2) / 3, 1)))


def make_adamw():
    random = np.random.default_rng(7)
    initial, gradients = random.normal(size=(3, 4)), random.normal(size=(6, 3, 4))
    weight = torch.nn.Parameter(tensor(initial))
    optimizer = torch.optim.AdamW([weight], lr=1.0, betas=(0.9, 0.96), eps=1e-8, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate)
    weights = []
    for gradient in gradients:
        weight.grad = tensor(gradient)
        optimizer.step()
        schedule.step()
        weights.append(weight.detach().clone())
    save("adamw", initial=initial, gradients=gradients, weights=torch.stack(weights))


if __name__ == "__main__":
    make_reconstruction_losses()
    make_cross_entropy()
    make_adversarial_losses()
    make_transformer_block()
    make_discriminator()
    make_adamw()
