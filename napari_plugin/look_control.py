"""How one slide is laid over the other: the choice and its slider, for the picker and the review."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_plugin.overlay import MODES, Look
from napari_plugin.widgets import StillComboBox, StillSlider, quietly

LOOK_NAMES = {
    "off": "off",
    "blend": "H&E blended over IHC",
    "checkerboard": "checkerboard",
    "swipe": "swipe",
}
SHARE_STEPS = 100


class LookControl(QWidget):
    """Choice of a way to lay one slide over the other, and its slider."""

    def __init__(self, *, with_off: bool) -> None:
        super().__init__()
        self.modes = [mode for mode in MODES if with_off or mode != "off"]
        self.choice = StillComboBox()
        self.choice.addItems([LOOK_NAMES[mode] for mode in self.modes])
        self.choice.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.slider = StillSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, SHARE_STEPS)
        self.slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.choice)
        layout.addWidget(self.slider, 1)

    def show_look(self, look: Look) -> None:
        """Show what is chosen, without telling anybody."""
        with quietly(self.choice), quietly(self.slider):
            self.choice.setCurrentIndex(self.modes.index(look.mode))
            self.slider.setValue(round(look.share * SHARE_STEPS))
        self.slider.setEnabled(look.mode in ("blend", "swipe"))
