import Primitives
package import Services
package import Wire

/// What nodes tell each other about volumes, as the payload of a frame. In memory alone: who starts anew hears it within
/// seconds.
package enum VolumeMessage: Equatable, Sendable {
    case report(VolumeReport)
    /// Whether the receiver could have a brick of a volume: `row` is the volume as it is kept.
    case question(number: UInt64, row: DesiredRow)
    /// What stands in the way, with the remedy; empty where nothing does.
    case answer(number: UInt64, trouble: String)

    /// As many as there can be volumes.
    package static let most = 200
    private static let mostBricks = 64
    private static let mostReached = 1_000
    private static let longestPath = 1_000
    package static let longestText = 600
    private static let longestRow = 16_384

    package var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 1_024)
        switch self {
        case .report(let report):
            writer.integer(UInt8(1))
            Self.write(report, &writer)
        case .question(let number, let row):
            writer.integer(UInt8(2))
            writer.integer(number)
            writer.text(row.factKey)
            writer.text(row.factValue)
        case .answer(let number, let trouble):
            writer.integer(UInt8(3))
            writer.integer(number)
            writer.text(Self.plain(trouble))
        }
        return writer.bytes
    }

    package init(encoded bytes: [UInt8]) throws(ByteReader.Failure) {
        var reader = ByteReader(bytes)
        switch try reader.integer(UInt8.self) {
        case 1: self = .report(try Self.report(&reader))
        case 2:
            let number: UInt64 = try reader.integer()
            let key = try reader.text(limit: 255)
            let value = try reader.text(limit: Self.longestRow)
            guard let row = DesiredRow(factKey: key, value: value) else { throw .malformed }
            self = .question(number: number, row: row)
        case 3: self = .answer(number: try reader.integer(), trouble: try reader.text(limit: Self.longestText))
        default: throw .malformed
        }
        try reader.finish()
    }

    /// One line that the reader takes: without control characters, and not too long.
    private static func plain(_ text: String) -> String {
        var result = ""
        var size = 0
        for scalar in text.unicodeScalars {
            let kept = scalar.value < 32 || scalar.value == 127 ? " " : scalar
            size += UTF8.width(kept)
            guard size <= longestText else { break }
            result.unicodeScalars.append(kept)
        }
        return result
    }

    private static func name(_ reader: inout ByteReader) throws(ByteReader.Failure) -> ServiceName {
        guard let name = ServiceName(try reader.text(limit: 48)) else { throw .malformed }
        return name
    }

    private static func write(_ report: VolumeReport, _ writer: inout ByteWriter) {
        writer.integer(
            UInt8((report.isServing ? 1 : 0) | (report.isLeading ? 2 : 0) | (report.showsAddresses ? 4 : 0)))
        writer.integer(report.peers)
        writer.list(report.reaches.prefix(mostReached)) { writer, node in writer.text(node.description) }
        writer.text(plain(report.version))
        writer.text(plain(report.serverTrouble))
        writer.text(plain(report.clientTrouble))
        writer.list(report.bricks.prefix(most)) { writer, brick in
            writer.text(brick.volume.description)
            writer.text(brick.path)
            writer.integer(brick.state.rawValue)
            writer.text(plain(brick.trouble))
            for number in [brick.pending, brick.total, brick.free] { writer.integer(number) }
        }
        writer.list(report.mounts.prefix(most)) { writer, mount in
            writer.text(mount.volume.description)
            writer.flag(mount.isMounted)
            writer.text(plain(mount.trouble))
        }
        writer.list(report.standings.prefix(most)) { writer, standing in
            writer.text(standing.name.description)
            writer.integer(standing.state.rawValue)
            for text in [standing.reason, standing.progress, standing.offer] { writer.text(plain(text)) }
            writer.flag(standing.isStarted)
            for number in [standing.setSize, standing.arbiters, standing.redundancy] { writer.integer(number) }
            writer.list(standing.bricks.prefix(mostBricks)) { writer, place in
                writer.text(place.node.description)
                writer.text(place.path)
            }
        }
    }

    private static func report(_ reader: inout ByteReader) throws(ByteReader.Failure) -> VolumeReport {
        var report = VolumeReport()
        let flags: UInt8 = try reader.integer()
        guard flags < 8 else { throw .malformed }
        (report.isServing, report.isLeading, report.showsAddresses) = (flags & 1 == 1, flags & 2 == 2, flags & 4 == 4)
        report.peers = try reader.integer()
        report.reaches = try reader.list(limit: mostReached) { reader throws(ByteReader.Failure) in
            guard let node = NodeName(try reader.text(limit: 63)) else { throw .malformed }
            return node
        }
        report.version = try reader.text(limit: longestText)
        report.serverTrouble = try reader.text(limit: longestText)
        report.clientTrouble = try reader.text(limit: longestText)
        report.bricks = try reader.list(limit: most) { reader throws(ByteReader.Failure) in
            let volume = try name(&reader)
            let path = try reader.text(limit: longestPath)
            guard let state = BrickReport.State(rawValue: try reader.integer()) else { throw .malformed }
            var brick = BrickReport(
                volume: volume, path: path, state: state, trouble: try reader.text(limit: longestText))
            brick.pending = try reader.integer()
            brick.total = try reader.integer()
            brick.free = try reader.integer()
            return brick
        }
        report.mounts = try reader.list(limit: most) { reader throws(ByteReader.Failure) in
            let volume = try name(&reader)
            let isMounted = try reader.flag()
            return MountReport(volume: volume, isMounted: isMounted, trouble: try reader.text(limit: longestText))
        }
        report.standings = try reader.list(limit: most) { reader throws(ByteReader.Failure) in
            let volume = try name(&reader)
            guard let state = VolumeStanding.State(rawValue: try reader.integer()) else { throw .malformed }
            var standing = VolumeStanding(name: volume, state: state)
            standing.reason = try reader.text(limit: longestText)
            standing.progress = try reader.text(limit: longestText)
            standing.offer = try reader.text(limit: longestText)
            standing.isStarted = try reader.flag()
            standing.setSize = try reader.integer()
            standing.arbiters = try reader.integer()
            standing.redundancy = try reader.integer()
            standing.bricks = try reader.list(limit: mostBricks) { reader throws(ByteReader.Failure) in
                guard let node = NodeName(try reader.text(limit: 63)) else { throw .malformed }
                return BrickPlace(node, try reader.text(limit: longestPath))
            }
            return standing
        }
        return report
    }
}
