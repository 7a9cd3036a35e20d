"""Binary perceptrons and committee machines."""

from .problem import Problem, random_patterns, teacher_student

__all__ = ["Problem", "random_patterns", "teacher_student"]
