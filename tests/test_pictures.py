"""Pictures of one's own: every file is read as it is meant or named, and no run mixes two sets of pictures."""

import json
import os
import random
import re
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from gentut import Error, classifier, cli, data, ddpm, gan, metrics, pictures, pixelcnn, runs, vae

ROOT = Path(__file__).resolve().parents[1]


def drawing(k, size=(40, 40), paper=255, ink=0):
    """A figure that differs for each k, dark on light by default."""
    image = Image.new("L", size, paper)
    corner = (4 + k % 7, 5 + k % 5, size[0] - 5 - k // 7 % 8, size[1] - 6 - k % 3)
    pen = ImageDraw.Draw(image)
    (pen.ellipse if k % 2 else pen.rectangle)(corner, outline=ink, width=3)
    pen.point((size[0] // 2, size[1] // 2), fill=k)
    return image


def fill(folder, count=40, **how):
    """Write drawings into a folder, half of them in a folder inside it; return the folder."""
    (folder / "more").mkdir(parents=True, exist_ok=True)
    for k in range(count):
        drawing(k, **how).save(folder / ("more" if k % 2 else "") / f"{k}.png")
    return folder


@pytest.fixture
def drawings(tmp_path):
    return fill(tmp_path / "drawings")


# ------------------------------------------------------------------------------------------------------------ one file


def test_a_picture_of_the_right_size_is_taken_as_it_is(tmp_path):
    digit = data.load("mnist-mini").test_images[3].numpy()
    Image.fromarray(digit).save(tmp_path / "digit.png")
    assert (pictures.picture(tmp_path / "digit.png") == digit).all()
    assert (pictures.picture(tmp_path / "digit.png", invert=True) == 255 - digit).all()


@pytest.mark.parametrize("size", [(28, 28), (280, 280), (1000, 100), (300, 1000), (10, 6), (2000, 1500)])
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_any_size_becomes_28_by_28_with_nothing_cut_off_or_bent(tmp_path, size, kind):
    """Left half black, right half white: the border between them stays in the middle of what is not padding."""
    image = Image.new("L", size, 0)
    image.paste(255, (size[0] // 2, 0, size[0], size[1]))
    image.save(tmp_path / f"x.{kind}", quality=95)
    a = pictures.picture(tmp_path / f"x.{kind}").astype(float)
    assert a.shape == (28, 28)
    width, height = (max(1, round(28 * side / max(size))) for side in size)
    inside = a[(28 - height) // 2 :, (28 - width) // 2 :][:height, :width]
    assert inside[:, : width // 2 - 3].max() < 12 and inside[:, width // 2 + 3 :].min() > 243
    assert inside[:, 0].max() < 12 and inside[:, -1].min() > 243  # to the very edge
    if padded := 784 - width * height:
        grey = (a.sum() - inside.sum()) / padded
        outside = a.copy()
        outside[(28 - height) // 2 :, (28 - width) // 2 :][:height, :width] = grey
        assert (outside == grey).all()  # one grey all around


def test_padding_has_the_grey_of_the_edge(tmp_path):
    for paper in (0, 90, 255):
        drawing(3, size=(60, 20), paper=paper, ink=200).save(tmp_path / "x.png")
        a = pictures.picture(tmp_path / "x.png")
        assert (a[:9] == paper).all() and (a[-9:] == paper).all()
        b = pictures.picture(tmp_path / "x.png", invert=True)
        assert (b == 255 - a).all()


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_picture_is_turned_as_its_exif_tag_says(tmp_path, turn, kind):
    upright = Image.new("L", (64, 64), 0)
    upright.paste(255, (8, 8, 56, 16))  # a bar at the top, and a
    upright.paste(255, (8, 8, 16, 40))  # shorter one on the left: no turn or mirror image is like another
    # how a camera that was held like this stores it: the inverse of what the tag asks for
    ways = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
            7: "TRANSVERSE", 8: "ROTATE_270"}
    stored = upright.transpose(Image.Transpose[ways[turn]]) if turn in ways else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    stored.save(tmp_path / f"x.{kind}", exif=exif, quality=95)
    upright.save(tmp_path / f"y.{kind}", quality=95)
    found, wanted = (pictures.picture(tmp_path / f"{name}.{kind}").astype(int) for name in "xy")
    assert abs(found - wanted).max() <= (0 if kind == "png" else 12)


def test_every_mode_a_png_can_have_gives_the_same_greys(tmp_path):
    grey = drawing(5, size=(28, 28), paper=200, ink=30)
    wanted = np.asarray(grey)
    half = Image.merge("LA", [Image.new("L", (28, 28), 0), grey.point(lambda v: 255 - v)])  # black ink of any density
    modes = {
        "L": grey, "RGB": grey.convert("RGB"), "RGBA": grey.convert("RGBA"), "LA": grey.convert("LA"),
        "P": grey.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE),
        "I;16": Image.fromarray(wanted.astype(np.uint16) * 257), "ink": half,
    }
    for name, image in modes.items():
        image.save(tmp_path / "x.png")
        found = pictures.picture(tmp_path / "x.png").astype(int)
        assert abs(found - wanted).max() <= 1, name
    palette = Image.new("P", (28, 28), 0)  # a palette with a transparent colour: laid on white
    palette.putpalette([10, 10, 10, 60, 60, 60])
    palette.paste(1, (9, 9, 19, 19))
    palette.save(tmp_path / "x.png", transparency=0)
    found = pictures.picture(tmp_path / "x.png")
    assert found[0, 0] == 255 and found[14, 14] == 60
    one = grey.point(lambda v: 255 * (v > 100)).convert("1")
    one.save(tmp_path / "x.png")
    assert (pictures.picture(tmp_path / "x.png") == np.asarray(one.convert("L"))).all()
    for mode in ("RGB", "CMYK", "L"):
        grey.convert(mode).save(tmp_path / "x.jpg", quality=100)
        assert abs(pictures.picture(tmp_path / "x.jpg").astype(int) - wanted).mean() < 4, mode


def test_a_large_jpeg_is_read_as_a_small_one_would_be(tmp_path):
    image = drawing(2, size=(1400, 1400))
    image.save(tmp_path / "x.jpg", quality=95)
    image.save(tmp_path / "x.png")
    found, wanted = (pictures.picture(tmp_path / f"x.{kind}").astype(int) for kind in ("jpg", "png"))
    assert abs(found - wanted).max() <= 12


BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"no picture", "there is no PNG or JPEG picture in it"),
    "another format": ("gif", "there is no PNG or JPEG picture in it"),
    "cut off": ("png", "truncated|broken|cut"),
    "cut-off JPEG": ("jpg", "truncated|broken|cut"),
    "blank": ("blank", "it shows nothing: all pixels have one grey"),
}


def bad(path, what):
    """Write a file that is no whole picture."""
    if isinstance(what, bytes):
        path.write_bytes(what)
    elif what == "blank":
        Image.new("RGB", (50, 40), "teal").save(path)
    elif what == "gif":
        drawing(1).save(path, format="GIF")
    else:
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90), dtype=np.uint8))
        noise.save(path, format={"png": "PNG", "jpg": "JPEG"}[what])
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_no_whole_picture_is_refused_with_what_is_wrong(tmp_path, case):
    what, message = BAD[case]
    bad(tmp_path / "x.png", what)
    with pytest.raises(Error, match=message):
        pictures.picture(tmp_path / "x.png")


def test_a_bomb_is_refused_and_a_merely_large_picture_is_not(tmp_path, monkeypatch):
    drawing(1, size=(300, 300)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Error, match="exceeds limit of 2000 pixels"):
        pictures.picture(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60_000)  # between once and twice that Pillow warns
    for k in range(20):
        drawing(k, size=(300, 300)).save(tmp_path / f"{k}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pictures.read(tmp_path)
    assert not found.skipped and len(found.dataset.train_images) == 18


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a PNG and a JPEG, and a place to write spoilt ones."""
    folder = tmp_path_factory.mktemp("whole")
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 31, 4), dtype=np.uint8))
    noise.save(folder / "x.png")
    noise.convert("RGB").save(folder / "x.jpg")
    return folder, [(folder / name).read_bytes() for name in ("x.png", "x.jpg")]


@given(st.integers(0, 1), st.integers(0, 2**31), st.integers(1, 8), st.booleans())
def test_spoilt_bytes_give_a_picture_or_an_error_and_nothing_else(whole, which, seed, flips, cut):
    folder, files = whole
    raw, r = bytearray(files[which]), random.Random(seed)
    for _ in range(flips):
        raw[r.randrange(len(raw))] ^= r.randrange(1, 256)
    (folder / "y.png").write_bytes(raw[: r.randrange(len(raw))] if cut else raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            a = pictures.picture(folder / "y.png")
        except Error as why:
            assert str(why)
        else:
            assert a.shape == (28, 28) and a.dtype == np.uint8


# ------------------------------------------------------------------------------------------------------------- folders


def test_a_folder_is_read_with_all_that_is_in_it(drawings):
    bad(drawings / "broken.png", b"")
    bad(drawings / "more/text.JPG", b"hello")
    shutil.copy(drawings / "0.png", drawings / "copy of 0.PNG")
    (drawings / "notes.txt").write_text("of the drawings")
    (drawings / ".hidden.png").write_bytes(b"")  # what some systems leave beside every file
    found = pictures.read(drawings)
    d = found.dataset
    assert (len(d.train_images), len(d.test_images)) == (36, 4)
    assert d.train_images.dtype == d.test_images.dtype == torch.uint8
    assert list(found.skipped) == ["broken.png", "more/text.JPG"]
    assert (found.copies, found.others, found.light) == (1, 1, 1.0)
    first, skipped, copies, others, warning = found.report()
    assert first.endswith("40 pictures, 36 to train on and 4 held out")
    assert skipped == ("skipped 2 files that cannot be used: broken.png (the file is empty), "
                       "more/text.JPG (there is no PNG or JPEG picture in it)")
    assert copies == "left out 1 with the same pixels as another"
    assert others == "left alone 1 that are not named .png, .jpg, .jpeg"
    assert warning.startswith("warning: 100% of the pictures have a light edge") and warning.endswith("with --invert.")
    turned = pictures.read(drawings, invert=True)
    assert turned.light == 0 and len(turned.report()) == 4
    both = [torch.cat([d.train_images, d.test_images]) for d in (d, turned.dataset)]
    assert {a.numpy().tobytes() for a in both[0]} == {(255 - a).numpy().tobytes() for a in both[1]}


def test_dark_pictures_that_were_turned_by_mistake_are_warned_of(tmp_path):
    found = pictures.read(fill(tmp_path / "chalk", 20, paper=0, ink=255), invert=True)
    assert found.report()[-1].endswith("without --invert.")
    assert len(pictures.read(tmp_path / "chalk").report()) == 1


def test_neither_the_files_names_nor_their_order_matter(drawings, tmp_path):
    before = pictures.read(drawings).dataset
    other = tmp_path / "renamed"
    other.mkdir()
    for k, path in enumerate(sorted(drawings.rglob("*.png"), reverse=True)):
        shutil.copy(path, other / f"{k:04}.png")
    after = pictures.read(other).dataset
    assert after.sha256 == before.sha256 and after.train_images.equal(before.train_images)
    assert after.test_images.equal(before.test_images)
    assert not {a.numpy().tobytes() for a in before.train_images} & {a.numpy().tobytes() for a in before.test_images}


def test_many_skipped_files_are_counted_and_only_the_first_named(drawings):
    for k in range(25):
        bad(drawings / f"bad{k:02}.png", b"")
    (line,) = [line for line in pictures.read(drawings).report() if line.startswith("skipped")]
    assert line.startswith("skipped 25 files") and line.endswith("bad09.png (the file is empty), 15 more")


def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path):
    with pytest.raises(Error, match="there is no folder .*nowhere"):
        pictures.read(tmp_path / "nowhere")
    (tmp_path / "file.png").write_bytes(b"")
    with pytest.raises(Error, match="is a file; pictures are read from a folder"):
        pictures.read(tmp_path / "file.png")
    few = fill(tmp_path / "few", 19)
    bad(few / "bad.png", b"")
    with pytest.raises(Error, match=r"few holds too few pictures, at least 20 are needed: 19 different pictures in 20 "
                                    r"files named .png, .jpg, .jpeg; skipped 1 file .*: bad.png \(the file is empty\)"):
        pictures.read(few)
    drawing(19).save(few / "one more.png")
    assert len(pictures.read(few).dataset.test_images) == 2


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom a file can be kept from")
def test_a_file_that_may_not_be_read_is_named(drawings):
    (drawings / "0.png").chmod(0)
    assert pictures.read(drawings).skipped == {"0.png": "Permission denied"}


# --------------------------------------------------------------------------------------------------------------- names


@given(st.text(min_size=1).filter(lambda t: not set("\0/?") & set(t) and t.strip(".")), st.booleans(),
       st.none() | st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_name_says_folder_options_and_digest(path, invert, digest):
    name = pictures.name_of("/x/" + path, invert, digest)
    folder, turned, start = pictures.parse(name)
    assert (turned, start) == (invert, digest and digest[:16])
    assert str(folder) == "/x/" + path


def test_names_that_are_none_are_refused():
    for name in ("mnist", "folder:", ""):
        with pytest.raises(Error, match="a folder's name as a data set is folder:PATH"):
            pictures.parse(name)
    with pytest.raises(Error, match="unknown data set 'folders:x'"):
        vae.Config(data="folders:x")


def test_a_data_set_by_name_has_the_pixels_that_its_name_says(drawings):
    found = pictures.read(drawings, invert=True)
    again = data.load(found.dataset.name)
    assert again.name == found.dataset.name == pictures.name_of(drawings, True, found.dataset.sha256)
    assert again.sha256 == found.dataset.sha256 and again.train_images.equal(found.dataset.train_images)
    other = pictures.name_of(drawings, False, found.dataset.sha256)  # the digest of the inverted ones
    with pytest.raises(Error, match=f"not those that are meant: their digest is [0-9a-f]{{16}}, not "
                                    f"{found.dataset.sha256[:16]}. Name the folder"):
        pictures.load(other)
    bad(drawings / "broken.png", b"")
    with pytest.warns(UserWarning, match=r"skipped 1 file .*broken.png"):
        assert len(pictures.load(pictures.name_of(drawings)).train_images) == 36
    assert pictures.load(found.dataset.name).sha256 == found.dataset.sha256  # the same pictures: no complaint


def test_what_a_user_writes_is_a_data_set_or_a_folder(drawings, monkeypatch):
    assert pictures.choose_data("mnist-mini") == "mnist-mini"
    monkeypatch.chdir(drawings.parent)
    plain = pictures.name_of(drawings)
    assert pictures.choose_data("drawings") == pictures.choose_data(plain) == plain
    assert pictures.choose_data("drawings", like="folder:/elsewhere?invert=1&sha256=0123456789abcdef") == (
        pictures.name_of(drawings, invert=True))
    with pytest.raises(Error, match=r"unknown data set 'drawing'\. There are: .*\. There is no such folder either\."):
        pictures.choose_data("drawing")


# ------------------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize("scale", ["test", "cpu", "gpu"])
@pytest.mark.parametrize("chapter", [vae, gan, ddpm, pixelcnn])
def test_every_preset_can_be_run_on_few_pictures_and_on_many(drawings, chapter, scale):
    few, preset = pictures.read(drawings), chapter.Config.preset(scale)
    many = few.dataset.__class__("folder:x", torch.zeros(50_000, 28, 28, dtype=torch.uint8), *[torch.zeros(1)] * 4)
    for found in (few, pictures.Pictures(many, drawings, False, {}, 0, 0, 0.0)):
        n, config = len(found.dataset.train_images), found.settings(preset)
        assert config.data == found.dataset.name and getattr(config, "classes", 0) == 0
        assert 0 < 4 * config.batch_size <= n and config.validation <= n // 10
        assert config.batch_size <= preset.batch_size and config.validation <= preset.validation
        whole = (pictures.TRAINING[preset.data] - preset.validation) // preset.batch_size
        assert config.steps == (preset.steps or preset.epochs * whole) > 0
        assert config.batch_size == preset.batch_size or found is few
        found.check(config)


def test_the_sizes_of_the_books_data_sets_are_as_written():
    assert set(pictures.TRAINING) == set(data.NAMES)
    assert pictures.TRAINING["mnist-mini"] == len(data.load("mnist-mini").train_images)


# ---------------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def gentut(capsys, monkeypatch):
    """Call the command line in here: (exit status, what it said, what it complained of)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["gentut", *map(str, words)])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = end.code or 0
        return status, *capsys.readouterr()

    return call


TINY = {
    "vae": ["steps=6", "encoder=8", "decoder=8"],
    "gan": ["steps=3", "latent=3", "generator=4,4,4", "discriminator=2,2,2"],
    "ddpm": ["steps=3", "widths=8,8", "embedding=8", "T=50"],
    "pixelcnn": ["steps=3", "width=4", "head=4", "dilations=1"],
}
MEASURED = {"vae": "nats", "gan": "drawn_by_drawn", "ddpm": "loss", "pixelcnn": "nats"}


def options(chapter, *more):
    return [word for text in (*TINY[chapter], *more) for word in ("--set", text)]


@pytest.mark.parametrize("chapter", TINY)
def test_train_evaluate_sample_and_resume_on_a_folder(gentut, drawings, tmp_path, chapter):
    bad(drawings / "broken.png", b"")
    out = tmp_path / "run"
    train = ["train", chapter, "--scale", "test", "--out", out, "--device", "cpu", "--data", drawings, "--invert"]
    status, said, err = gentut(*train, *options(chapter, "log_every=1"))
    assert status == 0 and f"step {TINY[chapter][0][6:]}\n" in said
    assert err.splitlines() == [f"{drawings}: 40 pictures, 36 to train on and 4 held out",
                                "skipped 1 file that cannot be used: broken.png (the file is empty)"]
    card, config = (runs.read_json(out / f"{name}.json") for name in ("weights", "config"))
    dataset = pictures.read(drawings, invert=True).dataset
    assert card["data"] == config["data"] == dataset.name
    assert card["data_sha256"] == config["data_sha256"] == data.digest(dataset.train_images)
    assert gentut(*train, *options(chapter, "log_every=1"), "--resume")[:2] == (0, said)
    weights = out / "weights.safetensors"
    status, said, err = gentut("evaluate", weights, "--device", "cpu")
    assert (status, err) == (0, "") and f"{MEASURED[chapter]} " in said and "n 4" in said
    assert f"the first 4 test pictures of {dataset.name}" in said
    again = gentut("evaluate", weights, "--device", "cpu", "--data", drawings)  # inverted as they were for training
    assert again[:2] == (0, said) and "broken.png" in again[2]
    sheet = tmp_path / "sheet.png"
    assert gentut("sample", weights, "--n", 2, "--out", sheet, "--device", "cpu")[0] == 0 and sheet.is_file()

    (drawings / "2.png").unlink()  # another set of pictures
    before = {p: p.read_bytes() for p in out.iterdir()}
    for more in ([], ["--resume"]):
        status, said, err = gentut(*train, *options(chapter, "log_every=1"), *more)
        assert (status, said) == (2, "") and err.count("gentut: ") == 1
        assert f"the pictures in {drawings} have changed since the run in {out} began: their digest was" in err
    status, said, err = gentut("evaluate", weights, "--device", "cpu")
    assert (status, said) == (2, "") and "are not those that are meant" in err
    assert gentut("evaluate", weights, "--device", "cpu", "--data", drawings)[0] == 0  # when it is said, they are taken
    assert {p: p.read_bytes() for p in out.iterdir()} == before


def test_a_run_on_a_folder_resumed_half_way_ends_bitwise_the_same(drawings, tmp_path):
    found = pictures.read(drawings)
    config = found.settings(vae.Config.preset("test").replace(encoder=(8,), decoder=(8,))).replace(steps=8)
    alone = vae.train(config, out=tmp_path / "alone", device="cpu")  # the pictures by name
    half = {"count": 0}

    def stop(model, x, labels, noise, losses=vae.losses):
        half["count"] += 1
        if half["count"] == 6:
            raise KeyboardInterrupt
        return losses(model, x, labels, noise)

    config = config.replace(save_every=3)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(vae, "losses", stop)
        vae.train(config, images=found.dataset.train_images, out=tmp_path / "run", device="cpu")
    resumed = vae.train(config, images=pictures.read(drawings).dataset.train_images, out=tmp_path / "run", resume=True,
                        device="cpu")
    for a, b in zip(alone.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


WRONG = {
    "no folder": ("--data drawing", r"unknown data set 'drawing'.*There is no such folder either"),
    "a file": ("--data drawings/0.png", "unknown data set 'drawings/0.png'"),
    "too few": ("--data few", "few holds too few pictures, at least 20 are needed: 0 different pictures in 0 files"),
    "invert without a folder": ("--invert", "--invert turns the pictures of a folder: name it with --data"),
    "invert a data set": ("--data mnist-mini --invert", "--invert turns the pictures of a folder, and mnist-mini is"),
    "two sets": ("--data drawings --set data=mnist-mini", "so data=mnist-mini cannot be set as well"),
    "labels": ("--data drawings --set classes=10", "a folder of pictures has no labels: leave classes at 0, got 10"),
    "batch": ("--data drawings --set batch_size=99", "batch_size=99 is more than the 36 training pictures"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_clear_message(gentut, drawings, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few").mkdir()
    words, message = WRONG[case]
    status, said, err = gentut("train", "ddpm", "--scale", "test", "--out", "X", *words.split())
    assert (status, said) == (2, "") and err.count("gentut: ") == 1 and "Traceback" not in err
    assert re.search(message, err), err
    assert not (tmp_path / "X").exists()


def test_a_classifier_takes_no_pictures_without_labels(gentut, drawings, tmp_path):
    status, said, err = gentut("train", "classifier", "--data", drawings, "--out", tmp_path / "X")
    assert (status, said) == (2, "") and "a classifier learns from labels, and a folder of pictures has none" in err
    with pytest.raises(Error, match="a classifier is measured by labels"):
        classifier.evaluate(classifier.build(classifier.Config(width=2)), pictures.name_of(drawings))


def test_a_data_set_of_the_book_can_be_named_too(gentut, tmp_path):
    words = ["train", "vae", "--scale", "test", "--out", tmp_path / "run", "--device", "cpu", "--data", "mnist-mini"]
    assert gentut(*words, *options("vae", "validation=100"))[0] == 0
    assert runs.read_json(tmp_path / "run/config.json")["data"] == "mnist-mini"


# ------------------------------------------------------------------------------------------------------------ measures


def test_a_network_with_labels_is_measured_on_a_folder_without_them(drawings):
    name = pictures.read(drawings, invert=True).dataset.name
    told = ddpm.build(ddpm.Config(widths=(8, 8), embedding=8, T=10)).eval()
    assert ddpm.evaluate(told, name)["n"] == 4
    found = pixelcnn.evaluate(pixelcnn.build(pixelcnn.Config(width=4, head=4, dilations=(1,), classes=10)).eval(), name)
    assert "accuracy" not in found and "conditional_nats" not in found and found["n"] == 4


def test_likeness_tells_real_from_grey_and_copies_from_new_ones(tmp_path):
    digits = data.load("mnist-mini").test_images[:200].numpy()
    for k, digit in enumerate(digits):
        Image.fromarray(digit).save(tmp_path / f"{k}.png")
    dataset = pictures.read(tmp_path).dataset
    new = data.to_unit(data.load("mnist-mini").test_images[300:320])
    noise = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    real, copies, grey = (pictures.likeness(x, dataset) for x in (new, data.to_unit(dataset.train_images[:20]), noise))
    sides = ("drawn_by_drawn", "real_by_real")
    assert real["n"] == 20 and all(0.15 < found[side] < 0.85 for found in (real, copies) for side in sides)
    assert all(grey[side] > 0.85 for side in sides)
    assert copies["to_training"] < 1e-3
    for found in (real, copies, grey):
        assert found["held_out_to_training"] == real["held_out_to_training"] > 1
    assert 0.5 < real["to_training"] / real["held_out_to_training"] < 2
    assert metrics.features(new).shape == (20, 64)
    with pytest.raises(Error, match="n must lie between 2 and the 20 held-out pictures"):
        pictures.likeness(torch.rand(21, 1, 28, 28), dataset)


def test_what_the_vae_chapter_says_of_its_folder_is_true(capsys):
    cells = json.loads((ROOT / "book/vae.ipynb").read_text(encoding="utf-8"))["cells"]
    scope = {}
    exec("".join(next(c["source"] for c in cells if c["id"] == "own-folder")), scope)
    said = capsys.readouterr().out.splitlines()
    assert "800 pictures, 720 to train on and 80 held out" in said[0]  # no two are alike, and none is blank
    assert said[1].startswith("skipped 2 files that cannot be used: empty.png (the file is empty), letter.jpg (")
    assert "Try it with --invert" in said[2] and len(said) == 3  # "The warning is right"
    turned = pictures.read(scope["folder"], invert=True)
    assert len(turned.report()) == 2
    shutil.rmtree(scope["folder"].parent)
