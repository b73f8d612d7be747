import Crypto
import Testing

private func bytes(_ hexadecimal: String) -> [UInt8] { Hexadecimal.decode(hexadecimal.filter { !$0.isWhitespace })! }

@Suite("the building blocks give the published values")
struct BuildingBlockTests {
    @Test("SHA-256 of “abc” is that of FIPS 180-4")
    func sha256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        #expect(Hexadecimal.encode(SHA256.hash(Array("abc".utf8))) == expected)
        #expect(Hexadecimal.encode(SHA256.hash("abc".utf8)) == expected)
        #expect(
            Hexadecimal.encode(SHA256.hash([UInt8]()))
                == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    }

    @Test("HMAC-SHA256 is that of RFC 4231, test case 2")
    func hmac() {
        let mac = MAC.sha256(Array("what do ya want for nothing?".utf8), key: Secret(Array("Jefe".utf8)))
        #expect(Hexadecimal.encode(mac) == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    }

    @Test("HKDF-SHA256 is that of RFC 5869, test case 1")
    func hkdf() {
        let key = KeyDerivation.derive(
            42, from: Secret(bytes("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b")),
            salt: Secret(bytes("000102030405060708090a0b0c")), info: bytes("f0f1f2f3f4f5f6f7f8f9"))
        #expect(
            key.withBytes { Hexadecimal.encode($0) }
                == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    }

    @Test(
        "sealing is ChaCha20-Poly1305: key, counter, header and payload give the tag that Python's cryptography gives")
    func knownSeal() {
        // ChaCha20Poly1305(bytes(range(32))).encrypt(bytes(4) + (7).to_bytes(8, "big"), b"payload", b"header")
        let sealed = SealingKey.sealing(with: Secret(Array(0..<32)))
            .seal(Array("payload".utf8), counter: 7, header: Array("header".utf8))
        #expect(Hexadecimal.encode(sealed.dropFirst(6)) == "58276c2f21e24e0f84482ef4d5f345158927056794bd5b")
    }

    @Test("a sealed payload opens with the same key, counter and header, and with nothing else")
    func sealing() {
        let key = Secret.random(SealingKey.keySize)
        let header = Array("header".utf8)
        for payload in [[], [1], Array(repeating: 7, count: 1400)] as [[UInt8]] {
            let packet = SealingKey.sealing(with: key).seal(payload, counter: 5, header: header, also: [9])
            let sealed = Array(packet.dropFirst(header.count))
            let opener = SealingKey.opening(with: key)
            #expect(packet.starts(with: header))
            #expect(opener.open(sealed, counter: 6, header: header, also: [9]) == nil)
            #expect(opener.open(sealed, counter: 5, header: [0], also: [9]) == nil)
            #expect(opener.open(sealed, counter: 5, header: header, also: [8]) == nil)
            #expect(opener.open(sealed.dropLast(), counter: 5, header: header, also: [9]) == nil)
            #expect(opener.open([], counter: 5, header: header) == nil)
            for place in [0, sealed.count - 1] {
                var broken = sealed
                broken[place] ^= 1
                #expect(opener.open(broken, counter: 5, header: header, also: [9]) == nil)
            }
            // And after all that, the good one still opens.
            #expect(opener.open(sealed, counter: 5, header: header, also: [9]) == payload)
            #expect(SealingKey.opening(with: .random(32)).open(sealed, counter: 5, header: header, also: [9]) == nil)
        }
    }

    @Test("two ephemeral keys agree on a secret; a point of low order agrees on nothing")
    func agreement() {
        let a = EphemeralKey()
        let b = EphemeralKey()
        let shared = a.agree(with: b.publicKey)
        #expect(shared != nil && shared == b.agree(with: a.publicKey))
        #expect(shared != a.agree(with: a.publicKey))
        #expect(a.agree(with: [UInt8](repeating: 0, count: 32)) == nil)
        #expect(a.agree(with: [1] + [UInt8](repeating: 0, count: 31)) == nil)
        #expect(a.agree(with: b.publicKey.dropLast()) == nil)
    }

    @Test("comparing takes content and length into account, for every kind of collection")
    func comparing() {
        #expect(ConstantTime.areEqual([1, 2, 3], [1, 2, 3]))
        #expect(!ConstantTime.areEqual([1, 2, 3], [1, 2, 4]))
        #expect(!ConstantTime.areEqual([1, 2, 3], [1, 2]))
        #expect(ConstantTime.areEqual([] as [UInt8], []))
        #expect(ConstantTime.areEqual("ab".utf8, [97, 98]))
        #expect(!ConstantTime.areEqual("ab".utf8.reversed(), [97, 98]))
    }

    @Test("a secret does not print itself, however it is asked")
    func secretsDoNotPrint() {
        let secret = Secret(Array("hunter2".utf8))
        var dumped = ""
        dump(secret, to: &dumped)
        for text in ["\(secret)", String(describing: secret), String(reflecting: secret), dumped] {
            #expect(!text.contains("hunter2") && !text.contains("104"))
        }
    }

    @Test("random bytes differ from call to call")
    func random() {
        #expect(RandomBytes.make(32) != RandomBytes.make(32))
        #expect(RandomBytes.make(0) == [])
        #expect(RandomBytes.integer(UInt64.self) != RandomBytes.integer(UInt64.self))
    }

    @Test("base 64 and hexadecimal are read back, and what is neither is refused")
    func encodings() {
        for count in 0...9 {
            let value = RandomBytes.make(count)
            #expect(Base64.decode(Base64.encode(value)) == value)
            #expect(Hexadecimal.decode(Hexadecimal.encode(value)) == value)
        }
        #expect(Base64.encode(Array("any carnal pleas".utf8)) == "YW55IGNhcm5hbCBwbGVhcw")
        for text in ["A", "AB=", "A-", "é", "AB"] { #expect(Base64.decode(text) == nil, "\(text)") }
        for text in ["0", "0g", " 00", "0x00", "é"] { #expect(Hexadecimal.decode(text) == nil, "\(text)") }
    }
}
