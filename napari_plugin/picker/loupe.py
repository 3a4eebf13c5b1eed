"""The loupe: both places of the selected pair side by side at high zoom, with hollow cross-hairs."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_plugin.levels import Source
from napari_plugin.picker.session import Session
from napari_plugin.views import SIDES, STAIN, XY
from registration.errors import SlideError
from registration.geometry import Box, Image
from registration.transforms import Projective

SIDE_PX = 160
UM_PER_PX = 0.35
"""About 56 µm across: a nucleus is 20 to 30 pixels."""
HOLE_PX, ARM_PX = 9, 34
"""The cross-hair leaves what it points at free."""
GLASS = 255


class Loupe(QWidget):
    """Shows both places of the selected pair; the IHC place turned as in its view."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._shown: object = None
        self._glasses = {side: _Glass() for side in SIDES}
        row = QHBoxLayout()
        for side in SIDES:
            row.addWidget(self._glasses[side])
        self._title = QLabel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._title)
        layout.addLayout(row)

    def refresh(self) -> None:
        """Show the session's selected pair, if there is something new to show."""
        session = self._session
        self.setVisible(session.has_loupe)
        pair = session.picker.picks.current
        state = (pair, session.views, session.has_loupe)
        if not session.has_loupe or state == self._shown:
            return
        self._shown = state
        named = "no pair selected" if pair is None else f"pair {pair.name}"
        self._title.setText(f"Loupe (Z): {named}")
        for side in SIDES:
            place = None if pair is None else pair.at(side)
            source, view = session.canvas.sources[side], session.views.of_side(side)
            try:
                image = None if place is None else magnified(source, view, place)
            except SlideError:
                # The window says why; the loupe tries again with the next action.
                image, self._shown = None, None
            self._glasses[side].show_image(image, STAIN[side])


def magnified(source: Source, view: Projective, place: XY, mpp: float = UM_PER_PX) -> Image:
    """Return ``(SIDE_PX, SIDE_PX, 3)`` RGB around a level-0 place, turned as ``view`` turns the slide.

    ``view`` maps level-0 pixels to µm; the place is drawn in the middle.
    """
    linear = view.matrix[:2, :2] / view.matrix[2, 2] / mpp
    half = (SIDE_PX - 1) / 2
    reach = int(np.ceil(np.abs(np.linalg.inv(linear)).sum(axis=1).max() * half)) + 2
    x, y = (round(value) for value in place)
    box = Box(x - reach, y - reach, 2 * reach + 1, 2 * reach + 1)
    offset = np.array([half, half]) - linear @ (np.array(place) - [box.x, box.y])
    return _warped(source.read(box, 1.0), np.column_stack([linear, offset]))


def _warped(image: Image, matrix: NDArray[np.float64]) -> Image:
    size = (SIDE_PX, SIDE_PX)
    border = (GLASS, GLASS, GLASS)
    return np.asarray(
        cv2.warpAffine(
            image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=0, borderValue=border
        )
    )


class _Glass(QWidget):
    """One of the two pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedSize(SIDE_PX, SIDE_PX)
        self._image: QImage | None = None
        self._name = ""

    def show_image(self, image: Image | None, name: str) -> None:
        """Show a picture with its name, or nothing."""
        self._name = name
        self._image = None
        if image is not None:
            data = np.ascontiguousarray(image)
            height, width, channels = data.shape
            kind = QImage.Format.Format_RGB888
            self._image = QImage(data.data, width, height, channels * width, kind).copy()
        self.update()

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802
        """Draw the picture, a hollow cross-hair in black and white, and the name."""
        painter = QPainter(self)
        if self._image is None:
            painter.fillRect(self.rect(), QColor("#808080"))
        else:
            painter.drawImage(0, 0, self._image)
            for color, width in (("white", 3), ("black", 1)):
                painter.setPen(QPen(QColor(color), width))
                _cross(painter.drawLine)
        painter.fillRect(0, 0, 34, 17, QColor(255, 255, 255, 200))
        painter.setPen(QColor("black"))
        painter.drawText(self.rect().adjusted(4, 1, 0, 0), Qt.AlignmentFlag.AlignTop, self._name)
        painter.end()


def _cross(line: Callable[[QPointF, QPointF], object]) -> None:
    """Draw four arms around a free middle."""
    middle = SIDE_PX / 2
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        begin = QPointF(middle + x * HOLE_PX, middle + y * HOLE_PX)
        line(begin, QPointF(middle + x * ARM_PX, middle + y * ARM_PX))
