"""Random numbers as a function of their place: of the seed, the step and the place in the batch, never of the past.

So a run resumed at any step goes on bitwise as if it had never stopped, and N processes follow one.
"""

import hashlib

import torch


def seed_of(*parts):
    """A 63-bit seed that is a function of its parts, the same on every machine."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


def seeded(network, config):
    """network(config) with first weights that are a function of config.seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed, "weights"))
        return network(config)


class Noise:
    """Random numbers of one step. Every process draws those of the whole batch and keeps the rows of its pictures."""

    def __init__(self, seed, total, rows=slice(None), device="cpu"):
        self.total, self.rows = total, rows
        self.generator = torch.Generator(device).manual_seed(seed)

    def normal(self, *shape):
        """Independent N(0, 1) numbers, (batch, *shape)."""
        return torch.randn(self.total, *shape, generator=self.generator, device=self.generator.device)[self.rows]

    def uniform(self, *shape):
        """Independent numbers, uniform on [0, 1), (batch, *shape)."""
        return torch.rand(self.total, *shape, generator=self.generator, device=self.generator.device)[self.rows]

    def stratified(self):
        """One number in each of as many equal parts of [0, 1) as the batch has pictures, (batch,), in order."""
        places = torch.arange(self.total, device=self.generator.device)
        drawn = torch.rand(self.total, generator=self.generator, device=self.generator.device)
        below_1 = 1 - 2**-24  # the largest float32 below 1: the last sum may have been rounded up to `total`
        return ((places + drawn) / self.total).clamp(max=below_1)[self.rows]
