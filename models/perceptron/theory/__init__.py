"""Replica theory of the binary perceptron: what samplers and message passing are compared with.

All saddles are replica symmetric, entropies are in nats a weight, loads are patterns a weight and
``n -> infinity``. Nothing here is random. Double precision is required.

In reading order:

============================== =====================================================================
`replica_symmetric`            entropy of solutions to random patterns; tree committees, too
`capacity`                     the load at which it vanishes                             (typical)
`teacher_student`              what a student of a rule knows                            (teacher)
`teacher_student_thresholds`   where it knows everything
`franz_parisi`                 solutions at a distance from a typical one                (pinned)
`franz_parisi_zero`            the distance below which there are none
`large_deviation`              dense regions: references weighed by solutions near them  (dense)
`vanishing_external_entropy`   the densest regions that exist
============================== =====================================================================
"""

from .dense import LargeDeviation, large_deviation, vanishing_external_entropy
from .pinned import FranzParisi, franz_parisi, franz_parisi_zero
from .teacher import (
    TeacherStudent,
    TeacherStudentThresholds,
    teacher_student,
    teacher_student_thresholds,
)
from .typical import ReplicaSymmetric, capacity, replica_symmetric

__all__ = [
    "FranzParisi",
    "LargeDeviation",
    "ReplicaSymmetric",
    "TeacherStudent",
    "TeacherStudentThresholds",
    "capacity",
    "franz_parisi",
    "franz_parisi_zero",
    "large_deviation",
    "replica_symmetric",
    "teacher_student",
    "teacher_student_thresholds",
    "vanishing_external_entropy",
]
