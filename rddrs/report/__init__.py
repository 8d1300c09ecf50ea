"""Tables, figures and a self-contained page from the records of one run or of several."""

from rddrs.report.audits import audit_figure as audit_figure
from rddrs.report.audits import audit_table as audit_table
from rddrs.report.figures import accuracy_figure as accuracy_figure
from rddrs.report.figures import ball_figure as ball_figure
from rddrs.report.figures import comparison_figure as comparison_figure
from rddrs.report.figures import comparison_figures as comparison_figures
from rddrs.report.figures import fidelity_figure as fidelity_figure
from rddrs.report.figures import histogram_figure as histogram_figure
from rddrs.report.figures import run_figures as run_figures
from rddrs.report.figures import scatter_figure as scatter_figure
from rddrs.report.figures import spectrum_figure as spectrum_figure
from rddrs.report.page import write_page as write_page
from rddrs.report.severities import mean_severities as mean_severities
from rddrs.report.severities import severity_figure as severity_figure
from rddrs.report.severities import severity_table as severity_table
from rddrs.report.shapes import eigenvector_figure as eigenvector_figure
from rddrs.report.shapes import region_figure as region_figure
from rddrs.report.style import save as save
from rddrs.report.tables import Run as Run
from rddrs.report.tables import certified_accuracy as certified_accuracy
from rddrs.report.tables import closing_table as closing_table
from rddrs.report.tables import compare as compare
from rddrs.report.tables import comparison_table as comparison_table
from rddrs.report.tables import round_down as round_down
from rddrs.report.tables import summarize as summarize
