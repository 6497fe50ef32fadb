"""Settings: wrong names and types are refused with what exists; text is read as the field's type."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gentut import Error, training, vae
from gentut.settings import Settings


@dataclasses.dataclass(frozen=True)
class Sample(Settings):
    count: int = 3
    rate: float = 0.5
    flag: bool = False
    name: str = "a"
    widths: tuple = (4, 2)


def test_an_unknown_setting_names_the_nearest():
    for change in (lambda: Sample().replace(rat=1.0), lambda: Sample().with_assignments(["rat=1"])):
        with pytest.raises(Error, match=r"unknown setting 'rat'. There are: count, rate, .* Did you mean 'rate'\?"):
            change()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (dict(count=1.0), "count takes a value of type int, got 1.0"),
        (dict(count=True), "count takes a value of type int"),
        (dict(count="3"), "count"),
        (dict(rate="fast"), "rate takes a value of type float"),
        (dict(rate=True), "rate takes a value of type float"),
        (dict(rate=float("nan")), "rate takes a finite number"),
        (dict(rate=float("-inf")), "rate takes a finite number"),
        (dict(flag=1), "flag takes a value of type bool"),
        (dict(name=None), "name takes a value of type str"),
        (dict(widths=4), "widths takes a value of type tuple"),
        (dict(widths=(4, 0)), "widths takes positive whole numbers"),
        (dict(widths=(4, -1)), "widths takes positive whole numbers"),
        (dict(widths=(4.0,)), "widths takes positive whole numbers"),
        (dict(widths=(True,)), "widths takes positive whole numbers"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(changes, what):
    for make in (lambda: Sample(**changes), lambda: Sample().replace(**changes)):
        with pytest.raises(Error, match=what):
            make()


def test_values_that_only_look_different_are_welcome():
    s = Sample(rate=1, widths=[8, 8])
    assert type(s.rate) is float and s.widths == (8, 8) and hash(s)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("count=12", "count", 12),
        ("count=-1", "count", -1),
        ("rate=1e-3", "rate", 1e-3),
        ("rate=2", "rate", 2.0),
        ("flag=true", "flag", True),
        ("flag=False", "flag", False),
        ("flag=1", "flag", True),
        ("flag=no", "flag", False),
        ("name=b=c", "name", "b=c"),
        ("name=", "name", ""),
        ("widths=256,128", "widths", (256, 128)),
        ("widths=256", "widths", (256,)),
        ("widths=", "widths", ()),
    ],
)
def test_assignments(text, key, value):
    got = getattr(Sample(flag=value is False).with_assignments([text]), key)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("count=1.5", "count takes a whole number, got '1.5'"),
        ("count=", "count takes a whole number"),
        ("rate=fast", "rate takes a number, got 'fast'"),
        ("rate=nan", "rate takes a finite number"),
        ("flag=perhaps", "flag takes true or false, got 'perhaps'"),
        ("widths=8,x", "widths takes whole numbers such as 256,128, got '8,x'"),
        ("widths=8,-1", "widths takes positive whole numbers"),
        ("count", "a setting is written key=value, got 'count'"),
        ("=3", "unknown setting ''"),
    ],
)
def test_wrong_assignments(text, what):
    with pytest.raises(Error, match=what):
        Sample().with_assignments([text])


def test_the_last_of_two_assignments_counts_and_the_original_stays():
    original = Sample()
    assert original.with_assignments(["count=1", "count=2"]).count == 2
    assert original == Sample()


@given(
    st.builds(
        vae.Config,
        seed=st.integers(0, 2**40),
        learning_rate=st.floats(1e-9, 1e3),
        latent=st.integers(1, 99),
        encoder=st.lists(st.integers(1, 999), max_size=3).map(tuple),
        noise=st.booleans(),
        precision=st.sampled_from(training.PRECISIONS),
    )
)
def test_a_configuration_survives_json_and_the_command_line(config):
    assert vae.Config(**json.loads(json.dumps(config.to_dict()))) == config
    texts = [f"{k}={','.join(map(str, v)) if isinstance(v, list) else v}" for k, v in config.to_dict().items()]
    assert vae.Config().with_assignments(texts) == config


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (dict(data="minst"), "unknown data set 'minst'.*Did you mean 'mnist'"),
        (dict(precision="fp8"), "unknown precision 'fp8'. There are: auto, fp32, bf16, fp16"),
        (dict(decay="cosin"), "unknown decay.*Did you mean 'cosine'"),
        (dict(activation="rellu"), "unknown activation.*Did you mean 'relu'"),
        (dict(kl="max"), "unknown kl 'max'. There are: sum, mean"),
        (dict(batch_size=0), "batch_size must be at least 1, got 0"),
        (dict(log_every=0), "log_every must be at least 1"),
        (dict(save_every=-1), "save_every must be at least 1"),
        (dict(epochs=-1), "epochs must not be negative"),
        (dict(steps=-1), "steps must not be negative"),
        (dict(warmup=-1), "warmup must not be negative"),
        (dict(validation=-1), "validation must not be negative"),
        (dict(epochs=0), "nothing to train"),
        (dict(learning_rate=0.0), "learning_rate > 0"),
        (dict(ema=1.0), "0 <= ema < 1"),
        (dict(keep_best=True), "keep_best needs pictures to validate on"),
        (dict(latent=0), "latent >= 1"),
        (dict(beta=-0.1), "beta >= 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, what):
    with pytest.raises(Error, match=what):
        vae.Config(**changes)
