"""Reference values of the quantizers from PyTorch.

    <somewhere>/bin/python tests/references/quantizers.py

`make_references.py` says how to set PyTorch up. Nothing here imports vim_tf: the maths is written from the papers.
"""

import itertools

import numpy as np
import torch
from storage import save, tensor
from torch.nn import functional as F


def with_gradients(outputs, inputs, probe):
    """Outputs and the gradients of each of them: those of its sum, or of `quantized` weighted by the probe."""
    results = {"probe": probe, **outputs}
    for name, output in outputs.items():
        scalar = (output * probe).sum() if name == "quantized" else output
        gradients = torch.autograd.grad(scalar, list(inputs.values()), retain_graph=True, allow_unused=True)
        for (of, value), gradient in zip(inputs.items(), gradients, strict=True):
            results[f"{name}/{of}"] = torch.zeros_like(value) if gradient is None else gradient
    return results


def prefixed(prefix, arrays):
    return {f"{prefix}/{key}": value for key, value in arrays.items()}


def nearest(vectors, codes):
    return torch.cdist(vectors.reshape(-1, vectors.shape[-1]), codes).argmin(dim=-1).reshape(vectors.shape[:-1])


# ---------------------------------------------------------------------------------------- vector quantization and EMA


def vector_quantizer(latents, codebook, l2_normalize, carrier):
    """Outputs and gradients; the codes' gradient goes to "latents" as they are, or as they are compared."""
    latents, codebook = tensor(latents, gradient=True), tensor(codebook, gradient=True)
    probe = tensor(np.random.default_rng(1).normal(size=latents.shape))
    x = F.normalize(latents, dim=-1) if l2_normalize else latents
    e = F.normalize(codebook, dim=-1) if l2_normalize else codebook
    tokens = nearest(x, e)
    codes = F.embedding(tokens, e)
    base = latents if carrier == "latents" else x
    outputs = {
        "quantized": base + (codes - base).detach(),
        "codebook_loss": F.mse_loss(codes, x.detach()),
        "commitment_loss": F.mse_loss(x, codes.detach()),
    }
    return {"tokens": tokens.int(), **with_gradients(outputs, {"latents": latents, "codebook": codebook}, probe)}


def make_quantizer():
    random = np.random.default_rng(0)
    latents, codebook = random.normal(size=(2, 5, 4)), random.normal(size=(7, 4))
    arrays = {"latents": latents, "codebook": codebook}
    for name, l2_normalize in (("plain", False), ("normalized", True)):
        arrays |= prefixed(name, vector_quantizer(latents, codebook, l2_normalize, carrier="normalized"))
        arrays |= prefixed(f"{name}_latents", vector_quantizer(latents, codebook, l2_normalize, carrier="latents"))
    save("quantizer", **arrays)


def ema_steps(batches, codebook, l2_normalize, decay, epsilon=1e-5):
    """The codebook after each batch; a code that nothing chose stays where it is."""
    counts, sums = torch.zeros(len(codebook)), torch.zeros(codebook.shape)
    codebook, steps, tokens = tensor(codebook), [], []
    for batch in map(tensor, batches):
        x = F.normalize(batch, dim=-1) if l2_normalize else batch
        chosen = nearest(x, F.normalize(codebook, dim=-1) if l2_normalize else codebook)
        one_hot = F.one_hot(chosen.reshape(-1), len(codebook)).float()
        counts = torch.lerp(one_hot.sum(0), counts, decay)
        sums = torch.lerp(one_hot.T @ x.reshape(-1, x.shape[-1]), sums, decay)
        smoothed = (counts + epsilon) / (counts.sum() + len(codebook) * epsilon) * counts.sum()
        codebook = torch.where(one_hot.any(0)[:, None], sums / smoothed[:, None], codebook)
        steps.append(codebook)
        tokens.append(chosen.int())
    return {"tokens": torch.stack(tokens), "codebooks": torch.stack(steps), "counts": counts, "sums": sums}


def make_ema():
    random = np.random.default_rng(10)
    batches, codebook = random.normal(size=(4, 2, 3, 4)), random.normal(size=(9, 4))
    arrays = {"batches": batches, "codebook": codebook, "decay": 0.9}
    for name, l2_normalize in (("plain", False), ("normalized", True)):
        arrays |= prefixed(name, ema_steps(batches, codebook, l2_normalize, 0.9))
    save("quantizer_ema", **arrays)


# ------------------------------------------------------------------------------------------------------------- Gumbel


def gumbel_quantizer(arrays, noisy, temperature):
    inputs = {name: tensor(arrays[name], True) for name in ("latents", "logits_kernel", "logits_bias", "codebook")}
    latents, kernel, bias, codebook = inputs.values()
    logits = F.linear(latents, kernel.T, bias)
    noise = -torch.log(-torch.log(tensor(arrays["uniform"]))) if noisy else 0.0
    soft = ((logits + noise) / temperature).softmax(-1)
    tokens = soft.argmax(-1)
    hard = F.one_hot(tokens, len(codebook)).float() - soft.detach() + soft
    uniform = torch.full((len(codebook),), 1 / len(codebook))
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=logits), torch.distributions.Categorical(probs=uniform)
    )
    outputs = {"quantized": hard @ codebook, "prior_loss": divergence.mean()}
    probe = tensor(np.random.default_rng(12).normal(size=latents.shape))
    return {"tokens": tokens.int(), **with_gradients(outputs, inputs, probe)}


def make_gumbel():
    random = np.random.default_rng(11)
    arrays = {
        "latents": random.normal(size=(2, 5, 4)),
        "logits_kernel": random.normal(size=(4, 7)),
        "logits_bias": random.normal(size=7),
        "codebook": random.normal(size=(7, 4)),
        "uniform": random.uniform(size=(2, 5, 7)),
        "temperature": 0.7,
    }
    drawn = prefixed("drawn", gumbel_quantizer(arrays, noisy=True, temperature=0.7))
    likeliest = prefixed("likeliest", gumbel_quantizer(arrays, noisy=False, temperature=1.0))
    save("quantizer_gumbel", **arrays, **drawn, **likeliest)


# ----------------------------------------------------------------------------------------------------------- residual


def make_residual():
    random = np.random.default_rng(13)
    depth, latents, codebook = 3, random.normal(size=(2, 4, 4)), 0.7 * random.normal(size=(6, 4))
    x, e = tensor(latents, gradient=True), tensor(codebook, gradient=True)
    residual, total, tokens, codebook_terms, commitment_terms = x.detach(), 0.0, [], [], []
    for _ in range(depth):
        tokens.append(nearest(residual, e))
        codes = F.embedding(tokens[-1], e)
        residual = residual - codes.detach()
        total = total + codes
        codebook_terms.append(F.mse_loss(total, x.detach()))
        commitment_terms.append(F.mse_loss(x, total.detach()))
    outputs = {
        "quantized": x + (total - x).detach(),
        "codebook_loss": torch.stack(codebook_terms).mean(),
        "commitment_loss": torch.stack(commitment_terms).mean(),
    }
    probe = tensor(random.normal(size=latents.shape))
    save(
        "quantizer_residual",
        depth=depth,
        tokens=torch.stack(tokens, dim=-1).reshape(2, -1).int(),
        **with_gradients(outputs, {"latents": x, "codebook": e}, probe),
        latents=latents,
        codebook=codebook,
    )


# -------------------------------------------------------------------------------------------------------- fixed grids


def finite_scalar_quantizer(latents, levels):
    """Dimension by dimension, as the listing of the paper's appendix has it."""
    latents = tensor(latents, gradient=True)
    values, tokens, place = [], 0, 1
    for dimension, count in enumerate(levels):
        half_range, offset = (count - 1) * (1 - 1e-3) / 2, 0.0 if count % 2 else 0.5
        bounded = torch.tanh(latents[..., dimension] + np.tan(offset / half_range)) * half_range - offset
        rounded = bounded + (bounded.round() - bounded).detach()
        values.append(rounded / (count // 2))
        tokens = tokens + place * (bounded.round().int() + count // 2)
        place *= count
    outputs = {"quantized": torch.stack(values, dim=-1)}
    probe = tensor(np.random.default_rng(15).normal(size=latents.shape))
    return {"tokens": tokens, **with_gradients(outputs, {"latents": latents}, probe)}


def make_finite_scalar():
    levels = (8, 5, 4, 3, 2)
    latents = 1.5 * np.random.default_rng(14).normal(size=(3, 7, len(levels)))
    save("quantizer_fsq", levels=levels, **finite_scalar_quantizer(latents, levels), latents=latents)


def lookup_free_quantizer(latents, temperature):
    """The entropies by the softmax over every code of its negative squared distance."""
    latents = tensor(latents, gradient=True)
    dimensions = latents.shape[-1]
    # The last factor of a product moves fastest, but bit 0 belongs to dimension 0.
    codes = tensor([bits[::-1] for bits in itertools.product((-1.0, 1.0), repeat=dimensions)])
    flat = latents.reshape(-1, dimensions)
    distances = ((flat[:, None] - codes[None]) ** 2).sum(-1)
    tokens = distances.argmin(-1)
    each = torch.distributions.Categorical(logits=-distances / temperature)
    mean = torch.distributions.Categorical(probs=each.probs.mean(0))
    nearest_codes = codes[tokens].reshape(latents.shape)
    outputs = {
        "quantized": latents + (nearest_codes - latents).detach(),
        "entropy_loss": each.entropy().mean() - mean.entropy(),
        "commitment_loss": F.mse_loss(latents, nearest_codes),
    }
    probe = tensor(np.random.default_rng(17).normal(size=latents.shape))
    shape = latents.shape[:-1]
    return {"tokens": tokens.reshape(shape).int(), **with_gradients(outputs, {"latents": latents}, probe)}


def make_lookup_free():
    random = np.random.default_rng(16)
    arrays = {}
    for dimensions in (1, 5):
        latents = random.normal(size=(2, 6, dimensions))
        results = lookup_free_quantizer(latents, temperature=0.8)
        arrays |= prefixed(dimensions, {"latents": latents, **results})
    save("quantizer_lfq", temperature=0.8, **arrays)


if __name__ == "__main__":
    make_quantizer()
    make_ema()
    make_gumbel()
    make_residual()
    make_finite_scalar()
    make_lookup_free()
