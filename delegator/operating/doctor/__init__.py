"""`delegator doctor`: checks every link with the reader's own configuration, then sends a job through all of them."""

from delegator.operating.doctor.check import Check, Status
from delegator.operating.doctor.examination import DoctorOptions, examine

__all__ = ["Check", "DoctorOptions", "Status", "examine"]
