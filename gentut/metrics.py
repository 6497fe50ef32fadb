"""What the numbers mean: nats, bits per dimension, how like real pictures generated ones are, and the floors.

The book's convention: a picture's loss is in **nats per image**, summed over pixels and latents, averaged over images.
A model without a likelihood is judged by its pictures: `likeness` compares them with real digits.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch

from gentut import Error, checkpoints, data, runs


def nats_to_bits_per_dim(nats, dims=784):
    """Nats per image → bits per dimension: divide by dims · log 2."""
    if dims < 1:
        raise Error(f"dims must be at least 1, got {dims}")
    return nats / (dims * math.log(2))


def bits_per_dim_to_nats(bits, dims=784):
    """Bits per dimension → nats per image: the inverse of nats_to_bits_per_dim."""
    if dims < 1:
        raise Error(f"dims must be at least 1, got {dims}")
    return bits * dims * math.log(2)


def bernoulli_entropy(p):
    """Entropy in nats of Bernoulli(p), elementwise; exactly 0 at p = 0 and p = 1."""
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))


def grey_floor(images):
    """The least that summed binary cross-entropy on grey pictures can be: each picture coded by itself, (n,) nats.

    BCE(x, y) = -[x log y + (1 - x) log(1 - y)] is smallest at y = x, where it is the entropy of Bernoulli(x), which is
    not 0 for a grey x. images: uint8 (n, 28, 28).
    """
    return bernoulli_entropy(data.to_unit(images).double()).flatten(1).sum(1)


def mean_and_error(values):
    """(mean, standard error of the mean) of a 1-D tensor, as floats."""
    values = values.double()
    if values.ndim != 1 or len(values) < 2:
        raise Error(f"need at least two values in one dimension, got shape {tuple(values.shape)}")
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item()


# ------------------------------------------------------------------------------------------- two sets of pictures


def moments(features):
    """Mean (d,) and covariance (d, d) of features (n, d), as float64 tensors. Raises Error if n <= d.

    With d pictures or fewer the covariance is singular: it knows nothing of some directions.
    """
    features = _checked(features).cpu()
    n, d = features.shape
    if n <= d:
        raise Error(f"the covariance of {d} features needs at least {d + 1} pictures, got {n}")
    return features.mean(0), torch.cov(features.T).reshape(d, d)


def _checked(features):
    """Features (n, d) as float64; raises Error if they are anything else or not finite."""
    if not torch.is_tensor(features) or features.ndim != 2 or not features.shape[1]:
        what = tuple(features.shape) if torch.is_tensor(features) else type(features).__name__
        raise Error(f"features must be a tensor of shape (n, d), got {what}")
    if not features.isfinite().all():
        raise Error("features must be finite")
    return features.detach().double()


def frechet(mean_a, covariance_a, mean_b, covariance_b):
    """Squared Fréchet distance of two Gaussians: ‖m_a - m_b‖² + tr(A + B - 2 (AB)^½), a float.

    means: (d,), covariances: (d, d), tensors or arrays. Heusel et al., arXiv:1706.08500, equation 6. The trace of
    (AB)^½ is the sum of the singular values of A^½ B^½, which needs roots of symmetric matrices only and is safe where
    A or B is singular. Raises Error for shapes that do not fit and for what is no covariance.
    """
    mean_a, root_a, trace_a = _gaussian(mean_a, covariance_a)
    mean_b, root_b, trace_b = _gaussian(mean_b, covariance_b)
    if mean_a.shape != mean_b.shape:
        raise Error(f"both Gaussians must have one dimension, got {len(mean_a)} and {len(mean_b)}")
    overlap = scipy.linalg.svdvals(root_a @ root_b).sum()
    return max(0.0, float(((mean_a - mean_b) ** 2).sum() + trace_a + trace_b - 2 * overlap))  # rounding may go below 0


def _gaussian(mean, covariance):
    """(mean, symmetric root of the covariance, its trace), checked, as float64 arrays."""
    mean, covariance = (torch.as_tensor(t, dtype=torch.float64).detach().cpu().numpy() for t in (mean, covariance))
    d = mean.size
    if mean.shape != (d,) or covariance.shape != (d, d) or not d:
        raise Error(f"a Gaussian has a mean (d,) and a covariance (d, d), got {mean.shape} and {covariance.shape}")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise Error("the mean and the covariance must be finite")
    values, vectors = scipy.linalg.eigh((covariance + covariance.T) / 2)
    slack = 1e-6 * np.abs(covariance).max()  # what float32 leaves of symmetry
    if np.abs(covariance - covariance.T).max() > slack or values[0] < -d * slack:
        raise Error("a covariance is symmetric and has no negative eigenvalue")
    return mean, vectors * np.sqrt(values.clip(min=0)) @ vectors.T, covariance.trace()


def frechet_distance(a, b):
    """Squared Fréchet distance of the Gaussians with the moments of two sets of features, (n, d) and (m, d)."""
    return frechet(*moments(a), *moments(b))


def precision_recall(real, fake, k=3):
    """(precision, recall) of generated features against real ones, (n, d) and (m, d).

    Around each point of a set lies a ball that reaches to its k-th neighbour in the set. Precision is the share of
    generated points in a ball of the real set: are they like real ones? Recall is the share of real points in a ball of
    the generated set: is every kind of them made? Kynkäänniemi et al., arXiv:1904.06991. Both depend on n.
    """
    real, fake = _checked(real), _checked(fake)
    if real.shape[1] != fake.shape[1]:
        raise Error(f"both sets must have as many features, got {real.shape[1]} and {fake.shape[1]}")
    if not 1 <= k < min(len(real), len(fake)):
        raise Error(f"k = {k} neighbours need k >= 1 and more than k points in a set, got {len(real)} and {len(fake)}")

    def reach(points):
        """The distance of each point's k-th neighbour; the nearest to a point is the point itself, at distance 0."""
        parts = [torch.cdist(part, points).topk(k + 1, dim=1, largest=False).values for part in points.split(1000)]
        return torch.cat(parts)[:, -1]

    around_real, around_fake, right, met = reach(real), reach(fake), 0, torch.zeros(len(real), dtype=torch.bool)
    for part, around in zip(fake.split(1000), around_fake.split(1000), strict=True):
        distances = torch.cdist(part, real)  # (1000, n): the whole table of 10,000 by 10,000 would take 0.8 GB
        right += (distances <= around_real).any(1).sum().item()
        met |= (distances <= around[:, None]).any(0).cpu()
    return right / len(fake), met.double().mean().item()


def histogram_distance(a, b):
    """Total variation distance of two lists of shares: half the sum of |a - b|, from 0 (the same) to 1."""
    a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise Error(f"need two lists of shares of one length, got shapes {tuple(a.shape)} and {tuple(b.shape)}")
    for shares in (a, b):
        if not (shares >= 0).all() or abs(shares.sum().item() - 1) > 1e-6:
            raise Error("shares must not be negative, and must sum to 1")
    return (a - b).abs().sum().item() / 2


# ---------------------------------------------------------------------------------- pictures of digits, by one protocol


STORED = checkpoints.COMPANIONS["classifier"]  # the name of the file with the reference
SUBSETS = 20  # random subsets of test digits behind a floor


@dataclass(frozen=True)
class Reference:
    """Real digits as the published classifier sees them: what generated pictures are compared with."""

    mean: torch.Tensor  # (64,) of the features of the n training digits
    covariance: torch.Tensor  # (64, 64)
    shares: torch.Tensor  # (10,) how often the classifier takes a training digit for a 0, 1, ..., 9
    test: torch.Tensor  # (10000, 64) features of the test digits, in their order
    n: int  # training digits behind the moments
    data: str  # the data set's name


def features(pictures, batch=500, model=None):
    """Features of pictures (n, 1, 28, 28) in [0, 1]: float64 (n, 64), on the CPU.

    They are the last hidden layer of the published classifier (or of `model`), which works where the pictures lie.
    """
    data.check_pictures(pictures)
    model = _classifier(pictures.device) if model is None else model
    with torch.no_grad():
        return torch.cat([model.features(part.float()).cpu().double() for part in pictures.split(batch)])


def label_histogram(pictures, batch=500):
    """How often the published classifier takes one of the pictures for a 0, 1, ..., 9: shares (10,) that sum to 1."""
    return _shares(features(pictures, batch), _classifier("cpu"))


def _shares(features, model):
    if not len(features):
        raise Error("there are no pictures, so no digit has a share of them")
    with torch.no_grad():
        labels = model.head(features.float().to(model.head.weight.device)).argmax(1)
    return labels.bincount(minlength=10).cpu().double() / len(features)


def reference():
    """The stored `Reference`. Raises Error if it is not that of the published classifier."""
    return _read(checkpoints.FOLDER, _digest())


def _classifier(device):
    return _load(checkpoints.FOLDER, _digest(), str(device))


def _digest():
    """SHA-256 of the published classifier, as its card says."""
    return checkpoints.card(checkpoints.FOLDER / "classifier.safetensors")["sha256"]


@functools.lru_cache(maxsize=2)
def _load(folder, classifier, device):  # the digest is asked for so that a new classifier is read anew
    return checkpoints.load(folder / "classifier.safetensors", device)


@functools.lru_cache(maxsize=2)
def _read(folder, classifier):
    try:
        tensors, facts = runs.unpack_state((folder / STORED).read_bytes())
    except OSError as why:
        raise Error(f"could not read {folder / STORED}: {why.strerror or why}") from None
    except Error as why:
        raise Error(f"{folder / STORED} is damaged: {why}") from None
    if facts["classifier"] != classifier:
        raise Error(f"{folder / STORED} holds the features of another classifier ({facts['classifier']}) than the "
                    f"published one ({classifier}): `gentut reproduce classifier --publish` makes both")
    return Reference(**{k: v.double() for k, v in tensors.items()}, n=facts["n"], data=facts["data"])


def store_reference(model, name, classifier, path):
    """Write the features file of a classifier: moments of the training digits of the data set `name`, test features.

    classifier: SHA-256 of the classifier's weights file. The test features are kept as float16. A pass over all MNIST
    takes about a minute of one CPU core.
    """
    dataset, device = data.load(name), next(model.parameters()).device

    def seen(images):
        return torch.cat([features(data.to_unit(part).to(device), model=model) for part in images.split(5000)])

    train, test = seen(dataset.train_images), seen(dataset.test_images)
    mean, covariance = moments(train)
    tensors = {"mean": mean, "covariance": covariance, "shares": _shares(train, model), "test": test.half()}
    facts = {"classifier": classifier, "data": name, "data_sha256": dataset.sha256, "n": len(train)}
    runs.write_atomic(path, runs.pack_state(tensors, facts))


def floor(n, seed=0, subsets=SUBSETS):
    """The distance of n real test digits from the reference: (mean, standard deviation) over random subsets.

    It is not 0: few pictures give rough moments, so it grows as n shrinks, and the test digits have other writers than
    the training digits. With all test digits there is one subset only, and the deviation is 0. The subsets are random
    because the test set is in no random order: its halves come from different writers.
    """
    ref = reference()
    _enough(n, ref)
    g = torch.Generator().manual_seed(seed)
    parts = [_random(ref.test, n, g) for _ in range(subsets if n < len(ref.test) else 1)]
    distances = [frechet(*moments(part), ref.mean, ref.covariance) for part in parts]
    return float(np.mean(distances)), float(np.std(distances))


def likeness(pictures, seed=0):
    """How like real digits pictures (n, 1, 28, 28) in [0, 1] are, by the book's one protocol: a dict.

    frechet: squared Fréchet distance of the pictures' features from those of the training digits. floor: what n real
    test digits have (see `floor`). ratio: the one over the other. precision, recall: against n random test digits.
    shares: how often the classifier takes a picture for each digit; histogram_distance: how far that is from the
    training digits' shares. seed: of the random subsets. Each number depends on n, which stands beside them: compare
    at one n only. Raises Error unless 65 <= n <= 10,000.
    """
    data.check_pictures(pictures)
    ref, n = reference(), len(pictures)
    _enough(n, ref)
    found = features(pictures)
    distance, least = frechet(*moments(found), ref.mean, ref.covariance), floor(n, seed)[0]
    precision, recall = precision_recall(_random(ref.test, n, torch.Generator().manual_seed(seed)), found)
    shares = _shares(found, _classifier("cpu"))
    return {
        "frechet": distance, "floor": least, "ratio": distance / least, "precision": precision, "recall": recall,
        "shares": shares.tolist(), "histogram_distance": histogram_distance(shares, ref.shares), "n": n,
        "reference": f"the {ref.n} training digits of {ref.data}; floor, precision and recall: {n} of its "
                     f"{len(ref.test)} test digits",
    }


def _enough(n, ref):
    d, most = ref.test.shape[1], len(ref.test)
    if not d < n <= most:
        raise Error(f"comparing {d} features needs at least {d + 1} pictures, and at most the {most} that there are "
                    f"test digits; got {n}")


def _random(points, n, generator):
    """n of the points, at random."""
    return points[torch.randperm(len(points), generator=generator)[:n]]
