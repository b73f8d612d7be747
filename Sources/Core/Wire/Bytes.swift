/// Reads values from bytes of the network: big end first, every read checked, nothing allocated before its size is known
/// to be there. The first read past the end throws, and the caller drops the whole message.
package struct ByteReader: Sendable {
    package enum Failure: Error, Equatable, Sendable { case truncated, tooLong, malformed, trailingBytes }

    // Inlinable, because unspecialised generics over integers were a fifth of a large simulation's time.
    @usableFromInline let bytes: ArraySlice<UInt8>
    @usableFromInline var position: Int

    package init(_ bytes: [UInt8]) { self.init(bytes[...]) }
    package init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    @inlinable package var remaining: Int { bytes.endIndex - position }

    package mutating func take(_ count: Int) throws(Failure) -> ArraySlice<UInt8> {
        guard count >= 0, count <= remaining else { throw .truncated }
        defer { position += count }
        return bytes[position..<position + count]
    }
    /// At most 64 bits.
    @inlinable @inline(__always) package mutating func integer<Value: FixedWidthInteger>(
        _: Value.Type = Value.self
    ) throws(Failure) -> Value {
        Value(truncatingIfNeeded: try word(bytes: MemoryLayout<Value>.size))
    }
    /// The loop is not generic: it stays fast also where a caller cannot be specialised.
    @usableFromInline mutating func word(bytes count: Int) throws(Failure) -> UInt64 {
        guard count <= remaining else { throw .truncated }
        let start = position - bytes.startIndex
        position += count
        return bytes.withUnsafeBufferPointer { buffer in
            var word: UInt64 = 0
            for index in start..<start + count { word = word << 8 | UInt64(buffer[index]) }
            return word
        }
    }
    /// A number in groups of seven bits, the lowest first, as short as it can be: one number has one form.
    package mutating func compact() throws(Failure) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let byte: UInt8 = try integer()
            guard shift < 63 || byte < 2 else { throw .malformed }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 {
                guard byte != 0 || shift == 0 else { throw .malformed }
                return value
            }
            shift += 7
        }
    }
    /// A compact number that counts things of which each takes at least one byte: never more than there can be.
    package mutating func compactCount() throws(Failure) -> Int {
        let count = try compact()
        guard count <= UInt64(remaining) else { throw .truncated }
        return Int(count)
    }
    /// Exactly 0 or 1, so that what is read is what was written.
    package mutating func flag() throws(Failure) -> Bool {
        switch try integer(UInt8.self) {
        case 0: false
        case 1: true
        default: throw .malformed
        }
    }
    /// Bytes with a 16-bit length in front, at most `limit` of them.
    package mutating func blob(limit: Int) throws(Failure) -> [UInt8] {
        let count = Int(try integer(UInt16.self))
        guard count <= limit else { throw .tooLong }
        return Array(try take(count))
    }
    /// UTF-8 text with a 16-bit length in front, at most `limit` bytes, without control characters.
    package mutating func text(limit: Int) throws(Failure) -> String {
        let raw = try blob(limit: limit)
        guard let text = String(validating: raw, as: UTF8.self), text.utf8.allSatisfy({ $0 >= 32 && $0 != 127 })
        else { throw .malformed }
        return text
    }
    /// A list with a 16-bit count in front. The count is checked against `limit` before anything is read.
    package mutating func list<Item>(
        limit: Int, _ item: (inout ByteReader) throws(Failure) -> Item
    ) throws(Failure) -> [Item] {
        let count = Int(try integer(UInt16.self))
        guard count <= limit else { throw .tooLong }
        var items: [Item] = []
        for _ in 0..<count { items.append(try item(&self)) }
        return items
    }
    /// Call last: bytes left over mean that sender and receiver disagree about the format.
    package func finish() throws(Failure) {
        guard remaining == 0 else { throw .trailingBytes }
    }
}

/// Writes what `ByteReader` reads.
package struct ByteWriter: Sendable {
    package private(set) var bytes: [UInt8] = []

    package init(reserving count: Int = 256) { bytes.reserveCapacity(count) }

    package mutating func raw(_ more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }
    @inlinable package mutating func integer<Value: FixedWidthInteger>(_ value: Value) {
        withUnsafeBytes(of: value.bigEndian) { append($0) }
    }
    @usableFromInline mutating func append(_ raw: UnsafeRawBufferPointer) { bytes.append(contentsOf: raw) }
    package mutating func compact(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
    package mutating func flag(_ value: Bool) { integer(UInt8(value ? 1 : 0)) }
    /// At most 65,535 bytes; senders keep to the reader's limit.
    package mutating func blob(_ more: some Collection<UInt8>) {
        integer(UInt16(more.count))
        bytes.append(contentsOf: more)
    }
    package mutating func text(_ text: String) { blob(Array(text.utf8)) }
    package mutating func list<Item>(_ items: some Collection<Item>, _ item: (inout ByteWriter, Item) -> Void) {
        integer(UInt16(items.count))
        for one in items { item(&self, one) }
    }
}
