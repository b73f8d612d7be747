import CLinux
import Glibc
package import Reactor

package struct KernelRefusal: Error, CustomStringConvertible {
    package let description: String
    package init() { description = String(cString: strerror(errno)) }
}

/// A thread in mount, and if asked for network, namespaces of its own: what runs there sees its own interfaces and mounts,
/// and all of it is gone when the thread ends. Needs root.
package final class OwnNamespace: Sendable {
    package let loop: EventLoop

    package init(network: Bool = false) throws {
        loop = EventLoop(name: "namespace")
        try run {
            let flags = CLINUX_NEWNS | (network ? CLINUX_NEWNET : 0)
            guard clinux_unshare(Int32(flags)) == 0 else { throw KernelRefusal() }
        }
    }
    deinit { loop.stop() }

    /// Waits for the result. Not on the loop itself.
    package func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
        let result = Locked<Result<Value, any Error>?>(nil)
        loop.perform {
            let outcome = Result { try body() }
            result.withLock { $0 = outcome }
        }
        while true {
            if let outcome = result.withLock({ $0 }) { return try outcome.get() }
            usleep(500)
        }
    }

    /// Runs a shell line in the namespaces; throws with its output when it fails.
    @discardableResult
    package func shell(_ line: String) throws -> String { try run { try Shell.run(line) } }

    /// By which `ip link … netns` finds the network namespace.
    package var threadID: Int32 { (try? run { clinux_thread_id() }) ?? 0 }

    /// Calls until it is true, at most `seconds`; false when it never was.
    package func wait(
        seconds: Double = 30, until isTrue: @escaping () async throws -> Bool
    ) async throws -> Bool {
        let end = SystemClock.monotonicNanoseconds + Int64(seconds * 1e9)
        while SystemClock.monotonicNanoseconds < end {
            if try await isTrue() { return true }
            try await loop.sleep(for: .milliseconds(10))
        }
        return try await isTrue()
    }
}

package enum Shell {
    package struct Failure: Error {
        package let line: String
        package let output: String
    }

    @discardableResult
    package static func run(_ line: String) throws -> String {
        guard let pipe = popen("{ \(line); } 2>&1", "re") else { throw KernelRefusal() }
        var output: [UInt8] = []
        var byte = fgetc(pipe)
        while byte != EOF {
            output.append(UInt8(byte))
            byte = fgetc(pipe)
        }
        let text = String(decoding: output, as: UTF8.self)
        guard pclose(pipe) == 0 else { throw Failure(line: line, output: text) }
        return text
    }
}

package let isRoot = geteuid() == 0
