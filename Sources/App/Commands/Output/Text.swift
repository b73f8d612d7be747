import FoundationEssentials

/// Text as people read it.
enum Text {
    /// One line that cannot move the cursor, change colours or turn its direction around: names and messages come from
    /// other machines.
    static func oneLine(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { isSafe($0) ? $0 : " " }))
    }
    private static func isSafe(_ scalar: UnicodeScalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse: false
        default: true
        }
    }

    /// The same for a terminal that knows ASCII alone. Quotation marks become such that JSON stays JSON.
    static func plain(_ text: String) -> String {
        text.map { character in
            switch character {
            case "φ": "phi"
            case "“", "”", "‘", "’": "'"
            case "–", "—", "−": "-"
            case "…": "~"
            case "·": "."
            case "∞": "inf"
            case "°": " "
            default: character.isASCII ? String(character) : "?"
            }
        }.joined()
    }

    /// How many columns a terminal needs. East Asian wide characters and emoji take two, combining marks none; near
    /// enough for names and addresses.
    static func width(_ text: String) -> Int {
        text.reduce(0) { sum, character in
            let first = character.unicodeScalars.first!
            if first.properties.generalCategory == .nonspacingMark { return sum }
            return sum + (isWide(first) ? 2 : 1)
        }
    }
    private static func isWide(_ scalar: UnicodeScalar) -> Bool {
        switch scalar.value {
        case 0x1100...0x115F, 0x2E80...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60,
            0xFFE0...0xFFE6, 0x1F300...0x1FAFF, 0x20000...0x3FFFD:
            true
        default: false
        }
    }

    static func padded(_ text: String, to width: Int, alignRight: Bool = false) -> String {
        let gap = String(repeating: " ", count: max(0, width - Text.width(text)))
        return alignRight ? gap + text : text + gap
    }

    static func cut(_ text: String, to width: Int) -> String {
        guard Text.width(text) > width else { return text }
        var kept = ""
        for character in text {
            guard Text.width(kept) + Text.width(String(character)) < width else { break }
            kept.append(character)
        }
        return kept + "…"
    }

    /// A fixed number of decimals, rounded half away from zero: 0.25 → "0.3".
    static func number(_ value: Double, decimals: Int) -> String {
        guard value.isFinite, abs(value) < 1e12 else { return value.isNaN ? "?" : value < 0 ? "−∞" : "∞" }
        let scale = (0..<decimals).reduce(1.0) { scale, _ in scale * 10 }
        let scaled = Int64((abs(value) * scale).rounded())
        let whole = String(scaled / Int64(scale))
        let sign = value < 0 && scaled != 0 ? "-" : ""
        guard decimals > 0 else { return sign + whole }
        let rest = String(scaled % Int64(scale))
        return sign + whole + "." + String(repeating: "0", count: decimals - rest.count) + rest
    }

    /// "4 s", "3 min", "2 h 5 min", "12 d": the two largest units that matter.
    static func duration(seconds: Double) -> String {
        guard seconds.isFinite, seconds >= 0, seconds < 1e11 else { return "?" }
        let whole = Int(seconds)
        switch whole {
        case ..<60: return "\(whole) s"
        case ..<3600: return "\(whole / 60) min"
        case ..<86_400:
            let minutes = whole % 3600 / 60
            return "\(whole / 3600) h" + (minutes == 0 ? "" : " \(minutes) min")
        default:
            let hours = whole % 86_400 / 3600
            return "\(whole / 86_400) d" + (hours == 0 || whole >= 864_000 ? "" : " \(hours) h")
        }
    }

    /// A moment that the API wrote (ISO 8601, with or without fractions of a second).
    static func moment(_ text: String) -> Date? {
        (try? Date(
            text,
            strategy: .iso8601.year().month().day().time(includingFractionalSeconds: true).timeZone(separator: .omitted)
        ))
            ?? (try? Date(text, strategy: .iso8601))
    }

    /// How long ago; the text itself when it is no moment.
    static func ago(_ text: String, now: Date) -> String {
        guard let then = moment(text) else { return oneLine(text) }
        // A little in the future is the other clock's fault.
        return duration(seconds: max(0, now.timeIntervalSince(then)))
    }

    static func count(_ number: Int, _ one: String, _ many: String) -> String {
        "\(number) \(number == 1 ? one : many)"
    }

    /// Breaks at spaces so that no line is longer than `width`, except a single longer word.
    static func wrapped(_ text: String, to width: Int, indent: String = "") -> String {
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            if !line.isEmpty, Text.width(indent) + Text.width(line) + 1 + Text.width(String(word)) > width {
                lines.append(indent + line)
                line = ""
            }
            line += (line.isEmpty ? "" : " ") + word
        }
        if !line.isEmpty { lines.append(indent + line) }
        return lines.joined(separator: "\n")
    }
}
