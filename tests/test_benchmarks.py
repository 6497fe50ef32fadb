"""The benchmarks run, compare like with like, and write down all that a number needs to be believed."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import torch

from gentut import checkpoints, data, ddpm, gan, pixelcnn, training, vae

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("vae_training", ROOT / "benchmarks/vae_training.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_sides_train_the_same_network(benchmark):
    """The same weights and noise give the same loss and gradients on both sides."""
    config = vae.Config(data="mnist-mini")
    ours, notes = vae.build(config), benchmark.Notes()
    assert sum(p.numel() for p in notes.parameters()) == sum(p.numel() for p in ours.parameters())
    for theirs, own in zip(notes.parameters(), ours.parameters(), strict=True):
        theirs.data.copy_(own.data)
    images = data.load("mnist-mini").train_images[:16]
    noise = training.Noise(0, 16)
    eps = training.Noise(0, 16).normal(2)
    one = vae.losses(ours, data.to_unit(images), None, noise)["loss"].mean()
    loader = torch.utils.data.DataLoader(benchmark.Pictures(images), batch_size=16)
    x = next(iter(loader))
    assert torch.equal(x, data.to_unit(images))  # by way of PIL or not, the same numbers
    other = benchmark.notes_loss(notes, x, eps) / 16
    assert other.item() == pytest.approx(one.item(), rel=1e-5)
    one.backward()
    other.backward()
    for theirs, own in zip(notes.parameters(), ours.parameters(), strict=True):
        assert torch.allclose(theirs.grad, own.grad, rtol=1e-3, atol=1e-4)


def test_a_quick_run_without_mnist(benchmark, tmp_path, monkeypatch, capsys):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / data.TRAIN_IMAGES).write_bytes(b"not MNIST")
    monkeypatch.setenv("GENTUT_DATA_DIR", str(tmp_path))
    data.load.cache_clear()
    out = tmp_path / "results" / "record.json"
    benchmark.main(["--quick", "--epochs", "2", "--device", "cpu", "--out", str(out)])
    said, warned = capsys.readouterr()
    assert "was refused" in warned and "Falling back to mnist-mini" in warned
    record = json.loads(out.read_text())
    assert record["data"] == "mnist-mini" and record["quick"] and record["seeds"] == [0]
    assert record["n"] == {"timed_epochs": 2, "epochs": 3, "pictures": 1024, "held_out": 512}
    assert {"cpu", "cores", "threads", "load_average_before"} <= record["machine"].keys()
    assert {"python", "torch", "numpy", "pillow", "gentut"} <= record["versions"].keys()
    assert record["command"].startswith("python benchmarks/vae_training.py --quick --epochs 2")
    notes, ours = record["sides"]["notes"], record["sides"]["gentut"]
    assert record["compared_with"] == min(("notes", "calm"), key=lambda s: record["sides"][s]["median_epoch_seconds"])
    for side in (notes, record["sides"]["calm"], ours):
        assert len(side["epoch_seconds"]) == 2 and min(side["epoch_seconds"]) > 0
        assert side["updates"] == 24 and side["peak_memory_bytes"] > 1e8
        assert 150 < side["validation_nats"] < 400  # an untrained network has 543
    assert set(notes["seconds_by_workers"]) == {"0", "1", "2"} and notes["workers"] in (0, 1, 2)
    assert abs(record["validation_difference_nats"]) < 15  # after so few updates
    assert f"ratio {record['ratio_of_medians']:.2f}" in said


def test_its_mistakes_are_clear(benchmark, capsys):
    for words, what in [
        ("--epochs 0", "--epochs must be at least 1"),
        ("--data minst", "Did you mean 'mnist'"),
        ("--device gpu", "unknown device|not supported"),
    ]:
        with pytest.raises(SystemExit) as end:
            benchmark.main(["--quick", *words.split()])
        assert end.value.code == 2
        assert re.search(what, capsys.readouterr().err)


def test_a_quick_run_of_the_foundations(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("foundations", ROOT / "benchmarks/foundations.py")
    foundations = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(foundations)
    out = tmp_path / "record.json"
    foundations.main(["--quick", "--repeats", "3", "--out", str(out)])
    record = json.loads(out.read_text())
    assert record["quick"] and record["repeats"] == 3 and record["command"].endswith(f"--repeats 3 --out {out}")
    for kind, tolerance in (("float32", 1e-5), ("float64", 1e-14)):
        row = record["kl"][kind]
        assert row["pairs"] == 1000 and row["largest_difference_nats"] < tolerance
        assert row["ratio"] == row["seconds"]["gentut"] / row["seconds"]["bare"] > 0
    assert record["evolve"]["distance_to_the_exact_fractions"] < 1e-14
    assert record["simulate"]["ratio_per_step"] > 1
    assert {"cpu", "cores", "threads"} <= record["machine"].keys() and "torch" in record["versions"]
    assert f"written to {out}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        foundations.main(["--repeats", "0"])


@pytest.fixture(scope="module")
def sampling():
    spec = importlib.util.spec_from_file_location("pixelcnn_sampling", ROOT / "benchmarks/pixelcnn_sampling.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def no_tf32():
    """The benchmark switches TF32 off for its process; put it back."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("passes", [5, 100])
def test_a_quick_run_of_the_sampling(sampling, no_tf32, tmp_path, capsys, passes):
    out = tmp_path / "results" / "record.json"
    words = ["--quick", "--device", "cpu", "--repeats", "2", "--passes", str(passes), "--out", str(out)]
    sampling.main(words)
    record, said = json.loads(out.read_text()), capsys.readouterr().out
    assert record["quick"] and record["command"] == " ".join(["python", "benchmarks/pixelcnn_sampling.py", *words])
    assert (record["n"], record["size"], record["repeats"], record["pixels_that_differ"]) == (4, 10, 2, 0)
    naive, seconds, floor = record["naive"], record["seconds"], record["floor"]
    assert (naive["passes_timed"], naive["passes_of_the_whole"], naive["scaled"]) == (passes, 100, passes < 100)
    assert len(naive["each_seconds"]) == len(seconds["each_incremental"]) == 2
    assert seconds["naive"] == pytest.approx(sum(naive["each_seconds"]) / 2 * 100 / passes)
    assert record["ratio"] == seconds["naive"] / seconds["incremental"] > 1 and record["goal"] == 30
    # every weight of this network survives, but for biases; each is used once for each of 4 x 100 pixels
    model = sampling.network(type("args", (), {"quick": True}), torch.device("cpu"))
    biases = sum(p.numel() for k, p in model.named_parameters() if k.endswith("bias"))
    assert floor["weights"] - biases == floor["surviving_weights"] == floor["multiply_adds"] // 400
    assert floor["fraction_incremental"] == pytest.approx(floor["seconds"] / seconds["incremental"])
    canvas = record["canvas"]
    assert canvas["bytes"] == 4 * canvas["bytes_per_picture"] >= 4 * 4 * 100 * canvas["features_per_pixel"]
    assert (canvas["windows"], canvas["features_per_pixel"]) == (4, 14)
    assert {"cpu", "cores", "threads", "load_average_before"} <= record["machine"].keys()
    assert "torch" in record["versions"]
    how = f"{passes} of 100 passes timed" + ", scaled" * (passes < 100)
    assert how in said and f"ratio {record['ratio']:.1f} (goal: 30)" in said and f"written to {out}" in said


def test_the_sampling_benchmark_ends_where_the_two_ways_differ(sampling, no_tf32, tmp_path, monkeypatch):
    honest = sampling.by_one_pass
    monkeypatch.setattr(sampling, "by_one_pass", lambda *args: 1 - honest(*args))
    with pytest.raises(SystemExit, match="the two ways differ at 400 pixels"):
        sampling.main(["--quick", "--device", "cpu", "--repeats", "1", "--passes", "1", "--out", str(tmp_path / "r")])
    assert not list(tmp_path.iterdir())


def test_the_masked_weights_do_not_count(sampling):
    for kind in ("gated", "masked"):
        model = pixelcnn.build(pixelcnn.Config(kind=kind, size=8))
        convs = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
        used = sum(int((m.weights() if hasattr(m, "weights") else m.weight).count_nonzero()) for m in convs)
        assert sampling.surviving(model) == used


def test_mistakes_of_the_sampling_benchmark_are_clear(sampling, no_tf32, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path)
    for words, what in [
        ("--repeats 0", "--n, --passes and --repeats must be at least 1"),
        ("--device cpu", "unknown published network 'pixelcnn-binary'"),
        ("--device gpu", "unknown device|not supported"),
    ]:
        with pytest.raises(SystemExit) as end:
            sampling.main(words.split())
        assert end.value.code == 2
        assert re.search(what, capsys.readouterr().err)


@pytest.fixture(scope="module")
def game():
    spec = importlib.util.spec_from_file_location("gan_training", ROOT / "benchmarks/gan_training.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_quick_run_of_the_game(game, no_tf32, tmp_path, capsys):
    out = tmp_path / "results" / "record.json"
    words = ["--quick", "--device", "cpu", "--data", "mnist-mini", "--updates", "3", "--rounds", "2", "--out", str(out)]
    game.main(words)
    record, said = json.loads(out.read_text()), capsys.readouterr().out
    assert record["quick"] and record["command"] == " ".join(["python", "benchmarks/gan_training.py", *words])
    assert record["n"] == {
        "timed_updates": 3, "rounds": 2, "warm_up_updates": 5, "batch": 16, "compared_updates": 4}
    assert list(record["precisions"]) == ["fp32", "bf16"] and record["seeds"] == [0]
    for kind, found in record["precisions"].items():
        seconds = {side: sum(each) / 2 for side, each in found["round_seconds"].items()}  # the median of two
        assert list(seconds) == ["plain", "careful", "gentut"] and min(seconds.values()) > 0
        for side, s in seconds.items():
            assert found["pictures_per_second"][side] == pytest.approx(48 / s, rel=0.01)
        rival = found["compared_with"]
        assert rival == min(("plain", "careful"), key=seconds.get)
        assert found["ratio"] == pytest.approx(seconds[rival] / seconds["gentut"], rel=0.01)
        assert found["ratio_to_plain"] >= found["ratio"]
        # all sides trained the same network: the careful loop to the last bit or nearly so
        apart = found["difference_as_share_of_the_way"]
        assert apart["careful"] < 1e-4 and apart["plain"] < game.TOLERANCE[kind]
        assert f"{kind}   " in said
    assert {"cpu", "cores", "threads", "load_average_before"} <= record["machine"].keys()
    assert {"python", "torch", "gentut"} <= record["versions"].keys()
    assert f"written to {out}" in said


def test_the_network_of_the_game_is_the_published_one(game):
    config = game.settings(type("args", (), {"quick": False, "updates": 50}), "bf16")
    published = gan.PUBLISHED["dcgan"]
    changed = {k for k, v in config.to_dict().items() if v != published.to_dict()[k]}
    assert changed <= {"precision", "steps", "decay", "log_every"}
    assert config.steps == 55 and (config.loss, config.critic_steps) == ("wgan-gp", 1)  # what the loops by hand know


@pytest.mark.parametrize("wrong", [{"penalty": 5.0}, {"beta1": 0.5}, {"scale": 0.5}])
def test_the_game_ends_where_the_sides_do_different_things(game, monkeypatch, wrong):
    config = game.settings(type("args", (), {"quick": True, "updates": 1}), "fp32")
    class Wrong(game.Plain):
        def __init__(self, config, device, careful):
            other = {k: v for k, v in wrong.items() if k != "scale"}
            super().__init__(config.replace(**other), device, careful)

        def update(self, x, *noise):
            return super().update(x * wrong.get("scale", 1), *noise)

    monkeypatch.setattr(game, "Plain", Wrong)
    images = data.load("mnist-mini").train_images[:256]
    with pytest.raises(SystemExit, match=r"plain and gentut do different things: after 4 updates in fp32 .* \d+ %"):
        game.differences(config, images, torch.device("cpu"))


def test_mistakes_of_the_games_benchmark_are_clear(game, no_tf32, capsys):
    for words, what in [
        ("--rounds 0", "--updates and --rounds must be at least 1"),
        ("--updates 0", "--updates and --rounds must be at least 1"),
        ("--data minst", "Did you mean 'mnist'"),
        ("--device gpu", "unknown device|not supported"),
    ]:
        with pytest.raises(SystemExit) as end:
            game.main(["--quick", *words.split()])
        assert end.value.code == 2
        assert re.search(what, capsys.readouterr().err)


@pytest.fixture(scope="module")
def denoising():
    spec = importlib.util.spec_from_file_location("benchmark_of_ddpm", ROOT / "benchmarks/ddpm.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def quick_denoising(denoising, folder, *more):
    """(record, words) of a run with tiny networks."""
    out = folder / "results" / "record.json"
    words = ["--quick", "--device", "cpu", "--data", "mnist-mini", "--updates", "2", "--rounds", "2", "--steps", "3",
             *more, "--out", str(out)]
    denoising.main(words)
    return json.loads(out.read_text()), words


def test_a_quick_run_of_the_denoising_alone(denoising, no_tf32, tmp_path, monkeypatch, capsys):
    absent = [type(name, (), {"name": name}) for name in ("a-package-that-nobody-has", "nor-this-one")]
    monkeypatch.setattr(denoising, "SIDES", (denoising.Gentut, *absent))
    record, words = quick_denoising(denoising, tmp_path)
    said = capsys.readouterr().out
    assert record["quick"] and record["command"] == " ".join(["python", "benchmarks/ddpm.py", *words])
    assert record["not_measured"] == {side.name: "not installed" for side in absent}
    assert record["least_ratio"] == {"training": None, "sampling": None} and "at least" not in said
    assert "a-package-that-nobody-has was not measured: not installed. It comes with: pip install" in said
    assert record["n"] == {"updates": 2, "rounds": 2, "warm_up_updates": 2, "batch": 8, "pictures": 8, "steps": 3}
    assert record["clock"] == ("cpu" if torch.get_num_threads() == 1 else "wall")
    for look in ("pixels", "patches"):
        size = record["networks"][look]["gentut"]
        assert size["passes"] == 3 and size["within_a_tenth"] and set(size["off"].values()) == {0.0}
        assert list(record["results"][look]) == ["fp32", "bf16"]
        for found in record["results"][look].values():
            for task, what, pictures in (("training", "training_step", 16), ("sampling", "pass", 24)):
                assert list(found[task]) == ["gentut"]
                each = found[task]["gentut"]
                assert each["layout"] == "channels_last" and "gentut_is_faster" not in each
                assert len(each["wall_seconds"]) == len(each["cpu_seconds"]) == 2
                assert each["seconds"] == pytest.approx(sum(each[f"{record['clock']}_seconds"]) / 2, abs=2e-4)
                floor = size[f"operations_of_a_{what}"] * pictures / found["matmul_operations_per_second"]
                assert each["fraction_of_the_floor"] == pytest.approx(floor / each["seconds"], rel=0.05, abs=2e-4)
            each = found["training"]["gentut"]
            assert each["pictures_per_second"] == pytest.approx(16 / each["seconds"], rel=0.01)
    assert {"cpu", "cores", "threads", "load_average_before"} <= record["machine"].keys()
    assert {"python", "torch", "gentut"} <= record["versions"].keys() and f"written to {words[-1]}" in said


def test_the_denoising_against_a_loop_by_hand(denoising, no_tf32, tmp_path, monkeypatch, capsys):
    """A side of the test's own, with gentut's network in the loop that the packages are given."""
    turns = []

    class Own(denoising.Package):
        name, load = "pytest", staticmethod(lambda: pytest)

        def __init__(self, size, patch, device):
            config = ddpm.Config(classes=0, patch=patch, **denoising.TINY["gentut"])
            self.model = ddpm.build(config)
            self.network = self.model.network

        def loss(self, x):
            return ddpm.losses(self.model, x, None, training.Noise(0, len(x)))["loss"].mean()

        def sample(self, n, steps):
            return ddpm.sample(self.model, n, steps=steps)

        def train(self, images, precision, updates, batch):
            turns.append((self.name, updates))
            before = self.network.first.weight.clone()
            took = super().train(images, precision, updates, batch)
            assert not torch.equal(before, self.network.first.weight)  # it learns
            return took

    class Ours(denoising.Gentut):
        def train(self, images, precision, updates, batch):
            turns.append((self.name, updates))
            return super().train(images, precision, updates, batch)

    monkeypatch.setattr(denoising, "SIDES", (Ours, Own))
    monkeypatch.setattr(denoising, "Gentut", Ours)
    monkeypatch.setitem(denoising.TINY, "pytest", {})
    record, _ = quick_denoising(denoising, tmp_path, "--look", "patches", "--updates", "4")
    said = capsys.readouterr().out
    assert list(record["networks"]) == ["patches"] and record["not_measured"] == {}
    assert record["versions"]["pytest"] == pytest.__version__
    sizes = record["networks"]["patches"]
    counted = {name: [v for k, v in size.items() if k.startswith(("parameters", "operations"))]
               for name, size in sizes.items()}
    assert counted["pytest"] == counted["gentut"] and sizes["pytest"]["within_a_tenth"]
    rounds = [turn for turn in turns if turn[1] == 4]
    assert rounds == [("gentut", 4), ("pytest", 4)] * 4  # two rounds in two precisions, by turns
    for found in record["results"]["patches"].values():
        for task in ("training", "sampling"):
            ours, own = found[task]["gentut"], found[task]["pytest"]
            assert own["gentut_is_faster"] == pytest.approx(own["seconds"] / ours["seconds"], rel=0.1)
            assert own["per_operation"] == own["gentut_is_faster"]  # all make the same operations
            trials = own["trial_seconds"]
            assert set(trials) == {"contiguous", "channels_last"}
            assert trials[own["layout"]] == min(trials.values())  # two rounded times may be equal
            assert f"gentut is {own['gentut_is_faster']:.2f} times as fast" in said
    for task, least in record["least_ratio"].items():
        assert least == min(found[task]["pytest"]["gentut_is_faster"]
                            for found in record["results"]["patches"].values())
    assert "at least {training:.2f} times as fast in training".format(**record["least_ratio"]) in said


def test_the_operations_of_the_denoising_are_counted(denoising):
    """For each place a convolution's weights, for each picture a linear layer's, and attention's two products."""
    side = denoising.Gentut({"widths": (8, 16), "attention": True}, 2, torch.device("cpu"))
    size, places = denoising.size_of(side), {}
    for name, layer in side.network.named_modules():
        layer.register_forward_hook(lambda layer, x, y, name=name: places.update({name: y.shape[2:].numel()}))
    side.sample(1, 1)
    layers = dict(side.network.named_modules())
    used = sum(layer.weight.numel() * (places[name] if isinstance(layer, torch.nn.Conv2d) else 1)
               for name, layer in layers.items() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)))
    assert size["operations_of_a_pass"] == 2 * (used + 2 * 49**2 * 16)  # 7 x 7 places see each other
    assert 2.5 < size["operations_of_a_training_step"] / size["operations_of_a_pass"] <= 3
    assert size["parameters"] == sum(p.numel() for p in side.model.parameters())


def test_networks_of_other_sizes_are_not_called_alike(denoising):
    def size(parameters, operations):
        return {"parameters": parameters, "operations_of_a_pass": operations, "operations_of_a_training_step": 300}

    found = denoising.compared({"gentut": size(100, 100), "near": size(109, 91), "large": size(111, 100),
                                "slow": size(100, 89)})
    assert {name: each["within_a_tenth"] for name, each in found.items()} == {
        "gentut": True, "near": True, "large": False, "slow": False}
    assert found["near"]["off"] == {
        "parameters": 0.09, "operations_of_a_pass": -0.09, "operations_of_a_training_step": 0.0}


@pytest.mark.parametrize("look", ["pixels", "patches"])
def test_the_packages_networks_are_of_gentuts_size(denoising, look):
    sides, missing = denoising.installed()
    if missing:
        pytest.skip(f"needs the extra bench: {missing}")
    cpu = torch.device("cpu")
    made = [side(denoising.SIZES[look][side.name], denoising.PATCH[look], cpu) for side in sides]
    sizes = denoising.compared({side.name: denoising.size_of(side) for side in made})
    assert all(size["within_a_tenth"] for size in sizes.values()), sizes
    assert [denoising.passes(side, 3) for side in made] == [3, 3, 3]


def test_the_record_of_the_denoising_is_of_networks_of_one_size(denoising):
    """The published numbers are those of both packages, of the networks as they are now, matched within 10 %."""
    path = ROOT / "benchmarks/results/ddpm-cpu.json"
    if not path.exists():
        pytest.skip("not measured yet")
    record = json.loads(path.read_text())
    assert not record["quick"] and record["not_measured"] == {} and record["n"]["batch"] == 64
    for look, table in denoising.SIZES.items():
        sizes = record["networks"][look]
        assert set(sizes) == set(table) and all(size["within_a_tenth"] for size in sizes.values())
        now = denoising.size_of(denoising.Gentut(table["gentut"], denoising.PATCH[look], torch.device("cpu")))
        assert {what: sizes["gentut"][what] for what in now} == now
    assert record["least_ratio"] == denoising.least_ratio(record["results"])


def test_a_sampler_with_other_passes_or_pictures_ends_the_denoising(denoising, monkeypatch):
    side = denoising.Gentut(denoising.TINY["gentut"], 2, torch.device("cpu"))
    assert denoising.passes(side, 3) == 3
    whole = side.sample
    for wrong, what in [
        (lambda n, steps: whole(n, steps + 1), "made 4 passes where 3 steps were asked for"),
        (lambda n, steps: 3 * whole(n, steps) - 1, "in -1 to 2"),
        (lambda n, steps: whole(n, steps).flatten(1), r"of shape \(2, 784\)"),
    ]:
        monkeypatch.setattr(side, "sample", wrong)
        with pytest.raises(SystemExit, match=what):
            denoising.passes(side, 3)


def test_a_package_that_does_not_load_is_left_out(denoising, monkeypatch, tmp_path):
    """Above all one whose torchvision does not fit this torch; where that can be hidden, it is."""
    def broken():
        raise RuntimeError("operator torchvision::nms does not exist\nand more")

    monkeypatch.setattr(denoising, "SIDES", (denoising.Gentut, type("S", (), {"name": "pytest", "load": broken})))
    assert denoising.installed() == (
        [denoising.Gentut], {"pytest": "cannot be loaded: operator torchvision::nms does not exist"})

    for name in [n for n in sys.modules if n.split(".")[0] in ("torchvision", "denoising_diffusion_pytorch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)  # and whatever is put there is gone after the test
    monkeypatch.delitem(sys.modules, "torchvision")
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in [
        ("torchvision/__init__.py", "from torchvision import part\nraise RuntimeError('it needs CUDA')"),
        ("torchvision/part.py", ""),
        ("denoising_diffusion_pytorch/__init__.py", "from .denoising_diffusion_pytorch import tqdm"),
        ("denoising_diffusion_pytorch/denoising_diffusion_pytorch.py",
         "from torchvision import transforms as T, utils\nfrom tqdm.auto import tqdm"),
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert not denoising.torchvision_fits() and importlib.util.find_spec("torchvision") is None
    inner = denoising.import_ddp().denoising_diffusion_pytorch
    assert inner.tqdm(range(3), desc="silent") == range(3) and "torchvision.part" not in sys.modules
    assert importlib.util.find_spec("torchvision") is None
    for name in ("", ".denoising_diffusion_pytorch"):
        monkeypatch.delitem(sys.modules, f"denoising_diffusion_pytorch{name}")


def test_mistakes_of_the_denoisings_benchmark_are_clear(denoising, no_tf32, capsys):
    for words, what in [
        ("--rounds 0", "--updates, --rounds and --batch must be at least 1"),
        ("--updates 0", "--updates, --rounds and --batch must be at least 1"),
        ("--batch 0", "--updates, --rounds and --batch must be at least 1"),
        ("--steps 1000", "--steps between 1 and 999"),
        ("--look words", "invalid choice: 'words'"),
        ("--data minst", "Did you mean 'mnist'"),
        ("--device gpu", "unknown device|not supported"),
    ]:
        with pytest.raises(SystemExit) as end:
            denoising.main(["--quick", *words.split()])
        assert end.value.code == 2
        assert re.search(what, capsys.readouterr().err)


# ------------------------------------------------------------------------------------------------------- what is told


def test_every_benchmark_and_every_record_stands_in_the_list():
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py")} - {"surroundings.py"}
    assert {name for name in scripts if f"`{name}`" not in text} == set()
    listed = {name for row in text.splitlines() if row.startswith("| `")
              for name in re.findall(r"`(\w+)`", row.split("|")[3])}
    records = {re.sub(r"-(cpu|cuda).*", "", path.stem) for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    assert records == listed
    assert set(re.findall(r"^\| `(\w+\.py)`", text, re.MULTILINE)) == scripts


@pytest.fixture(scope="module")
def steps():
    spec = importlib.util.spec_from_file_location("training_steps", ROOT / "benchmarks/training_steps.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    spec.loader.exec_module(module)
    return module


def test_the_table_of_training_steps_is_that_of_the_records(steps):
    text = steps.README.read_text(encoding="utf-8")
    assert steps.with_section(text) == text, "run python benchmarks/training_steps.py --readme"
    assert set(checkpoints.measured("training_steps-cpu")["networks"]) == set(checkpoints.names())


def test_a_step_is_measured_with_the_published_settings(steps, tmp_path, capsys):
    threads = torch.get_num_threads()
    try:
        steps.main(["classifier", "--device", "cpu", "--steps", "4", "--quick", "--out", str(tmp_path / "r.json")])
    finally:
        torch.set_num_threads(threads)
    record = json.loads((tmp_path / "r.json").read_text())
    found, card = record["networks"]["classifier"], checkpoints.card("classifier")
    assert found["parameters"] == card["parameters"] and found["batch_size"] == card["config"]["batch_size"]
    assert 0 < found["share_of_matmul_rate"] < 1.5 and found["milliseconds"] > 0
    shares = [each["share"] for each in found["largest"]]
    assert len(shares) == 3 and shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1
    assert "`classifier`" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        steps.main(["--steps", "1"])
    assert "--steps must be at least 4, got 1" in capsys.readouterr().err
