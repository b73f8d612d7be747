import COpenSSL

/// A password as it is stored: scrypt (RFC 7914), with its parameters and a salt of its own.
///
/// Memory-hard: each guess takes 16 MiB and tens of milliseconds here too, so call it on a thread that may wait, a few
/// at a time. Printed as `$scrypt$ln=14,r=8,p=1$SALT$HASH` (the PHC string format, base 64 without padding).
package struct PasswordHash: Equatable, Sendable, CustomStringConvertible {
    package struct Cost: Equatable, Sendable {
        /// The memory is 128 · r · 2^logN bytes.
        package var logN: Int
        package var r: Int
        package var p: Int

        package init(logN: Int, r: Int, p: Int) {
            self.logN = logN
            self.r = r
            self.p = p
        }
        /// 16 MiB: RFC 7914's interactive setting, which a Raspberry Pi with 1 GB can afford a few times at once.
        package static let standard = Cost(logN: 14, r: 8, p: 1)

        /// What a stored string may ask for: at most 64 MiB, and eight times the standard work.
        var isReasonable: Bool {
            (1...16).contains(logN) && (1...8).contains(r) && (1...8).contains(p) && 128 * r << logN <= 64 << 20
        }
    }
    /// More would only be a way to keep us busy.
    package static let maximumPasswordSize = 1024

    private let cost: Cost
    private let salt: [UInt8]
    private let hash: [UInt8]

    /// - Parameter password: at most `maximumPasswordSize` bytes of UTF-8, checked by the caller.
    package init(of password: String, cost: Cost = .standard) {
        precondition(password.utf8.count <= Self.maximumPasswordSize, "the caller bounds the password")
        self.cost = cost
        salt = RandomBytes.make(16)
        hash = Self.derive(password, salt: salt, cost: cost, count: 32)
    }

    /// Takes as long for a wrong password as for the right one.
    package func matches(_ password: String) -> Bool {
        guard password.utf8.count <= Self.maximumPasswordSize else { return false }
        return ConstantTime.areEqual(Self.derive(password, salt: salt, cost: cost, count: hash.count), hash)
    }

    /// True when a newer version stores passwords at another cost: hash again after the next right password.
    package var isOutdated: Bool { cost != .standard }

    package var description: String {
        "$scrypt$ln=\(cost.logN),r=\(cost.r),p=\(cost.p)$\(Base64.encode(salt))$\(Base64.encode(hash))"
    }

    package init?(_ text: String) {
        let parts = text.split(separator: "$", omittingEmptySubsequences: false)
        guard parts.count == 5, parts[0].isEmpty, parts[1] == "scrypt" else { return nil }
        let fields = parts[2].split(separator: ",", omittingEmptySubsequences: false)
        let keys = ["ln=", "r=", "p="]
        guard fields.count == keys.count else { return nil }
        let numbers = zip(fields, keys).compactMap { $0.hasPrefix($1) ? Int($0.dropFirst($1.count)) : nil }
        guard numbers.count == keys.count, let salt = Base64.decode(parts[3]), let hash = Base64.decode(parts[4]),
            (8...64).contains(salt.count), (16...64).contains(hash.count)
        else { return nil }
        cost = Cost(logN: numbers[0], r: numbers[1], p: numbers[2])
        guard cost.isReasonable else { return nil }
        self.salt = salt
        self.hash = hash
    }

    private static func derive(_ password: String, salt: [UInt8], cost: Cost, count: Int) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: count)
        let code = EVP_PBE_scrypt(
            password, password.utf8.count, salt, salt.count, 1 << UInt64(cost.logN), UInt64(cost.r), UInt64(cost.p),
            128 << 20, &out, count)
        precondition(code == 1, "OpenSSL has no scrypt, or the machine no memory for it")
        return out
    }
}

/// Base 64 of RFC 4648 §4 without padding.
package enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    package static func encode(_ bytes: some Sequence<UInt8>) -> String {
        var text: [UInt8] = []
        var bits: UInt32 = 0
        var held = 0
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            held += 8
            while held >= 6 {
                held -= 6
                text.append(alphabet[Int(bits >> UInt32(held) & 63)])
            }
        }
        if held > 0 { text.append(alphabet[Int(bits << UInt32(6 - held) & 63)]) }
        return String(decoding: text, as: UTF8.self)
    }

    package static func decode(_ text: some StringProtocol) -> [UInt8]? {
        guard text.utf8.count % 4 != 1 else { return nil }
        var bytes: [UInt8] = []
        var bits: UInt32 = 0
        var held = 0
        for letter in text.utf8 {
            guard let value = alphabet.firstIndex(of: letter) else { return nil }
            bits = bits << 6 | UInt32(value)
            held += 6
            if held >= 8 {
                held -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
            }
        }
        // Bits left over must be zero, so that one value has one spelling.
        guard bits & (1 << UInt32(held) - 1) == 0 else { return nil }
        return bytes
    }
}
