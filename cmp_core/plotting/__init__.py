"""What a plot is, and drawing plots into files. The plots themselves are in `cmp_plots`."""
