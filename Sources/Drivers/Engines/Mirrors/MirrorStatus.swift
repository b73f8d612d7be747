package import Primitives
package import Wire

/// What nodes tell each other about mirrors, so that each can show all of them. In memory alone: who starts anew hears it
/// within seconds.
package enum MirrorMessage: Equatable, Sendable {
    /// All mirrors of the sender.
    case status([MirrorStatus])
    /// An operator at another node does not want to wait.
    case runNow(ServiceName)
    /// Why a run of yours could not be received: rsync tells its own side more than the other.
    case failed(run: UInt64, reason: String)

    package static let mostMirrors = 256

    package var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 1_024)
        switch self {
        case .status(let all):
            writer.integer(UInt8(1))
            writer.list(all.prefix(Self.mostMirrors)) { $1.write(&$0) }
        case .runNow(let mirror):
            writer.integer(UInt8(2))
            writer.text(mirror.description)
        case .failed(let run, let reason):
            writer.integer(UInt8(3))
            writer.integer(run)
            writer.text(MirrorStatus.plain(reason, MirrorStatus.longestReason))
        }
        return writer.bytes
    }

    package init(encoded bytes: [UInt8]) throws(ByteReader.Failure) {
        var reader = ByteReader(bytes)
        switch try reader.integer(UInt8.self) {
        case 1:
            self = .status(
                try reader.list(limit: Self.mostMirrors) { reader throws(ByteReader.Failure) in
                    try MirrorStatus(&reader)
                })
        case 2:
            guard let mirror = ServiceName(try reader.text(limit: 48)) else { throw .malformed }
            self = .runNow(mirror)
        case 3: self = .failed(run: try reader.integer(), reason: try reader.text(limit: MirrorStatus.longestReason))
        default: throw .malformed
        }
        try reader.finish()
    }
}

/// How a mirror stands on one node.
package struct MirrorStatus: Equatable, Sendable {
    package struct Target: Equatable, Sendable {
        package var node: NodeID
        package var isRunning: Bool
        /// Since the last whole push to it began; nil before the first. Whole milliseconds.
        package var behind: UInt64?
        package var failures: UInt16

        package init(node: NodeID, isRunning: Bool, behind: UInt64?, failures: UInt16) {
            self.node = node
            self.isRunning = isRunning
            self.behind = behind
            self.failures = failures
        }
    }
    package var mirror: ServiceName
    /// The epoch with which it is the source; none when it is not.
    package var feeding = Epoch.none
    package var highest = Epoch.none
    /// The epoch whose files are there as a whole.
    package var whole = Epoch.none
    package var targets: [Target] = []
    /// Of the last run that ended well: when it did (seconds since 1970; 0: never), and what it sent.
    package var lastRun: Int64 = 0
    package var files: UInt32 = 0
    package var bytes: UInt64 = 0
    /// Why nothing is copied, or what went wrong last.
    package var reason = ""
    package var isWaiting = false
    /// All that are parked there, and the newest of them.
    package var parkedCount: UInt32 = 0
    package var parked: [ParkedEntry] = []

    package static let mostTargets = 128
    package static let mostParked = 64
    package static let longestReason = 400

    package init(mirror: ServiceName) { self.mirror = mirror }

    fileprivate func write(_ writer: inout ByteWriter) {
        writer.text(mirror.description)
        for epoch in [feeding, highest, whole] { writer.integer(epoch.number) }
        writer.list(targets.prefix(Self.mostTargets)) { writer, target in
            writer.nodeID(target.node)
            writer.integer(UInt8(target.isRunning ? 1 : 0))
            writer.integer(target.behind ?? .max)
            writer.integer(target.failures)
        }
        writer.integer(lastRun)
        writer.integer(files)
        writer.integer(bytes)
        writer.text(Self.plain(reason, Self.longestReason))
        writer.integer(UInt8(isWaiting ? 1 : 0))
        writer.integer(parkedCount)
        let sendable = parked.filter {
            $0.path.utf8.count <= TransferRequest.longestPath && $0.path == Self.plain($0.path, 2_000)
        }
        writer.list(sendable.prefix(Self.mostParked)) { writer, entry in
            writer.text(entry.id)
            writer.text(entry.path)
            writer.integer(entry.at)
            writer.integer(entry.changed)
            writer.integer(entry.bytes)
            writer.integer(entry.epoch.number)
        }
    }

    fileprivate init(_ reader: inout ByteReader) throws(ByteReader.Failure) {
        guard let mirror = ServiceName(try reader.text(limit: 48)) else { throw .malformed }
        self.init(mirror: mirror)
        feeding = Epoch(try reader.integer())
        highest = Epoch(try reader.integer())
        whole = Epoch(try reader.integer())
        targets = try reader.list(limit: Self.mostTargets) { reader throws(ByteReader.Failure) in
            let node = try reader.nodeID()
            let isRunning = try reader.integer(UInt8.self) == 1
            let behind: UInt64 = try reader.integer()
            return Target(
                node: node, isRunning: isRunning, behind: behind == .max ? nil : min(behind, 1 << 50),
                failures: try reader.integer())
        }
        lastRun = try reader.integer()
        files = try reader.integer()
        bytes = try reader.integer()
        reason = try reader.text(limit: Self.longestReason)
        isWaiting = try reader.integer(UInt8.self) == 1
        parkedCount = try reader.integer()
        parked = try reader.list(limit: Self.mostParked) { reader throws(ByteReader.Failure) in
            let id = try reader.text(limit: 16)
            let path = try reader.text(limit: TransferRequest.longestPath)
            return ParkedEntry(
                id: id, mirror: mirror, path: path, at: try reader.integer(), changed: try reader.integer(),
                bytes: try reader.integer(), epoch: Epoch(try reader.integer()), file: "")
        }
    }

    /// What the wire takes: no control characters, and not too long.
    static func plain(_ text: String, _ limit: Int) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            guard result.utf8.count + 4 <= limit else { break }
            result.unicodeScalars.append(scalar.value < 32 || scalar.value == 127 ? " " : scalar)
        }
        return result
    }
}
