/// How patient the supervisor is.
package struct SupervisorConfig: Equatable, Sendable {
    /// Everything is silent this long before the lease ends. Default 10 ms: the enforcement lag E of the safety inequality.
    package var stopMargin: Duration = .milliseconds(10)
    /// How much longer than its own deadline an order may take until it counts as failed. Default 5 s, which lets a driver
    /// kill what hangs and say so.
    package var grace: Duration = .seconds(5)
    /// For orders without a deadline of their own: the gate, addresses, probes. Default 10 s; they take milliseconds.
    package var quickOrder: Duration = .seconds(10)
    /// How long a node leaves a service alone that failed on it. Default 10 min.
    package var barFor: Duration = .seconds(600)
    /// How long a node leaves a service alone that it played dead for. Default 30 s, in which another one has taken it.
    package var deadFor: Duration = .seconds(30)
    /// How long the first start of a service waits for a preferred node that is not ready yet. Default 3 s.
    package var firstWait: Duration = .seconds(3)
    /// Restarts older than this are forgotten. Default 10 min.
    package var restartWindow: Duration = .seconds(600)
    /// Between tries: 0, 1, 2, 4 … seconds, up to this. Default 60 s.
    package var longestBackoff: Duration = .seconds(60)
    /// Between two checks while a service starts. Default 250 ms.
    package var startCheckEvery: Duration = .milliseconds(250)
    /// How long the last push of a mirror may take when a service is handed over. Default 30 s.
    package var flush: Duration = .seconds(30)
    package init() {}
}
