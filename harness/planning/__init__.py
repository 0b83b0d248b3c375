"""From a request to cases, and from results to the cases that go on; purely, nothing is run here."""
