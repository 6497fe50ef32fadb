"""Published weights: nothing but whole safetensors that fit is loaded, and every card is held to its word."""

import dataclasses
import importlib.util
import json
import math
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gentut import Error, checkpoints, classifier, data, ddpm, gan, metrics, pixelcnn, runs, vae

TINY = vae.Config(encoder=(8,), decoder=(6,), data="mnist-mini", steps=1)
SMALL = {
    "vae": (vae, TINY),
    "ddpm": (ddpm, ddpm.Config(widths=(2, 2), embedding=4, data="mnist-mini", steps=1)),
    "classifier": (classifier, classifier.Config(width=2, data="mnist-mini", steps=1)),
    "gan": (gan, gan.Config(latent=3, generator=(4, 4, 4), discriminator=(2, 2, 2), data="mnist-mini", steps=1)),
    "pixelcnn": (pixelcnn, pixelcnn.Config(width=6, head=12, classes=10, kind="masked", data="mnist-mini", steps=1)),
    "gated": (pixelcnn, pixelcnn.Config(width=6, head=12, levels=4, data="mnist-mini", steps=1)),
}
PAGE = ("dcgan", "ddpm-page", "pixelcnn-page", "vae-2d")  # networks that travel inside a page
NAMES = checkpoints.names()
FAMILIES = {"classifier": classifier, "ddpm": ddpm, "gan": gan, "pixelcnn": pixelcnn, "vae": vae}
PUBLISHED = {name: chapter for chapter in FAMILIES.values() for name in chapter.PUBLISHED}


@pytest.fixture
def saved(tmp_path):
    """The path of a tiny network's weights, with a card."""
    checkpoints.save(vae.build(TINY), {"family": "vae", "config": TINY.to_dict()}, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.fixture(params=SMALL)
def one_of_each(request, tmp_path):
    """(chapter, configuration, path) of a tiny saved network of each family."""
    chapter, config = SMALL[request.param]
    path = tmp_path / "tiny.safetensors"
    family = chapter.__name__.removeprefix("gentut.")
    checkpoints.save(chapter.build(config), {"family": family, "config": config.to_dict()}, path)
    return chapter, config, path


def seal(path):
    """Make the card agree with the (changed) weights file again."""
    card = runs.read_json(path.with_suffix(".json"))
    checkpoints.write_card({**card, "sha256": runs.sha256(path.read_bytes())}, path.with_suffix(".json"))


# ------------------------------------------------------------------------------------------------------ there and back


@pytest.mark.parametrize("how", [str, lambda p: p, lambda p: p.with_suffix("")], ids=["text", "path", "no suffix"])
def test_float16_round_trip(one_of_each, how):
    chapter, config, path = one_of_each
    original, loaded = chapter.build(config), checkpoints.load(how(path), "cpu")
    assert not loaded.training and loaded.config == config
    for (name, a), (other, b) in zip(original.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other and b.dtype == torch.float32 and torch.equal(a.half().float(), b)
    x = torch.rand(3, 3) if chapter is gan else torch.rand(3, 1, 28, 28)
    labels = [torch.tensor([0, 9, 4])] if getattr(config, "classes", 0) else []
    assert torch.equal(loaded(x, *labels), checkpoints.half_(original.eval())(x, *labels))
    if chapter is gan:  # the other player
        x = torch.rand(3, 1, 28, 28)
        assert torch.allclose(loaded.score(x), original.score(x), atol=1e-6)


def test_saving_twice_gives_the_same_bytes(one_of_each, tmp_path):
    _, _, path = one_of_each
    (tmp_path / "again").mkdir()
    again, card = tmp_path / "again/tiny.safetensors", checkpoints.card(path)
    checkpoints.save(checkpoints.load(path), {k: card[k] for k in ("family", "config")}, again)
    assert again.read_bytes() == path.read_bytes() and checkpoints.card(again) == card


def test_a_name_with_a_dot_in_it(saved):
    for suffix in (".safetensors", ".json"):
        shutil.copy(saved.with_suffix(suffix), saved.with_name(f"vae-0.5{suffix}"))
    assert checkpoints.load(saved.with_name("vae-0.5")).latent == 2


# --------------------------------------------------------------------------------------------------------- wrong files


class Bomb:
    """Unpickling this touches a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("how", ["torch.save", "old torch.save", "pickle"])
@pytest.mark.parametrize("name", ["tiny.safetensors", "tiny.pt"])
def test_a_pickle_is_refused_and_not_opened(saved, tmp_path, how, name):
    path, fuse = saved.with_name(name), tmp_path / "exploded"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Bomb(fuse)))
    else:
        torch.save(Bomb(fuse), path, _use_new_zipfile_serialization=how == "torch.save")
    if path == saved:
        seal(path)
    with pytest.raises(Error, match=f"{name} is a pickle .*reads only safetensors"):
        checkpoints.load(path)
    assert not fuse.exists()


@pytest.mark.parametrize("first", [0x80, 0x50])
def test_a_good_file_that_begins_like_a_pickle_is_read(first):
    # the first byte belongs to the length of the header, which can be anything
    tensors = {"a": torch.ones(3)}
    for n in range(4000):
        raw = checkpoints.tensors_to_bytes(tensors, {"note": "x" * n})
        if raw[0] == first:
            break
    assert raw[0] == first
    assert torch.equal(checkpoints.read_weights(raw)["a"], tensors["a"])


WHOLE = checkpoints.tensors_to_bytes({"a": torch.arange(4.0), "b": torch.ones(2, 2)})


@given(st.integers(0, len(WHOLE) - 1))
def test_a_truncated_file_is_refused(length):
    with pytest.raises(Error, match="is no whole safetensors file"):
        checkpoints.read_weights(WHOLE[:length])


@given(st.binary(max_size=100) | st.integers(0, 8 * len(WHOLE) - 1))
def test_any_bytes_give_tensors_or_an_error(damage):
    raw = bytearray(WHOLE)
    if isinstance(damage, bytes):
        raw = damage
    else:
        raw[damage // 8] ^= 1 << damage % 8
    try:
        tensors = checkpoints.read_weights(bytes(raw))
    except Error:
        return
    assert all(torch.is_tensor(t) for t in tensors.values())


def test_one_flipped_bit_is_refused(saved):
    raw = bytearray(saved.read_bytes())
    raw[-1] ^= 1
    saved.write_bytes(raw)
    with pytest.raises(Error, match=f"has the SHA-256 {runs.sha256(raw)}, but its card says "):
        checkpoints.load(saved)


def test_a_truncated_weights_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-10])
    with pytest.raises(Error, match="tiny.safetensors is no whole safetensors file"):
        checkpoints.load(saved)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t.pop("decoder.0.weight"), r"it has no tensor 'decoder.0.weight'"),
        (lambda t: t.update({"encoder.1.bias": torch.zeros(9)}), r"'encoder.1.bias' has shape \(9,\).* wants \(8,\)"),
        (lambda t: t.update({"head.weight": torch.zeros(1)}), "it has an unknown tensor 'head.weight'"),
    ],
)
def test_the_weights_of_another_network_are_refused_by_their_first_difference(saved, change, what):
    tensors = checkpoints.read_weights(saved.read_bytes())
    change(tensors)
    saved.write_bytes(checkpoints.tensors_to_bytes(tensors))
    seal(saved)
    with pytest.raises(Error, match=f"tiny.safetensors does not fit this network: {what}"):
        checkpoints.load(saved)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t.pop("first.weight"), r"it has no tensor 'first.weight'"),
        (lambda t: t.update({"first.mask": torch.zeros(6, 1, 7, 7)}), "it has an unknown tensor 'first.mask'"),
        (lambda t: t.update({"out.bias": torch.zeros(2)}), r"'out.bias' has shape \(2,\), the network wants \(1,\)"),
    ],
)
def test_the_weights_of_another_pixelcnn_are_refused(tmp_path, change, what):
    _, config = SMALL["pixelcnn"]
    path = tmp_path / "tiny.safetensors"
    checkpoints.save(pixelcnn.build(config), {"family": "pixelcnn", "config": config.to_dict()}, path)
    tensors = checkpoints.read_weights(path.read_bytes())
    change(tensors)
    path.write_bytes(checkpoints.tensors_to_bytes(tensors))
    seal(path)
    with pytest.raises(Error, match=f"tiny.safetensors does not fit this network: {what}"):
        checkpoints.load(path)


def test_the_families_are_not_mixed_up(one_of_each):
    chapter, _, path = one_of_each
    family, setting = {  # of another family, and the first setting that it does not have
        vae: ("pixelcnn", "latent"), pixelcnn: ("vae", "kind"),
        classifier: ("gan", "width"), gan: ("classifier", "kind"), ddpm: ("vae", "schedule"),
    }[chapter]
    checkpoints.write_card({**checkpoints.card(path), "family": family}, path.with_suffix(".json"))
    with pytest.raises(Error, match=f"unknown setting '{setting}'"):
        checkpoints.load(path)


def test_a_card_of_another_network_is_refused(saved):
    card = checkpoints.card(saved)
    card["config"]["latent"] = 3
    checkpoints.write_card(card, saved.with_suffix(".json"))
    with pytest.raises(Error, match=r"does not fit this network: 'encoder.3.weight' has shape \(4, 8\).* \(6, 8\)"):
        checkpoints.load(saved)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "tiny.json is damaged"),
        ("[]", "tiny.json is damaged"),
        ("\ufffd\x00", "tiny.json is damaged"),
        ("[" * 100_000, "tiny.json is damaged"),
        ("{}", "tiny.json has no digest of itself"),
        ('{"card_sha256": "0"}', "tiny.json does not have the digest written in it"),
    ],
)
def test_a_damaged_card_is_refused(saved, text, what):
    saved.with_suffix(".json").write_text(text)
    with pytest.raises(Error, match=what):
        checkpoints.load(saved)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda c: c.pop("config"), "the card has no configuration"),
        (lambda c: c.pop("family"), "unknown family None. There are: classifier, ddpm, gan, pixelcnn, vae"),
        (lambda c: c.update(family="gam"), "unknown family 'gam'.*Did you mean 'gan'"),
        (lambda c: c["config"].update(latnet=2), "unknown setting 'latnet'.*Did you mean 'latent'"),
        (lambda c: c["config"].update(latent="2"), "latent takes a value of type int"),
    ],
)
def test_a_card_that_describes_no_network_is_refused(saved, change, what):
    card = checkpoints.card(saved)
    change(card)
    checkpoints.write_card(card, saved.with_suffix(".json"))
    with pytest.raises(Error, match=what):
        checkpoints.load(saved)


def test_a_number_changed_on_a_card_is_refused_and_said(saved):
    card, about = checkpoints.card(saved), saved.with_suffix(".json")
    checkpoints.write_card({**card, "metrics": {"test": {"nats": 91.5}}}, about)
    whole = about.read_text()
    about.write_text(whole.replace("91.5", "81.5"))
    for ask in (checkpoints.load, checkpoints.card):
        with pytest.raises(Error, match=r"tiny.json does not have the digest written in it: .*checkpoints.write_card"):
            ask(saved)
    about.write_text(json.dumps(dict(reversed(json.loads(whole).items()))))  # order and spaces are no values
    assert checkpoints.card(saved)["metrics"]["test"]["nats"] == 91.5


@pytest.mark.parametrize("change", [{"encoder": [10**30]}, {"decoder": [2**62]}, {"latent": -1}])
def test_a_card_of_an_impossible_network_is_refused(saved, change):
    card = checkpoints.card(saved)
    card["config"].update(change)
    checkpoints.write_card(card, saved.with_suffix(".json"))
    with pytest.raises(Error):
        checkpoints.load(saved)


def test_a_missing_card_or_file(saved):
    saved.with_suffix(".json").unlink()
    for ask in (checkpoints.load, checkpoints.card):
        with pytest.raises(Error, match="has no card: tiny.json should lie beside it"):
            ask(saved)
        with pytest.raises(Error, match="there is no weights file .*nothing.safetensors"):
            ask(saved.with_name("nothing.safetensors"))


def test_an_unknown_name_suggests_the_nearest(tmp_path, monkeypatch):
    checkpoints.save(vae.build(TINY), {"family": "vae", "config": TINY.to_dict()}, tmp_path / "vae-2d.safetensors")
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path)
    assert checkpoints.names() == ["vae-2d"] and checkpoints.load("vae-2d").latent == 2
    with pytest.raises(Error, match=r"unknown published network 'vae-2'. There are: vae-2d. Did you mean 'vae-2d'\?"):
        checkpoints.load("vae-2")
    (tmp_path / "vae-2d.safetensors").unlink()
    with pytest.raises(Error, match="could not read .*vae-2d.safetensors: No such file"):
        checkpoints.load("vae-2d")


# ----------------------------------------------------------------------------------------------------------- publishing


def test_the_headline_of_each_family_and_how_it_is_said():
    def card(family, **test):
        return {"family": family, "metrics": {"test": test}}

    for facts, headline, text in [
        (card("vae", nats=99.5, floor=45.5), ("nats", 99.5), "nats 99.50"),
        (card("vae", nats=91.0, importance_weighted_nats=88.844), ("importance_weighted_nats", 88.844),
         "importance_weighted_nats 88.84"),
        (card("pixelcnn", nats=82.656, conditional_nats=80.0), ("nats", 82.656), "nats 82.66"),
        (card("classifier", error=0.0049, nats=0.0157), ("error", 0.0049), "error 0.0049"),
        (card("gan", frechet=8.46, floor=1.31, ratio=6.446), ("ratio", 6.446), "ratio 6.45"),
    ]:
        assert checkpoints.headline(facts) == headline and checkpoints.headline_text(facts) == text


def test_a_classifier_is_published_with_its_features(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path / "shop")
    (tmp_path / "shop").mkdir()
    model, config = classifier.build(SMALL["classifier"][1]), SMALL["classifier"][1].to_dict()

    def trained(error):
        facts = {"family": "classifier", "config": config, "metrics": {"test": {"error": error}}}
        (tmp_path / "new").mkdir(exist_ok=True)
        checkpoints.save(model, facts, tmp_path / "new/classifier.safetensors")
        (tmp_path / "new" / metrics.STORED).write_bytes(f"features of {error}".encode())
        return tmp_path / "new/classifier.safetensors"

    shop = tmp_path / "shop"
    assert checkpoints.publish(trained(0.25)) == "classifier: published, error 0.2500"
    assert (shop / metrics.STORED).read_bytes() == b"features of 0.25" and checkpoints.names() == ["classifier"]
    assert checkpoints.publish(trained(0.2501)) == "classifier: kept, error 0.2500 is no worse than 0.2501"
    assert (shop / metrics.STORED).read_bytes() == b"features of 0.25"
    assert checkpoints.publish(trained(0.2499)) == "classifier: published, error 0.2499"
    assert (shop / metrics.STORED).read_bytes() == b"features of 0.2499"
    alone = trained(0.1)
    (tmp_path / "new" / metrics.STORED).unlink()
    with pytest.raises(Error, match="classifier is published together with mnist-features.safetensors, .* beside it"):
        checkpoints.publish(alone)
    assert checkpoints.headline(checkpoints.card("classifier")) == ("error", 0.2499)  # nothing was half-published


def published(folder, nats, latent=2):
    folder.mkdir(exist_ok=True)
    config = TINY.replace(latent=latent)
    facts = {"family": "vae", "config": config.to_dict(), "metrics": {"test": {"nats": nats}}}
    checkpoints.save(vae.build(config), facts, folder / "one.safetensors")
    return folder / "one.safetensors"


def test_only_a_better_network_replaces_a_published_one(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path / "shop")
    (tmp_path / "shop").mkdir()
    new = tmp_path / "new"
    assert "published, nats 120.00" in checkpoints.publish(published(new, 120.0))
    assert "kept, nats 120.00" in checkpoints.publish(published(new, 120.0))
    assert "kept, nats 120.00" in checkpoints.publish(published(new, 121.0))
    assert checkpoints.headline(checkpoints.card("one")) == ("nats", 120.0)
    assert "published, nats 119.00" in checkpoints.publish(published(new, 119.0))
    assert checkpoints.headline(checkpoints.card("one")) == ("nats", 119.0)
    assert checkpoints.load("one").latent == 2
    new.joinpath("one.safetensors").write_bytes(b"torn")
    with pytest.raises(Error, match="no whole safetensors"):
        checkpoints.publish(new / "one.safetensors")
    assert checkpoints.load("one").latent == 2


# ------------------------------------------------------------------------------------------------ what is published now


def test_all_published_networks_are_there():
    assert set(NAMES) == set(PUBLISHED)


@pytest.mark.parametrize("name", NAMES)
def test_every_card_is_complete(name):
    card = checkpoints.card(name)
    assert FAMILIES[card["family"]] is PUBLISHED[name] and card["data"] == card["config"]["data"]
    assert PUBLISHED[name].Config(**card["config"]) == PUBLISHED[name].PUBLISHED[name]  # what `reproduce` would run
    assert len(card["sha256"]) == len(card["data_sha256"]) == 64
    assert card["seed"] == card["config"]["seed"] and card["steps"] > 0 and card["seconds"] > 0
    assert card["parameters"] == sum(p.numel() for p in checkpoints.load(name, "cpu").parameters())
    assert card["device"] and {"python", "torch"} <= card["versions"].keys()
    # a PixelCNN on the training pictures would take the better part of an hour more
    assert {"test", "mini", *(["train"] if card["family"] == "vae" else [])} <= card["metrics"].keys()
    for where, part in card["metrics"].items():
        assert part["n"] >= {"drawn": 200, "few": 20}.get(where, 1000)  # what would take a test too long otherwise
        if "ratio" in part:
            assert str(part["n"]) in part["reference"] and sum(part["shares"]) == pytest.approx(1)
            assert part["ratio"] == part["frechet"] / part["floor"] and part["seed"] == 0
        else:
            assert str(part["n"]) in part["pictures"] and part["standard_error"] > 0
    test = card["metrics"]["test"]
    assert test["n"] == 10_000 and checkpoints.headline(card)[1] <= test.get("nats", math.inf)
    json.dumps(card, allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_every_weights_file_fits_its_place(name):
    size = (checkpoints.FOLDER / f"{name}.safetensors").stat().st_size
    assert size == checkpoints.card(name)["bytes"] <= (1e6 if name in PAGE else 4e6)


def test_sealing_cards_again(tmp_path, capsys):
    """What site/seal_cards.py does to a card that was changed on purpose, and to one that was not."""
    spec = importlib.util.spec_from_file_location("seal_cards", Path(__file__).parents[1] / "site/seal_cards.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for name in NAMES[:2]:
        shutil.copy(checkpoints.FOLDER / f"{name}.json", tmp_path)
        (tmp_path / f"{name}.safetensors").touch()
    first, second = (tmp_path / f"{name}.json" for name in NAMES[:2])
    whole = second.read_bytes()
    runs.write_json(first, {**runs.read_json(first), "note": "a new field"})
    with pytest.raises(Error, match="does not have the digest written in it"):
        checkpoints.card(first.with_suffix(".safetensors"))
    tool.main([str(first), str(second)])
    assert capsys.readouterr().out == f"sealed {first}\n" and second.read_bytes() == whole
    assert checkpoints.card(first.with_suffix(".safetensors")) == {
        **checkpoints.card(NAMES[0]), "note": "a new field", "card_sha256": runs.read_json(first)["card_sha256"]}


def test_all_weights_together_fit():
    assert sum(p.stat().st_size for p in checkpoints.FOLDER.iterdir()) <= 25e6


def again_for_vae(model, stated):
    """part → (what is measured again, what of the card is left out).

    The bound with as many codes as the card states would take a minute; it is measured on the few pictures of "few".
    """
    ask = {part: {"n": stated[part]["n"], "seed": stated[part]["seed"]} for part in ("mini", "few") if part in stated}
    found = {"mini": (vae.evaluate(model, "mnist-mini", **ask["mini"], k=1), {"importance_weighted_nats", "k"})}
    if "few" in ask:
        found["few"] = vae.evaluate(model, "mnist-mini", **ask["few"], k=stated["few"]["k"]), set()
    return found


def again_for_pixelcnn(model, stated):
    """The same. A network with classes is scored with ten labels, and all ten on all pictures would take a minute.

    So its true labels are tried on all pictures, which every weight has a part in, and all ten on those of "few" only.
    """
    model.to(memory_format=torch.channels_last)  # a little quicker
    n = stated["mini"]["n"]
    if not model.config.classes:
        return {"mini": (pixelcnn.evaluate(model, "mnist-mini", n=n, batch=50), set())}
    mini = data.load("mnist-mini")
    x, labels = pixelcnn.test_pictures(model, mini.test_images[:n]), mini.test_labels[:n]
    with torch.no_grad():
        parts = [pixelcnn.log_prob(model, *some) for some in zip(x.split(50), labels.split(50), strict=True)]
    found = {"conditional_nats": -torch.cat(parts).double().mean().item(), "n": len(x)}
    found["binarised_sha256"] = data.digest(x.to(torch.uint8))
    found["pictures"] = stated["few"]["pictures"].replace(str(stated["few"]["n"]), str(n))
    assert stated["mini"]["nats"] < found["conditional_nats"] + math.log(10)
    few = pixelcnn.evaluate(model, "mnist-mini", n=stated["few"]["n"], batch=20)
    return {"mini": (found, stated["mini"].keys() - found.keys()), "few": (few, set())}


def again_for_gan(model, stated):
    """The pictures are drawn again from the same seed, and all that was said of them is measured again."""
    ask = {k: stated["mini"][k] for k in ("n", "seed")}
    return {"mini": (gan.evaluate(model, "mnist-mini", **ask), set())}


def again_for_classifier(model, stated):
    """All of it."""
    return {"mini": (classifier.evaluate(model, "mnist-mini", n=stated["mini"]["n"]), set())}


def again_for_ddpm(model, stated):
    """The loss on the pictures of mnist-mini, and a few drawn pictures of a network of digits."""
    model.to(memory_format=torch.channels_last)
    loss = ddpm.test_loss(model, "mnist-mini", n=stated["mini"]["n"], seed=stated["mini"]["seed"])
    if "drawn" not in stated:
        return {"mini": (loss, set())}
    how = {k: stated["drawn"][k] for k in ("n", "seed", "steps", "eta", "variance", "guidance")}
    return {"mini": (loss, set()), "drawn": (ddpm.evaluate(model, "mnist", **how), set())}


AGAIN = {classifier: again_for_classifier, ddpm: again_for_ddpm, gan: again_for_gan, pixelcnn: again_for_pixelcnn,
         vae: again_for_vae}
ROUNDING = {
    ddpm: {"abs": 0, "rel": 1e-4},
    vae: {"abs": 0.005, "rel": 1e-5},
    pixelcnn: {"abs": 0, "rel": 1e-5},
    gan: {"abs": 0.0021, "rel": 1e-3},  # of 1,000 pictures two may fall on the other side of a border
    classifier: {"abs": 1e-4, "rel": 1e-4},  # less than one picture
}
DRAWN = {"abs": 0.0101, "rel": 1e-2}  # of a diffusion model's 200 pictures two; rounding grows from step to step


def differences(again, stated, left_out, rounding):
    """The keys whose values on the card are not what was measured again."""
    assert again.keys() - left_out == stated.keys() - left_out
    return [key for key in sorted(again.keys() - left_out) if again[key] != (
        pytest.approx(stated[key], **rounding) if isinstance(stated[key], (float, list)) else stated[key])]


def lie(value):
    """Something else than the value, by 2 % or 0.02 of a number."""
    if isinstance(value, list):
        return [lie(value[0]), *value[1:]]
    if isinstance(value, str):
        return value + " "
    return value + 1 if isinstance(value, int) else value + max(0.02, 0.02 * abs(value))


@pytest.mark.parametrize("name", NAMES)
def test_every_network_is_as_good_as_its_card_says_and_a_lie_would_be_seen(name):
    card, chapter = checkpoints.card(name), PUBLISHED[name]
    model, stated = checkpoints.load(name, "cpu"), card["metrics"]
    assert dataclasses.asdict(model.config) == dataclasses.asdict(chapter.Config(**card["config"]))
    found = AGAIN[chapter](model, stated)
    assert stated.keys() - found.keys() <= {"test", "train"}  # those need all of MNIST
    for part, (again, left_out) in found.items():
        rounding = DRAWN if part == "drawn" else ROUNDING[chapter]
        assert differences(again, stated[part], left_out, rounding) == [], part
        for key in stated[part].keys() - left_out:
            wrong = {**stated[part], key: lie(stated[part][key])}
            assert differences(again, wrong, left_out, rounding) == [key]
    again, left_out = found["mini"]
    left = stated["mini"].keys() & left_out | stated["mini"].keys() - again.keys()
    assert left <= stated.get("few", {}).keys()  # these are measured again on fewer pictures


@pytest.mark.skipif(not os.environ.get("GENTUT_SOAK"), reason="takes minutes: set GENTUT_SOAK")
@pytest.mark.parametrize("name", ["pixelcnn-page", "vae-20d-binary"])
def test_what_is_measured_again_on_few_pictures_is_right_on_all_thousand(name):
    stated = checkpoints.card(name)["metrics"]["mini"]
    again = PUBLISHED[name].evaluate(checkpoints.load(name, "cpu"), "mnist-mini", n=stated["n"])
    assert differences(again, stated, set(), ROUNDING[PUBLISHED[name]]) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_of_a_card_agree_as_far_as_chance_allows(name):
    """What only all of MNIST could tell is not far from what its tenth says."""
    parts = checkpoints.card(name)["metrics"]
    key = "loss" if PUBLISHED[name] is ddpm else "nats"
    for few, many in (("mini", "test"), ("mini", "train"), ("few", "mini")):
        if key in parts.get(few, {}) and key in parts.get(many, {}) and checkpoints.card(name)["data"] == "mnist":
            assert abs(parts[few][key] - parts[many][key]) < 5 * parts[few]["standard_error"], (few, many)


@pytest.mark.parametrize("name", NAMES)
def test_every_card_states_on_what_it_was_measured(name):
    """A thousand test pictures that everybody has, by name, or as many pictures drawn from a seed."""
    card = checkpoints.card(name)
    mini = card["metrics"]["mini"]
    assert mini["n"] == 1000
    if card["family"] == "gan":
        assert mini["seed"] == 0 and "1000 of its 10000 test digits" in mini["reference"]
    else:
        assert mini["pictures"].startswith("the first 1000 test pictures of mnist-mini")


@pytest.mark.parametrize("name", NAMES)
def test_bits_per_dimension_on_the_cards_are_the_nats(name):
    for part in checkpoints.card(name)["metrics"].values():
        if "bits_per_dim" in part:
            assert part["bits_per_dim"] == pytest.approx(metrics.nats_to_bits_per_dim(part["nats"]), rel=1e-12)
        assert ("bits_per_dim" in part) == (PUBLISHED[name] is pixelcnn)


def test_the_binary_networks_were_scored_on_the_shared_binarisation():
    assert data.BINARISED_TEST_SHA256 == "2b9fb9ecb5bbee0095dad563d6c6f4e2c6a2c10f9d370dfe851f835624b91dc0"
    scored = {name: checkpoints.card(name)["metrics"]["test"] for name in NAMES}
    binary = {name: test for name, test in scored.items() if "binarised_sha256" in test}
    assert binary.keys() == {"vae-20d-binary", "pixelcnn-binary", "pixelcnn-page"} & set(NAMES)
    for name, test in binary.items():
        assert test["n"] == 10_000 and test["binarised_sha256"] == data.BINARISED_TEST_SHA256, name


def test_a_measurement_is_read_by_its_name():
    assert checkpoints.measured("seeds-cpu")["benchmark"] == "seeds"
    with pytest.raises(Error, match="unknown measurement 'seed-cpu'.*Did you mean 'seeds-cpu'"):
        checkpoints.measured("seed-cpu")
