/// Reads XML as forgivingly as programs write it: elements, attributes and text; whatever else there is, is skipped.
///
/// Not a general parser: no namespaces, no DTD, five entities and character numbers. libxml2 would be one more library, to
/// read a handful of elements that scripts and tools print.
package struct TolerantXML {
    package enum Piece: Equatable, Sendable {
        case open(String, [String: String], isEmpty: Bool)
        case close(String)
        case text(String)
    }

    private let bytes: [UInt8]
    private var place = 0

    package init(_ bytes: some Collection<UInt8>) { self.bytes = Array(bytes) }

    /// Nil at the end, or where a tag never ends. Every call takes at least one byte, so it ends.
    package mutating func next() -> Piece? {
        while place < bytes.count {
            guard bytes[place] == UInt8(ascii: "<") else {
                let end = find(UInt8(ascii: "<"), from: place) ?? bytes.count
                defer { place = end }
                return .text(Self.plain(bytes[place..<end]))
            }
            if starts("<!--") {
                skip(past: "-->")
            } else if starts("<![CDATA[") {
                let start = place + 9
                skip(past: "]]>")
                return .text(String(decoding: bytes[min(start, place)..<max(start, place - 3)], as: UTF8.self))
            } else if starts("<?") || starts("<!") {
                skip(past: ">")
            } else {
                return tag()
            }
        }
        return nil
    }

    private mutating func tag() -> Piece? {
        place += 1
        let isClosing = place < bytes.count && bytes[place] == UInt8(ascii: "/")
        if isClosing { place += 1 }
        let name = word()
        var attributes: [String: String] = [:]
        var isEmpty = false
        while place < bytes.count, bytes[place] != UInt8(ascii: ">") {
            if bytes[place] == UInt8(ascii: "/") {
                isEmpty = true
                place += 1
                continue
            }
            let key = word()
            if key.isEmpty {
                place += 1
                continue
            }
            skipSpace()
            guard place < bytes.count, bytes[place] == UInt8(ascii: "=") else { continue }
            place += 1
            skipSpace()
            attributes[key] = value()
        }
        guard place < bytes.count else { return nil }
        place += 1
        return isClosing ? .close(name) : .open(name, attributes, isEmpty: isEmpty)
    }

    private mutating func word() -> String {
        let start = place
        while place < bytes.count, !Self.isSpace(bytes[place]), !Array("=/><\"'".utf8).contains(bytes[place]) {
            place += 1
        }
        return String(decoding: bytes[start..<place], as: UTF8.self)
    }

    private mutating func value() -> String {
        guard place < bytes.count, bytes[place] == UInt8(ascii: "\"") || bytes[place] == UInt8(ascii: "'") else {
            return word()
        }
        let start = place + 1
        let end = find(bytes[place], from: start) ?? bytes.count
        place = min(end + 1, bytes.count)
        return Self.plain(bytes[start..<end])
    }

    private mutating func skipSpace() {
        while place < bytes.count, Self.isSpace(bytes[place]) { place += 1 }
    }
    private static func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }

    private func starts(_ text: StaticString) -> Bool {
        let wanted = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
        return bytes[place...].starts(with: wanted)
    }
    private mutating func skip(past text: String) {
        let wanted = Array(text.utf8)
        while place < bytes.count, !bytes[place...].starts(with: wanted) { place += 1 }
        place = min(place + wanted.count, bytes.count)
    }
    private func find(_ byte: UInt8, from start: Int) -> Int? {
        start <= bytes.count ? bytes[start...].firstIndex(of: byte) : nil
    }

    /// `&lt;` and its like; what is unknown stays as it is.
    private static func plain(_ bytes: ArraySlice<UInt8>) -> String {
        let text = String(decoding: bytes, as: UTF8.self)
        guard text.contains("&") else { return text }
        var result = ""
        var rest = text[...]
        while let start = rest.firstIndex(of: "&") {
            result += rest[..<start]
            rest = rest[start...]
            guard let end = rest.prefix(12).firstIndex(of: ";"),
                let scalar = entity(rest[rest.index(after: start)..<end])
            else {
                result += "&"
                rest = rest.dropFirst()
                continue
            }
            result.unicodeScalars.append(scalar)
            rest = rest[rest.index(after: end)...]
        }
        return result + rest
    }
    private static func entity(_ name: Substring) -> Unicode.Scalar? {
        switch name {
        case "lt": return "<"
        case "gt": return ">"
        case "amp": return "&"
        case "quot": return "\""
        case "apos": return "'"
        default:
            guard name.hasPrefix("#") else { return nil }
            let isHex = name.dropFirst().first == "x"
            return UInt32(name.dropFirst(isHex ? 2 : 1), radix: isHex ? 16 : 10).flatMap { Unicode.Scalar($0) }
        }
    }
}
