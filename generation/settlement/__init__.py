"""How an output ends: state, image, charge and money in one transaction. Also cancel.

Whoever wins the compare-and-set on the output's state settles it; everybody else walks away quietly.
"""

from generation.settlement.counts import measure_attempt
from generation.settlement.deliveries import BEFORE_RECEIVED, Delivery, deliver, succeed
from generation.settlement.endings import cancel, cancel_output, fail

__all__ = [
    "BEFORE_RECEIVED",
    "Delivery",
    "cancel",
    "cancel_output",
    "deliver",
    "fail",
    "measure_attempt",
    "succeed",
]
