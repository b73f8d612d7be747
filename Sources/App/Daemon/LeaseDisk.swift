import Leases
import Logging
import Machine
import Node
import Reactor

/// Writes the memory of leases, on a thread of its own. The newest stands for all before it, so one write at a time is
/// enough, and none overtakes another.
final class LeaseDisk: Sendable {
    private struct State {
        var next: (memory: LeaseMemory, ticket: UInt32)?
        var isWriting = false
    }
    private let home: Home
    private let loop = EventLoop(name: "leases")
    private let post: @Sendable (NodeEvent) -> Void
    private let state = Locked(State())

    init(home: Home, post: @escaping @Sendable (NodeEvent) -> Void) {
        self.home = home
        self.post = post
    }

    /// Never waits. `persisted` comes when it is on the disk.
    func persist(_ memory: LeaseMemory, _ ticket: UInt32) {
        let isFirst = state.withLock { state in
            state.next = (memory, ticket)
            defer { state.isWriting = true }
            return !state.isWriting
        }
        if isFirst { loop.perform { self.write() } }
    }

    func sleep(for duration: Duration) async throws { try await loop.sleep(for: duration) }

    /// After what was asked before is written.
    func close() async {
        await loop.run {}
        loop.stop()
    }

    private func write() {
        while true {
            let next = state.withLock { state -> (memory: LeaseMemory, ticket: UInt32)? in
                defer { state.next = nil }
                if state.next == nil { state.isWriting = false }
                return state.next
            }
            guard let (memory, ticket) = next else { return }
            do throws(DataDirectoryError) {
                try home.directory.write(SavedState.encode(memory), to: .leases)
                post(.lease(.persisted(ticket: ticket)))
            } catch {
                // Nothing that rests on it happens: without it the node neither votes nor holds.
                Log.error("\(error.problem). \(error.remedy)")
            }
        }
    }
}
