import BrambleAPI
import Primitives
import Services
import Storage
import YAML

/// What `apply` and `export` do with the desired state, wherever that is kept.
enum DesiredDocuments {
    /// What is kept: the state, and what of it cannot be read, a sentence each.
    struct Kept: Equatable, Sendable {
        var state: DesiredState
        var unreadable: [String] = []
    }
    /// What to write: a nil value deletes.
    struct Edit: Equatable, Sendable {
        var key: String
        var value: [UInt8]?
    }

    /// From facts by their keys; those of other things are passed over.
    static func read(_ facts: [(key: String, value: [UInt8])]) -> Kept {
        var unreadable: [String] = []
        let rows: [DesiredRow] = facts.compactMap { key, value in
            guard key.hasPrefix(DesiredRow.prefix) else { return nil }
            let row = DesiredRow(factKey: key, value: String(decoding: value, as: UTF8.self))
            if row == nil {
                unreadable.append("\(key.dropFirst(DesiredRow.prefix.count)) is not what this version writes")
            }
            return row
        }
        let state = DesiredState(rows: rows) { row, refusal in
            unreadable.append("\(row.table)/\(row.key): \(refusal.problem); \(refusal.remedy)")
        }
        return Kept(state: state, unreadable: unreadable)
    }

    /// What an apply comes to.
    struct Plan: Equatable, Sendable {
        var answer: ApplyAnswer
        var edits: [Edit]
        /// All statements that are to hold, where the document says anything of the schema.
        var schema: [String]
    }

    static func plan(_ request: ApplyRequest, kept: Kept, nodes: [NodeName]) throws(APIError) -> Plan {
        let name = request.name.map { String($0.prefix(200)) } ?? "document"
        let document: ApplyDocument
        do throws(YAMLError) {
            document = try YAML.decode(ApplyDocument.self, from: request.document, name: name)
        } catch {
            throw APIError(problem: error.problem, remedy: error.remedy, kind: .invalid)
        }
        // An object named twice in one document would silently be the second.
        var alone = document.applied(to: DesiredState(), prune: true).problems().filter { $0.key == "name" }
        var target = document.applied(to: kept.state, prune: request.prune ?? false)
        for object in request.remove ?? [] { try remove(object, from: &target) }
        alone += target.problems()
        if let first = alone.first {
            let steps: [YAML.Step] = first.place(in: document).map { step in
                switch step {
                case .key(let key): .key(key)
                case .index(let index): .index(index)
                }
            }
            if let owner = first.name, steps.count == 1 {
                // Nothing in this document: something that is kept would no longer fit.
                throw APIError(
                    problem: "\(name): \(owner) in \(first.part) would not fit any more: \(first.problem)",
                    remedy: first.remedy, kind: .invalid)
            }
            let more = alone.count > 1 ? " (and \(alone.count - 1) more)" : ""
            let error = YAML.error(
                at: steps, in: request.document, name: name, problem: first.problem + more, remedy: first.remedy)
            throw APIError(problem: error.problem, remedy: error.remedy, kind: .invalid)
        }
        let edits = kept.state.edits(to: target)
        let changes = kept.state.changes(to: target).map { change in
            DesiredDifference(
                change: DesiredDifference.Kind(rawValue: change.kind.rawValue) ?? .changed, part: change.part,
                name: change.name, details: change.details)
        }
        let answer = ApplyAnswer(
            changes: changes, applied: !(request.dryRun ?? false), notes: notes(document, target, nodes))
        let writes =
            edits.put.map { Edit(key: $0.factKey, value: Array($0.factValue.utf8)) }
            + edits.delete.map { Edit(key: $0.factKey, value: nil) }
        if let long = writes.first(where: { ($0.value?.count ?? 0) > longestValue }) {
            throw APIError(
                problem: "\(name): \(long.key.dropFirst(DesiredRow.prefix.count)) is longer than \(longestValue) bytes",
                remedy: "put long commands into a script, and long lists into several objects", kind: .invalid)
        }
        return Plan(answer: answer, edits: writes, schema: document.schema == nil ? [] : target.schema)
    }

    /// What is made for the schema, in the place of what is only noted of it.
    static func shown(
        _ changes: [DesiredDifference], _ schema: [String], _ steps: [SchemaStep]
    ) -> [DesiredDifference] {
        let makes = Set(steps.map { schema[$0.statement] })
        return changes.compactMap { change in
            guard change.part == "schema" else { return change }
            if change.details.contains(where: makes.contains) { return nil }
            var noted = change
            noted.details = change.details.map { "is there already: \($0)" }
            return noted
        } + steps.map { DesiredDifference(change: .added, part: "schema", name: $0.name, details: [$0.sql]) }
    }

    static func refused(_ error: APIError, in request: ApplyRequest) -> APIError {
        let name = request.name.map { String($0.prefix(200)) } ?? "document"
        return APIError(problem: "\(name): schema: \(error.problem)", remedy: error.remedy, kind: error.kind)
    }

    private static func remove(_ object: String, from state: inout DesiredState) throws(APIError) {
        let words = object.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map { String($0) }
        func drop<Item>(_ items: inout [Item], _ name: (Item) -> some CustomStringConvertible) throws(APIError) {
            let count = items.count
            items.removeAll { name($0).description == words[1] }
            guard items.count < count else {
                throw APIError(
                    problem: "there is no “\(words[1].prefix(80))” in \(words[0])",
                    remedy: "bramble export shows what there is", kind: .notFound)
            }
        }
        switch words.count == 2 ? words[0] : "" {
        case "services": try drop(&state.services) { $0.name }
        case "mirrors": try drop(&state.mirrors) { $0.name }
        case "volumes": try drop(&state.volumes) { $0.name }
        case "balancers": try drop(&state.balancers) { $0.name }
        case "fences": try drop(&state.fences) { $0.node }
        default:
            throw APIError(
                problem: "“\(object.prefix(80))” is nothing that can be removed",
                remedy: "write services/NAME, mirrors/NAME, volumes/NAME, balancers/NAME or fences/NODE", kind: .invalid
            )
        }
    }

    /// A sixteenth of what one transaction can carry. All nodes keep all objects in memory.
    static let longestValue = 64 * 1024

    private static func notes(_ document: ApplyDocument, _ target: DesiredState, _ nodes: [NodeName]) -> [String] {
        var notes: [String] = []
        for service in document.services ?? [] {
            for node in service.prefer where !nodes.contains(node) {
                notes.append("\(service.name) prefers \(node), which is not a node of this cluster yet")
            }
            if service.run == nil, service.check != nil {
                notes.append("\(service.name) runs nothing by itself; its check says when its address moves")
            }
        }
        let unfenced = nodes.filter { target.fence(of: $0) == nil }
        for fence in document.fences ?? [] where !nodes.contains(fence.node) {
            notes.append("\(fence.node) would be switched off, and is not a node of this cluster yet")
        }
        if !target.fences.isEmpty, !unfenced.isEmpty {
            notes.append(
                "nothing is switched off until every node can be: \(unfenced.map(\.description).joined(separator: ", ")) "
                    + "has no fence")
        }
        if target.reach.isEmpty, !target.services.isEmpty, nodes.count == 2, !unfenced.isEmpty {
            notes.append("two nodes without a reach list cannot tell who is cut off: add reach: [ROUTER]")
        }
        return notes
    }
}
