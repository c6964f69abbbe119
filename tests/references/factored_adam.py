"""Reference values of Adam with Adafactor's second moment, from PyTorch's Adafactor.

    <environment with PyTorch, see make_references.py>/bin/python tests/references/factored_adam.py

The arrays beside this script are committed. PyTorch's second moment decays by 1 - step^beta2_decay; the exponent is set
anew before each step to give Adam's decay with its bias correction. The first moment and the step are Adam's, whole.
Nothing here imports vim_tf.
"""

import math

import numpy as np
import torch
from storage import save, tensor

SHAPES = {"matrix": (33, 40), "matrices": (2, 32, 35), "vector": (7,)}
STEPS = 4
LEARNING_RATE, BETA1, BETA2, WEIGHT_DECAY = 0.05, 0.9, 0.96, 0.1


def make_gradients(random, shape):
    """Rows and columns of very different size, so that no entry's second moment is like its neighbour's."""
    gradients = random.normal(size=(STEPS, *shape))
    for axis in range(-min(len(shape), 2), 0):
        sizes = [1] * len(shape)
        sizes[axis] = shape[axis]
        gradients = gradients * np.exp(random.normal(size=sizes))
    return gradients


def set_adams_decay(optimizer, step):
    mixed = 1 - BETA2 * (1 - BETA2 ** (step - 1)) / (1 - BETA2**step)
    optimizer.param_groups[0]["beta2_decay"] = math.log(mixed) / math.log(step) if step > 1 else -1.0


def second_moment(state):
    if "variance" in state:
        return state["variance"].clone()
    rows, columns = state["row_var"], state["col_var"]
    return rows @ columns / rows.mean(dim=-2, keepdim=True)


def run(initial, gradients):
    """Weights and second moments after each step."""
    adafactor_weight = torch.nn.Parameter(tensor(initial))
    optimizer = torch.optim.Adafactor([adafactor_weight], lr=1e-2)
    weight, momentum = tensor(initial), torch.zeros(initial.shape)
    weights, moments = [], []
    for step, gradient in enumerate(gradients, start=1):
        adafactor_weight.grad = tensor(gradient)
        set_adams_decay(optimizer, step)
        optimizer.step()
        second = second_moment(optimizer.state[adafactor_weight])
        momentum = torch.lerp(momentum, tensor(gradient), 1 - BETA1)
        weight = weight * (1 - LEARNING_RATE * WEIGHT_DECAY)
        weight = weight - LEARNING_RATE * momentum / (1 - BETA1**step) / second.sqrt()
        weights.append(weight)
        moments.append(second)
    return torch.stack(weights), torch.stack(moments)


def clipped_updates(gradients):
    """What Adafactor itself subtracts, over its step size, where gradients double: clipped to 1, without momentum."""
    weight = torch.nn.Parameter(torch.ones(gradients.shape[1:]))
    optimizer = torch.optim.Adafactor([weight], lr=0.3, d=1.0)
    updates = []
    for step, gradient in enumerate(gradients, start=1):
        with torch.no_grad():
            weight.fill_(1.0)
        weight.grad = tensor(gradient * 2.0**step)
        set_adams_decay(optimizer, step)
        optimizer.step()
        # The step size is the rate times the root mean square of the weights, which is one.
        updates.append((1 - weight.detach()) / 0.3)
    return torch.stack(updates)


if __name__ == "__main__":
    random = np.random.default_rng(0)
    arrays = {}
    for name, shape in SHAPES.items():
        initial, gradients = random.normal(size=shape).astype("float32"), make_gradients(random, shape)
        weights, moments = run(initial, gradients.astype("float32"))
        # The moments of the last step alone, since the weights depend on those before.
        arrays |= {
            f"{name}/initial": initial,
            f"{name}/gradients": gradients,
            f"{name}/weights": weights,
            f"{name}/second_moment": moments[-1],
        }
    arrays["matrix/clipped_updates"] = clipped_updates(arrays["matrix/gradients"].astype("float32"))
    save("factored_adam", **arrays)
