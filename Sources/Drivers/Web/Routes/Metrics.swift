extension WebApplication {
    /// The server's own figures, in Prometheus' text format.
    func metrics() -> String {
        let figures = counters.withLock { $0 }()
        func socket(_ figures: ListenerFigures) -> String {
            if case .unix = figures.address { "unix" } else { "tcp" }
        }
        func family(_ name: String, _ kind: String, _ help: String, _ value: (ListenerFigures) -> Int) -> String {
            "# HELP \(name) \(help)\n# TYPE \(name) \(kind)\n"
                + figures.map { "\(name){socket=\"\(socket($0))\"} \(value($0))\n" }.joined()
        }
        return family("bramble_http_requests_total", "counter", "HTTP requests begun.") { $0.counters.requests }
            + family("bramble_http_refused_total", "counter", "Requests answered 503 at a limit.") {
                $0.counters.refusedAtLimit
            }
            + family("bramble_http_slow_closed_total", "counter", "Connections closed for taking too long.") {
                $0.counters.closedSlow
            }
            + family("bramble_http_streams_dropped_total", "counter", "Event streams dropped: the client did not read.")
        {
            $0.counters.droppedStreams
        }
            + family("bramble_http_connections", "gauge", "Open connections.") { $0.connections }
            + family("bramble_http_streams", "gauge", "Open event streams.") { $0.streams }
    }
}
