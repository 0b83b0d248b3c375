"""Plans, runs, records and reports. Data flows plan → spawn → worker → record → store, then store → metrics → report."""
