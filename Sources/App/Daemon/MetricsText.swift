/// Prometheus' text exposition format, version 0.0.4: names and help once, then a line for each sample.
struct MetricsText: Sendable {
    enum Kind: String { case counter, gauge }
    private(set) var text = ""

    mutating func add(_ name: String, _ kind: Kind, _ help: String, _ value: some BinaryInteger) {
        add(name, kind, help, [([], Double(value))])
    }
    mutating func add(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
        add(name, kind, help, [([], value)])
    }
    /// One sample for each set of labels.
    mutating func add(
        _ name: String, _ kind: Kind, _ help: String, _ samples: [(labels: [(String, String)], value: Double)]
    ) {
        guard !samples.isEmpty else { return }
        text += "# HELP bramble_\(name) \(help)\n# TYPE bramble_\(name) \(kind.rawValue)\n"
        for (labels, value) in samples {
            let list = labels.map { "\($0)=\"\(escaped($1))\"" }.joined(separator: ",")
            text += "bramble_\(name)\(list.isEmpty ? "" : "{\(list)}") \(number(value))\n"
        }
    }

    private func escaped(_ label: String) -> String {
        label.reduce(into: "") { text, letter in
            switch letter {
            case "\\": text += "\\\\"
            case "\"": text += "\\\""
            case "\n": text += "\\n"
            default: text.append(letter)
            }
        }
    }
    private func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
    }
}
