import COpenSSL

/// Bytes that nobody may see: wiped when let go, compared in constant time, printed as `<secret>` whatever asks.
package final class Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// Written once, in `init`, and only read afterwards.
    private nonisolated(unsafe) let storage: UnsafeMutableRawBufferPointer

    package init(_ bytes: some Collection<UInt8>) {
        storage = .allocate(byteCount: bytes.count, alignment: 16)
        storage.copyBytes(from: bytes)
    }

    /// `count` bytes from the kernel's generator, through OpenSSL's.
    package static func random(_ count: Int) -> Secret {
        var bytes = RandomBytes.make(count)
        defer { bytes.wipe() }
        return Secret(bytes)
    }

    deinit {
        OPENSSL_cleanse(storage.baseAddress, storage.count)
        storage.deallocate()
    }

    package var count: Int { storage.count }

    /// The bytes, for as long as the body runs. Copy them nowhere that outlives it without need.
    package func withBytes<Result, Failure: Error>(
        _ body: (UnsafeBufferPointer<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(UnsafeBufferPointer(storage.assumingMemoryBound(to: UInt8.self)))
    }

    package static func == (left: Secret, right: Secret) -> Bool {
        left.withBytes { a in right.withBytes { b in ConstantTime.areEqual(a, b) } }
    }

    package var description: String { "<secret>" }
    package var debugDescription: String { "<secret>" }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

extension [UInt8] {
    /// Overwrites the bytes with zeros, in a way that the optimizer does not drop.
    package mutating func wipe() { withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) } }
}

package enum RandomBytes {
    /// From OpenSSL's generator, which the kernel seeds. Without chance nothing here is safe, so failure ends the process.
    package static func make(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            precondition(RAND_bytes(buffer.baseAddress, Int32(count)) == 1, "the machine has no random numbers")
            filled = count
        }
    }
    package static func integer<Value: FixedWidthInteger>(_: Value.Type = Value.self) -> Value {
        make(Value.bitWidth / 8).reduce(0) { $0 << 8 | Value(truncatingIfNeeded: $1) }
    }
}

package enum ConstantTime {
    /// Takes as long for a first byte that differs as for the last; only the lengths may be guessed from the time.
    package static func areEqual(_ left: some Collection<UInt8>, _ right: some Collection<UInt8>) -> Bool {
        guard left.count == right.count else { return false }
        let same = left.withContiguousStorageIfAvailable { a in
            right.withContiguousStorageIfAvailable { b in CRYPTO_memcmp(a.baseAddress, b.baseAddress, a.count) == 0 }
        }
        if let same, let same { return same }
        return zip(left, right).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
