import BrambleAPI
import FoundationEssentials
import Node
import Primitives

/// Labels of nodes, as facts of the database: for each node one JSON object of texts.
enum NodeLabels {
    static let mostPerNode = 32
    static let rule = "letters, digits, “.”, “_” and “-”, a letter in front, at most 63"
    static let valueRule = "1 to 63 letters, digits, “.”, “_”, “-” and “:”"

    static func all(in facts: SharedFacts) -> [NodeID: [String: String]] {
        let prefix = FactKey.labels
        var result: [NodeID: [String: String]] = [:]
        for key in facts.keys(prefix: prefix) {
            guard let node = NodeID(key.dropFirst(prefix.count)), let value = facts[key],
                // What a newer version wrote in another form is no label here.
                let labels = try? JSONDecoder().decode([String: String].self, from: Data(value))
            else { continue }
            result[node] = labels
        }
        return result
    }

    /// Nil where nothing is left: the fact is deleted.
    static func encoded(_ labels: [String: String]) -> [UInt8]? {
        guard !labels.isEmpty else { return nil }
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        // Texts always encode.
        return Array(try! encoder.encode(labels))
    }

    static func changed(_ labels: [String: String], by change: LabelRequest) throws(APIError) -> [String: String] {
        var labels = labels
        for key in change.remove where labels.removeValue(forKey: key) == nil {
            let known = labels.keys.sorted().joined(separator: ", ")
            throw APIError(
                problem: "there is no label “\(key)”",
                remedy: known.isEmpty ? "the node has none" : "the node has: \(known)", kind: .notFound)
        }
        for (key, value) in change.set.sorted(by: { $0.key < $1.key }) {
            guard isKey(key) else {
                throw APIError(problem: "“\(key)” is no label", remedy: "use \(rule)", kind: .invalid)
            }
            guard isValue(value) else {
                throw APIError(
                    problem: "“\(value)” is no value for the label \(key)", remedy: "use \(valueRule)", kind: .invalid)
            }
            labels[key] = value
        }
        guard labels.count <= mostPerNode else {
            throw APIError(
                problem: "a node has at most \(mostPerNode) labels",
                remedy: "remove one first: KEY- instead of KEY=VALUE")
        }
        return labels
    }

    private static func isKey(_ text: String) -> Bool {
        (1...63).contains(text.utf8.count) && text.first!.isASCII && text.first!.isLetter
            && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) }
    }
    private static func isValue(_ text: String) -> Bool {
        (1...63).contains(text.utf8.count)
            && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "._-:".contains($0)) }
    }
}
