"""The tokenizer of `benchmarks.tokenizer_speed` in PyTorch: same shape, losses, optimizer and initial weights.

It is run with the interpreter of an environment that has PyTorch and NumPy, and imports nothing from vim_tf. PyTorch
uses its fastest options: fused attention, fused AdamW, inference mode for encoding, TF32 products on a GPU, which
TensorFlow uses by default.
"""

import argparse
import functools
import json

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.support import measure


class Block(nn.Module):
    """Pre-LN Transformer block of [batch, length, channels]."""

    def __init__(self, hidden_dim, num_heads, mlp_dim):
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(hidden_dim, eps=1e-6)
        self.query_key_value = nn.Linear(hidden_dim, 3 * hidden_dim)
        self.output_projection = nn.Linear(hidden_dim, hidden_dim)
        self.mlp_norm = nn.LayerNorm(hidden_dim, eps=1e-6)
        self.mlp_in = nn.Linear(hidden_dim, mlp_dim)
        self.mlp_out = nn.Linear(mlp_dim, hidden_dim)

    def forward(self, hidden):
        batch, length, channels = hidden.shape
        projected = self.query_key_value(self.attention_norm(hidden)).view(batch, length, 3, self.num_heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        hidden = hidden + self.output_projection(mixed.transpose(1, 2).reshape(batch, length, channels))
        return hidden + self.mlp_out(functional.gelu(self.mlp_in(self.mlp_norm(hidden))))


class Transformer(nn.Module):
    """Embedding, fixed positions, blocks, norm, and two layers with tanh between."""

    def __init__(self, shape, input_dim, output_dim):
        super().__init__()
        hidden_dim = shape["hidden_dim"]
        length = (shape["image_size"] // shape["patch_size"]) ** 2
        self.embedding = nn.Linear(input_dim, hidden_dim)
        self.register_buffer("positions", torch.zeros(length, hidden_dim))
        self.blocks = nn.ModuleList(
            Block(hidden_dim, shape["num_heads"], shape["mlp_dim"]) for _ in range(shape["num_layers"])
        )
        self.final_norm = nn.LayerNorm(hidden_dim, eps=1e-6)
        self.head_hidden = nn.Linear(hidden_dim, hidden_dim)
        self.head_output = nn.Linear(hidden_dim, output_dim)

    def forward(self, inputs):
        hidden = self.embedding(inputs) + self.positions
        for block in self.blocks:
            hidden = block(hidden)
        return self.head_output(torch.tanh(self.head_hidden(self.final_norm(hidden))))


class Tokenizer(nn.Module):
    """Images [batch, side, side, 3] to tokens, and to the training loss."""

    def __init__(self, shape):
        super().__init__()
        self.patch_size = shape["patch_size"]
        self.grid = shape["image_size"] // self.patch_size
        patch_values = 3 * self.patch_size**2
        self.encoder = Transformer(shape, patch_values, shape["codebook_dim"])
        self.decoder = Transformer(shape, shape["codebook_dim"], patch_values)
        self.codebook = nn.Parameter(torch.zeros(shape["codebook_size"], shape["codebook_dim"]))

    def encode(self, images):
        return self._nearest(functional.normalize(self._latents(images), dim=-1, eps=1e-6))

    def forward(self, images):
        latents = self._latents(images)
        compared = functional.normalize(latents, dim=-1, eps=1e-6)
        with torch.no_grad():
            tokens = self._nearest(compared)
        codes = functional.normalize(functional.embedding(tokens, self.codebook), dim=-1, eps=1e-6)
        codebook_loss = torch.mean((codes - compared.detach()) ** 2)
        commitment_loss = torch.mean((codes.detach() - compared) ** 2)
        # The codes' values, the latents' gradient.
        maps = self.decoder(latents + (codes - latents).detach())
        grid, patch = self.grid, self.patch_size
        pixels = maps.view(-1, grid, grid, patch, patch, 3).permute(0, 1, 3, 2, 4, 5).reshape(images.shape)
        return torch.mean((images - pixels) ** 2) + codebook_loss + 0.25 * commitment_loss

    def _latents(self, images):
        grid, patch = self.grid, self.patch_size
        patches = (images * 2 - 1).view(-1, grid, patch, grid, patch, 3).permute(0, 1, 3, 2, 4, 5)
        return self.encoder(patches.reshape(-1, grid * grid, 3 * patch**2))

    def _nearest(self, compared):
        codes = functional.normalize(self.codebook, dim=-1, eps=1e-6)
        return torch.argmax(compared @ codes.t(), dim=-1)


def load(tokenizer, arrays):
    """Sets the weights to those of a file that `benchmarks.workers.tensorflow_tokenizer` wrote.

    Names are Keras' paths; a dense kernel is [inputs, outputs] there and transposed here.

    Raises:
        ValueError: one side has weights that the other lacks.
    """
    weights = {**dict(tokenizer.named_parameters()), **dict(tokenizer.named_buffers())}
    left_over = set(weights)
    with torch.no_grad():
        for path, array in arrays.items():
            name = path.replace("/kernel", "/weight").replace("/gamma", "/weight").replace("/beta", "/bias")
            name = (
                name.replace("/", ".").replace("quantizer.", "").replace("block_", "blocks.").replace("attention.", "")
            )
            if name not in weights:
                raise ValueError(f"{path} has no counterpart in PyTorch")
            weights[name].copy_(torch.from_numpy(array.T if path.endswith("kernel") else array))
            left_over.discard(name)
    if left_over:
        raise ValueError(f"weights that the file lacks: {sorted(left_over)}")


def take_device(settings):
    """The device in the settings, and the context in which to compute on it.

    Raises:
        SystemExit: this PyTorch sees no GPU.
    """
    torch.set_num_threads(settings["threads"])
    torch.set_float32_matmul_precision("high" if settings["device"] == "gpu" else "highest")
    if settings["device"] == "gpu" and not torch.cuda.is_available():
        raise SystemExit("this PyTorch sees no GPU")
    device = torch.device("cuda" if settings["device"] == "gpu" else "cpu")
    half = settings["precision"] == "mixed_bfloat16"
    return device, lambda: torch.autocast(device.type, torch.bfloat16, enabled=half)


def device_name(device):
    """The GPU's name, or CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def make_operations(tokenizer, images, optimizer, settings, device, precision):
    """Dict from name to function, and the losses of the first steps; device and precision are from `take_device`."""
    forward, encode = tokenizer, tokenizer.encode
    if settings["compile"]:
        forward, encode = torch.compile(forward), torch.compile(encode)

    def train(images):
        optimizer.zero_grad(set_to_none=True)
        with precision():
            # A training step's images come from the processor, as in this project.
            loss = forward(images.to(device, non_blocking=True))
        loss.backward()
        optimizer.step()
        return loss.item()

    def tokens(images):
        with torch.inference_mode(), precision():
            return encode(images).cpu().numpy()

    batches = {size: torch.from_numpy(images[:size]) for size in settings["batch_sizes"]}
    if device.type == "cuda":
        batches = {size: batch.pin_memory() for size, batch in batches.items()}
    first = next(iter(batches.values()))
    losses = [train(first) for _ in range(settings["compared_steps"])]
    operations = {}
    for size, batch in batches.items():
        operations[f"train_{size}"] = lambda batch=batch: train(batch)
        operations[f"encode_{size}"] = functools.partial(tokens, batch.to(device))
    return operations, losses


def main():
    """The process that `benchmarks.tokenizer_speed` starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON from benchmarks.tokenizer_speed")
    parser.add_argument("--weights", required=True, help="file of initial weights and images (.npz)")
    arguments = parser.parse_args()
    settings = arguments.settings
    device, precision = take_device(settings)
    arrays = dict(np.load(arguments.weights, allow_pickle=False))
    images = arrays.pop("images")
    tokenizer = Tokenizer(settings["shape"])
    load(tokenizer, arrays)
    tokenizer.to(device)
    optimizer = torch.optim.AdamW(
        tokenizer.parameters(), settings["learning_rate"], betas=(0.9, 0.99), weight_decay=1e-4, fused=True
    )
    operations, losses = make_operations(tokenizer, images, optimizer, settings, device, precision)
    measure.serve(operations, {"version": torch.__version__, "device": device_name(device), "losses": losses})


if __name__ == "__main__":
    main()
