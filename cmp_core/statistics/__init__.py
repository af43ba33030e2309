"""The statistics that metrics share, of samples at hand and of whole splits. It knows no metric."""
