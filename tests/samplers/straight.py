"""Schedules that do not preserve variance, for tests of samplers: a rectified flow, and the levels of EDM."""

from ablatent.checks.gaussian import edm, rectified_flow

Flow, EDM = rectified_flow, edm
