// Package otlp sends the metrics of output/live, and requests as traces, to an
// OpenTelemetry endpoint. Whatever the other side does, nobody waits for it: what comes
// while it is slow or away is kept in a bounded queue, and dropped and counted beyond.
package otlp
