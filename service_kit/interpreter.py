"""How a service's process sets up the interpreter, once, before it serves.

Both settings are the whole process's: call `settle` from a program's main and nowhere else.
"""

from __future__ import annotations

import gc
import sys

# Threads whose kernels run without the interpreter lock get it back after this, instead of 5 ms:
# while the event loop takes a batch apart, the one before goes into the store beside it.
SWITCH_INTERVAL_S = 0.0005


def settle() -> None:
    """Call it when everything is imported. What the imports made is never garbage, and the
    collector no longer looks at it: with many small objects alive that halves their cost
    (reading Kafka: 4.6 to 2.2 µs an event, 2026-11-22)."""
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
