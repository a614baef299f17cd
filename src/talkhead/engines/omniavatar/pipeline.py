"""One chunk after another: condition, denoise, decode.

OmniAvatar (Gan et al., arXiv 2506.18866; official code commit 1536bf3). What all chunks of a job
share is made once (`ready`); what one leaves to the next is the latents of its last frames, so that
a job goes on from a few megabytes of state.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from talkhead.engines import Arrays, Frames, Picture, Tick
from talkhead.engines.omniavatar.audio import Features, audio_window
from talkhead.engines.omniavatar.guidance import weights
from talkhead.engines.omniavatar.transformer import Condition, Heard, OmniAvatarTransformer
from talkhead.models import sampling, schedule, stepcache, wan_vae
from talkhead.models.color import ColorStats, color_stats, match_color
from talkhead.models.guidance import blend
from talkhead.models.noise import window_noise
from talkhead.models.passes import Guidance, Pass
from talkhead.models.sampling import Made, Steps
from talkhead.models.vae_sizes import Tiles
from talkhead.models.wan_transformer import Keys
from talkhead.models.wan_vae import pixels
from talkhead.models.windows import Window, chunks, latent_frames

LARGE = 40  # layers, from which on the network is the one of 14B parameters


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """The networks that chunks need, on one device; text and speech were encoded before."""

    transformer: OmniAvatarTransformer
    vae: AutoencoderKLWan


@dataclass(frozen=True, slots=True)
class Settings:
    """How the frames are made."""

    steps: int
    shift: float
    guidance: Guidance
    seed: int
    teacache_threshold: float | None = None
    cache_table: str | None = None  # of stepcache.TEXT_TO_VIDEO; None: the network's own
    color_strength: float = 0.0
    tiles: Tiles | None = None
    rounded_times: bool = True  # the network is told times in its own dtype


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What the frames are made of, in host memory."""

    windows: tuple[Window, ...]
    picture: Picture  # fitted: of the video's size
    text: Tensor  # f32 (tokens, dim), the encoded prompt
    negative: Tensor  # f32 (tokens, dim)
    speech: Features  # f32 (frames, channels), up to the end of the last chunk


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Inputs, and what all chunks share."""

    inputs: Inputs
    settings: Settings
    shares: Mapping[Pass, float]  # of the passes that each step runs
    steps: Steps
    reference: Tensor  # f32 (16, 1, h, w), the picture's latents
    words: Keys  # of the prompt
    others: Keys | None  # of the negative one, where a pass reads it
    colors: ColorStats


@torch.inference_mode()
def ready(models: Models, inputs: Inputs, settings: Settings) -> Job:
    """Return the job with all that its chunks share, and nothing that none of them needs."""
    net, shares = models.transformer, weights(settings.guidance)
    picture = pixels(inputs.picture)
    times = schedule.even_timesteps(settings.steps, settings.shift)
    told = times.to(net.residual_dtype).float() if settings.rounded_times else times
    return Job(
        inputs=inputs,
        settings=settings,
        shares=shares,
        steps=Steps(times, _computed(net, told, settings), told),
        reference=wan_vae.encode(models.vae, picture[:, None], tiles=settings.tiles),
        words=net.text_keys(_batch(net, inputs.text)),
        others=net.text_keys(_batch(net, inputs.negative)) if Pass.NEITHER in shares else None,
        colors=color_stats(picture.to(net.device) / 2 + 0.5),
    )


@torch.inference_mode()
def window(models: Models, job: Job, index: int, prefix: Tensor | None, tick: Tick) -> Made:
    """Return the frames of one chunk, which goes on from the `prefix` that the last one left.

    `tick(step, steps)` is called before the first step and after each. The first chunk has no
    prefix: it begins with the picture itself.
    """
    span = job.inputs.windows[index]
    prefix = job.reference if prefix is None else prefix.to(job.reference.device)
    shape = job.reference.shape[0], job.reference.shape[2], job.reference.shape[3]
    noise = window_noise(job.settings.seed, index, span.size, shape).to(prefix.device)
    latents = denoise(models.transformer, job, index, (noise, prefix), tick)
    return decode(models, job, index, latents, tick)


def denoise(
    net: OmniAvatarTransformer, job: Job, index: int, start: tuple[Tensor, Tensor], tick: Tick
) -> Tensor:
    """Return a chunk's clean latents f32 (16, t, h, w) from noise and what is known of them."""
    told = conditions(net, job, index, start[1].shape[1])
    return sampling.denoise(
        net, told, job.steps, lambda outputs: blend(outputs, job.shares), start, tick
    )


def decode(models: Models, job: Job, index: int, latents: Tensor, tick: Tick) -> Made:
    """Return the frames of a chunk's latents, and what the next chunk goes on from.

    Frames that nobody wants are not decoded. `tick(steps, steps)` is called now and then.
    """
    windows, steps = job.inputs.windows, job.settings.steps
    span, last = windows[index], index + 1 == len(windows)
    overlap = 0 if last else span.start + span.size - windows[index + 1].start
    # The pieces have no name here: a decoder holds gigabytes for as long as anything refers to it
    # (in Python 3.12.3 also once it is closed), and encoding comes next.
    frames, tail = sampling.collect(
        shown(models, job, latents), span.seen, span.fresh, overlap, lambda: tick(steps, steps)
    )
    left = None
    if tail is not None:
        video = (tail.clamp(0, 1) * 2 - 1).transpose(0, 1)
        left = wan_vae.encode(models.vae, video, tiles=job.settings.tiles)
    return Made(frames, latents, left)


def shown(models: Models, job: Job, latents: Tensor) -> Iterator[Tensor]:
    """Yield the frames of latents f32 (16, t, h, w) in order, f32 (n, 3, h, w) in 0..1.

    A few at a time; their colours are held to the picture's where that is asked for.
    """
    for piece in wan_vae.decode(models.vae, latents, job.settings.tiles):
        frames = piece.transpose(0, 1) / 2 + 0.5
        if job.settings.color_strength:
            frames = match_color(frames, job.colors, job.settings.color_strength)
        yield frames


def conditions(
    net: OmniAvatarTransformer, job: Job, index: int, known: int
) -> dict[Pass, Condition]:
    """Return what each pass of a chunk is told, whose first `known` latent frames are given."""
    span = job.inputs.windows[index]
    frames = latent_frames(span.size)
    y = reference(job.reference, frames, known)[None]
    heard: Heard = net.audio_tokens(
        audio_window(job.inputs.speech, span)[None].to(job.reference.device)
    )
    both = net.condition(y, job.words, heard)
    told = {Pass.BOTH: both}
    if Pass.TEXT in job.shares or Pass.NEITHER in job.shares:
        mute = replace(both, heard=net.silent_tokens(frames))
        told[Pass.TEXT] = mute
        if job.others is not None:
            told[Pass.NEITHER] = replace(mute, text=job.others)
    return {name: told[name] for name in job.shares}


def reference(latents: Tensor, frames: int, known: int) -> Tensor:
    """Return (17, t, h, w): latents (16, 1, h, w) for every frame, and 1 where none are known."""
    mask = torch.ones_like(latents[:1]).repeat(1, frames, 1, 1)
    mask[:, :known] = 0
    return torch.cat([latents.expand(-1, frames, -1, -1), mask])


def generate(
    models: Models, inputs: Inputs, settings: Settings, state: Arrays | None, tick: Tick
) -> Iterator[tuple[Frames, Arrays]]:
    """Yield each chunk's new frames, and the state from which the next one goes on.

    Goes on from `state`, or begins. `tick(done, total)` counts in frames of the video.
    """
    fresh = chunks(inputs.windows)
    begin = int(state["window"]) if state else 0
    if begin == len(inputs.windows):
        return
    tick(sum(fresh[:begin]), sum(fresh))
    make = partial(window, models, ready(models, inputs, settings))
    yield from sampling.each_window(fresh, state, make, tick)


def _computed(net: Any, told: Tensor, settings: Settings) -> tuple[bool, ...]:
    """Return for every step whether its blocks are computed."""
    if settings.teacache_threshold is None:
        return (True,) * settings.steps
    _, modulations = net.time(told[:-1].to(net.device))
    own = "14B" if net.sizes.num_layers >= LARGE else "1.3B"
    table = stepcache.TEXT_TO_VIDEO[settings.cache_table or own]
    return stepcache.decide(modulations, table, settings.teacache_threshold, warm_up=1, tail=1)


def _batch(net: OmniAvatarTransformer, tokens: Tensor) -> Tensor:
    """Return tokens (n, dim) as a batch of one, where the network is."""
    return tokens[None].to(net.device)
