"""Models from PyPI with the shape of `benchmarks.language_model_speed`: GPT-2 of transformers, and x-transformers.

It is run with the interpreter of an environment that has PyTorch and either or both of them, and imports nothing from
vim_tf. Tokens are drawn at temperature 1 without any filter, with gradients off and a key/value cache.
"""

import argparse
import importlib.metadata
import importlib.util
import json

import torch

from benchmarks.support import measure
from benchmarks.workers.torch_tokenizer import device_name, take_device


def gpt2_operations(shape, length, batch_size, device, precision):
    """Dict from name to function for GPT-2: a training step, and sampling with a growing and with a fixed cache."""
    import transformers

    transformers.logging.set_verbosity_error()
    config = transformers.GPT2Config(
        vocab_size=shape["codebook_size"],
        n_positions=length,
        n_embd=shape["hidden_dim"],
        n_layer=shape["num_layers"],
        n_head=shape["num_heads"],
        n_inner=shape["mlp_dim"],
        bos_token_id=0,
        eos_token_id=None,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = transformers.GPT2LMHeadModel(config).to(device)
    start = torch.zeros([batch_size, 1], dtype=torch.long, device=device)
    tokens = torch.randint(0, shape["codebook_size"], [batch_size, length], device=device)

    def sample(cache):
        with torch.inference_mode(), precision():
            # One token fewer than the grid has: the model has no extra position for a start token.
            return model.generate(
                start,
                attention_mask=torch.ones_like(start),
                do_sample=True,
                top_k=0,
                min_new_tokens=length - 1,
                max_new_tokens=length - 1,
                cache_implementation=cache,
                disable_compile=True,
            ).cpu()

    return {
        "train_gpt2": _step(model, lambda: model(tokens, labels=tokens).loss, precision),
        "sample_gpt2_dynamic": lambda: sample("dynamic"),
        "sample_gpt2_static": lambda: sample("static"),
    }


def x_transformers_operations(shape, length, batch_size, device, precision):
    """Dict from name to function for x-transformers: a training step, and sampling."""
    from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

    model = AutoregressiveWrapper(
        TransformerWrapper(
            num_tokens=shape["codebook_size"],
            max_seq_len=length,
            attn_layers=Decoder(
                dim=shape["hidden_dim"],
                depth=shape["num_layers"],
                heads=shape["num_heads"],
                attn_dim_head=shape["hidden_dim"] // shape["num_heads"],
                ff_mult=shape["mlp_dim"] // shape["hidden_dim"],
                attn_flash=True,
            ),
        )
    ).to(device)
    start = torch.zeros([batch_size, 1], dtype=torch.long, device=device)
    tokens = torch.randint(0, shape["codebook_size"], [batch_size, length], device=device)

    def sample():
        with torch.inference_mode(), precision():
            return model.generate(start, length - 1, cache_kv=True, filter_logits_fn=lambda logits: logits).cpu()

    return {"train_x_transformers": _step(model, lambda: model(tokens), precision), "sample_x_transformers": sample}


def _step(model, loss, precision):
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, betas=(0.9, 0.96), fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with precision():
            value = loss()
        value.backward()
        optimizer.step()
        return value.item()

    return step


PEERS = {"transformers": gpt2_operations, "x_transformers": x_transformers_operations}


def main():
    """The process that `benchmarks.language_model_speed` starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON from benchmarks.language_model_speed")
    settings = parser.parse_args().settings
    device, precision = take_device(settings)
    torch.manual_seed(0)
    operations, versions = {}, {"torch": torch.__version__}
    for package, make_operations in PEERS.items():
        if importlib.util.find_spec(package):
            versions[package] = importlib.metadata.version(package.replace("_", "-"))
            for length in settings["lengths"]:
                made = make_operations(settings["shape"], length, settings["batch_size"], device, precision)
                operations |= {f"{name}_{length}": operation for name, operation in made.items()}
    facts = {"versions": versions, "device": device_name(device), "operations": sorted(operations)}
    measure.serve(operations, facts)


if __name__ == "__main__":
    main()
