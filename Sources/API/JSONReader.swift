/// Where and why a text is not JSON.
package struct JSONProblem: Error, Equatable {
    package var line: Int
    package var column: Int
    package var text: String
}

/// Reads JSON (RFC 8259) strictly: no duplicate names, nothing after the value, bounded depth. For what clients send, so
/// that an error can name its place; answers are written by Foundation.
package struct JSONReader {
    static let depthLimit = 32

    package static func read(_ bytes: [UInt8]) throws(JSONProblem) -> JSONValue {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw JSONProblem(line: 1, column: 1, text: "the text is not UTF-8")
        }
        var reader = JSONReader(bytes: bytes)
        reader.skipSpace()
        let value = try reader.value(depth: 0)
        reader.skipSpace()
        guard reader.place == bytes.count else { throw reader.problem("there is something after the end") }
        return value
    }

    private let bytes: [UInt8]
    private var place = 0

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private var next: UInt8? { place < bytes.count ? bytes[place] : nil }

    private mutating func value(depth: Int) throws(JSONProblem) -> JSONValue {
        guard depth <= Self.depthLimit else { throw problem("nested deeper than \(Self.depthLimit) levels") }
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case let byte? where byte == UInt8(ascii: "-") || (0x30...0x39).contains(byte): return try number()
        case nil: throw problem("the text ends where a value should be")
        default: throw problem("expected a value, found \(found)")
        }
    }

    private mutating func object(depth: Int) throws(JSONProblem) -> JSONValue {
        place += 1
        var members: [String: JSONValue] = [:]
        skipSpace()
        if next == UInt8(ascii: "}") {
            place += 1
            return .object(members)
        }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw problem("expected a field's name in quotes, found \(found)") }
            let start = place
            let name = try string()
            guard members[name] == nil else {
                place = start
                throw problem("the field “\(name)” is there twice")
            }
            skipSpace()
            guard next == UInt8(ascii: ":") else { throw problem("expected “:” after “\(name)”, found \(found)") }
            place += 1
            skipSpace()
            members[name] = try value(depth: depth + 1)
            skipSpace()
            switch next {
            case UInt8(ascii: ","): place += 1
            case UInt8(ascii: "}"):
                place += 1
                return .object(members)
            default: throw problem("expected “,” or “}”, found \(found)")
            }
        }
    }

    private mutating func array(depth: Int) throws(JSONProblem) -> JSONValue {
        place += 1
        var items: [JSONValue] = []
        skipSpace()
        if next == UInt8(ascii: "]") {
            place += 1
            return .array(items)
        }
        while true {
            skipSpace()
            items.append(try value(depth: depth + 1))
            skipSpace()
            switch next {
            case UInt8(ascii: ","): place += 1
            case UInt8(ascii: "]"):
                place += 1
                return .array(items)
            default: throw problem("expected “,” or “]”, found \(found)")
            }
        }
    }

    private mutating func string() throws(JSONProblem) -> String {
        place += 1
        var text: [UInt8] = []
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                place += 1
                return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"):
                place += 1
                try escape(into: &text)
            case 0..<0x20: throw problem("a control character must be written as an escape")
            default:
                text.append(byte)
                place += 1
            }
        }
        throw problem("the text ends inside a string")
    }

    private mutating func escape(into text: inout [UInt8]) throws(JSONProblem) {
        let letters: [UInt8: UInt8] = [
            UInt8(ascii: "\""): 0x22, UInt8(ascii: "\\"): 0x5C, UInt8(ascii: "/"): 0x2F, UInt8(ascii: "b"): 0x08,
            UInt8(ascii: "f"): 0x0C, UInt8(ascii: "n"): 0x0A, UInt8(ascii: "r"): 0x0D, UInt8(ascii: "t"): 0x09,
        ]
        guard let letter = next else { throw problem("the text ends inside a string") }
        if let byte = letters[letter] {
            place += 1
            text.append(byte)
            return
        }
        guard letter == UInt8(ascii: "u") else { throw problem("no such escape: \\\(found)") }
        place += 1
        var code = try hexadecimal()
        if (0xD800..<0xDC00).contains(code) {
            guard next == UInt8(ascii: "\\"), place + 1 < bytes.count, bytes[place + 1] == UInt8(ascii: "u") else {
                throw problem("half of a surrogate pair")
            }
            place += 2
            let low = try hexadecimal()
            guard (0xDC00..<0xE000).contains(low) else { throw problem("half of a surrogate pair") }
            code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw problem("half of a surrogate pair") }
        text.append(contentsOf: String(Character(scalar)).utf8)
    }

    private mutating func hexadecimal() throws(JSONProblem) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
                throw problem("expected four hexadecimal digits after \\u")
            }
            code = code << 4 | UInt32(digit)
            place += 1
        }
        return code
    }

    private mutating func number() throws(JSONProblem) -> JSONValue {
        let start = place
        var isWhole = true
        if next == UInt8(ascii: "-") { place += 1 }
        if next == UInt8(ascii: "0") {
            place += 1
        } else {
            try digits()
        }
        if next == UInt8(ascii: ".") {
            isWhole = false
            place += 1
            try digits()
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            isWhole = false
            place += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { place += 1 }
            try digits()
        }
        let text = String(decoding: bytes[start..<place], as: UTF8.self)
        if isWhole, let value = Int64(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else { throw problem("the number is too large") }
        return .number(value)
    }

    private mutating func digits() throws(JSONProblem) {
        let start = place
        while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { place += 1 }
        guard place > start else { throw problem("expected a digit, found \(found)") }
    }

    private mutating func word(_ word: StaticString, _ value: JSONValue) throws(JSONProblem) -> JSONValue {
        let length = word.utf8CodeUnitCount
        let same =
            place + length <= bytes.count
            && bytes[place..<place + length].elementsEqual(UnsafeBufferPointer(start: word.utf8Start, count: length))
        guard same else { throw problem("expected “\(word)”") }
        place += length
        return value
    }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { place += 1 }
    }

    /// What is at the place, for a message: one character, or the end.
    private var found: String {
        guard place < bytes.count else { return "the end of the text" }
        let rest = String(decoding: bytes[place..<min(place + 8, bytes.count)], as: UTF8.self)
        guard let scalar = rest.unicodeScalars.first else { return "nothing" }
        return scalar.value < 0x20 || scalar.value == 0x7F
            ? "a control character (\(scalar.value))" : "“\(Character(scalar))”"
    }

    private func problem(_ text: String) -> JSONProblem {
        var line = 1
        var column = 1
        for byte in bytes[..<min(place, bytes.count)] {
            if byte == 0x0A {
                line += 1
                column = 1
            } else if byte & 0xC0 != 0x80 {  // one for a character, not for each of its bytes
                column += 1
            }
        }
        return JSONProblem(line: line, column: column, text: text)
    }
}
