"""Q-networks of minibatches: a torso of layers, and one stream of outputs or two.

Image nets read [B H W K] (frames last, the layout that CPU convolutions want), vector nets [B D].
The dtype of the input is the one that convolutions, and the first dense layer behind them, compute
in: bfloat16 inputs have their products taken in bfloat16 and summed in float32. All that follows,
the weights themselves and the outputs are float32.
"""

import math
from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from rtpd.networks.layers import Conv, Dense, Residual

# What may stand behind hidden layers; ours have ReLU, read ones also others, as PyTorch has them.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "elu": jax.nn.elu,
    "leaky_relu": jax.nn.leaky_relu,
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),
}


class QNet(eqx.Module):
    """A ReLU torso and one stream of outputs, or two for a dueling net.

    Dueling: q = value + advantage - mean(advantage), Wang et al. 2016, arXiv:1511.06581, eq. 9,
    with a hidden layer for each stream; where a teacher has several outputs per action, for each of
    them (Hessel et al. 2018).
    """

    torso: tuple[Conv | Residual | Dense, ...]
    streams: tuple[tuple[Dense, Dense], ...]
    activation: str = eqx.field(static=True, default="relu")  # of `ACTIVATIONS`

    @property
    def num_outputs(self) -> int:
        """How many outputs it has."""
        return self.streams[0][1].bias.shape[0]

    def trace(
        self, x: Float[Array, "B ..."], first: Float[Array, "B ..."] | None = None
    ) -> tuple[Float[Array, "B Q"], list[Array]]:
        """Outputs of a minibatch and the activations of each hidden ReLU layer, input side first.

        `first` is what the first layer gives for `x`, where that is known already.
        """
        hidden, activate = [], ACTIVATIONS[self.activation]
        for i, layer in enumerate(self.torso):
            x = activate(layer(x) if i or first is None else first)
            hidden.append(x)
        outputs = []
        for dense, out in self.streams:
            h = activate(dense(x))
            hidden.append(h)
            outputs.append(out(h))
        if len(outputs) == 2:
            advantage, value = outputs
            advantage = advantage.reshape(len(x), -1, value.shape[1])
            q = value[:, None] + advantage - jnp.mean(advantage, axis=1, keepdims=True)
            return q.reshape(len(x), -1), hidden
        return outputs[0], hidden

    def __call__(self, x: Float[Array, "B ..."]) -> Float[Array, "B Q"]:
        """Outputs of a minibatch."""
        return self.trace(x)[0]


def with_noise(net: QNet, key: PRNGKeyArray) -> QNet:
    """The net with a draw of its noisy layers' weights; the same net where it has none.

    Factorised Gaussian noise, Fortunato et al. 2018, eq. 10 and 11: one number per input and one
    per output of a layer. Gradients reach the means and the deviations.
    """

    def draw(layer: Dense, key: PRNGKeyArray) -> Dense:
        if layer.noise is None:
            return layer
        inputs, outputs = layer.weight.shape
        raw = jr.normal(key, (inputs + outputs,))
        scaled = jnp.sign(raw) * jnp.sqrt(jnp.abs(raw))
        into, out = scaled[:inputs], scaled[inputs:]
        weight = layer.weight + layer.noise[0] * jnp.outer(into, out)
        bias = layer.bias + layer.noise[1] * out
        return eqx.tree_at(lambda d: (d.weight, d.bias), layer, (weight, bias))

    keys = iter(jr.split(key, 2 * len(net.streams)))
    streams = tuple((draw(dense, next(keys)), draw(out, next(keys))) for dense, out in net.streams)
    return eqx.tree_at(lambda n: n.streams, net, streams)


def without_noise(net: QNet) -> QNet:
    """The net of the means of the weights, which needs no draw."""
    if not net.streams:  # it stands for a teacher outside of JAX
        return net
    return eqx.tree_at(
        lambda n: [layer.noise for stream in n.streams for layer in stream],
        net,
        replace_fn=lambda _: None,
        is_leaf=lambda leaf: leaf is None,
    )


def orthogonal(net: QNet, key: PRNGKeyArray, gains: Float[Array, " Q"]) -> QNet:
    """The net with orthogonal weights (Saxe et al. 2014, arXiv:1312.6120) and no biases.

    Hidden layers have the gain sqrt(2), each output has its own of `gains`. Not for normalised,
    noisy or dueling nets.
    """
    leaves, tree = jax.tree.flatten(net)
    draw = jax.nn.initializers.orthogonal(math.sqrt(2))
    drawn = [
        draw(k, leaf.shape) if leaf.ndim > 1 else jnp.zeros_like(leaf)
        for k, leaf in zip(jr.split(key, len(leaves)), leaves, strict=True)
    ]
    made = jax.tree.unflatten(tree, drawn)
    return eqx.tree_at(
        lambda n: n.streams[0][1].weight, made, replace_fn=lambda w: w / math.sqrt(2) * gains
    )


def with_actions(net: QNet, actions: slice) -> QNet:
    """The net with some of its outputs only; not for dueling nets."""
    ((dense, out),) = net.streams
    out = eqx.tree_at(
        lambda d: (d.weight, d.bias), out, (out.weight[:, actions], out.bias[actions])
    )
    return eqx.tree_at(lambda n: n.streams, net, ((dense, out),))
