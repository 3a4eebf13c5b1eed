"""What is on the screen until the window is: the names of what is opened, and how both slides look."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QColor, QGuiApplication, QImage, QPainter, QPixmap
from qtpy.QtWidgets import QApplication, QSplashScreen

PICTURE_PX = 340
"""Longest side of a slide's picture."""
EDGE_PX, LINE_PX = 20, 28
GROUND, FRAME, TEXT = "#262930", "#484848", "#f0f1f2"
SHOWN_WITHIN_S = 2.0
"""What a display may take; a display that hides the window does not keep it from opening."""
MIDDLE = Qt.AlignmentFlag.AlignCenter


class Splash(QSplashScreen):
    """A screen with a frame for each slide that is opened, its name, and its picture when it is read."""

    def __init__(self, title: str, captions: Sequence[str]) -> None:
        super().__init__(_ground(EDGE_PX + len(captions) * (PICTURE_PX + EDGE_PX)))
        drawn = self.pixmap()
        painter = QPainter(drawn)
        painter.setPen(QColor(TEXT))
        painter.drawText(QRect(0, 0, self.width(), 2 * LINE_PX), MIDDLE, title)
        for number, caption in enumerate(captions):
            frame = self.frame(number)
            painter.fillRect(frame, QColor(FRAME))
            below = QRect(frame.left(), frame.bottom() + EDGE_PX // 4, frame.width(), LINE_PX)
            cut = Qt.TextElideMode.ElideMiddle
            text = painter.fontMetrics().elidedText(caption, cut, frame.width())
            painter.drawText(below, MIDDLE, text)
        painter.end()
        self.setPixmap(drawn)

    def appear(self) -> None:
        """Come onto the screen."""
        self.show()
        until = time.monotonic() + SHOWN_WITHIN_S
        while not self.windowHandle().isExposed() and time.monotonic() < until:
            QApplication.processEvents()  # nothing is drawn before the display says that it may be
        self.repaint()
        QApplication.processEvents()

    def show_picture(self, number: int, pixels: Any) -> None:
        """Show how a slide looks: ``(h, w, 3)`` RGB, no side above :data:`PICTURE_PX`."""
        height, width, channels = pixels.shape
        kind, data = QImage.Format.Format_RGB888, pixels.tobytes()  # the image does not keep them
        image = QImage(data, width, height, channels * width, kind)
        place = QRect(0, 0, width, height)
        place.moveCenter(self.frame(number).center())
        drawn = self.pixmap()
        painter = QPainter(drawn)
        painter.drawImage(place, image)
        painter.end()
        self.setPixmap(drawn)

    def frame(self, number: int) -> QRect:
        """Return where a picture goes."""
        left = EDGE_PX + number * (PICTURE_PX + EDGE_PX)
        return QRect(left, 2 * LINE_PX, PICTURE_PX, PICTURE_PX)


def _ground(width: int) -> QPixmap:
    """Return the empty screen, as fine as the display draws."""
    ratio = QGuiApplication.primaryScreen().devicePixelRatio()
    height = 3 * LINE_PX + PICTURE_PX + EDGE_PX // 2
    ground = QPixmap(round(width * ratio), round(height * ratio))
    ground.setDevicePixelRatio(ratio)
    ground.fill(QColor(GROUND))
    return ground
