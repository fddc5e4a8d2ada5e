"""The lab's report: one self-contained page with what clients saw, with and without the governor, and why."""

from governor.lab.report.build import report_data
from governor.lab.report.data import ReportData
from governor.lab.report.page import write_report
from governor.lab.report.picture import screenshot

__all__ = ["ReportData", "report_data", "screenshot", "write_report"]
