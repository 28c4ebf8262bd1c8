"""The demo: installs Tidemill on a cluster and turns the loop on real flights, month by month."""
