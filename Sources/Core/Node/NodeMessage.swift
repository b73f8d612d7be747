import Leases
import Membership
import Primitives
import Services
import Wire

/// What one node's core says to another's: membership's messages and the node's own. The first byte tells which.
///
/// 1 to 63 belong to membership (`MembershipCodec`), 64 to 127 to the node, 128 to 131 to leases (`LeaseCodec`).
enum NodeMessage: Equatable, Sendable {
    case membership(Message)
    /// Some or all shared facts, encoded. `wantsReply`: send back what you have beyond these.
    case facts([UInt8], wantsReply: Bool)
    /// To a node that was just removed, before its session is forgotten.
    case removalNotice(when: String)
    /// How the sender's services stand: all of them, so that it replaces what it said before.
    case services([PeerReport])
    /// To the node that runs it: rehearse a failure of this service.
    case drill(ServiceName)
    /// To a node that is heard again: what operators ordered and nobody has lifted. It may have been away when they did, or
    /// have lost its disk, and must not act before it knows.
    case orders(StandingOrders)
    /// What keeps services from running at the sender, of those that something does; replaces what it said before. Apart
    /// from `services`, which nodes of before refuse as a whole when it is longer.
    case serviceReasons([ServiceName: String])
    case lease(LeaseMessage)

    private enum Kind: UInt8 {
        case facts = 64, removalNotice = 65, services = 66, drill = 67, orders = 68, serviceReasons = 69
    }
    private static let mostOrders = 1024
    /// Services of one node, as its guard has places.
    private static let mostReports = 128
    /// Of one reason, in bytes; what is sent keeps below what is taken.
    private static let longestReason = 200
    private static let longestReasonTaken = 256

    var encoded: [UInt8] {
        var writer = ByteWriter()
        switch self {
        case .membership(let message): return MembershipCodec.encode(message)
        case .facts(let encoded, let wantsReply):
            writer.integer(Kind.facts.rawValue)
            writer.flag(wantsReply)
            writer.raw(encoded)
        case .removalNotice(let when):
            writer.integer(Kind.removalNotice.rawValue)
            writer.text(when)
        case .services(let reports):
            writer.integer(Kind.services.rawValue)
            writer.list(reports.prefix(Self.mostReports)) { writer, report in
                writer.text(report.service.description)
                writer.integer(UInt8(ServiceReport.State.allCases.firstIndex(of: report.state) ?? 0))
                writer.integer(report.epoch.number)
                // Nodes of before know 1 only, and take 2 for a no, as it was.
                writer.integer(UInt8(report.canTake ? 1 : report.isPreparing ? 2 : 0))
            }
        case .drill(let service):
            writer.integer(Kind.drill.rawValue)
            writer.text(service.description)
        case .orders(let orders):
            writer.integer(Kind.orders.rawValue)
            writer.list(orders.rows.prefix(Self.mostOrders)) { writer, row in
                writer.text(row.factKey)
                writer.text(row.factValue)
            }
        case .serviceReasons(let reasons):
            writer.integer(Kind.serviceReasons.rawValue)
            writer.list(reasons.sorted { $0.key < $1.key }.prefix(Self.mostReports)) { writer, item in
                writer.text(item.key.description)
                writer.text(Self.line(item.value))
            }
        case .lease(let message): return LeaseCodec.encode(message)
        }
        return writer.bytes
    }

    /// A program's words may have lines, and be many.
    private static func line(_ text: String) -> String {
        var line = ""
        var room = longestReason
        for scalar in text.unicodeScalars {
            let shown = scalar.value < 32 || scalar.value == 127 ? " " : scalar
            room -= shown.utf8.count
            guard room >= 0 else { return line + "…" }
            line.unicodeScalars.append(shown)
        }
        return line
    }

    init(decoding bytes: [UInt8]) throws(ByteReader.Failure) {
        var reader = ByteReader(bytes)
        let first: UInt8 = try reader.integer()
        guard first >= 64 else {
            self = .membership(try MembershipCodec.decode(bytes))
            return
        }
        guard first < LeaseCodec.types.lowerBound else {
            self = .lease(try LeaseCodec.decode(bytes))
            return
        }
        switch Kind(rawValue: first) {
        case .facts:
            let wantsReply = try reader.integer(UInt8.self) == 1
            self = .facts(Array(try reader.take(reader.remaining)), wantsReply: wantsReply)
        case .removalNotice: self = .removalNotice(when: try reader.text(limit: 128))
        case .drill:
            guard let name = ServiceName(try reader.text(limit: 63)) else { throw .malformed }
            self = .drill(name)
        case .orders:
            let rows = try reader.list(limit: Self.mostOrders) {
                (reader: inout ByteReader) throws(ByteReader.Failure) -> DesiredRow? in
                DesiredRow(factKey: try reader.text(limit: 256), value: try reader.text(limit: 4096))
            }
            self = .orders(StandingOrders(rows: rows.compactMap { $0 }))
        case .serviceReasons:
            let reasons = try reader.list(limit: Self.mostReports) {
                (reader: inout ByteReader) throws(ByteReader.Failure) in
                guard let name = ServiceName(try reader.text(limit: 63)) else { throw .malformed }
                return (name, try reader.text(limit: Self.longestReasonTaken))
            }
            self = .serviceReasons(Dictionary(reasons) { first, _ in first })
        case .services:
            self = .services(
                try reader.list(limit: Self.mostReports) { (reader: inout ByteReader) throws(ByteReader.Failure) in
                    guard let name = ServiceName(try reader.text(limit: 63)) else { throw .malformed }
                    let state = Int(try reader.integer(UInt8.self))
                    guard ServiceReport.State.allCases.indices.contains(state) else { throw .malformed }
                    let epoch = Epoch(try reader.integer(UInt64.self))
                    let readiness: UInt8 = try reader.integer()
                    return PeerReport(
                        service: name, state: ServiceReport.State.allCases[state], epoch: epoch,
                        canTake: readiness == 1, isPreparing: readiness == 2)
                })
        case nil: throw .malformed
        }
        try reader.finish()
    }
}
