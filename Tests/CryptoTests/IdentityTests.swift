import Crypto
import Primitives
import Testing

@Suite("an identity is a key pair, and its name is a hash of the public half")
struct IdentityTests {
    @Test("an identity survives being written and read")
    func roundTrip() throws {
        let identity = Identity.generate()
        let read = try Identity(pem: identity.pem)
        #expect(read.id == identity.id)
        #expect(read.publicKey == identity.publicKey)
        let message = Array("message".utf8)
        #expect(identity.publicKey.isValid(signature: read.sign(message), of: message))
    }

    /// Made by `openssl genpkey -algorithm ed25519`; the ID by `openssl pkey -pubout -outform DER | sha256sum`.
    static let pem = """
        -----BEGIN PRIVATE KEY-----
        MC4CAQAwBQYDK2VwBCIEIHOIURYQXYphcbnsUh3I6iuS1s7RtQOcz9rABkbBc5be
        -----END PRIVATE KEY-----
        """

    @Test("the NodeID is what openssl and sha256sum compute from the same file")
    func knownID() throws {
        #expect(try Identity(pem: Array(Self.pem.utf8)).id.description == "9286215c6a5801ebbdea8c9960e8feb4")
    }

    @Test("signatures are those of RFC 8032, test 2")
    func knownSignature() throws {
        let key = PublicKey(
            raw: Hexadecimal.decode("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")!)!
        let signature = Hexadecimal.decode(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                + "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")!
        #expect(key.isValid(signature: signature, of: [0x72]))
        #expect(!key.isValid(signature: signature, of: [0x73]))
    }

    @Test("a signature holds for one message and one key")
    func signatures() {
        let (a, b) = (Identity.generate(), Identity.generate())
        let signature = a.sign([1, 2, 3])
        #expect(a.publicKey.isValid(signature: signature, of: [1, 2, 3]))
        #expect(!a.publicKey.isValid(signature: signature, of: [1, 2]))
        #expect(!b.publicKey.isValid(signature: signature, of: [1, 2, 3]))
        #expect(!a.publicKey.isValid(signature: signature.dropLast(), of: [1, 2, 3]))
        #expect(PublicKey(raw: [1, 2, 3]) == nil)
        #expect(a.id != b.id)
    }

    @Test("a file that holds no Ed25519 key is refused with a reason")
    func badFiles() {
        #expect(throws: IdentityError.empty) { try Identity(pem: []) }
        #expect(throws: IdentityError.empty) { try Identity(pem: Array(" \n".utf8)) }
        #expect(throws: IdentityError.notAKey) { try Identity(pem: Array("junk".utf8)) }
        #expect(throws: IdentityError.notAKey) { try Identity(pem: Array(repeating: 65, count: 1 << 20)) }
        #expect(throws: IdentityError.notAKey) { try Identity(pem: Array(Identity.generate().pem.dropLast(60))) }
        let other = CertificatePair.selfSigned(names: [], addresses: [], now: 0).privateKey.withBytes { Array($0) }
        #expect(throws: IdentityError.otherKind) { try Identity(pem: other) }
    }

    @Test("an identity prints its ID, not its key")
    func doesNotPrint() {
        let identity = Identity.generate()
        #expect("\(identity)" == "identity \(identity.id)")
    }
}

@Suite("passwords are stored so that a stolen file helps little")
struct PasswordHashTests {
    @Test("the right password matches and no other does")
    func matching() throws {
        let hash = PasswordHash(of: "correct horse")
        #expect(hash.matches("correct horse"))
        #expect(!hash.matches("correct hors"))
        #expect(!hash.matches(""))
        #expect(!hash.matches(String(repeating: "a", count: 5000)))
        let read = try #require(PasswordHash(hash.description))
        #expect(read == hash && read.matches("correct horse"))
        #expect(!hash.isOutdated)
        #expect(!"\(hash)".contains("horse"))
    }

    @Test("one password gives another hash each time: the salt differs")
    func salted() {
        let cheap = PasswordHash.Cost(logN: 4, r: 8, p: 1)
        #expect(PasswordHash(of: "x", cost: cheap).description != PasswordHash(of: "x", cost: cheap).description)
        #expect(PasswordHash(of: "x", cost: cheap).isOutdated)
    }

    @Test("the hash is that of RFC 7914 §12: password “pleaseletmein”, salt “SodiumChloride”, N 16384, r 8, p 1")
    func published() throws {
        let hash = Hexadecimal.decode(
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
                + "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887")!
        let text = "$scrypt$ln=14,r=8,p=1$\(Base64.encode("SodiumChloride".utf8))$\(Base64.encode(hash))"
        #expect(try #require(PasswordHash(text)).matches("pleaseletmein"))
    }

    @Test(
        "a stored text that is none, or that asks for absurd work, is refused",
        arguments: [
            "", "secret", "$scrypt$", "$scrypt$ln=14,r=8,p=1$$", "$scrypt$ln=40,r=8,p=1$c2FsdHNhbHQ$\(Self.hash)",
            "$scrypt$ln=14,r=8,p=1000$c2FsdHNhbHQ$\(Self.hash)", "$scrypt$ln=-1,r=8,p=1$c2FsdHNhbHQ$\(Self.hash)",
            "$scrypt$ln=14,r=8$c2FsdHNhbHQ$\(Self.hash)", "$bcrypt$ln=14,r=8,p=1$c2FsdHNhbHQ$\(Self.hash)",
            "$scrypt$ln=14,r=8,p=1$c2FsdHNhbHQ$\(Self.hash)$", "$scrypt$ln=14,r=8,p=1$short$\(Self.hash)",
            "$scrypt$r=8,ln=14,p=1$c2FsdHNhbHQ$\(Self.hash)", "$scrypt$ln=16,r=8,p=8$c2FsdHNhbHQ$!\(Self.hash)",
        ])
    func refused(text: String) {
        #expect(PasswordHash(text) == nil)
    }
    static let hash = Base64.encode([UInt8](repeating: 1, count: 32))

    @Test("and the well-formed neighbour of those is accepted")
    func accepted() {
        #expect(PasswordHash("$scrypt$ln=14,r=8,p=1$c2FsdHNhbHQ$\(Self.hash)") != nil)
    }
}
