import Reactor

/// Where tests of the lab run: one after the other on a thread of their own. The lab's calls block, which the shared pool
/// of two threads must not; here they may, and `#expect` still knows which test it belongs to.
@globalActor
package actor LabThread {
    package static let shared = LabThread()
    private static let thread = EventLoop(name: "lab")
    package nonisolated var unownedExecutor: UnownedSerialExecutor { Self.thread.asUnownedSerialExecutor() }

    package static func run<Result: Sendable>(_ body: @LabThread () throws -> Result) async rethrows -> Result {
        try await body()
    }
}
