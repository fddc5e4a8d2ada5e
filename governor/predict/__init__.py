"""What load to expect: demand quantiles per service and horizon, with the baselines they are measured against."""
