"""Speech features of every layer of a wav2vec 2.0 encoder, one vector for each video frame.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9) and OmniAvatar (official
code commit 1536bf3): the output of the convolutions is resampled to the video's frames before it is
projected, and the whole track is encoded at once. Here too, so that every number is the official
one, at any length:

- the convolutions run over short pieces of sound. They have no padding, so pieces that overlap by
  their reach give the same numbers; the one norm over all of time takes its statistics from a pass
  of its own;
- attention spans the whole track and cannot be cut without changing the result; torch's fused
  kernel keeps its memory in proportion to the length, and only its time grows with the square;
- each layer's output goes straight to the caller's array, which may be a memory map.

At full size this takes about 2 MB a second of speech, half of it the result: 3 minutes take 0.5 GB
over the weights' 0.4 GB, 10 minutes 1.3 GB (benchmarks/speech_features.py).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2Model

from talkhead.errors import Code, TalkheadError

Samples = NDArray[np.float32]  # (n,), 16 kHz; zero mean and unit variance where it is encoded
Features = NDArray[np.float32]  # (frames, layers, channels) or (frames, states * channels)
Write = Callable[[int, NDArray[np.float32]], None]  # a state's number and its (frames, channels)
Tick = Callable[[int, int], None]  # (done, total); raises to cancel

RATE = 16_000  # Hz
PIECE = 80_000  # samples that the convolutions take at a time, 5 s
STEADY = 1e-7  # keeps the variance of silence off 0
PREFIX = "wav2vec2."
UNUSED = ("quantizer.", "project_q.", "project_hid.", "lm_head.", "masked_spec_embed")
RENAMED = {  # torch's older names of a weight norm
    "conv.weight_g": "conv.parametrizations.weight.original0",
    "conv.weight_v": "conv.parametrizations.weight.original1",
}


def load(config: Path, tensors: Path, device: torch.device) -> Wav2Vec2Model:
    """Return the encoder of a config.json and a model.safetensors, in float32.

    Raises E_PIPELINE_LOAD where a tensor is missing, unknown or of the wrong shape.
    """
    model: Any = build(json.loads(config.read_text()), load_file(tensors))
    loaded: Wav2Vec2Model = model.to(device)
    return loaded


def build(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Wav2Vec2Model:
    """Return the encoder of a config.json's content and a checkpoint's tensors, in float32.

    The checkpoint may be that of a model with a head for pre-training or for text, which is left
    out. Raises E_PIPELINE_LOAD where a tensor is missing, unknown or of the wrong shape.
    """
    settings = Wav2Vec2Config.from_dict(dict(config))
    if settings.feat_extract_norm != "group" or settings.do_stable_layer_norm:
        raise TalkheadError(
            Code.WEIGHTS,
            "this wav2vec2 checkpoint is not of the base layout (group norm, norm after attention)",
            "use chinese-wav2vec2-base: `talkhead weights list` names it",
        )
    settings._attn_implementation = "sdpa"  # eager attention would hold frames x frames scores
    # of training only, and drawn from the global generator, whatever the device
    settings.mask_time_prob = settings.mask_feature_prob = 0.0
    with torch.device("meta"):
        model: Any = Wav2Vec2Model(settings)
    given = {renamed(name): tensor for name, tensor in tensors.items() if used(name)}
    _check(model.state_dict(), given)
    model.load_state_dict({name: tensor.float() for name, tensor in given.items()}, assign=True)
    ready: Wav2Vec2Model = model.eval().requires_grad_(False)
    return ready


def used(name: str) -> bool:
    """Return whether the encoder needs a checkpoint's tensor."""
    return not name.removeprefix(PREFIX).startswith(UNUSED)


def renamed(name: str) -> str:
    """Return today's name of a checkpoint's tensor."""
    name = name.removeprefix(PREFIX)
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    return name


def normalise(samples: Samples) -> Samples:
    """Return speech of zero mean and unit variance, as the encoder was trained."""
    mean, var = samples.mean(), samples.var()
    return np.asarray((samples - mean) / np.sqrt(var + np.float32(STEADY)), np.float32)


def features(
    model: Wav2Vec2Model,
    samples: Samples,
    frames: int,
    out: Features | None = None,
    tick: Tick | None = None,
) -> Features:
    """Return f32 (frames, layers, channels): the layers' outputs for each of the video's frames.

    `samples` is (n,) at 16 kHz, already normalised; its whole length is spread over the frames.
    Written to `out` where it is given. Raises E_AUDIO_EMBEDDING for less sound than one output of
    the convolutions takes (25 ms).
    """
    config = model.config
    if out is None:
        out = np.empty((frames, config.num_hidden_layers, config.hidden_size), np.float32)

    def write(state: int, rows: NDArray[np.float32]) -> None:
        if state > 0:
            out[:, state - 1] = rows

    _encode(model, samples, frames, write, tick)
    return out


def states(
    model: Wav2Vec2Model,
    samples: Samples,
    frames: int,
    out: Features | None = None,
    tick: Tick | None = None,
) -> Features:
    """Return f32 (frames, (layers + 2) * channels): all states for each of the video's frames.

    The last layer's output, what the first layer is given (after positions and norm), and then the
    output of every layer, so that the last comes twice, as OmniAvatar hears it. All else is as for
    `features`.
    """
    channels, last = model.config.hidden_size, model.config.num_hidden_layers
    if out is None:
        out = np.empty((frames, (last + 2) * channels), np.float32)

    def write(state: int, rows: NDArray[np.float32]) -> None:
        out[:, (state + 1) * channels : (state + 2) * channels] = rows
        if state == last:
            out[:, :channels] = rows

    _encode(model, samples, frames, write, tick)
    return out


def convolved(model: Wav2Vec2Model, samples: Samples, tick: Tick | None = None) -> Tensor:
    """Return f32 (n_conv, c): the output of the convolutions over the whole track."""
    layers: Any = model.feature_extractor.conv_layers
    first, *rest = layers
    reach, stride = receptive_field(model.config.conv_kernel, model.config.conv_stride)
    if len(samples) < reach:
        raise TalkheadError(
            Code.AUDIO,
            f"speech of {len(samples)} samples is too short to be encoded",
            f"at 16 kHz it takes at least {reach} samples",
        )
    mean, var = _channel_stats(first.conv, samples)
    norm = first.layer_norm
    found: list[Tensor] = []
    count = (len(samples) - reach) // stride + 1
    step = max(1, PIECE // stride)
    for start in range(0, count, step):
        stop = min(start + step, count)
        hidden = _sound(first.conv, samples, start * stride, (stop - 1) * stride + reach)
        hidden = functional.batch_norm(
            first.conv(hidden), mean, var, norm.weight, norm.bias, eps=norm.eps
        )
        hidden = first.activation(hidden)
        for layer in rest:
            hidden = layer(hidden)
        found.append(hidden[0].T)  # (piece, c)
        if tick is not None:
            tick(0, len(model.encoder.layers))
    return torch.cat(found)


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Return how many samples one output sees, and how many lie between two outputs."""
    reach, stride = 1, 1
    for kernel, step in zip(kernels, strides, strict=True):
        reach += (kernel - 1) * stride
        stride *= step
    return reach, stride


def _encode(
    model: Wav2Vec2Model, samples: Samples, frames: int, write: Write, tick: Tick | None
) -> None:
    """Hand every state to `write`: 0 is what the first layer is given, n what layer n makes."""
    with torch.inference_mode():
        heard = convolved(model, samples, tick)  # (n_conv, c)
        spread = functional.interpolate(
            heard.T[None], size=frames, mode="linear", align_corners=True
        ).transpose(1, 2)  # (1, frames, c)
        hidden, _ = model.feature_projection(spread)
        with _tapped(model.encoder, write, tick):
            model.encoder(hidden)


def _channel_stats(conv: nn.Conv1d, samples: Samples) -> tuple[Tensor, Tensor]:
    """Return the first convolution's mean and variance of every channel over the whole track."""
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    count = (len(samples) - kernel) // stride + 1
    step = max(1, PIECE // stride)
    total = torch.zeros(2, conv.out_channels, dtype=torch.float64, device=conv.weight.device)
    for start in range(0, count, step):
        stop = min(start + step, count)
        hidden = conv(_sound(conv, samples, start * stride, (stop - 1) * stride + kernel))[0]
        var, mean = torch.var_mean(hidden, dim=1, correction=0)
        mean = mean.double()
        total += (stop - start) * torch.stack([mean, var.double() + mean**2])
    mean, square = total / count
    return mean.float(), (square - mean**2).clamp_min(0).float()


def _sound(conv: nn.Conv1d, samples: Samples, start: int, stop: int) -> Tensor:
    """Return a piece of the track, f32 (1, 1, n), where the convolution is."""
    piece = np.array(samples[start:stop], np.float32)
    return torch.from_numpy(piece).to(conv.weight.device)[None, None]


@contextmanager
def _tapped(encoder: Any, write: Write, tick: Tick | None) -> Iterator[None]:
    """Hand every state to `write` as soon as it is made, while the encoder runs."""
    layers: nn.ModuleList = encoder.layers

    def tap(state: int) -> Callable[[nn.Module, Any, Any], None]:
        def hand_on(_layer: nn.Module, _given: Any, made: Any) -> None:
            hidden = made[0] if isinstance(made, tuple) else made  # (1, frames, channels)
            write(state, hidden[0].float().cpu().numpy())
            if tick is not None and state > 0:
                tick(state, len(layers))

        return hand_on

    makers = [encoder.layer_norm, *layers]
    hooks = [maker.register_forward_hook(tap(state)) for state, maker in enumerate(makers)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Raise E_PIPELINE_LOAD unless names and shapes are the same."""
    problems = [f"{name} is missing" for name in wanted.keys() - given.keys()]
    problems += [f"{name} is unknown" for name in given.keys() - wanted.keys()]
    problems += [
        f"{name} is {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise TalkheadError(
            Code.WEIGHTS,
            f"not a wav2vec2 encoder of its config: {', '.join(sorted(problems)[:3])}{more}",
            "`talkhead weights verify` compares the file with what was published",
        )
