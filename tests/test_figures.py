"""figures.py: sheets put every picture where it belongs, tables show what they were given, plots draw the numbers."""

import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gentut import Error, figures, vae


@pytest.fixture(autouse=True)
def close_figures():
    with matplotlib.rc_context():
        yield
    plt.close("all")


@given(n=st.integers(1, 13), columns=st.integers(1, 6), gap=st.integers(0, 3), size=st.sampled_from([(3, 4), (5, 2)]))
def test_every_picture_is_in_its_place_on_the_sheet(n, columns, gap, size):
    height, width = size
    images = torch.rand(n, 1, height, width, generator=torch.Generator().manual_seed(n))
    page = figures.sheet(images, columns, gap)
    rows = -(-n // columns)
    assert page.shape == (rows * (height + gap) - gap, columns * (width + gap) - gap)
    covered = np.zeros_like(page, dtype=bool)
    for k in range(n):
        top, left = (k // columns) * (height + gap), (k % columns) * (width + gap)
        window = (slice(top, top + height), slice(left, left + width))
        assert np.array_equal(page[window], images[k, 0].numpy())
        covered[window] = True
    assert (page[~covered] == 1).all()  # gaps and the rest of the last row are white


def test_uint8_pictures_become_grey_values_and_others_are_clipped():
    assert figures.sheet(torch.tensor([[[0, 51, 255]]], dtype=torch.uint8), 1).tolist() == [pytest.approx([0, 0.2, 1])]
    assert figures.sheet(torch.tensor([[[-1.0, 0.5, 2.0]]]), 1).tolist() == [[0, 0.5, 1]]


@pytest.mark.parametrize("images", [torch.zeros(28, 28), torch.zeros(2, 3, 28, 28), torch.zeros(0, 28, 28)])
def test_a_sheet_refuses_what_is_no_list_of_pictures(images):
    with pytest.raises(Error, match="pictures of shape"):
        figures.sheet(images, 2)


def test_a_sheet_needs_a_column():
    with pytest.raises(Error, match="columns must be at least 1, got 0"):
        figures.sheet(torch.zeros(1, 28, 28), 0)


def test_strips_have_a_row_and_a_name_for_each_entry():
    axes = figures.strips({"in": torch.zeros(3, 1, 28, 28), "out": torch.ones(3, 1, 28, 28)}, title="both")
    assert [ax.get_ylabel() for ax in axes] == ["in", "out"]
    assert axes[0].get_title(loc="left") == "both"
    assert axes[0].images[0].get_array().shape == (28, 3 * 29 - 1)


def test_codes_show_all_points_and_the_digit_of_each_class_at_its_median():
    z = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 5.0], [-4.0, -4.0]])
    ax = figures.codes(z, torch.tensor([7, 7, 7, 3]))
    assert ax.collections[0].get_offsets().tolist() == z.tolist()
    assert {t.get_text(): t.get_position() for t in ax.texts} == {"3": (-4, -4), "7": (1, 1)}
    colours = ax.collections[0].get_facecolors()
    assert (colours[0] == colours[2]).all() and (colours[0] != colours[3]).any()
    with pytest.raises(Error, match=r"codes \(n, 2\)"):
        figures.codes(torch.zeros(4, 3), torch.zeros(4))


def test_learning_curves_draw_both_and_ring_the_kept_epoch():
    config = vae.Config(data="mnist-mini", validation=100, keep_best=True)
    history = [
        {"step": 50, "epoch": 0.5, "loss": 9.0, "kl": 1.0},
        {"step": 100, "epoch": 1.0, "loss": 7.0, "kl": 2.0, "validation_loss": 6.0, "validation_kl": 2.5},
        {"step": 200, "epoch": 2.0, "loss": 5.0, "kl": 3.0, "validation_loss": 6.5, "validation_kl": 3.5},
    ]
    run = vae.training.Run(None, config, history)
    lines = {line.get_label(): line for line in figures.learning_curves(run).lines}
    assert lines["training (running mean)"].get_xydata().tolist() == [[0.5, 9], [1, 7], [2, 5]]
    assert lines["validation"].get_xydata().tolist() == [[1, 6], [2, 6.5]]
    assert lines["kept (best on validation)"].get_xydata().tolist() == [[1, 6]]
    ring = figures.learning_curves(run, "kl").lines[-1]
    assert ring.get_xydata().tolist() == [[1, 2.5]]  # the epoch of the best loss, on the curve that is shown
    with pytest.raises(Error, match="no quantity 'lozz'; it has: epoch, kl, loss"):
        figures.learning_curves(run, "lozz")


def test_a_table_shows_its_values_as_html_and_as_text():
    table = figures.Table(["name", "n", "nats"], [["a < b", 12000, -1.25], ["c", None, 100.0]], "caption", digits=2)
    page, text = table._repr_html_(), repr(table)
    assert "a &lt; b" in page and "a < b" in text
    for part in ("12,000", "−1.25", "100.00", "–", "caption"):
        assert part in page and part in text
    assert page.count("<tr>") == 3
    assert '<td style="text-align: right">12,000</td>' in page and '<td style="text-align: left">c</td>' in page


def test_a_table_refuses_a_row_of_the_wrong_length():
    with pytest.raises(Error, match="a row has 1 values, but there are 2 headings"):
        figures.Table(["a", "b"], [[1]])


def _linear(colour):
    """sRGB hex → linear RGB, as the simulation of colour vision needs it."""
    c = np.array(matplotlib.colors.to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


# Machado, Oliveira and Fernandes (2009), severity 1: how colours look without red or without green cones.
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]


@pytest.mark.parametrize("sight", [np.eye(3), np.array(PROTANOPIA), np.array(DEUTERANOPIA)])
def test_the_books_colours_stay_apart_and_stand_out_from_white(sight):
    colours = [figures.DATA, figures.LEARNED, figures.NOISE, figures.TRUTH]
    seen = [np.clip(sight @ _linear(c), 0, 1) ** (1 / 2.4) for c in colours]
    for i, a in enumerate(seen):
        for b in seen[:i]:
            assert np.abs(a - b).max() > 0.12
    for c in colours:
        luminance = _linear(c) @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (luminance + 0.05) > 3  # WCAG's contrast for graphics


def test_style_sets_the_books_colours():
    figures.style()
    assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"][:2] == [figures.LEARNED, figures.DATA]
    assert matplotlib.rcParams["figure.facecolor"] == "white"


def test_a_saved_picture_has_a_white_ground_of_its_own_so_it_reads_the_same_on_a_dark_page():
    figures.style()
    fig, ax = plt.subplots(figsize=(2, 1))
    ax.plot([0, 1], [0, 1])
    memory = io.BytesIO()
    fig.savefig(memory, format="png")  # as a notebook does it
    memory.seek(0)
    pixels = plt.imread(memory)
    assert pixels.shape[2] == 3 or (pixels[..., 3] == 1).all()
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert (pixels[row, column, :3] == 1).all()
