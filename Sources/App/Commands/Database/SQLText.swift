/// Splits what a person or a file says into single statements, at the semicolons that end one.
///
/// It knows strings, names in quotes and comments; everything else is for the node to judge.
enum SQLText {
    /// The statements, without their semicolons; and whether the text ends inside one.
    static func statements(in text: String) -> (whole: [String], rest: String) {
        var whole: [String] = []
        let bytes = Array(text.utf8)
        var start = 0
        var place = 0
        func take(upTo end: Int) -> String { String(decoding: bytes[start..<end], as: UTF8.self) }
        while place < bytes.count {
            switch bytes[place] {
            case UInt8(ascii: ";"):
                let statement = take(upTo: place)
                if hasContent(statement) { whole.append(trimmed(statement)) }
                start = place + 1
                place += 1
            case UInt8(ascii: "'"), UInt8(ascii: "\""), UInt8(ascii: "`"):
                // A doubled mark inside is two strings to us, which comes to the same.
                place = skip(past: bytes[place], from: place + 1, in: bytes)
            case UInt8(ascii: "["): place = skip(past: UInt8(ascii: "]"), from: place + 1, in: bytes)
            case UInt8(ascii: "-") where place + 1 < bytes.count && bytes[place + 1] == UInt8(ascii: "-"):
                place = skip(past: UInt8(ascii: "\n"), from: place + 2, in: bytes)
            case UInt8(ascii: "/") where place + 1 < bytes.count && bytes[place + 1] == UInt8(ascii: "*"):
                place = skipComment(from: place + 2, in: bytes)
            default: place += 1
            }
        }
        let rest = take(upTo: bytes.count)
        return (whole, hasContent(rest) ? trimmed(rest) : "")
    }

    private static func skip(past end: UInt8, from start: Int, in bytes: [UInt8]) -> Int {
        var place = start
        while place < bytes.count, bytes[place] != end { place += 1 }
        return min(place + 1, bytes.count)
    }
    private static func skipComment(from start: Int, in bytes: [UInt8]) -> Int {
        var place = start
        while place + 1 < bytes.count {
            if bytes[place] == UInt8(ascii: "*"), bytes[place + 1] == UInt8(ascii: "/") { return place + 2 }
            place += 1
        }
        return bytes.count
    }

    /// Something besides white space and comments.
    private static func hasContent(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        var place = 0
        while place < bytes.count {
            switch bytes[place] {
            case 0...0x20: place += 1
            case UInt8(ascii: "-") where place + 1 < bytes.count && bytes[place + 1] == UInt8(ascii: "-"):
                place = skip(past: UInt8(ascii: "\n"), from: place + 2, in: bytes)
            case UInt8(ascii: "/") where place + 1 < bytes.count && bytes[place + 1] == UInt8(ascii: "*"):
                place = skipComment(from: place + 2, in: bytes)
            default: return true
            }
        }
        return false
    }

    private static func trimmed(_ text: String) -> String {
        let isSpace = { (byte: UInt8) in byte <= 0x20 }
        let bytes = Array(text.utf8)
        let start = bytes.firstIndex { !isSpace($0) } ?? bytes.endIndex
        let end = bytes.lastIndex { !isSpace($0) }.map { $0 + 1 } ?? start
        return String(decoding: bytes[start..<max(start, end)], as: UTF8.self)
    }

    /// A word that changes something stands first; for a hint only, the node decides.
    static func seemsToWrite(_ statement: String) -> Bool {
        let word = statement.drop { !$0.isLetter }.prefix { $0.isLetter }.lowercased()
        return !["select", "values", "explain", "with"].contains(word)
    }
}
