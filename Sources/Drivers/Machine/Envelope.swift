/// A file's content with its length and checksum around it, so that what a power cut or a dying card left is noticed.
///
/// One JSON object, so that people and `jq` can read it: `{"bramble":1,"crc32":"1a2b3c4d","bytes":17,"content":…}`.
/// CRC-32 finds decay, not malice: whoever may write here is trusted anyway.
package enum Envelope {
    package static func seal(_ content: [UInt8]) -> [UInt8] {
        let head = #"{"bramble":1,"crc32":"\#(hexadecimal(crc32(content)))","bytes":\#(content.count),"content":"#
        return Array(head.utf8) + content + Array("}\n".utf8)
    }

    /// The content; nil when it is not what was written.
    package static func open(_ file: [UInt8]) -> [UInt8]? {
        let limit = 96  // longer than any head
        let marker = Array(#","content":"#.utf8)
        guard let end = file.prefix(limit).firstRange(of: marker)?.upperBound else { return nil }
        let tail = Array("}\n".utf8)
        guard file.count >= end + tail.count, file.suffix(tail.count).elementsEqual(tail) else { return nil }
        let content = Array(file[end..<(file.count - tail.count)])
        // Writing it again and comparing is the strictest check of the head.
        return seal(content) == file ? content : nil
    }

    /// CRC-32 as zlib and Ethernet have it (IEEE 802.3, reflected polynomial 0xEDB88320).
    static func crc32(_ bytes: some Sequence<UInt8>) -> UInt32 {
        ~bytes.reduce(~0 as UInt32) { $0 >> 8 ^ table[Int(($0 ^ UInt32($1)) & 0xFF)] }
    }
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { word, _ in word & 1 == 1 ? word >> 1 ^ 0xEDB8_8320 : word >> 1 }
    }
    private static func hexadecimal(_ word: UInt32) -> String {
        let text = String(word, radix: 16)
        return String(repeating: "0", count: 8 - text.count) + text
    }
}
