import CLinux
import Glibc
import Logging
import Mirrors
package import Primitives
import Processes
import Reactor

extension MirrorEngine {
    /// One rsync that writes here for another node.
    /// On the engine's loop only.
    final class Receiver: @unchecked Sendable {
        let request: PushRequest
        let sender: NodeID
        var run: Spawner.Run?
        init(request: PushRequest, sender: NodeID) {
            self.request = request
            self.sender = sender
        }
    }

    /// A member wants to send. Anything in the request may be wrong or malicious: nothing of it is ever run, and what is
    /// written where is in our own configuration.
    package func requested(by sender: NodeID, _ bytes: [UInt8]) async -> Answer {
        guard let request = try? TransferRequest(encoded: bytes) else { return .refuse("the request cannot be read") }
        let push = request.push
        guard access(options.rsync, X_OK) == 0 else { return .refuse(RsyncCommand.missing) }
        let decision = decide(push, from: sender)
        guard case .accept(let parks, _) = decision else {
            if case .refuse(let reason) = decision { return .refuse(reason) }
            return .refuse("it is not wanted")
        }
        let directory = options.directory
        if let problem = await onDisk({ Places.prepareDestination(push.path, own: directory) }) {
            return .refuse(problem)
        }
        // What an earlier run of somebody left behind must not write beside this one.
        guard await endReceivers(of: push.mirror, except: push.run, path: push.path) else {
            return .refuse("an earlier copy is still being ended; it is tried again")
        }
        // While we waited somebody newer may have come, or this node may have become the source.
        if case .refuse(let reason) = decide(push, from: sender) { return .refuse(reason) }
        var batch: String?
        if parks {
            let (parking, wall) = (parking, wall)
            batch = await onDisk { parking.makeBatch(push.mirror, epoch: push.epoch, wall: wall) }
            guard batch != nil else {
                return .refuse("what is replaced cannot be set aside: \(directory) cannot be written")
            }
            if case .refuse(let reason) = decide(push, from: sender) { return .refuse(reason) }
        }
        return serve(request, from: sender, batch)
    }

    private func decide(_ push: PushRequest, from sender: NodeID) -> PushDecision {
        let before = keeper.allRecords
        let decision = keeper.decide(push, from: sender, now: now)
        // Before a byte is taken: an older epoch must not come through after a restart.
        if keeper.allRecords != before { records.write(keeper.allRecords) }
        return decision
    }

    private func serve(_ request: TransferRequest, from sender: NodeID, _ batch: String?) -> Answer {
        let push = request.push
        let key = ReceiverKey(mirror: push.mirror, path: push.path)
        guard receivers[key] == nil else { return .refuse("an earlier copy is still being ended; it is tried again") }
        var pair: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &pair) == 0 else { return .refuse(String(cString: strerror(errno))) }
        let (tunnel, program) = (pair[0], pair[1])
        _ = fcntl(tunnel, F_SETFL, O_NONBLOCK)
        let command = RsyncCommand.serve(
            rsync: options.rsync, path: push.path, request: request,
            parkedIn: batch.map { ParkedFiles.place(in: $0, of: push.path) })
        let receiver = Receiver(request: push, sender: sender)
        receivers[key] = receiver
        let failure = Locked<String?>(nil)
        receiver.run = spawner.launch(
            command, in: nil, .action(0), deadline: options.longestRun, talksTo: program
        ) { [weak self] end in
            if case .notStarted = end.cause { failure.withLock { $0 = RsyncCommand.reason(end) } }
            self?.assumeIsolated { $0.ended(receiver, key, batch, end) }
        }
        close(program)
        guard receiver.run != nil else {
            close(tunnel)
            return .refuse("rsync cannot be started: \(failure.withLock { $0 } ?? "it ended at once")")
        }
        return .accept(tunnel)
    }

    private func ended(_ receiver: Receiver, _ key: ReceiverKey, _ batch: String?, _ end: ActionEnd) {
        let isWhole = end.code.map { RsyncCommand.good.contains($0) } ?? false
        if !isWhole {
            let reason = RsyncCommand.reason(end)
            Log.debug("mirror \(key.mirror): receiving \(key.path) ended: \(reason)")
            outlets.send(MirrorMessage.failed(run: receiver.request.run, reason: reason).encoded, receiver.sender)
        }
        let isFull = end.code == RsyncCommand.cannotWrite
        Task {
            let (parking, path) = (parking, key.path)
            // Whole means: on the disk.
            let isDurable = await onDisk { () -> Bool in
                // Half a file that is kept for the next run would keep the disk full for ever.
                if isFull { Places.removePartials(below: path) }
                guard isWhole else { return false }
                let folder = path.hasSuffix("/") ? path : String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
                return Places.sync(folder.isEmpty ? "/" : folder)
            }
            if let batch {
                let name = String(batch[batch.index(after: batch.lastIndex(of: "/") ?? batch.startIndex)...])
                let (found, all, removed) = await onDisk { () -> ([ParkedEntry], [ParkedEntry], Int) in
                    let found = parking.entries(key.mirror, name)
                    parking.sweep(batch)
                    let removed = parking.trim()
                    return (found, parking.list(), removed)
                }
                parkedEntries = all
                tellParked(key.mirror, found.count, receiver.sender, removed)
            }
            // Only now: whoever waits for its end may begin to serve these files.
            if receivers[key] === receiver { receivers[key] = nil }
            handle(
                .received(receiver.request, from: receiver.sender, isComplete: isDurable, at: ParkedFiles.stamp(wall)))
        }
    }

    private func tellParked(_ mirror: ServiceName, _ count: Int, _ sender: NodeID, _ removed: Int) {
        if count > 0 {
            outlets.tell(
                News(
                    type: "mirror-parked", mirror: mirror,
                    sentence:
                        "\(count) files of the mirror \(mirror) on \(name(id)) differed from those of \(name(sender)) "
                        + "and were set aside: bramble mirror conflicts \(mirror)"))
        }
        if removed > 0 {
            outlets.tell(
                News(
                    type: "mirror-parked", mirror: mirror,
                    sentence: "\(removed) files that had been set aside on \(name(id)) were removed, the oldest first: "
                        + "there are too many"))
        }
    }

    /// Ends what is being written for others; with `except` and `path`, what belongs to another run, or to the same path.
    /// False when it did not end in time.
    @discardableResult
    func endReceivers(of mirror: ServiceName, except run: UInt64? = nil, path: String? = nil) async -> Bool {
        func old() -> [Receiver] {
            receivers.filter { key, receiver in
                key.mirror == mirror && (run == nil || receiver.request.run != run || key.path == path)
            }.map(\.value)
        }
        for receiver in old() { receiver.run.map { spawner.abort($0) } }
        // Ten seconds: a killed process goes at once, unless its disk hangs.
        for _ in 0..<500 {
            if old().isEmpty { return true }
            guard (try? await loop.sleep(for: .milliseconds(20))) != nil else { return false }
        }
        return old().isEmpty
    }
}
