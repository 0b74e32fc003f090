"""The gates for those who watch with Prometheus and Grafana: the same limits over the same windows."""
