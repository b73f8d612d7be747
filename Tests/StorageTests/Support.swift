import Foundation
import Primitives
import Replication

@testable import Storage

/// Milliseconds since 1970 at which the tests play.
let noon: Int64 = 1_790_000_000_000

func openStore(seed: UInt64 = 1, image: [UInt8]? = nil, wall: Int64 = noon, bug: PlantedStorageBug? = nil) throws
    -> Store
{
    var options = StoreOptions(seed: seed, wall: wall)
    options.planted = bug
    options.limits.statementTime = nil
    return try Store(.memory(image: image), options)
}

extension Store {
    @discardableResult
    func run(_ text: String, _ parameters: SQLValue..., wall: Int64 = noon) throws -> SQLAnswer {
        try execute([SQLStatement(text, parameters)], wall: wall)
    }
    func ask(_ text: String, _ parameters: SQLValue...) throws -> [[SQLValue]] {
        try query([SQLStatement(text, parameters)]).rows
    }
    /// All that the other has and this one does not.
    func take(from other: Store) throws {
        for origin in other.vector.origins {
            guard case .records(let records) = try other.records(of: origin, after: vector[origin], maxBytes: .max)
            else {
                throw StoreError(.unusable, "no records", remedy: "")
            }
            _ = try apply(records)
        }
    }
    /// The error of a call that must fail, and leave everything as it was.
    func refusal(of text: String, _ parameters: SQLValue...) throws -> StoreError? {
        let before = try (digest(), vector, image().count)
        defer { capture.end() }
        do {
            _ = try execute([SQLStatement(text, parameters)], wall: noon)
            return nil
        } catch {
            guard try digest() == before.0, vector == before.1 else {
                return StoreError(.damaged, "something changed", remedy: "")
            }
            return error
        }
    }
}

/// A folder that is removed again.
final class Folder {
    let path: String
    init() {
        path = NSTemporaryDirectory() + "bramble-store-\(UUID().uuidString)"
        try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }
    var database: String { path + "/bramble.db" }
    var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }
}
