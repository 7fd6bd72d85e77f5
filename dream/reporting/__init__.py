"""Figures and the HTML report of an experiment.

The only package that knows plotly, matplotlib and Jinja.
"""

from dream.reporting.figures import (
    all_figures as all_figures,
    forest as forest,
    heat_map as heat_map,
    main_effects as main_effects,
    parallel_coordinates as parallel_coordinates,
    pareto as pareto,
)
from dream.reporting.notebook import show as show
from dream.reporting.report import failure_html as failure_html, report_html as report_html
