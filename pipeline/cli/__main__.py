"""``python -P -m pipeline.cli``: the program as a child of its own, which ends with its parent."""

from __future__ import annotations

from pipeline.cli.app import main
from registration.children import end_with_parent, ignore_interrupts, listen_to_interrupts

if __name__ == "__main__":
    end_with_parent()
    listen_to_interrupts()
    try:
        main()
    finally:
        ignore_interrupts()
