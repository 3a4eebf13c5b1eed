"""How slides are shown, in picker and review: laid over each other, one stain alone, with more contrast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_plugin.overlay import MODES, Look, Mode
from napari_plugin.tone import CHANNELS, Tone
from napari_plugin.widgets import StillComboBox, StillSlider, quietly

LOOK_NAMES = {
    "off": "off",
    "blend": "H&E blended over IHC",
    "checkerboard": "checkerboard",
    "swipe": "swipe: drag its edge",
}
STEPS = 100
CONTRASTS = (0.5, 3.0)
"""Least and most contrast."""


class LookControl(QWidget):
    """Choices of how slides are laid over each other and of what is shown of their colours."""

    def __init__(
        self,
        *,
        with_off: bool,
        set_look: Callable[[Mode | None, float | None], object],
        set_tone: Callable[[Tone], object],
    ) -> None:
        super().__init__()
        self.modes = [mode for mode in MODES if with_off or mode != "off"]
        self.choice, self.slider = _choice([LOOK_NAMES[mode] for mode in self.modes]), _slider()
        self.channel, self.contrast = _choice(list(CHANNELS)), _slider()
        self.contrast.setToolTip("Contrast")
        self._tone, self._tone_changed = Tone(), set_tone
        self.choice.currentIndexChanged.connect(lambda index: set_look(self.modes[index], None))
        self.slider.valueChanged.connect(lambda value: set_look(None, value / STEPS))
        self.channel.currentIndexChanged.connect(
            lambda index: self._tone_changed(replace(self._tone, channel=CHANNELS[index]))
        )
        self.contrast.valueChanged.connect(
            lambda value: self._tone_changed(replace(self._tone, contrast=_contrast(value)))
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widgets in (
            (self.choice, self.slider),
            (QLabel("Show"), self.channel, QLabel("Contrast"), self.contrast),
        ):
            row = QHBoxLayout()
            for widget in widgets:
                row.addWidget(widget, int(isinstance(widget, StillSlider)))
            layout.addLayout(row)

    def show_look(self, look: Look, tone: Tone, *, enabled: bool = True) -> None:
        """Show what is chosen, without telling anybody."""
        self._tone = tone
        with quietly(self.choice), quietly(self.slider):
            self.choice.setCurrentIndex(self.modes.index(look.mode))
            self.slider.setValue(round(look.share * STEPS))
        with quietly(self.channel), quietly(self.contrast):
            self.channel.setCurrentIndex(CHANNELS.index(tone.channel))
            low, high = CONTRASTS
            self.contrast.setValue(round((tone.contrast - low) / (high - low) * STEPS))
        self.choice.setEnabled(enabled)
        self.slider.setEnabled(enabled and look.mode in ("blend", "swipe"))


def _contrast(value: int) -> float:
    low, high = CONTRASTS
    return low + (high - low) * value / STEPS


def _choice(texts: list[str]) -> StillComboBox:
    choice = StillComboBox()
    choice.addItems(texts)
    choice.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return choice


def _slider() -> StillSlider:
    slider = StillSlider(Qt.Orientation.Horizontal)
    slider.setRange(0, STEPS)
    slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return slider
