import BrambleAPI

/// Figures of events and explanations as people read them: `phi: 9.1, silenceMs: 812` becomes "φ 9.1, silence 812 ms".
///
/// Works on names it has never seen, because other nodes may be newer than this command.
enum Figures {
    static func text(_ figures: [String: JSONValue]) -> String {
        figures.sorted { $0.key < $1.key }.map { entry($0.key, $0.value) }.joined(separator: ", ")
    }

    /// The sentence, and in parentheses the figures that it does not give itself.
    static func sentence(_ sentence: String, _ figures: [String: JSONValue]) -> String {
        let said = Set(sentence.split { !$0.isLetter && !$0.isNumber && $0 != "." && $0 != "-" }.map { String($0) })
        let rest = text(figures.filter { !said.contains(plain($0.value)) })
        return rest.isEmpty ? sentence : "\(sentence) (\(rest))"
    }

    private static func entry(_ key: String, _ value: JSONValue) -> String {
        if case .bool(let isTrue) = value { return (isTrue ? "" : "not ") + words(key) }
        for (suffix, unit) in [("Ms", "ms"), ("Seconds", "s"), ("Bytes", "bytes"), ("Percent", "%")]
        where key.count > suffix.count && key.hasSuffix(suffix) {
            return "\(words(String(key.dropLast(suffix.count)))) \(plain(value)) \(unit)"
        }
        return "\(key == "phi" ? "φ" : words(key)) \(plain(value))"
    }

    /// `unansweredProbes` → "unanswered probes".
    private static func words(_ key: String) -> String {
        key.reduce(into: "") { text, letter in
            if letter.isUppercase, !text.isEmpty { text += " " }
            text += letter.lowercased()
        }
    }

    private static func plain(_ value: JSONValue) -> String {
        switch value {
        case .null: "unknown"
        case .bool(let isTrue): isTrue ? "yes" : "no"
        case .integer(let number): String(number)
        case .number(let number): decimal(number)
        case .string(let text): text
        case .array(let items): items.map(plain).joined(separator: " ")
        case .object(let fields): "(" + text(fields) + ")"
        }
    }

    private static func decimal(_ number: Double) -> String {
        let text = Text.number(number, decimals: 3)
        guard text.contains(".") else { return text }
        let short = text.reversed().drop { $0 == "0" }.drop { $0 == "." }.reversed()
        return String(short)
    }
}
