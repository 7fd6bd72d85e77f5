"""Experiments become MLflow runs: parameters, metrics, tables, pictures and traces.

The only package that knows MLflow; nothing is logged twice.
"""

from dream.tracking.tracker import Tracker as Tracker, check_mlflow as check_mlflow, track as track
