"""Plans, runs, records, reports: plan → spawn → worker → record → store, then store → metrics → report."""
