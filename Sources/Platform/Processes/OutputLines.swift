/// Cuts what a program prints into lines for people and logs. Nothing a program prints makes it grow: a long line is cut
/// off, and what terminals would obey is replaced.
package struct OutputLines: Sendable {
    /// Bytes of one line that are kept.
    package static let longest = 4096
    private var line: [UInt8] = []
    private var isCut = false

    package init() {}

    package mutating func take(_ bytes: some Collection<UInt8>) -> [String] {
        var done: [String] = []
        for byte in bytes {
            // A progress display writes over its line: each state of it is one.
            if byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") {
                if let text = finish() { done.append(text) }
            } else if line.count < Self.longest {
                line.append(byte)
            } else {
                isCut = true
            }
        }
        return done
    }

    /// The last line, when it did not end. Nil for an empty one.
    package mutating func finish() -> String? {
        defer {
            line.removeAll(keepingCapacity: true)
            isCut = false
        }
        var text = ""
        for scalar in String(decoding: line, as: UTF8.self).unicodeScalars {
            let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
            text.unicodeScalars.append(isControl ? " " : scalar)
        }
        while text.last == " " { text.removeLast() }
        if text.isEmpty { return nil }
        return isCut ? text + " …" : text
    }
}
