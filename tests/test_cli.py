"""The command line: every command does its work, every mistake ends in one clear message and exit status 2."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import matplotlib.image
import pytest
import torch

from gentut import checkpoints, classifier, cli, gan, metrics, pixelcnn, runs, vae

FAST = ["steps=12", "encoder=8", "decoder=8", "validation=100", "log_every=4", "save_every=5"]
OPTIONS = [word for text in FAST for word in ("--set", text)]


@pytest.fixture
def gentut(capsys, monkeypatch):
    """Call the command line in here: (exit status, what it said, what it complained of)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["gentut", *map(str, words)])
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The published classifier, four tiny networks of three families, and tiny settings to reproduce them all."""
    (tmp_path / "published").mkdir()
    for file in ("classifier.safetensors", "classifier.json", metrics.STORED):  # no GAN is measured without
        shutil.copy(checkpoints.FOLDER / file, tmp_path / "published")
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path / "published")
    small = vae.Config(data="mnist-mini", encoder=(8,), decoder=(8,), steps=6)
    tiny = pixelcnn.Config(data="mnist-mini", width=2, head=2, dilations=(1,), steps=6)
    other = small.replace(seed=1)
    game = gan.Config(data="mnist-mini", latent=3, generator=(4, 4, 4), discriminator=(2, 2, 2), steps=6)
    made = [
        ("gan-one", gan, game, {"ratio": 99.25, "n": 10_000}),
        ("pixel-one", pixelcnn, tiny, {"nats": 700.25, "n": 2000}),
        ("vae-one", vae, small, {"nats": 600.5, "n": 2000}), ("vae-two", vae, other, {"nats": 601.5, "n": 2000}),
    ]
    for name, chapter, config, measured in made:
        facts = {"family": chapter.__name__.removeprefix("gentut."), "data": "mnist-mini", "config": config.to_dict()}
        facts |= {"metrics": {"test": measured}, "seconds": 7.0, "device": "a slow machine"}
        checkpoints.save(chapter.build(config), facts, tmp_path / f"published/{name}.safetensors")
    monkeypatch.setattr(vae, "PUBLISHED", {"vae-one": small, "vae-two": other})
    monkeypatch.setattr(gan, "PUBLISHED", {"gan-one": game})
    few = classifier.Config(data="mnist-mini", width=2, steps=6, log_every=3)
    monkeypatch.setattr(classifier, "PUBLISHED", {"classifier": few})
    monkeypatch.setattr(pixelcnn, "PUBLISHED", {"pixel-one": tiny})
    return tmp_path / "published"


# --------------------------------------------------------------------------------------------------------- what it does


def test_train_and_resume(gentut, tmp_path):
    out = tmp_path / "deep" / "run"
    status, said, err = gentut("train", "vae", "--scale", "test", "--out", out, "--device", "cpu", *OPTIONS)
    assert (status, err) == (0, "")
    assert {p.name for p in out.iterdir()} == {
        "config.json", "log.jsonl", "results.json", runs.STATE, runs.PREVIOUS, "weights.safetensors", "weights.json"}
    config = runs.read_json(out / "config.json")
    assert (config["data"], config["steps"], config["encoder"]) == ("mnist-mini", 12, [8])
    last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert f"validation_loss {last['validation_loss']:.3f}\n" in said and "step 12\n" in said
    before = (out / "weights.safetensors").read_bytes()
    again = gentut("train", "vae", "--scale", "test", "--out", out, "--device", "cpu", *OPTIONS, "--resume")
    assert again == (0, said, "")
    assert (out / "weights.safetensors").read_bytes() == before
    # one's own network can be measured and sampled as a published one can
    status, said, err = gentut("evaluate", out / "weights.safetensors", "--n", 20, "--device", "cpu")
    assert (status, err) == (0, "") and "n 20" in said


def test_the_scale_comes_from_the_environment_and_the_folder_has_a_default(gentut, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENTUT_SCALE", "test")
    assert gentut("train", "vae", "--set", "steps=1", "--device", "cpu")[0] == 0
    assert runs.read_json(tmp_path / "runs/vae/config.json")["validation"] == vae.Config.preset("test").validation
    assert runs.read_json(tmp_path / "runs/vae/config.json")["data_sha256"]


def test_list(gentut, published):
    status, said, err = gentut("list")
    assert (status, err) == (0, "")
    chapters, judge, game, pixels, one, two = said.splitlines()
    assert chapters == "chapters: classifier, ddpm, gan, pixelcnn, vae"
    error = checkpoints.card("classifier")["metrics"]["test"]["error"]
    assert judge.split() == ["classifier", "classifier", "mnist", "0.24", "MB", "error", f"{error:.4f}"]
    assert game.split()[:3] == ["gan-one", "gan", "mnist-mini"] and game.split()[-2:] == ["ratio", "99.25"]
    assert pixels.split() == ["pixel-one", "pixelcnn", "mnist-mini", "0.00", "MB", "nats", "700.25"]
    assert one.split() == ["vae-one", "vae", "mnist-mini", "0.03", "MB", "nats", "600.50"]
    assert two.split()[0] == "vae-two"


@pytest.mark.parametrize("by_path", [False, True])
@pytest.mark.parametrize(("name", "chapter"), [("vae-one", vae), ("pixel-one", pixelcnn)])
def test_evaluate(gentut, published, name, chapter, by_path):
    where = published / f"{name}.safetensors" if by_path else name
    status, said, err = gentut("evaluate", where, "--n", 50, "--device", "cpu")
    assert (status, err) == (0, "")
    metrics = chapter.evaluate(checkpoints.load(name, "cpu"), "mnist-mini", n=50)
    assert f"nats {metrics['nats']:.3f}" in said and "n 50" in said and metrics["pictures"] in said
    assert ("bits_per_dim" in said) == (chapter is pixelcnn)


def test_evaluate_a_gan_and_a_classifier(gentut, published):
    status, said, err = gentut("evaluate", "gan-one", "--n", 70, "--device", "cpu")
    assert (status, err) == (0, "")
    found = gan.evaluate(checkpoints.load("gan-one", "cpu"), "mnist-mini", n=70)
    assert f"frechet {found['frechet']:.3f}, floor {found['floor']:.3f}, ratio {found['ratio']:.3f}, " in said
    assert f"shares [{', '.join(f'{share:.4f}' for share in found['shares'])}]" in said and "n 70" in said
    status, said, err = gentut("evaluate", "classifier", "--n", 300, "--data", "mnist-mini", "--device", "cpu")
    assert (status, err) == (0, "")
    found = classifier.evaluate(checkpoints.load("classifier", "cpu"), "mnist-mini", n=300)
    assert f"error {found['error']:.4f}" in said and found["pictures"] in said


@pytest.mark.parametrize(("name", "chapter"), [("vae-one", vae), ("pixel-one", pixelcnn), ("gan-one", gan)])
def test_sample(gentut, published, tmp_path, name, chapter):
    out = tmp_path / "new" / "sheet.png"
    assert gentut("sample", name, "--n", 7, "--out", out, "--seed", 3)[:2] == (0, f"7 pictures in {out}\n")
    sheet = torch.tensor(matplotlib.image.imread(out)[..., 0])
    assert sheet.shape == (3 * 28, 3 * 28)
    model = checkpoints.load(name, "cpu")
    pictures = chapter.sample(model, 7, generator=torch.Generator().manual_seed(3))[:, 0]
    for i, picture in enumerate(pictures):
        row, column = divmod(i, 3)
        tile = sheet[28 * row : 28 * row + 28, 28 * column : 28 * column + 28]
        assert (tile - picture).abs().max() < 0.008
    assert sheet[56:, 28:].max() == 0  # two places are left over
    first = out.read_bytes()
    gentut("sample", name, "--n", 7, "--out", out, "--seed", 3)
    assert out.read_bytes() == first
    gentut("sample", name, "--n", 7, "--out", out, "--seed", 4)
    assert out.read_bytes() != first


def test_reproduce_and_publish(gentut, published, tmp_path):
    out = tmp_path / "again"
    status, said, err = gentut("reproduce", "vae-one", "--out", out, "--device", "cpu", "--publish")
    assert (status, err) == (0, "")
    card = checkpoints.card(out / "vae-one/vae-one.safetensors")
    assert f"nats {card['metrics']['test']['nats']:.3f}" in said and "test:" in said and "train:" in said
    # trained a little, it is better than the untrained one that was published
    assert "vae-one: published, nats" in said and checkpoints.card("vae-one") == card
    status, said, err = gentut("reproduce", "vae-one", "--out", out, "--device", "cpu", "--publish", "--resume")
    assert (status, err) == (0, "") and "vae-one: kept, nats" in said
    assert checkpoints.card("vae-two")["metrics"]["test"]["nats"] == 601.5


def test_reproduce_says_what_the_card_says_beside_it(gentut, published, tmp_path):
    status, said, err = gentut("reproduce", "vae-two", "--out", tmp_path, "--device", "cpu")
    assert (status, err) == (0, "")
    card = checkpoints.card(tmp_path / "vae-two/vae-two.safetensors")
    assert f"vae-two          {checkpoints.headline_text(card)}; published: nats 601.50, 7 s on a slow machine" in said


def test_reproduce_all(gentut, published, tmp_path, monkeypatch):
    """Each chapter is asked for each of its networks; the end is one list of what came out and what is published."""
    asked = []

    def again(chapter, factor):
        def reproduce(name, out, *, resume, device):
            asked.append((name, resume, device))
            out.mkdir(parents=True, exist_ok=True)
            (out / "config.json").touch()
            facts = checkpoints.card(name) if name != "classifier" else {
                **checkpoints.card(name), "metrics": {"test": {"error": 0.25}}}
            test = {k: v * factor if k in ("nats", "ratio") else v for k, v in facts["metrics"]["test"].items()}
            facts |= {"metrics": {"test": test}, "seconds": 3.0, "device": "cpu"}
            return facts
        monkeypatch.setattr(chapter, "reproduce", reproduce)

    for chapter in (vae, pixelcnn, gan, classifier):
        again(chapter, 2)
    monkeypatch.setattr(cli.checkpoints, "FAMILIES", ("classifier", "gan", "pixelcnn", "vae"))
    status, said, err = gentut("reproduce", "--all", "--out", tmp_path, "--device", "cpu")
    assert (status, err) == (0, "")
    assert asked == [(n, False, "cpu") for n in ("classifier", "gan-one", "pixel-one", "vae-one", "vae-two")]
    end = said.split("all of them:\n")[1].splitlines()
    assert [line.split()[0] for line in end] == ["classifier", "gan-one", "pixel-one", "vae-one", "vae-two"]
    assert end[1].startswith("gan-one          ratio 198.50; published: ratio 99.25, 7 s on a slow machine")
    assert end[4].startswith("vae-two          nats 1203.00; published: nats 601.50")
    asked.clear()
    gentut("reproduce", "--all", "--out", tmp_path, "--device", "cpu", "--resume")
    assert all(resume for _, resume, _ in asked) and len(asked) == 5


def test_reproduce_wants_a_name_or_all(gentut, published, tmp_path, monkeypatch):
    monkeypatch.setattr(cli.checkpoints, "FAMILIES", ("gan", "pixelcnn", "vae"))
    for words in (["reproduce"], ["reproduce", "vae-one", "--all"]):
        status, said, err = gentut(*words, "--out", tmp_path)
        assert (status, said) == (2, "")
        assert "name one published network (gan-one, pixel-one, vae-one, vae-two), or say --all" in err
        assert "all 4 took 0.0 hours" in err
    assert not list(tmp_path.glob("vae*"))


def test_reproduce_a_pixelcnn(gentut, published, tmp_path):
    status, said, err = gentut("reproduce", "pixel-one", "--out", tmp_path, "--device", "cpu", "--publish")
    assert (status, err) == (0, "")
    card = checkpoints.card(tmp_path / "pixel-one/pixel-one.safetensors")
    assert f"nats {card['metrics']['test']['nats']:.3f}" in said and "mini:" in said
    assert "pixel-one: published, nats" in said and checkpoints.card("pixel-one") == card
    assert checkpoints.card("vae-one")["metrics"]["test"]["nats"] == 600.5


def test_reproduce_a_classifier_and_the_features_that_belong_to_it(gentut, published, tmp_path):
    out, before = tmp_path / "again", (published / metrics.STORED).read_bytes()
    status, said, err = gentut("reproduce", "classifier", "--out", out, "--device", "cpu", "--publish")
    assert (status, err) == (0, "")
    card, made = checkpoints.card(out / "classifier/classifier.safetensors"), out / "classifier" / metrics.STORED
    assert f"error {card['metrics']['test']['error']:.4f}" in said and made.is_file()
    # another configuration replaces the published one, and with it go the features by which pictures are compared
    assert "classifier: published, error " in said and checkpoints.card("classifier") == card
    assert (published / metrics.STORED).read_bytes() == made.read_bytes() != before
    status, said, err = gentut("evaluate", "gan-one", "--n", 70, "--device", "cpu")
    assert (status, err) == (0, "") and "10000 training digits of mnist-mini" in said
    assert gentut("list")[1].splitlines()[1].split()[-2:] == ["error", f"{checkpoints.headline(card)[1]:.4f}"]


def test_train_and_use_a_gan_and_a_classifier(gentut, published, tmp_path):
    settings = {
        "gan": ["steps=4", "latent=3", "generator=4,4,4", "discriminator=2,2,2", "log_every=2", "save_every=2"],
        "classifier": ["steps=4", "width=2", "log_every=2", "save_every=2"],
    }
    for chapter, texts in settings.items():
        options = ["--scale", "test", "--out", tmp_path / chapter, "--device", "cpu"]
        options += [word for text in texts for word in ("--set", text)]
        status, said, err = gentut("train", chapter, *options)
        assert (status, err) == (0, "") and "step 4\n" in said
        assert ("generator_loss" in said) == ("discriminator_loss" in said) == (chapter == "gan")
        assert gentut("train", chapter, *options, "--resume") == (0, said, "")
        weights = tmp_path / chapter / "weights.safetensors"
        status, said, err = gentut("evaluate", weights, "--n", 70, "--device", "cpu")
        assert (status, err) == (0, "") and "n 70" in said
    assert gentut("sample", tmp_path / "gan/weights.safetensors", "--out", tmp_path / "sheet.png")[0] == 0
    assert (tmp_path / "sheet.png").is_file()


def test_train_and_use_a_pixelcnn(gentut, tmp_path):
    settings = ["steps=6", "width=4", "head=4", "dilations=1", "classes=10", "log_every=2", "save_every=4"]
    options = ["--out", tmp_path / "run", "--device", "cpu", *(word for text in settings for word in ("--set", text))]
    status, said, err = gentut("train", "pixelcnn", "--scale", "test", *options)
    assert (status, err) == (0, "") and "step 6\n" in said
    config = runs.read_json(tmp_path / "run/config.json")
    assert (config["dilations"], config["classes"], config["batch_size"]) == ([1], 10, 32)
    assert gentut("train", "pixelcnn", "--scale", "test", *options, "--resume") == (0, said, "")
    weights = tmp_path / "run/weights.safetensors"
    status, said, err = gentut("evaluate", weights, "--n", 20, "--device", "cpu")
    assert (status, err) == (0, "") and "conditional_nats" in said and "accuracy" in said
    assert gentut("sample", weights, "--n", 3, "--out", tmp_path / "sheet.png", "--device", "cpu")[0] == 0


# ------------------------------------------------------------------------------------------------------ what it refuses


WRONG = {
    "chapter": ("train vea", r"unknown chapter 'vea'. There are: classifier, ddpm, gan, .*vae. Did you mean 'vae'\?"),
    "scale": ("train vae --scale cpuu --out X", r"unknown scale 'cpuu'.*Did you mean 'cpu'\?"),
    "setting": ("train vae --scale test --out X --set stpes=5", r"unknown setting 'stpes'.*Did you mean 'steps'\?"),
    "type": ("train vae --scale test --out X --set steps=many", "steps takes a whole number, got 'many'"),
    "value": ("train vae --scale test --out X --set steps", "a setting is written key=value, got 'steps'"),
    "range": ("train vae --scale test --out X --set batch_size=0", "batch_size must be at least 1, got 0"),
    "setting of another chapter": ("train pixelcnn --scale test --out X --set latent=2", "unknown setting 'latent'"),
    "kind": ("train pixelcnn --scale test --out X --set kind=gatd", "unknown kind 'gatd'.*Did you mean 'gated'"),
    "levels": ("train pixelcnn --scale test --out X --set levels=1", "levels must lie in 2 to 256, got 1"),
    "colour": ("train pixelcnn --scale test --out X --set channels=3 --set width=6 --set head=3", "takes channels=1"),
    "data": ("train vae --scale test --out X --set data=mnist-min", "unknown data set 'mnist-min'.*'mnist-mini'"),
    "batch": ("train vae --scale test --out X --set batch_size=9999", "batch_size=9999 is more than the 9000 training"),
    "precision": ("train vae --scale test --out X --device cpu --set precision=fp16", "precision fp16 needs a GPU"),
    "device": ("train vae --scale test --out X --device gpu", "unknown device 'gpu'|device 'gpu' is not supported"),
    "nothing to resume": ("train vae --scale test --out X --resume", "nothing to resume: X holds no run"),
    "foreign folder": ("train vae --scale test --out foreign", "foreign is not empty and holds no run"),
    "file as folder": ("train vae --scale test --out foreign/thesis.txt", "is a file; a run needs a folder"),
    "diverges": (
        "train vae --scale test --device cpu --out diverged --set learning_rate=1e30 --set steps=20",
        r"the loss became (nan|inf) at step \d+; no state was saved. Try a smaller learning_rate",
    ),
    "name": ("evaluate vae-on", r"unknown published network 'vae-on'. There are: classifier, gan-one, pixel-one, v"),
    "n": ("evaluate vae-one --n 1", "n must lie between 2 and the 2000 test pictures"),
    "data to evaluate on": ("evaluate vae-one --data mnsit", "unknown data set 'mnsit'.*Did you mean 'mnist'"),
    "file": ("evaluate nothing/there.safetensors", "there is no weights file nothing/there.safetensors"),
    "pickle": ("evaluate foreign/weights.pt", "foreign/weights.pt is a pickle"),
    "no card": ("evaluate foreign/bare.safetensors", "has no card: bare.json should lie beside it"),
    "sample name": ("sample vae-thre", "unknown published network 'vae-thre'.*Did you mean 'vae-"),
    "sample n of pixels": ("sample pixel-one --n 0", "n must be at least 1, got 0"),
    "sample n": ("sample vae-one --n 0", "n must be at least 1, got 0"),
    "sample format": ("sample vae-one --out sheet.jpg", "--out must name a .png file, got 'sheet.jpg'"),
    "sample nowhere": ("sample vae-one --out foreign/thesis.txt/a.png", "could not write foreign/thesis.txt/a.png"),
    "reproduce": ("reproduce vae-three", "unknown published network 'vae-three'. There are: classifier, .*gan-one"),
    "loss": ("train gan --scale test --out X --set loss=hinge", "unknown loss 'hinge'. There are: saturating, non-sat"),
    "widths": ("train gan --scale test --out X --set generator=8,8", "a dcgan has three widths in its generator"),
    "shift": ("train classifier --scale test --out X --set shift=9", "shift in 0 to 4, got 32 and 9"),
    "too few to compare": ("evaluate gan-one --n 64 --device cpu", "needs at least 65 pictures, .* got 64"),
    "too many to compare": ("evaluate gan-one --n 10001 --device cpu", "at most the 10000 that there are test digits"),
    "not digits": ("evaluate gan-one --data fashion-mnist", "the classifier that compares pictures knows digits"),
    "sample n of a gan": ("sample gan-one --n 0", "n must be at least 1, got 0"),
    "sample a judge": ("sample classifier", "classifier is a classifier: it judges pictures and draws none"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_clear_message(gentut, published, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GENTUT_DATA_DIR", raising=False)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/thesis.txt").write_text("ten years")
    torch.save({"w": torch.ones(1)}, tmp_path / "foreign/weights.pt")
    (tmp_path / "foreign/bare.safetensors").write_bytes((published / "vae-one.safetensors").read_bytes())
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    words, message = WRONG[case]
    status, said, err = gentut(*words.split())
    assert status == 2 and said == ""
    assert err.startswith("gentut: ") and err.count("gentut: ") == 1 and "Traceback" not in err
    assert re.search(message, err), err
    assert {p: p.read_bytes() for p in before} == before
    if case != "diverges":
        assert {p for p in tmp_path.rglob("*") if p.is_file()} == set(before)  # nothing half-begun is left


def test_another_configuration_in_the_folder(gentut, tmp_path):
    first = ["train", "vae", "--scale", "test", "--out", tmp_path / "run", "--device", "cpu", *OPTIONS]
    assert gentut(*first)[0] == 0
    before = {p: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    for more, message in [
        ([], "already holds this run: resume it (--resume), or choose another folder"),
        (["--set", "seed=1"], "another configuration: seed is 0 there and 1 here. Choose another folder."),
        (["--set", "seed=1", "--resume"], "another configuration: seed is 0 there and 1 here. Choose another folder."),
    ]:
        status, said, err = gentut(*first, *more)
        assert status == 2 and said == "" and message in err
    assert {p: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize("words", ["trian", "train", "train vae --stepps 3", "sample vae-2d --n x"])
def test_typing_errors_show_the_usage(gentut, words):
    status, _, err = gentut(*words.split())
    assert status == 2 and "Usage: " in err and "Error: " in err and "Traceback" not in err


def test_help_names_every_command(gentut):
    status, said, _ = gentut("--help")
    assert status == 0 and all(word in said for word in ("train", "sample", "evaluate", "reproduce", "list"))


def test_a_wrong_scale_in_the_environment_names_the_three(gentut, monkeypatch, tmp_path):
    monkeypatch.setenv("GENTUT_SCALE", "laptop")
    status, _, err = gentut("train", "vae", "--out", tmp_path / "run")
    assert status == 2 and "unknown GENTUT_SCALE 'laptop'. There are: test, cpu, gpu" in err


# ------------------------------------------------------------------------------------------------------ from outside


def test_importing_gentut_imports_neither_torch_nor_widgets():
    script = """
import sys, time
import gentut
heavy = {"torch", "numpy", "scipy", "matplotlib", "anywidget", "ipywidgets"}
heavy |= {"gentut.widgets", "gentut.vae", "gentut.pixelcnn", "gentut.gan", "gentut.classifier"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert {"vae", "pixelcnn", "data", "widgets", "scale", "Error"} <= set(dir(gentut))
try:
    gentut.no_such_chapter
except AttributeError as why:
    assert "no_such_chapter" in str(why)
assert gentut.scale() == "test"
assert "torch" not in sys.modules
print(gentut.vae.Config().latent, "gentut.widgets" in sys.modules)
"""
    environment = {**os.environ, "GENTUT_SCALE": "test"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 False\n", "")


def test_a_real_process_killed_interrupted_and_resumed_ends_the_same(tmp_path):
    """`gentut train`, kill -9, --resume, Ctrl-C, --resume: the weights are those of a run that was left alone."""
    settings = ["steps=400", "encoder=8", "decoder=8", "batch_size=32", "log_every=7", "save_every=10", "validation=0"]
    settings += ["keep_best=false"]
    options = [word for text in settings for word in ("--set", text)]
    out = tmp_path / "run"
    command = [sys.executable, "-m", "gentut", "train", "vae", "--scale", "test", "--device", "cpu", *options, "--out"]

    def logged():
        return (out / "log.jsonl").read_bytes().count(b"\n") if (out / "log.jsonl").exists() else 0

    def start(*more):
        process = subprocess.Popen([*command, out, *more], stderr=subprocess.PIPE, text=True)
        target, until = logged() + 5, time.monotonic() + 100
        while process.poll() is None and logged() < target and time.monotonic() < until:
            time.sleep(0.001)
        assert process.poll() is None, process.stderr.read()
        return process

    process = start()
    process.kill()
    process.communicate()
    process = start("--resume")
    process.send_signal(signal.SIGINT)
    complaint = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert complaint.startswith("stopped at step ") and complaint.endswith(f"saved in {out}; resume it with --resume\n")
    config = vae.Config.preset("test").with_assignments(settings)
    resumed = vae.train(config, out=out, resume=True, device="cpu")
    alone = vae.train(config, out=tmp_path / "alone", device="cpu")
    for a, b in zip(resumed.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(a, b)
    times = [{k: v for k, v in row.items() if k != "seconds"} for row in resumed.history]
    assert times == [{k: v for k, v in row.items() if k != "seconds"} for row in alone.history]
