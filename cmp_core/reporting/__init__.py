"""The report: one self-contained HTML file about one run or several."""

from __future__ import annotations

from cmp_core.reporting.page import report_html as report_html
