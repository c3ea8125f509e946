// Package prometheus shows the metrics of output/live to Prometheus.
package prometheus
