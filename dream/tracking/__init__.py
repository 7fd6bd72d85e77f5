"""Logging of experiments to MLflow: runs with parameters, metrics, tables, figures and traces.

The only package that imports MLflow. Logging is idempotent.
"""

from dream.tracking.tracker import Tracker as Tracker, check_mlflow as check_mlflow, track as track
